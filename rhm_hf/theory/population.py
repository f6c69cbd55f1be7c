"""Thresholds of real noise at infinite depth, by population dynamics of the messages of belief propagation."""

import math
from dataclasses import dataclass

import numpy as np

from ..checks import SEED_LIMIT, PositiveInt, check_integer, checked
from .ensemble import Plain, check_plain


NOISES = ("masked", "uniform", "epsilon")
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
            by a uniform token, 1 - abar (D3PM); `"epsilon"`: the belief 1 - ε + ε/v in every true token.
        num_sequences (`int`, *optional*, defaults to 20): sequences of rules.
        population (`int`, *optional*, defaults to 64): messages for every symbol.
        tolerance (`float`, *optional*, defaults to 5e-4): of the bisection.
        seed (`int`, *optional*, defaults to 0): of everything.

    Returns:
        [`RecoveryThreshold`]

    Raises:
        `ValueError`: where no noise between 0 and 1 is a threshold: the class is lost, or known, at any.
    """
    check_plain(parameters, "recovery_threshold")
    if noise not in NOISES:
        raise ValueError(f"noise={noise!r} is unknown: it must be one of {', '.join(NOISES)}")
    v, m, s = parameters.vocab_size, parameters.num_synonyms, parameters.tuple_size
    num_sequences = check_integer("num_sequences", num_sequences, 1)
    population = check_integer("population", population, 2)
    seed = check_integer("seed", seed, 0, SEED_LIMIT)
    if not 0 < tolerance < 0.5:
        raise ValueError(f"tolerance={tolerance} must lie between 0 and 0.5")
    if v == 1 or v * population * v * m > LARGEST_TABLE or v**s > LARGEST_TABLE:
        raise ValueError(
            f"{parameters.name}, population={population}: {v**s} tuples, {v * population * v * m} products a step; at "
            f"most {LARGEST_TABLE} of each, and two symbols at least"
        )
    seeds = np.random.SeedSequence(seed).spawn(num_sequences)
    values = np.array([_threshold(parameters, noise, population, tolerance, child) for child in seeds])
    stderr = float(values.std(ddof=1) / math.sqrt(num_sequences)) if num_sequences > 1 else math.inf
    return RecoveryThreshold(float(values.mean()), stderr, values)


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
    v, m, s = parameters.vocab_size, parameters.num_synonyms, parameters.tuple_size
    rng = np.random.default_rng(seed)
    messages = _leaves(v, noise, share, population, rng)
    truth = np.arange(v)[:, None]
    # Known or lost is a belief that has come three times nearer to 1 or to 1/v than it began, however near that was.
    began = (1 - share) + share / v
    known, lost = 1 - min(0.03, (1 - began) / 3), 1 / v + min(0.2 / v, (began - 1 / v) / 3)
    least = 1e-300 ** (1 / s)  # a message that is sure of the wrong symbol does not rule the right one out
    for _ in range(MAX_LEVELS):
        tuples = rng.choice(v**s, v * m, replace=False)
        rules = np.stack(np.unravel_index(tuples, (v,) * s), -1)  # symbol k has rules k m .. k m + m - 1
        chosen = rules[truth * m + rng.integers(0, m, (v, population))]  # (v, population, s)
        products = 1.0
        for child in range(s):
            below = messages[chosen[..., child], rng.integers(0, population, (v, population))]
            products = products * below.clip(least)[..., rules[:, child]]
        messages = products.reshape(v, population, v, m).sum(-1)
        messages /= messages.sum(-1, keepdims=True)
        belief = float(messages[truth, np.arange(population), truth].mean())
        if belief > known:
            return True
        if belief < lost:
            return False
    return belief > 0.5


def _leaves(v: int, noise: str, share: float, population: int, rng: np.random.Generator) -> np.ndarray:
    """Messages of tokens `(true symbol, population, v)`."""
    identity = np.broadcast_to(np.eye(v)[:, None], (v, population, v))
    if noise == "epsilon":
        return (1 - share) * identity + share / v
    noisy = rng.random((v, population)) < share
    if noise == "masked":
        return np.where(noisy[..., None], 1 / v, identity)
    seen = np.where(noisy, rng.integers(0, v, (v, population)), np.arange(v)[:, None])
    return (1 - share) * np.eye(v)[seen] + share / v
