"""Forward-backward experiments: noise a sentence up to time t, denoise it, and see what has changed.

With the exact posterior as the backward process (one draw from p(x_0 | x_t), whole derivations at once) the class
survives up to a threshold that sharpens with depth, and near it tokens change in correlated blocks whose size diverges
(Sclocchi et al. 2402.16991, 2410.13770).
"""

from dataclasses import dataclass

import numpy as np
import torch

from ..checks import check_integer
from ..inference import parse, posteriors, sample_posterior
from ..statistics import Accumulator
from .denoisers import as_denoiser
from .sampling import denoise


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
        correlations (`list[float]`): entry ℓ - 1 for ℓ = 1..L: mean C_ij of tokens whose lowest common ancestor is at
            level ℓ, over the mean C_ii.
        grammatical, grammatical_stderr (`float`): the fraction of denoised sentences that are grammatical, and its
            standard error; 1 for the exact posterior.
        num_sentences (`int`): how many.
    """

    t: float
    survival: list[float]
    survival_stderr: list[float]
    covariance: torch.Tensor
    susceptibility: float
    correlations: list[float]
    grammatical: float
    grammatical_stderr: float
    num_sentences: int


@torch.no_grad()
def forward_backward(
    grammar,
    process,
    t: float,
    num_sentences: int = 1024,
    seed: int = 0,
    model=None,
    steps: int = 100,
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
        [`ForwardBackward`]. A symbol that does not parse has not survived.
    """
    if not 0 < t <= 1:
        raise ValueError(f"t={t} must be above 0, where nothing changes, and at most 1")
    num_sentences, length = check_integer("num_sentences", num_sentences, 2), grammar.sentence_length
    tokens = grammar.sample(num_sentences, seed=seed, split="evaluation", sampling="iid")
    truth = [torch.from_numpy(level.astype(np.int64)) for level in grammar.parse(tokens)]
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
            result, *_, root = sample_posterior(grammar, evidence=evidence, generator=generator)
        else:
            result = denoise(denoiser, process, noisy.to(denoiser.device), t, steps, back, progress).cpu()
            *_, root = parsed = parse(grammar, result)
            same = [found == true for found, true in zip(parsed, levels, strict=True)]
        for accumulator, kept in zip(survived, same, strict=True):
            accumulator.add(kept.double().sum(1), float(kept.shape[1]))
        grammatical.add((root[:, 0] >= 0).double())
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


def _covariance(changed: torch.Tensor) -> torch.Tensor:
    spins = 2 * changed.double() - 1
    spins -= spins.mean(0)
    return spins.t() @ spins / (len(spins) - 1)


def susceptibility(covariance: torch.Tensor) -> float:
    """χ = sum_ij C_ij / sum_i C_ii of a covariance `(d, d)`: 1 where tokens change independently, d where together."""
    total = covariance.trace().item()
    return covariance.sum().item() / total if total > 0 else 0.0


def _correlations(grammar, covariance: torch.Tensor) -> list[float]:
    """Mean covariance of pairs by the level of their lowest common ancestor, over the mean variance."""
    place = torch.arange(len(covariance))
    variance, together = covariance.trace().item() / len(covariance), torch.eye(len(covariance)) > 0
    found = []
    for level in range(1, grammar.depth + 1):
        block = place // grammar.block_length(level)
        same = block[:, None] == block
        found.append(covariance[same & ~together].mean().item() / variance if variance > 0 else 0.0)
        together = same
    return found


def crossing(times, first, second) -> float | None:
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
