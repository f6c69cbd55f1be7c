"""Real noise at any depth and its thresholds, by population dynamics of the messages of belief propagation."""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from ..checks import SEED_LIMIT, PositiveInt, Range, Share, check_integer, checked
from .ensemble import Plain, check_plain


NOISES = ("masked", "uniform", "epsilon", "gaussian")
LARGEST_TABLE = 2**26  # entries of one step's products
MAX_LEVELS = 400  # that a trajectory may take to leave the threshold


@dataclass(frozen=True)
class RecoveryThreshold:
    """The noise below which symbols infinitely far above the leaves are known.

    Attributes:
        noise (`float`): the mean over sequences of rules.
        stderr (`float`): its standard error over them; infinite for one.
        values (`np.ndarray`): of each sequence.
    """

    noise: float
    stderr: float
    values: np.ndarray


@checked
def recovery_threshold(
    parameters: Plain,
    noise: str = "masked",
    num_sequences: PositiveInt = 20,
    population: PositiveInt = 64,
    tolerance: float = 5e-4,
    seed: int = 0,
) -> RecoveryThreshold:
    """The threshold of the class of an infinitely deep grammar, not by mean field (science of 2402.16991).

    Each level has rules of its own, drawn as in the ensemble. A population of upward messages, `population` for every
    true symbol, is carried from level to level: rules and messages of the children are drawn, and the message is that
    of belief propagation. The belief in the truth grows to 1 below the threshold and falls to 1/v above it; bisection
    with common random numbers finds where.

    Args:
        parameters ([`GrammarParameters`]): of a plain ensemble; L and n_c are not used.
        noise (`str`, *optional*, defaults to `"masked"`): the share of tokens masked; `"uniform"`: the share replaced
            by a uniform token, 1 - abar (D3PM); `"epsilon"`: the belief 1 - ε + ε/v in every true token;
            `"gaussian"`: 1 - abar of noise on one-hot vectors.
        num_sequences (`int`, *optional*, defaults to 20): sequences of rules.
        population (`int`, *optional*, defaults to 64): messages for every symbol.
        tolerance (`float`, *optional*, defaults to 5e-4): of the bisection.
        seed (`int`, *optional*, defaults to 0): of everything.

    Returns:
        [`RecoveryThreshold`]

    Raises:
        `ValueError`: where no noise between 0 and 1 is a threshold: the class is lost, or known, at any.
    """
    seeds = _sequences("recovery_threshold", parameters, noise, num_sequences, population, seed)
    if not 0 < tolerance < 0.5:
        raise ValueError(f"tolerance={tolerance} must lie between 0 and 0.5")
    values = np.array([_threshold(parameters, noise, population, tolerance, child) for child in seeds])
    stderr = float(values.std(ddof=1) / math.sqrt(num_sequences)) if num_sequences > 1 else math.inf
    return RecoveryThreshold(float(values.mean()), stderr, values)


@checked
def recovery_flow(
    parameters: Plain,
    noise: str = "masked",
    shares: Sequence[Share] = (0.5,),
    num_levels: Annotated[int, Range(1, MAX_LEVELS)] = 30,
    num_sequences: PositiveInt = 20,
    population: PositiveInt = 64,
    seed: int = 0,
) -> np.ndarray:
    """Survival of the root of trees of 0, 1, .. levels whose leaves are noisy, by population dynamics.

    The mean belief in the truth, which is the probability that a draw from the posterior is the truth: of levels
    that no sentence could be drawn for. Every share of noise has the same rules and random numbers.

    Args:
        parameters ([`GrammarParameters`]): of a plain ensemble; L and n_c are not used: any symbol may be the root.
        noise (`str`, *optional*, defaults to `"masked"`): see [`recovery_threshold`].
        shares (`Sequence[float]`, *optional*, defaults to `(0.5,)`): strengths of the noise, in [0, 1].
        num_levels (`int`, *optional*, defaults to 30): of the deepest tree, 400 at most.
        num_sequences (`int`, *optional*, defaults to 20): sequences of rules.
        population (`int`, *optional*, defaults to 64): messages for every symbol.
        seed (`int`, *optional*, defaults to 0): of everything.

    Returns:
        `np.ndarray`: float64 `(len(shares), num_sequences, num_levels + 1)`, level 0 the noisy tokens themselves.
    """
    seeds = _sequences("recovery_flow", parameters, noise, num_sequences, population, seed)
    found = [
        list(itertools.islice(_beliefs(parameters, noise, share, population, child), num_levels + 1))
        for share in shares
        for child in seeds
    ]
    return np.array(found).reshape(len(shares), len(seeds), num_levels + 1)


def _sequences(
    function: str, parameters: Plain, noise: str, num_sequences: int, population: int, seed: int
) -> list[np.random.SeedSequence]:
    """A seed for every sequence of rules, where the ensemble, the noise and the sizes are such."""
    check_plain(parameters, function)
    if noise not in NOISES:
        raise ValueError(f"noise={noise!r} is unknown: it must be one of {', '.join(NOISES)}")
    v, m, s = parameters.vocab_size, parameters.num_synonyms, parameters.tuple_size
    num_sequences = check_integer("num_sequences", num_sequences, 1)
    population = check_integer("population", population, 2)
    seed = check_integer("seed", seed, 0, SEED_LIMIT)
    if v == 1 or v * population * v * m > LARGEST_TABLE or v**s > LARGEST_TABLE:
        raise ValueError(
            f"{parameters.name}, population={population}: {v**s} tuples, {v * population * v * m} products a step; at "
            f"most {LARGEST_TABLE} of each, and two symbols at least"
        )
    return np.random.SeedSequence(seed).spawn(num_sequences)


def _threshold(parameters, noise: str, population: int, tolerance: float, seed: np.random.SeedSequence) -> float:
    low, high = 0.0, 1.0
    while high - low > tolerance:
        middle = (low + high) / 2
        low, high = (middle, high) if _is_known(parameters, noise, middle, population, seed) else (low, middle)
    found, smallest = (low + high) / 2, 16 / (parameters.vocab_size * population)  # of few messages: may die out
    if not max(smallest, tolerance) < found < 1 - tolerance:
        fate = "lost" if found < 0.5 else "known"
        raise ValueError(
            f"{parameters.name} has no threshold of {noise} noise that population={population} can tell from "
            f"{round(found)}: the class is {fate} at any noise"
        )
    return found


def _is_known(parameters, noise: str, share: float, population: int, seed: np.random.SeedSequence) -> bool:
    """Whether the mean belief in the truth grows to 1, for one sequence of rules."""
    v = parameters.vocab_size
    beliefs = _beliefs(parameters, noise, share, population, seed)
    began = next(beliefs)
    if noise != "gaussian":  # of the others a formula says about as much, without the population's luck
        began = (1 - share) + share / v
    # Known or lost is a belief that has come three times nearer to 1 or to 1/v than it began, however near that was.
    known, lost = 1 - min(0.03, (1 - began) / 3), 1 / v + min(0.2 / v, (began - 1 / v) / 3)
    for belief in itertools.islice(beliefs, MAX_LEVELS):
        if belief > known:
            return True
        if belief < lost:
            return False
    return belief > 0.5


def _beliefs(parameters, noise: str, share: float, population: int, seed: np.random.SeedSequence) -> Iterator[float]:
    """The mean belief in the truth of tokens, then of the root of 1, 2, .. levels, for one sequence of rules."""
    v, m, s = parameters.vocab_size, parameters.num_synonyms, parameters.tuple_size
    rng = np.random.default_rng(seed)
    messages = _leaves(v, noise, share, population, rng)
    truth = np.arange(v)[:, None]
    least = 1e-300 ** (1 / s)  # a message that is sure of the wrong symbol does not rule the right one out
    while True:
        yield float(messages[truth, np.arange(population), truth].mean())
        tuples = rng.choice(v**s, v * m, replace=False)
        rules = np.stack(np.unravel_index(tuples, (v,) * s), -1)  # symbol k has rules k m .. k m + m - 1
        chosen = rules[truth * m + rng.integers(0, m, (v, population))]  # (v, population, s)
        products = 1.0
        for child in range(s):
            below = messages[chosen[..., child], rng.integers(0, population, (v, population))]
            products = products * below.clip(least)[..., rules[:, child]]
        messages = products.reshape(v, population, v, m).sum(-1)
        messages /= messages.sum(-1, keepdims=True)


def _leaves(v: int, noise: str, share: float, population: int, rng: np.random.Generator) -> np.ndarray:
    """Messages of tokens `(true symbol, population, v)`."""
    identity = np.broadcast_to(np.eye(v)[:, None], (v, population, v))
    if noise == "epsilon":
        return (1 - share) * identity + share / v
    if noise == "gaussian":  # the likelihood of every symbol, as in diffusion.GaussianDiffusion
        alpha = 1 - share
        vectors = math.sqrt(alpha) * identity + math.sqrt(share) * rng.standard_normal((v, population, v))
        logs = vectors * (math.sqrt(alpha) / max(share, 1e-12))
        weights = np.exp(logs - logs.max(-1, keepdims=True))
        return weights / weights.sum(-1, keepdims=True)
    noisy = rng.random((v, population)) < share
    if noise == "masked":
        return np.where(noisy[..., None], 1 / v, identity)
    seen = np.where(noisy, rng.integers(0, v, (v, population)), np.arange(v)[:, None])
    return (1 - share) * np.eye(v)[seen] + share / v
