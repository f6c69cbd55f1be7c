"""Correlations of tokens and tuples on average over an ensemble, their noise and their range."""

import math
from collections.abc import Sequence

from ..checks import check_integer, check_number, checked
from .ensemble import LARGEST, Plain, check_plain, fraction_at, symbols_at


@checked
def token_correlation(parameters: Plain, level: int) -> float:
    """C~: RMS over symbol pairs of the correlation of two tokens whose lowest common ancestor is at level ℓ.

    C~^2 = (1-f) / (v^3 m^(2ℓ-1)) on average over grammars, where rules are equiprobable, and that of
    [`correlation_of_rule_laws`] elsewhere; measured averages fall below it with growing ℓ. At the root one v is n_c
    and f is n_c m / v^s.

    Args:
        parameters ([`GrammarParameters`]): of an ensemble that is plain but for rules of unequal probabilities.
        level (`int`): ℓ = 1..L.
    """
    check_plain(parameters, "token_correlation", ("zipf_exponent",))
    level = check_integer("level", level, 1, parameters.depth + 1)
    if getattr(parameters, "zipf_exponent", None) is not None:
        laws = [parameters.rule_law(below) for below in range(1, level + 1)]
        return correlation_of_rule_laws(parameters, [float(law @ law) for law in laws])
    return math.sqrt(_signal(parameters, level) / parameters.num_synonyms ** (2 * level - 1))


@checked
def tuple_correlation(parameters: Plain, level: int) -> float:
    """C~ of an s-tuple and a token with lowest common ancestor at level ℓ >= 2: C~^2 = (1-f) / (v^3 m^(2ℓ)).

    RMS over tokens and the v m grammatical tuples. At the root one v is n_c and f is n_c m / v^s.
    """
    check_plain(parameters, "tuple_correlation")
    level = check_integer("level", level, 2, parameters.depth + 1)
    return math.sqrt(_signal(parameters, level) / parameters.num_synonyms ** (2 * level))


def _signal(parameters: Plain, level: int) -> float:
    return (1 - fraction_at(parameters, level)) / (symbols_at(parameters, level) * parameters.vocab_size**2)


@checked
def correlation_of_rule_laws(parameters: Plain, squared_norms: Sequence[float]) -> float:
    """C~ for rules of any probabilities f_k: C~^2 = (q_ℓ/n - v^-s) / v^2 * prod_(j<ℓ) q_j^2, n symbols at level ℓ.

    Args:
        parameters ([`GrammarParameters`]): v, s, n_c and L are used: n is v below the root and n_c at it.
        squared_norms (`Sequence[float]`): q_j = sum_k f_k^2 of the rules of level j, j = 1..ℓ (1/m where uniform).
    """
    check_plain(parameters, "correlation_of_rule_laws", ("zipf_exponent",))
    norms = [check_number("squared_norms", q, 0, 1) for q in squared_norms]
    if not 1 <= len(norms) <= parameters.depth:
        raise ValueError(
            f"squared_norms holds {len(norms)}: give one for each level 1..l, l at most {parameters.depth}"
        )
    *below, top = norms
    v, s = parameters.vocab_size, parameters.tuple_size
    square = (top / symbols_at(parameters, len(norms)) - v**-s) / v**2 * math.prod(q**2 for q in below)
    if square < -1e-12:
        raise ValueError(f"squared_norms={norms} cannot be: q is at least 1/m = {1 / parameters.num_synonyms:g}")
    return math.sqrt(max(square, 0.0))


@checked
def correlation_exponent(parameters: Plain) -> float:
    """β in C~(t) ~ t^-β: ln m / ln s, and ln(1/q) / ln s where all levels have rules of unequal probabilities.

    q = sum_k f_k^2. Unequal probabilities at one level only change amplitudes.
    """
    check_plain(parameters, "correlation_exponent", ("zipf_exponent",))
    inverse = float(parameters.num_synonyms)
    if getattr(parameters, "zipf_exponent", None) is not None and parameters.zipf_level is None:
        law = parameters.rule_law(1)
        inverse = 1 / float(law @ law)
    return math.log(inverse) / math.log(parameters.tuple_size)


@checked
def dynamic_exponent(parameters: Plain) -> float:
    """z = 2β in t* ~ P^(1/z)."""
    return 2 * correlation_exponent(parameters)


@checked
def correlation_noise(parameters: Plain, num_sentences: float, tuples: bool = False) -> float:
    """C~ of P independent samples of uncorrelated symbols: (v^2 P)^(-1/2), for tuples (v^2 m P)^(-1/2).

    Args:
        parameters ([`GrammarParameters`]): v and m are used.
        num_sentences (`float`): P > 0.
        tuples (`bool`, *optional*, defaults to `False`): of level-1 tuples with tokens.
    """
    check_plain(parameters, "correlation_noise", ("zipf_exponent", "uncorrelated"))
    if check_number("num_sentences", num_sentences, 0) == 0:
        raise ValueError(f"num_sentences={num_sentences} must be above 0")
    pairs = parameters.vocab_size**2 * (parameters.num_synonyms if tuples else 1)
    return 1 / math.sqrt(pairs * num_sentences)


@checked
def effective_context(parameters: Plain, num_sentences: float) -> int:
    """t*(P), tokens: the range up to which token correlations exceed the noise of P sentences.

    The correlation at level ℓ equals the noise at P_ℓ = v m^(2ℓ-1) / (1-f), so t* = s^ℓ - 1 for the largest such ℓ.
    """
    check_plain(parameters, "effective_context")
    size = check_number("num_sentences", num_sentences, 0)
    level = 0
    while level < parameters.depth and size > 0:
        above = level + 1
        shared = 1 - fraction_at(parameters, above)
        logarithm = math.log(symbols_at(parameters, above)) + (2 * above - 1) * math.log(parameters.num_synonyms)
        if shared <= 0 or logarithm > LARGEST or size < math.exp(logarithm) / shared * (1 - 1e-12):
            break
        level += 1
    return parameters.tuple_size**level - 1
