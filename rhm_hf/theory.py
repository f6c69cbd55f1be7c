"""Closed forms of the theory of learning the Random Hierarchy Model. Plain Python; no sampling, no grammar.

They are averages over the ensemble of grammars and leading orders in large v: where a formula and the exact law of one
grammar disagree, the exact law is right (`rhm_hf.inference`). Notation: v symbols, m synonyms, s children, depth L,
n_c classes, and f = m / v^(s-1), the fraction of the v^s tuples that are grammatical.

Sources: Cagnetta et al. 2307.02129 (classification, correlations); Cagnetta and Wyart 2406.00048 (last token,
correlations, plateaus); Sclocchi et al. 2402.16991 (denoising transition); Favero et al. 2502.12089 (masked
diffusion); Tomasini and Wyart 2404.10727 (sparse); 2505.07067 (Zipf rules); 2602.07488 (exponent of any language).
"""

import math
from collections.abc import Callable

from .checks import check_integer
from .grammar.layered.parameters import GrammarParameters


def grammatical_fraction(parameters: GrammarParameters) -> float:
    """f = m / v^(s-1), the fraction of s-tuples of symbols that are the right-hand side of a rule."""
    return parameters.num_synonyms / parameters.vocab_size ** (parameters.tuple_size - 1)


def sample_complexity(
    parameters: GrammarParameters,
    level: int | None = None,
    task: str = "last_token",
    architecture: str = "transformer",
) -> float:
    """The number of training sentences at which a level is learnt.

    Args:
        parameters ([`GrammarParameters`]): of the ensemble.
        level (`int`): ℓ = 1..L, the level whose rules the P sentences reveal; left out for `task="classification"`,
            which is learnt at one P.
        task (`str`, *optional*, defaults to `"last_token"`): `"last_token"`, `"masked"` (masked tokens, diffusion),
            `"latent_prediction"`, `"classification"`, `"ngram"` (counting s^ℓ-grams), `"hierarchical_ngram"`
            (counting in latent space).
        architecture (`str`, *optional*, defaults to `"transformer"`): for `"last_token"` `"transformer"`,
            v m^(2ℓ-1) / (1-f), or `"cnn"` (weights shared over positions), v m^(ℓ+1) / (1-f), about v m at ℓ = 1; for
            `"classification"` any deep network, n_c m^L, or `"shallow"`, of the order of all sentences.

    Raises:
        `ValueError`: for an unknown task or architecture, or a level out of range.
    """
    v, m = parameters.vocab_size, parameters.num_synonyms
    if task == "classification":
        if level is not None:
            raise ValueError(f"level={level}: classification is learnt at one P for all levels; leave level out")
        return float(
            parameters.num_sentences if architecture == "shallow" else parameters.num_classes * m**parameters.depth
        )
    level = check_integer("level", level, 1, parameters.depth + 1)
    s = parameters.tuple_size
    correlations = 1 - grammatical_fraction(parameters)
    if task == "last_token":
        if architecture == "transformer":
            return _over(v * m ** (2 * level - 1), correlations)
        if architecture == "cnn":
            return float(v * m) if level == 1 else _over(v * m ** (level + 1), correlations)
        raise ValueError(f"architecture={architecture!r} is unknown: last_token knows 'transformer' and 'cnn'")
    formulas: dict[str, Callable[[], float]] = {
        "masked": lambda: v * m ** (level + 1 if level > 1 else 1),
        "latent_prediction": lambda: v * m**3,
        "ngram": lambda: v * m ** ((s**level - 1) // (s - 1)),
        "hierarchical_ngram": lambda: v * m**level,
    }
    if task not in formulas:
        raise ValueError(f"task={task!r} is unknown: it must be last_token, classification, {', '.join(formulas)}")
    return float(formulas[task]())


def sparse_sample_complexity(
    parameters: GrammarParameters, sparsity: int | None = None, architecture: str = "cnn", constant: float = 1.0
) -> float:
    """P*, training sentences at which a deep network learns the class of sparse sentences (2404.10727, placement A).

    P*_LCN = C s^(L/2) (s0+1)^L n_c m^L without weight sharing, P*_CNN = C (s0+1)^2 n_c m^L with it: sharing weights
    over positions makes the cost of sparsity independent of depth. Also where sensitivities to synonyms and to
    displacements fall. Scaling laws: the constant depends on the architecture and its training, not on v, m, L, s0.

    Args:
        parameters ([`GrammarParameters`]): of the ensemble; v counts informative symbols.
        sparsity (`int`, *optional*, defaults to that of the parameters): s0, uninformative slots for each informative
            child; 0, as in a grammar that is not sparse, gives n_c m^L for a CNN.
        architecture (`str`, *optional*, defaults to `"cnn"`): `"cnn"`, or `"lcn"` (locally connected).
        constant (`float`, *optional*, defaults to 1.0): C, to be fitted.
    """
    p = parameters
    width = check_integer("sparsity", (p.sparsity or 0) if sparsity is None else sparsity, 0) + 1
    if constant <= 0:
        raise ValueError(f"constant={constant} must be above 0")
    classification = sample_complexity(p, task="classification")
    if architecture == "cnn":
        return constant * width**2 * classification
    if architecture == "lcn":
        return constant * p.tuple_size ** (p.depth / 2) * width**p.depth * classification
    raise ValueError(f"architecture={architecture!r} is unknown: it must be 'cnn' or 'lcn'")


def clustering_complexity(
    parameters: GrammarParameters, level: int, latent_level: int = 1, target_level: int = 0
) -> float:
    """Sentences at which tuples that are synonyms can be told by their correlations: v m^(2ℓ-k-j) / (1-f).

    Args:
        parameters ([`GrammarParameters`]): of the ensemble.
        level (`int`): ℓ, level of the lowest common ancestor of tuple and target.
        latent_level (`int`, *optional*, defaults to 1): k, the level of the symbol that the tuple encodes, 1..ℓ-1;
            1 for a transformer, ℓ-1 for a CNN.
        target_level (`int`, *optional*, defaults to 0): j, the level of the target; ℓ-2 for latent prediction.
    """
    level = check_integer("level", level, 2, parameters.depth + 1)
    latent_level = check_integer("latent_level", latent_level, 1, level)
    target_level = check_integer("target_level", target_level, 0, level)
    exponent = 2 * level - latent_level - target_level
    return _over(parameters.vocab_size * parameters.num_synonyms**exponent, 1 - grammatical_fraction(parameters))


def plateau(parameters: GrammarParameters, level: int) -> float:
    """L_ℓ, nats: a bound on the loss at the last token of the best model that sees its level-ℓ block.

    L_ℓ = log N_ℓ with N_0 = v, N_ℓ = 1 + (v-1)(m N_(ℓ-1) - 1) / (v^s - 1), the mean number of tokens that fit the
    context (2406.00048). An average over grammars inside a logarithm, so a bound: exact plateaus of one grammar are
    `rhm_hf.inference.position_entropies(grammar, level)[-1]`.
    """
    return math.log(_num_candidates(parameters, check_integer("level", level, 0)))


def _num_candidates(parameters: GrammarParameters, level: int) -> float:
    v, m, s = parameters.vocab_size, parameters.num_synonyms, parameters.tuple_size
    candidates = float(v)
    for _ in range(level):
        candidates = 1 + (v - 1) * (m * candidates - 1) / (v**s - 1)
    return candidates


def limiting_loss(parameters: GrammarParameters) -> float:
    """The plateau of an infinitely deep grammar, nats: the fixed point of the recursion of [`plateau`]."""
    v, m, s = parameters.vocab_size, parameters.num_synonyms, parameters.tuple_size
    slope = (v - 1) / (v**s - 1)
    return math.log((1 - slope) / (1 - slope * m))


def learning_exponent(
    parameters: GrammarParameters, architecture: str = "transformer", level: int | None = None
) -> float:
    """α in L(P) - L_inf ~ P^-α of last-token prediction.

    Args:
        parameters ([`GrammarParameters`]): of the ensemble.
        architecture (`str`, *optional*, defaults to `"transformer"`): `"transformer"`, ln(1/f) / (2 ln m), or `"cnn"`,
            twice that.
        level (`int`, *optional*): instead of the asymptote, the local slope between plateau ℓ and plateau ℓ + 1. It
            is far below the asymptote until ℓ > ln v / ln(1/f).
    """
    if architecture not in ("transformer", "cnn"):
        raise ValueError(f"architecture={architecture!r} is unknown: it must be 'transformer' or 'cnn'")
    if parameters.num_synonyms == 1:
        raise ValueError("num_synonyms=1: one rule per symbol leaves nothing to learn level by level; take m >= 2")
    per_level = (2 if architecture == "transformer" else 1) * math.log(parameters.num_synonyms)
    if level is None:
        return -math.log(grammatical_fraction(parameters)) / per_level
    limit = limiting_loss(parameters)
    above, below = plateau(parameters, level) - limit, plateau(parameters, level + 1) - limit
    return math.log(above / below) / per_level if below > 0 else 0.0


def language_exponent(gamma: float, beta: float) -> float:
    """α = γ / (2β) of any language (2602.07488): H_n - H_inf ~ n^-γ, correlations ~ n^-β."""
    if beta <= 0:
        raise ValueError(f"beta={beta} must be above 0: correlations that do not decay give no exponent")
    return gamma / (2 * beta)


def zipf_classification_exponent(a: float) -> float:
    """Classification error ~ P^(-a/(1+a)) where rules have probabilities ∝ k^-(1+a) (2505.07067)."""
    if a <= 0:
        raise ValueError(f"a={a} must be above 0")
    return a / (1 + a)


def token_correlation(parameters: GrammarParameters, level: int) -> float:
    """C~: RMS over symbol pairs of the correlation of two tokens whose lowest common ancestor is at level ℓ.

    C~^2 = (1-f) / (v^3 m^(2ℓ-1)) on average over grammars, where rules are equiprobable, and that of
    [`correlation_of_rule_laws`] elsewhere; measured averages fall below it with growing ℓ.
    """
    level = check_integer("level", level, 1)
    if parameters.zipf_exponent is not None:
        laws = [parameters.rule_law(below) for below in range(1, level + 1)]
        return correlation_of_rule_laws(parameters, [float(law @ law) for law in laws])
    return math.sqrt(_signal(parameters) / parameters.num_synonyms ** (2 * level - 1))


def tuple_correlation(parameters: GrammarParameters, level: int) -> float:
    """C~ of an s-tuple and a token with lowest common ancestor at level ℓ >= 2: C~^2 = (1-f) / (v^3 m^(2ℓ)).

    RMS over tokens and the v m grammatical tuples.
    """
    level = check_integer("level", level, 2)
    return math.sqrt(_signal(parameters) / parameters.num_synonyms ** (2 * level))


def _signal(parameters: GrammarParameters) -> float:
    return (1 - grammatical_fraction(parameters)) / parameters.vocab_size**3


def correlation_of_rule_laws(parameters: GrammarParameters, squared_norms: list[float]) -> float:
    """C~ for rules of any probabilities f_k: C~^2 = (q_ℓ - v^(1-s)) / v^3 * prod_(j<ℓ) q_j^2.

    Args:
        parameters ([`GrammarParameters`]): v and s are used.
        squared_norms (`list[float]`): q_j = sum_k f_k^2 of the rules of level j, j = 1..ℓ (1/m where uniform).
    """
    *below, top = squared_norms
    v, s = parameters.vocab_size, parameters.tuple_size
    return math.sqrt((top - v ** (1 - s)) / v**3 * math.prod(q**2 for q in below))


def correlation_exponent(parameters: GrammarParameters) -> float:
    """β = ln m / ln s in C~(t) ~ t^-β."""
    return math.log(parameters.num_synonyms) / math.log(parameters.tuple_size)


def dynamic_exponent(parameters: GrammarParameters) -> float:
    """z = 2β in t* ~ P^(1/z)."""
    return 2 * correlation_exponent(parameters)


def correlation_noise(parameters: GrammarParameters, num_sentences: float, tuples: bool = False) -> float:
    """C~ of P independent samples of uncorrelated symbols: (v^2 P)^(-1/2), for tuples (v^2 m P)^(-1/2)."""
    pairs = parameters.vocab_size**2 * (parameters.num_synonyms if tuples else 1)
    return 1 / math.sqrt(pairs * num_sentences)


def effective_context(parameters: GrammarParameters, num_sentences: float) -> int:
    """t*(P), tokens: the range up to which token correlations exceed the noise of P sentences.

    The correlation at level ℓ equals the noise at P_ℓ = v m^(2ℓ-1) / (1-f), so t* = s^ℓ - 1 for the largest such ℓ.
    """
    level = 0
    while level < parameters.depth and num_sentences >= sample_complexity(parameters, level + 1):
        level += 1
    return parameters.tuple_size**level - 1


def denoising_map(parameters: GrammarParameters) -> Callable[[float], float]:
    """F, the map of belief p in the true symbol from one level to the next (2402.16991, mean field).

    F(p) = [p^s + f' (m-1)/(mv-1) (1-p^s)] / [p^s + f' (1-p^s)] with f' = (mv-1)/(v^s-1).
    """
    v, m, s = parameters.vocab_size, parameters.num_synonyms, parameters.tuple_size
    others = (m * v - 1) / (v**s - 1)

    def belief_above(p: float) -> float:
        right = p**s
        return (right + others * (m - 1) / (m * v - 1) * (1 - right)) / (right + others * (1 - right))

    return belief_above


def has_denoising_transition(parameters: GrammarParameters) -> bool:
    """Whether s m (v-1)/(v^s-1) < 1, so that the class is lost at a noise below total: p = 1/v attracts."""
    v, m, s = parameters.vocab_size, parameters.num_synonyms, parameters.tuple_size
    return s * m * (v - 1) / (v**s - 1) < 1


def denoising_transition(parameters: GrammarParameters) -> tuple[float, float]:
    """The transition of the ε-process (belief 1 - ε + ε/v in the true token): ε* and its exponent ν.

    ε* is where the belief is the unstable fixed point p* of [`denoising_map`]; ν = ln s / ln F'(p*). For noise that
    really replaces or masks tokens the transition is elsewhere; belief propagation gives it.

    Raises:
        `ValueError`: where there is no transition.
    """
    if not has_denoising_transition(parameters):
        raise ValueError(f"{parameters.name} has no denoising transition: s m (v-1) / (v^s - 1) is 1 or more")
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


def _over(numerator: float, denominator: float) -> float:
    """`inf` where the correlations vanish (f = 1: all tuples are grammatical)."""
    return numerator / denominator if denominator > 0 else math.inf
