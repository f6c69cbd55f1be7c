"""How many sentences tell the root of trees of varying shape: the published law, and an exact threshold."""

import math

import numpy as np

from ..checks import check_integer, checked
from ..grammar import TreeGrammar, TreeParameters
from .ensemble import power


@checked
def tree_sample_complexity(parameters: TreeParameters) -> float:
    """(p2^2 / 2)^(1-L) v m3 m2^(L-1), sentences from which a deep network learns the root (arXiv 2602.06065).

    An order of magnitude: the strongest hint at the root are ternary rules of level 1 below binary ones. See
    [`root_threshold`] for one grammar.

    Args:
        parameters ([`TreeParameters`]): binary and ternary rules, of the same numbers and probabilities on all levels.

    Raises:
        `ValueError`: for other arities, or levels that differ.
    """
    if len(set(parameters.num_rules)) > 1 or len(set(parameters.arity_probs)) > 1:
        raise ValueError(f"{parameters.name} has levels that differ: the published law is of levels that are alike")
    choices = dict(parameters.num_rules[0])
    if sorted(choices) != [2, 3]:
        raise ValueError(f"{parameters.name} has rules of {sorted(choices)} children: the published law is of 2 and 3")
    binary = parameters.arity_probs[0][0]
    if binary == 0:
        return math.inf
    levels = parameters.depth - 1
    paths = power("P*", choices[3], choices[2], levels)
    return parameters.vocab_size * paths * (2 / binary**2) ** levels


@checked
def root_threshold(grammar: TreeGrammar, arity: int | None = None) -> float:
    """The number of sentences at which rules of level 1 are seen to depend on the root: signal = sampling noise.

    With N_r the number of nodes of level 1 that use rule r and y the root, the signal is the sum over r and roots a of
    C[r, a]^2, C[r, a] = E[N_r 1(y = a)] - E[N_r] P(a). Estimated from P sentences, C[r, a] has the variance
    Var[(N_r - E N_r) (1(y = a) - P(a))] / P. The threshold is the P at which the sum of these variances is the signal:
    exact for the grammar at hand, by the means and second moments of the symbols of level 1 given the root. It counts
    rules wherever they stand, as a network that shares its weights may; it knows the tree, which a network does not.

    Args:
        grammar ([`TreeGrammar`]): any.
        arity (`int`, *optional*): of the rules that are counted, by default the largest of level 1.

    Returns:
        `float`: sentences; infinity where no rule depends on the root.
    """
    arities = grammar.arities_at(1)
    arity = arities[-1] if arity is None else check_integer("arity", arity, 1)
    if arity not in arities:
        raise ValueError(f"arity={arity}: level 1 of {grammar.name} has rules of {arities} children")
    probs, (mean, pairs) = grammar.rule_probs_at(1)[arities.index(arity)], _symbols_below(grammar)
    root, count = grammar.root_probs, probs.shape[1]
    uses = (mean[:, :, None] * probs).reshape(len(root), -1)  # E[N_r | root]
    squares = np.repeat(pairs, count, axis=1) * probs.reshape(-1) ** 2 + uses  # E[N_r^2 | root]
    overall = root @ uses
    covariance = root[:, None] * (uses - overall)
    spread = root[:, None] * (squares - 2 * overall * uses + overall**2)  # E[(N_r - E N_r)^2 1(y = a)]
    rest = 1 - root[:, None]
    variance = rest**2 * spread + (1 - rest) ** 2 * (spread.sum(0) - spread) - covariance**2
    signal = float((covariance**2).sum())
    return float(variance.sum()) / signal if signal > 1e-30 * float(spread.sum()) else math.inf


def _symbols_below(grammar: TreeGrammar) -> tuple[np.ndarray, np.ndarray]:
    """E[Z_b | root] and E[Z_b (Z_b - 1) | root], `(roots, symbols)`; Z_b: the number of level-1 nodes of symbol b."""
    mean = np.eye(grammar.num_symbols_at(1))
    pairs = np.zeros_like(mean)
    for level in range(2, grammar.depth + 1):
        means, seconds = 0.0, 0.0
        for rules, probs in zip(grammar.rules_at(level), grammar.rule_probs_at(level), strict=True):
            of_rule = mean[rules].sum(2)
            crossed = of_rule**2 - (mean[rules] ** 2).sum(2)  # of two different children
            means = means + np.einsum("ar,arb->ab", probs, of_rule)
            seconds = seconds + np.einsum("ar,arb->ab", probs, pairs[rules].sum(2) + crossed)
        mean, pairs = means, seconds
    return mean, pairs
