"""Discrete diffusion on sentences: noise, denoisers, bounds and samplers, all of which can be judged exactly.

Belief propagation is the optimal denoiser of a grammar for every noise that hits tokens independently, so what a
trained denoiser lacks, and what a sampler loses by drawing several tokens at a time, are numbers and no guesses.
"""

from .bounds import DenoisingLoss, log_likelihood_bound, stratified
from .comparisons import judge_samples, one_step_kl, revealing_law
from .denoisers import Denoiser, ExactDenoiser, ModelDenoiser, as_denoiser
from .forward_backward import ForwardBackward, crossing, forward_backward, susceptibility
from .processes import DiscreteDiffusion, MaskedDiffusion, UniformDiffusion
from .samplers import denoise, reveal_log_probs, sample_ancestral, sample_revealing
from .schedules import SCHEDULES, CosineSchedule, LinearSchedule, LogLinearSchedule, Schedule
from .vectors import EpsilonProcess, GaussianDiffusion


__all__ = [
    "SCHEDULES",
    "CosineSchedule",
    "Denoiser",
    "DenoisingLoss",
    "DiscreteDiffusion",
    "EpsilonProcess",
    "ExactDenoiser",
    "ForwardBackward",
    "GaussianDiffusion",
    "LinearSchedule",
    "LogLinearSchedule",
    "MaskedDiffusion",
    "ModelDenoiser",
    "Schedule",
    "UniformDiffusion",
    "as_denoiser",
    "crossing",
    "denoise",
    "forward_backward",
    "judge_samples",
    "log_likelihood_bound",
    "one_step_kl",
    "reveal_log_probs",
    "revealing_law",
    "sample_ancestral",
    "sample_revealing",
    "stratified",
    "susceptibility",
]
