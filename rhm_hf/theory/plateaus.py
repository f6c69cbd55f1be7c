"""Plateaus of last-token prediction: bounds on the loss of the best model that sees one block (2406.00048)."""

import math

from ..checks import check_integer, checked
from .ensemble import AnyLevel, Plain, check_plain


@checked
def plateau(parameters: Plain, level: AnyLevel) -> float:
    """L_ℓ, nats: a bound on the loss at the last token of the best model that sees its level-ℓ block.

    L_ℓ = log N_ℓ with N_0 = v, N_ℓ = 1 + (v-1)(m N_(ℓ-1) - 1) / (v^s - 1), the mean number of tokens that fit the
    context (2406.00048); at the root the recursion begins with n_c. An average over grammars inside a logarithm, so a
    bound: exact plateaus of one grammar are `rhm_hf.inference.position_entropies(grammar, level)[-1]`.

    Args:
        parameters ([`GrammarParameters`]): of a plain ensemble.
        level (`int`): ℓ; beyond L the grammar is taken for a deeper one, where n_c = v.
    """
    check_plain(parameters, "plateau")
    level = check_integer("level", level, 0)
    if level > parameters.depth and parameters.num_classes != parameters.vocab_size:
        raise ValueError(
            f"level={level} lies above the root of {parameters.name}, whose number of classes differs from v: levels "
            f"go up to {parameters.depth}"
        )
    start = parameters.num_classes if level == parameters.depth else parameters.vocab_size
    limit, factor = _fixed_point(parameters)
    return math.log(limit) + math.log1p(_power(factor, level) * (start - limit) / limit)


@checked
def limiting_loss(parameters: Plain) -> float:
    """The plateau of an infinitely deep grammar, nats: the fixed point of the recursion of [`plateau`]."""
    check_plain(parameters, "limiting_loss")
    return math.log(_fixed_point(parameters)[0])


def excess_over_limit(parameters: Plain, level: int) -> tuple[float, float, float]:
    """L_ℓ - L_inf and L_(ℓ+1) - L_inf of an infinitely deep grammar, without cancellation, and N's factor a level."""
    limit, factor = _fixed_point(parameters)
    share = (parameters.vocab_size - limit) / limit
    above, below = (math.log1p(_power(factor, upto) * share) for upto in (level, level + 1))
    return above, below, factor


def _fixed_point(parameters: Plain) -> tuple[float, float]:
    """N_inf, and q in N_ℓ - N_inf = q^ℓ (N_0 - N_inf): the recursion is linear."""
    v, m, s = parameters.vocab_size, parameters.num_synonyms, parameters.tuple_size
    if v == 1:
        return 1.0, 0.0
    slope = (v - 1) / (v**s - 1)
    if m == v ** (s - 1):  # every tuple is a rule: context says nothing
        return float(v), slope * m
    return (1 - slope) / (1 - slope * m), slope * m


def _power(base: float, exponent: int) -> float:
    """base^exponent for base < 1; 0 where it is below all floats."""
    if base == 0 or exponent == 0:
        return float(exponent == 0)
    return math.exp(exponent * math.log(base)) if exponent < 10**6 else 0.0
