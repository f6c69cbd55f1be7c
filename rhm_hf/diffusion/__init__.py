"""Discrete diffusion on sentences: noise, denoisers, bounds and samplers, all of which can be judged exactly.

Belief propagation is the optimal denoiser of a grammar for every noise that hits tokens independently, so what a
trained denoiser lacks, and what a sampler loses by drawing several tokens at a time, are numbers and no guesses.
"""

from .bounds import DenoisingLoss, log_likelihood_bound, stratified
from .denoisers import Denoiser, ExactDenoiser, ModelDenoiser, as_denoiser
from .processes import DiscreteDiffusion, MaskedDiffusion, UniformDiffusion
from .schedules import SCHEDULES, CosineSchedule, LinearSchedule, LogLinearSchedule, Schedule
from .vectors import GaussianDiffusion, epsilon_evidence


__all__ = [
    "SCHEDULES",
    "CosineSchedule",
    "Denoiser",
    "DenoisingLoss",
    "DiscreteDiffusion",
    "ExactDenoiser",
    "GaussianDiffusion",
    "LinearSchedule",
    "LogLinearSchedule",
    "MaskedDiffusion",
    "ModelDenoiser",
    "Schedule",
    "UniformDiffusion",
    "as_denoiser",
    "epsilon_evidence",
    "log_likelihood_bound",
    "stratified",
]
