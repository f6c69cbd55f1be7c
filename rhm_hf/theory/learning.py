"""How many sentences a level needs, and exponents of learning curves."""

import math
from typing import Annotated

from ..checks import OwnCheck, check_integer, check_number, checked
from ..grammar import SparseParameters
from .ensemble import AnyLevel, Plain, check_plain, fraction_at, power, ratio, symbols_at
from .plateaus import excess_over_limit


DEEP = (None, "deep", "cnn", "transformer")  # architectures of classification that learn at n_c m^L


@checked
def grammatical_fraction(parameters: Plain) -> float:
    """f = m / v^(s-1), the fraction of s-tuples of symbols that are the right-hand side of a rule below the root."""
    check_plain(parameters, "grammatical_fraction", ("zipf_exponent", "uncorrelated"))
    return parameters.num_synonyms / parameters.vocab_size ** (parameters.tuple_size - 1)


@checked
def sample_complexity(
    parameters: Plain,
    level: int | None = None,
    task: str = "last_token",
    architecture: str | None = None,
) -> float:
    """The number of training sentences at which a level is learnt.

    In every formula v counts the symbols of the level's rules: at the root (ℓ = L) it is n_c, and f is n_c m / v^s.

    Args:
        parameters ([`GrammarParameters`]): of a plain ensemble.
        level (`int`): ℓ = 1..L, the level whose rules the P sentences reveal; left out for `task="classification"`,
            which is learnt at one P.
        task (`str`, *optional*, defaults to `"last_token"`): `"last_token"`, `"masked"` (masked tokens, diffusion),
            `"latent_prediction"`, `"classification"`, `"ngram"` (counting s^ℓ-grams), `"hierarchical_ngram"`
            (counting in latent space).
        architecture (`str`, *optional*): for `"last_token"` `"transformer"` (the default), v m^(2ℓ-1) / (1-f), or
            `"cnn"` (weights shared over positions), v m^(ℓ+1) / (1-f), about v m at ℓ = 1; for `"classification"`
            any deep network (`"deep"`, the default), n_c m^L, or `"shallow"`, of the order of all sentences. The other
            tasks have one law.

    Raises:
        `ValueError`: for an ensemble that is not plain, an unknown task, an architecture that the task has no law of,
            a level out of range, or a number beyond all floats.
    """
    check_plain(parameters, "sample_complexity")
    m, s = parameters.num_synonyms, parameters.tuple_size
    if task == "classification":
        if level is not None:
            raise ValueError(f"level={level}: classification is learnt at one P for all levels; leave level out")
        if architecture == "shallow":
            nodes = (s**parameters.depth - 1) // (s - 1)
            return power("the number of sentences", parameters.num_classes, m, nodes)
        if architecture not in DEEP:
            raise ValueError(f"architecture={architecture!r} is unknown: classification knows 'deep' and 'shallow'")
        return power("P*", parameters.num_classes, m, parameters.depth)
    level = check_integer("level", level, 1, parameters.depth + 1)
    if task == "last_token":
        return _last_token(parameters, level, architecture)
    exponents = {
        "masked": level + 1 if level > 1 else 1,
        "latent_prediction": 3,
        "ngram": (s**level - 1) // (s - 1),
        "hierarchical_ngram": level,
    }
    if task not in exponents:
        raise ValueError(f"task={task!r} is unknown: it must be last_token, classification, {', '.join(exponents)}")
    if architecture is not None:
        raise ValueError(f"architecture={architecture!r}: task={task!r} has one law for all; leave architecture out")
    return power(f"P_{level}", symbols_at(parameters, level), m, exponents[task])


def _last_token(parameters: Plain, level: int, architecture: str | None) -> float:
    exponents = {None: 2 * level - 1, "transformer": 2 * level - 1, "cnn": level + 1}
    if architecture not in exponents:
        raise ValueError(f"architecture={architecture!r} is unknown: last_token knows 'transformer' and 'cnn'")
    symbols, m = symbols_at(parameters, level), parameters.num_synonyms
    if architecture == "cnn" and level == 1:
        return float(symbols * m)
    return ratio(power(f"P_{level}", symbols, m, exponents[architecture]), 1 - fraction_at(parameters, level))


@checked
def sparse_sample_complexity(
    parameters: Plain | SparseParameters,
    sparsity: int | None = None,
    architecture: str = "cnn",
    constant: float = 1.0,
) -> float:
    """P*, training sentences at which a deep network learns the class of sparse sentences (2404.10727, placement A).

    P*_LCN = C s^(L/2) (s0+1)^L n_c m^L without weight sharing, P*_CNN = C (s0+1)^2 n_c m^L with it: sharing weights
    over positions makes the cost of sparsity independent of depth. Also where sensitivities to synonyms and to
    displacements fall. Scaling laws: the constant depends on the architecture and its training, not on v, m, L, s0.

    Args:
        parameters ([`GrammarParameters`] or [`SparseParameters`]): of an ensemble that is plain but for its slots; v
            counts informative symbols.
        sparsity (`int`, *optional*, defaults to that of the parameters): s0, uninformative slots for each informative
            child; 0, as in a grammar that is not sparse, gives n_c m^L for a CNN.
        architecture (`str`, *optional*, defaults to `"cnn"`): `"cnn"`, or `"lcn"` (locally connected).
        constant (`float`, *optional*, defaults to 1.0): C, to be fitted.
    """
    s0 = getattr(parameters, "sparsity", None) or 0
    if getattr(parameters, "placement", None) == "B":
        raise ValueError(f"{parameters.name} places children anywhere (B): the published law is of placement A")
    if s0:
        parameters = parameters.base
    check_plain(parameters, "sparse_sample_complexity")
    width = check_integer("sparsity", s0 if sparsity is None else sparsity, 0) + 1
    if check_number("constant", constant, 0) == 0:
        raise ValueError(f"constant={constant} must be above 0")
    classification = power("P*", parameters.num_classes, parameters.num_synonyms, parameters.depth)
    if architecture == "cnn":
        return constant * width**2 * classification
    if architecture == "lcn":
        return constant * parameters.tuple_size ** (parameters.depth / 2) * width**parameters.depth * classification
    raise ValueError(f"architecture={architecture!r} is unknown: it must be 'cnn' or 'lcn'")


@checked
def clustering_complexity(parameters: Plain, level: int, latent_level: int = 1, target_level: int = 0) -> float:
    """Sentences at which tuples that are synonyms can be told by their correlations: v m^(2ℓ-k-j) / (1-f).

    Args:
        parameters ([`GrammarParameters`]): of a plain ensemble; at ℓ = L, v is n_c and f is n_c m / v^s.
        level (`int`): ℓ, level of the lowest common ancestor of tuple and target.
        latent_level (`int`, *optional*, defaults to 1): k, the level of the symbol that the tuple encodes, 1..ℓ-1;
            1 for a transformer, ℓ-1 for a CNN.
        target_level (`int`, *optional*, defaults to 0): j, the level of the target; ℓ-2 for latent prediction.
    """
    check_plain(parameters, "clustering_complexity")
    level = check_integer("level", level, 2, parameters.depth + 1)
    latent_level = check_integer("latent_level", latent_level, 1, level)
    target_level = check_integer("target_level", target_level, 0, level)
    exponent = 2 * level - latent_level - target_level
    found = power("P", symbols_at(parameters, level), parameters.num_synonyms, exponent)
    return ratio(found, 1 - fraction_at(parameters, level))


@checked
def learning_exponent(parameters: Plain, architecture: str = "transformer", level: AnyLevel | None = None) -> float:
    """α in L(P) - L_inf ~ P^-α of last-token prediction in an infinitely deep grammar.

    Args:
        parameters ([`GrammarParameters`]): of a plain ensemble; L and n_c are not used: the root is infinitely far up.
        architecture (`str`, *optional*, defaults to `"transformer"`): `"transformer"`, ln(1/f) / (2 ln m), or `"cnn"`,
            twice that.
        level (`int`, *optional*): instead of the asymptote, the local slope between plateau ℓ and plateau ℓ + 1. It
            is far below the asymptote until ℓ > ln v / ln(1/f).
    """
    check_plain(parameters, "learning_exponent")
    if architecture not in ("transformer", "cnn"):
        raise ValueError(f"architecture={architecture!r} is unknown: it must be 'transformer' or 'cnn'")
    if parameters.num_synonyms == 1:
        raise ValueError("num_synonyms=1: one rule per symbol leaves nothing to learn level by level; take m >= 2")
    per_level = (2 if architecture == "transformer" else 1) * math.log(parameters.num_synonyms)
    if level is None:
        return -math.log(grammatical_fraction(parameters)) / per_level
    level = check_integer("level", level, 0)
    above, below, factor = excess_over_limit(parameters, level)
    if above == 0 and grammatical_fraction(parameters) >= 1:
        return 0.0  # every tuple is a rule: context says nothing, at any level
    return (math.log(above / below) if below > 0 else -math.log(factor)) / per_level


@checked
def language_exponent(gamma: Annotated[float, OwnCheck()], beta: Annotated[float, OwnCheck()]) -> float:
    """α = γ / (2β) of any language (2602.07488): H_n - H_inf ~ n^-γ, correlations ~ n^-β."""
    for name, value in (("gamma", gamma), ("beta", beta)):
        if not (isinstance(value, float) and value == math.inf):  # faster than any power
            check_number(name, value)
    if not beta > 0:
        raise ValueError(f"beta={beta} must be above 0: correlations that do not decay give no exponent")
    if not gamma >= 0 or beta == gamma == math.inf:
        raise ValueError(f"gamma={gamma} must be 0 or more, and finite where beta={beta} is not")
    return gamma / (2 * beta)


@checked
def zipf_classification_exponent(a: float) -> float:
    """Classification error ~ P^(-a/(1+a)) where rules have probabilities ∝ k^-(1+a) (2505.07067)."""
    if check_number("a", a, 0) == 0:
        raise ValueError(f"a={a} must be above 0")
    return a / (1 + a)
