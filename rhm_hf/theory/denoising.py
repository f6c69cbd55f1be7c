"""The denoising transition of an infinitely deep grammar (2402.16991): mean field here, exact in `population`."""

import math
from collections.abc import Callable

from ..checks import checked
from .ensemble import Plain, check_plain


@checked
def denoising_map(parameters: Plain) -> Callable[[float], float]:
    """F, the map of belief p in the true symbol from one level to the next (2402.16991, mean field).

    F(p) = [p^s + f' (m-1)/(mv-1) (1-p^s)] / [p^s + f' (1-p^s)] with f' = (mv-1)/(v^s-1).
    """
    check_plain(parameters, "denoising_map")
    v, m, s = parameters.vocab_size, parameters.num_synonyms, parameters.tuple_size
    if v == 1:
        raise ValueError(f"{parameters.name} has one symbol: there is nothing to tell apart")
    others = (m * v - 1) / (v**s - 1)

    def belief_above(p: float) -> float:
        right = p**s
        return (right + others * (m - 1) / (m * v - 1) * (1 - right)) / (right + others * (1 - right))

    return belief_above


def _slopes(parameters: Plain) -> tuple[float, float]:
    """F' at p = 1 and at p = 1/v, the two fixed points that every grammar has."""
    v, m, s = parameters.vocab_size, parameters.num_synonyms, parameters.tuple_size
    known = s * m * (v - 1) / (v**s - 1)
    return known, known * (v ** (s - 1) / m) ** 2 / v ** (s - 1)


@checked
def has_denoising_transition(parameters: Plain) -> bool:
    """Whether the class is known below some noise and lost above it: both p = 1 and p = 1/v attract.

    F'(1) = s m (v-1) / (v^s-1) and F'(1/v) = s v^(s-1) (v-1) / (m (v^s-1)) must be below 1. With F'(1) >= 1 any noise
    spreads (many synonyms: the class is lost); with F'(1/v) >= 1 any knowledge grows (few synonyms: it never is).
    """
    check_plain(parameters, "has_denoising_transition")
    return parameters.vocab_size > 1 and max(_slopes(parameters)) < 1


@checked
def denoising_transition(parameters: Plain) -> tuple[float, float]:
    """The transition of the ε-process (belief 1 - ε + ε/v in the true token): ε* and its exponent ν.

    ε* is where the belief is the unstable fixed point p* of [`denoising_map`]; ν = ln s / ln F'(p*). For noise that
    really replaces or masks tokens the transition is elsewhere: see [`recovery_threshold`].

    Raises:
        `ValueError`: where there is no transition.
    """
    check_plain(parameters, "denoising_transition")
    if not has_denoising_transition(parameters):
        reason = "one symbol"
        if parameters.vocab_size > 1:
            known, lost = _slopes(parameters)
            reason = f"F'(1) = {known:.4g}, F'(1/v) = {lost:.4g}"
        raise ValueError(f"{parameters.name} has no denoising transition ({reason}): both slopes must be below 1")
    v, s = parameters.vocab_size, parameters.tuple_size
    belief_above = denoising_map(parameters)
    low, high = 1 / v, 1.0  # both are fixed points and attract; the unstable one is between them
    low, high = low + 1e-12 * (high - low), high - 1e-12 * (high - low)
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if belief_above(middle) < middle else (low, middle)
    fixed = (low + high) / 2
    step = 1e-6
    slope = (belief_above(fixed + step) - belief_above(fixed - step)) / (2 * step)
    return (1 - fixed) / (1 - 1 / v), math.log(s) / math.log(slope)
