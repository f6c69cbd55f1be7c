"""Forward-backward experiments: noise a sentence up to time t, denoise it, and see what has changed.

With the exact posterior as the backward process (one draw from p(x_0 | x_t), whole derivations at once) the class
survives up to a threshold that sharpens with depth, and near it tokens change in correlated blocks whose size diverges
(Sclocchi et al. 2402.16991, 2410.13770).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ..checks import SEED_LIMIT, PositiveInt, Seed, check_integer, check_number, checked
from ..grammar import Source
from ..inference import log_prob, parse, posteriors, sample_posterior
from ..judging.sentences import refuse_varying
from ..statistics import Accumulator
from .denoisers import as_denoiser, check_process
from .samplers import denoise


BATCH_TOKENS = 2**15  # tokens handled together: beliefs at all levels of a batch take some hundred MB


@dataclass(frozen=True)
class ForwardBackward:
    """What one experiment found.

    Args:
        t (`float`): the time of the noise.
        survival, survival_stderr (`list[float]`): entry ℓ = 0 (tokens) .. L (class): the probability that a level-ℓ
            symbol is the same again, and its standard error; sentences are independent, the nodes of one are not.
        covariance (`torch.Tensor`): float64 `(d, d)`, of σ_i = +1 where token i changed and -1 where it did not.
        susceptibility (`float`): χ = sum_ij C_ij / sum_i C_ii, the mean size of a block of tokens that change
            together; 0 where nothing ever changes.
        correlations (`list[float | None]`): entry ℓ - 1 for ℓ = 1..L: mean C_ij of tokens whose lowest common ancestor
            is at level ℓ, over the mean C_ii; None where there are none, the nodes of level ℓ having one child.
        grammatical, grammatical_stderr (`float`): the fraction of denoised sentences that are grammatical, and its
            standard error; 1 for the exact posterior.
        num_sentences (`int`): how many.
    """

    t: float
    survival: list[float]
    survival_stderr: list[float]
    covariance: torch.Tensor
    susceptibility: float
    correlations: list[float | None]
    grammatical: float
    grammatical_stderr: float
    num_sentences: PositiveInt


@torch.no_grad()
@checked
def forward_backward(
    grammar: Source,
    process: Any,
    t: float,
    num_sentences: PositiveInt = 1024,
    seed: Seed = 0,
    model: Any = None,
    steps: PositiveInt = 100,
    progress: bool = False,
) -> ForwardBackward:
    """Noises fresh sentences to time t and denoises them.

    Args:
        grammar (`Grammar`): whose sentences.
        process ([`DiscreteDiffusion`], [`GaussianDiffusion`] or [`EpsilonProcess`]): the noise.
        t (`float`): in (0, 1].
        num_sentences (`int`, *optional*, defaults to 1024): fresh, independent.
        seed (`int`, *optional*, defaults to 0): of sentences and noise. The same numbers serve every t, so that curves
            against t are smooth.
        model (*optional*): a model of transformers or a [`Denoiser`] that goes back in `steps` steps (discrete
            processes only). By default one draw from the exact posterior, and survival is then its exact probability
            given the noise.
        steps (`int`, *optional*, defaults to 100): of a model's way back. Tokens that one step reveals are
            independent, so even the exact denoiser as `model` leaves the grammar now and then.
        progress (`bool`, *optional*, defaults to False): a bar over the steps of a model, on a terminal.

    Returns:
        [`ForwardBackward`]. A symbol that does not parse has not survived. Of a symbol that tokens do not determine (a
        state of a chain) the survival is the probability that it is the same, given the denoised sentence.

    Raises:
        `ValueError`: for a grammar whose sentences differ in length, and a `t` outside (0, 1].
    """
    check_process(process)
    if not check_number("t", t, 0, 1) > 0:
        raise ValueError(f"t={t} must be above 0, where nothing changes, and at most 1")
    refuse_varying(grammar, "forward_backward", "it asks which nodes of a level survive")
    num_sentences, steps = check_integer("num_sentences", num_sentences, 2), check_integer("steps", steps, 1)
    length, seed = grammar.sentence_length, check_integer("seed", seed, 0, SEED_LIMIT)
    drawn = grammar.derivations(num_sentences, seed=seed, split="evaluation", sampling="iid")
    truth = [torch.from_numpy(level.astype(np.int64)) for level in drawn]
    generator, denoiser = torch.Generator().manual_seed(seed), None
    if model is not None:
        denoiser = as_denoiser(model, process)
        back = torch.Generator(denoiser.device).manual_seed(seed)
    survived, grammatical = [Accumulator() for _ in truth], Accumulator()
    changed = torch.empty(num_sentences, length, dtype=torch.bool)
    for rows in torch.arange(num_sentences).split(max(1, BATCH_TOKENS // length)):
        levels = [level[rows] for level in truth]
        noisy = process.noise(levels[0], t, process.uniforms(levels[0], generator))
        if denoiser is None:
            evidence = process.evidence(noisy, t)
            laws = posteriors(grammar, evidence=evidence)
            same = [law.gather(2, true.unsqueeze(2)).squeeze(2) for law, true in zip(laws, levels, strict=True)]
            result = sample_posterior(grammar, evidence=evidence, generator=generator)[0]
        else:
            result = denoise(denoiser, process, noisy.to(denoiser.device), t, steps, back, progress).cpu()
            same = _survival(grammar, result, levels)
        for accumulator, kept in zip(survived, same, strict=True):
            accumulator.add(kept.double().sum(1), float(kept.shape[1]))
        grammatical.add(log_prob(grammar, result).isfinite().double())
        changed[rows] = result != levels[0]
    covariance = _covariance(changed)
    return ForwardBackward(
        t=t,
        survival=[found.mean.item() for found in survived],
        survival_stderr=[found.stderr.item() for found in survived],
        covariance=covariance,
        susceptibility=susceptibility(covariance),
        correlations=_correlations(grammar, covariance),
        grammatical=grammatical.mean.item(),
        grammatical_stderr=grammatical.stderr.item(),
        num_sentences=num_sentences,
    )


def _survival(grammar, result: torch.Tensor, truth: list[torch.Tensor]) -> list[torch.Tensor]:
    """The probability that each node has the symbol it had, given a denoised sentence: 0 or 1 where tokens tell."""
    parsed = parse(grammar, result)
    same = [found == true for found, true in zip(parsed, truth, strict=False)]
    if len(parsed) == len(truth):
        return same
    visible = torch.zeros_like(result, dtype=torch.bool)
    laws, logs = posteriors(grammar, tokens=result, mask=visible, return_log_evidence=True)
    for law, true in zip(laws[len(parsed) :], truth[len(parsed) :], strict=True):
        kept = law.gather(2, true.unsqueeze(2)).squeeze(2)
        same.append(torch.where(logs.isfinite()[:, None], kept, 0.0))
    return same


def _covariance(changed: torch.Tensor) -> torch.Tensor:
    spins = 2 * changed.double() - 1
    spins -= spins.mean(0)
    return spins.t() @ spins / (len(spins) - 1)


@checked
def susceptibility(covariance: torch.Tensor) -> float:
    """χ = sum_ij C_ij / sum_i C_ii of a covariance `(d, d)`: 1 where tokens change independently, d where together."""
    total = covariance.trace().item()
    return covariance.sum().item() / total if total > 0 else 0.0


def _correlations(grammar, covariance: torch.Tensor) -> list[float | None]:
    """Mean covariance of pairs by the level of their lowest common ancestor, over the mean variance."""
    place = torch.arange(len(covariance))
    variance, together = covariance.trace().item() / len(covariance), torch.eye(len(covariance)) > 0
    found = []
    for level in range(1, grammar.depth + 1):
        block = place // grammar.block_length(level)
        same = block[:, None] == block
        pairs = covariance[same & ~together]
        mean = pairs.mean().item() / variance if variance > 0 and len(pairs) else 0.0
        found.append(mean if len(pairs) else None)
        together = same
    return found


@checked
def crossing(times: Any, first: Any, second: Any) -> float | None:
    """Where two curves over the same times cross, interpolated: with the survival at two depths, the transition.

    Below the transition a deeper tree keeps its class better, above it worse: the curves of two depths cross there.

    Args:
        times, first, second (sequences of `float`): of one length, times growing.

    Returns:
        `float`, or None where they do not cross; the crossing with the largest difference on both of its sides where
        noise makes more than one.
    """
    gap = np.asarray(second, dtype=float) - np.asarray(first, dtype=float)
    times = np.asarray(times, dtype=float)
    places = np.flatnonzero((gap[:-1] > 0) & (gap[1:] <= 0))
    if not len(places):
        return None
    weight = [min(gap[: i + 1].max(), -gap[i + 1 :].min()) for i in places]
    i = places[int(np.argmax(weight))]
    return float(times[i] + (times[i + 1] - times[i]) * gap[i] / (gap[i] - gap[i + 1]))
