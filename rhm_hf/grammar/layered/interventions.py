"""Changes to derivations: another symbol with a new subtree, another rule of a symbol, synonyms at a whole level.

A derivation is a list of arrays as [`Grammar.derivations`] returns it: entry ℓ of shape `(n, nodes at level ℓ)`,
0 the tokens .. L the root. All functions return a full new derivation and leave the given one as it was.

Every draw takes one number of a Philox stream that is keyed by seed and intervention and starts at a counter that
names the level and the node: sentence i of a call gets the same change whatever follows it, and draws are independent
of the sentences that the same seed samples. A number picks from a law by its 53 leading bits; rules of probability 0
are never picked.
"""

import math
from collections.abc import Sequence

import numpy as np

from ...checks import SEED_LIMIT, check_integer, checked, smallest_dtype
from ..fixed_tree import FixedTree
from ..refusal import NotSupported


LAWS = ("uniform", "conditional")


@checked
def replace_symbol(
    grammar: FixedTree,
    levels: Sequence[np.ndarray],
    level: int,
    node: int | None = None,
    seed: int = 0,
    law: str = "uniform",
) -> list[np.ndarray]:
    """Replaces the symbol of one node by another one and redraws everything below it.

    This is the S of the representation probe (Cagnetta and Wyart, arXiv 2406.00048). The new symbol is never the old
    one; its subtree is drawn with the grammar's rule probabilities.

    Args:
        grammar (`Grammar`): the grammar.
        levels (`Sequence[np.ndarray]`): derivations; entry ℓ = 0..L of shape `(n, nodes at level ℓ)`.
        level (`int`): 0 (a token) .. L (the root).
        node (`int`, *optional*): which node of the level, from the left; by default one random node a sentence.
        seed (`int`, *optional*, defaults to 0): in `[0, 2^63)`.
        law (`str`, *optional*, defaults to `"uniform"`): how the new symbol is drawn.

            - `"uniform"`: uniformly among the other symbols of the level (at the root, those of positive probability).
              Symbols above stay as they were, and below the root they are in general no longer the parents of what is
              below them: the sentence need not be grammatical. Its subtree is.
            - `"conditional"`: from the exact law of the node given all tokens outside its subtree, the old symbol left
              out. Ancestors follow, so that the new sentence is grammatical. Sentences in which the other tokens
              determine the symbol stay as they were.

    Returns:
        `list[np.ndarray]`: the new derivations, in the smallest unsigned (or int32) type of each level.

    Raises:
        `ValueError`: for arguments out of range, arrays that are no derivations of the grammar, or a level whose nodes
            have one symbol only.
    """
    levels = _checked(grammar, levels, level, 0)
    if law not in LAWS:
        raise ValueError(f"law={law!r} is unknown: use one of {', '.join(LAWS)}")
    stream = _Stream(seed, "replace", level, node)
    nodes = _nodes(grammar, levels, level, node, stream)
    rows = np.arange(len(nodes))
    old = levels[level][rows, nodes].astype(np.int64)
    possible = grammar.root_probs > 0 if level == grammar.depth else np.ones(grammar.num_symbols_at(level))
    if possible.sum() < 2:
        raise ValueError(f"level={level} has one symbol only in {grammar.name}: there is none to replace it by")
    weights, chains = np.tile(possible.astype(float), (len(rows), 1)), {}
    if law == "conditional":
        weights, chains = _conditional_law(grammar, levels, level, nodes)
        _check_possible(grammar, weights[rows, old])
    weights[rows, old] = 0
    change = weights.any(1)
    weights[~change, 0] = 1  # any symbol: these sentences are not changed
    symbols = pick(weights, stream.uniform(grammar.depth + 2, (len(nodes), 1))[:, 0])
    below = _expand(grammar, symbols[:, None], level, stream)
    _put(levels, below, nodes, change)
    for upper, ancestors in chains.items():
        nodes = nodes // grammar.tuple_size_at(upper)
        levels[upper][rows[change], nodes[change]] = ancestors[rows, symbols][change]
    return levels


@checked
def redraw_rule(
    grammar: FixedTree, levels: Sequence[np.ndarray], level: int, node: int | None = None, seed: int = 0
) -> list[np.ndarray]:
    """Keeps the symbol of one node and redraws the rule below it: a synonym, and new subtrees of the new children.

    This is the R of the representation probe (Cagnetta and Wyart, arXiv 2406.00048). The new rule is never the old
    one; the others keep their probabilities up to a common factor. The children are those of the new rule, and their
    subtrees are drawn with the grammar's rule probabilities, also where a child's symbol is the same as before.
    Sentences whose symbol has one possible rule only, and so no synonym, stay as they were.

    Args:
        grammar (`Grammar`): the grammar.
        levels (`Sequence[np.ndarray]`): derivations; entry ℓ = 0..L of shape `(n, nodes at level ℓ)`.
        level (`int`): of the node that keeps its symbol, 1..L.
        node (`int`, *optional*): which node of the level, from the left; by default one random node a sentence.
        seed (`int`, *optional*, defaults to 0): in `[0, 2^63)`.

    Returns:
        `list[np.ndarray]`: the new derivations, always grammatical.

    Raises:
        `ValueError`: for arguments out of range, arrays that are no derivations of the grammar, or a level none of
            whose symbols has two possible rules.
    """
    levels = _checked(grammar, levels, level, 1)
    rules, probs = grammar.rules_at(level), grammar.rule_probs_at(level)
    if ((probs > 0).sum(1) < 2).all():
        raise ValueError(
            f"level={level} has no synonyms: every symbol of that level of {grammar.name} has one possible rule; "
            "choose another level or a grammar with more rules per symbol"
        )
    stream = _Stream(seed, "redraw", level, node)
    nodes = _nodes(grammar, levels, level, node, stream)
    rows, (_, num_rules, size) = np.arange(len(nodes)), rules.shape
    symbols = levels[level][rows, nodes].astype(np.int64)
    old = grammar.prefix_tree(level).find(
        levels[level - 1].reshape(len(rows), grammar.num_nodes_at(level), size)[rows, nodes].astype(np.int64)
    )
    if (wrong := old // num_rules != symbols).any():
        first = int(wrong.argmax())
        raise ValueError(
            f"levels is no derivation of {grammar.name}: in sentence {first}, the children of node {nodes[first]} of "
            f"level {level} are no rule of its symbol {symbols[first]}; make it with grammar.parse(tokens)"
        )
    weights = probs[symbols]
    weights[rows, old % num_rules] = 0
    change = weights.any(1)
    weights[~change, 0] = 1  # any rule: these sentences are not changed
    chosen = pick(weights, stream.uniform(grammar.depth + 2, (len(nodes), 1))[:, 0])
    below = _expand(grammar, rules[symbols, chosen], level - 1, stream)
    _put(levels, below, nodes, change)
    return levels


@checked
def exchange_synonyms(grammar: FixedTree, levels: Sequence[np.ndarray], level: int, seed: int = 0) -> list[np.ndarray]:
    """Exchanges all tuples at a level for synonyms: the P_ℓ of synonymic sensitivity (arXiv 2307.02129).

    The symbols of the level and above stay, every rule below them is drawn anew with the grammar's probabilities,
    independently of the old one. So the new sentence follows the exact law of a sentence given its level-ℓ symbols: it
    and the old one are two independent draws from that law. As in the authors' code the old rule may come again (with
    m equiprobable rules one time in m), and all lower levels are drawn anew with it.

    Args:
        grammar (`Grammar`): the grammar.
        levels (`Sequence[np.ndarray]`): derivations; entry ℓ = 0..L of shape `(n, nodes at level ℓ)`.
        level (`int`): 1..L: level 1 exchanges tuples of tokens, level L keeps the class only.
        seed (`int`, *optional*, defaults to 0): in `[0, 2^63)`.

    Returns:
        `list[np.ndarray]`: the new derivations, always grammatical.

    Raises:
        `ValueError`: for arguments out of range or arrays of the wrong shape.
    """
    levels = _checked(grammar, levels, level, 1)
    below = _expand(grammar, levels[level].astype(np.int64), level, _Stream(seed, "exchange", level, None))
    return [*below[:level], *levels[level:]]


class _Stream:
    """The random numbers of one call."""

    def __init__(self, seed: int, purpose: str, level: int, node: int | None):
        from ..sentences.permutation import philox_key  # numba takes a moment to import

        self.key = philox_key(check_integer("seed", seed, 0, SEED_LIMIT), purpose)
        self.level, self.node = level, 0 if node is None else node + 1

    def uniform(self, draw: int, shape: tuple[int, int]) -> np.ndarray:
        """Numbers in [0, 1) on a grid of 2^-53, row by row; `draw` tells the draws of one call apart."""
        numbers = np.random.Philox(key=self.key, counter=[0, draw, self.level, self.node])
        return (numbers.random_raw(shape) >> np.uint64(11)) * 2.0**-53


def pick(weights: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """An index a row, from the law proportional to `weights` `(..., k)`, by inversion; never one of weight 0."""
    cumulative = weights.cumsum(-1)
    return (cumulative <= (numbers * cumulative[..., -1])[..., None]).sum(-1)


def _expand(grammar, symbols: np.ndarray, level: int, stream: _Stream) -> list[np.ndarray]:
    """Subtrees of `symbols` `(n, k)` of a level, drawn: entry j = 0..level of shape `(n, k * nodes)`."""
    found = [symbols]
    for upper in range(level, 0, -1):
        chosen = pick(grammar.rule_probs_at(upper)[found[0]], stream.uniform(upper, found[0].shape))
        children = grammar.rules_at(upper)[found[0], chosen]
        found.insert(0, children.reshape(len(symbols), math.prod(children.shape[1:])))
    return [array.astype(_dtype(grammar, lower)) for lower, array in enumerate(found)]


def _conditional_law(grammar, levels, level: int, nodes: np.ndarray) -> tuple[np.ndarray, dict[int, np.ndarray]]:
    """Weights of all symbols of a node given the rest, `(n, symbols)`, and the ancestors that each would have.

    Rules are unambiguous: a symbol and its siblings determine the parent, that one and its siblings the next, so a
    symbol's weight is the product of the rules' probabilities on the way up and that of the root.
    """
    rows = np.arange(len(nodes))
    symbols = np.broadcast_to(np.arange(grammar.num_symbols_at(level)), (len(nodes), grammar.num_symbols_at(level)))
    weights, chains = np.ones(symbols.shape), {}
    for upper in range(level + 1, grammar.depth + 1):
        size, probs = grammar.tuple_size_at(upper), grammar.rule_probs_at(upper)
        nodes, child = np.divmod(nodes, size)
        siblings = (
            levels[upper - 1].reshape(len(rows), grammar.num_nodes_at(upper), size)[rows, nodes].astype(np.int64)
        )
        tuples = np.repeat(siblings[:, None], symbols.shape[1], 1)
        tuples[rows, :, child] = symbols
        rules = grammar.prefix_tree(upper).find(tuples)
        weights = np.where(rules < 0, 0, weights * probs.ravel()[rules])
        symbols = np.maximum(rules, 0) // probs.shape[1]
        chains[upper] = symbols
    return weights * grammar.root_probs[symbols], chains


def _check_possible(grammar, weights: np.ndarray) -> None:
    if (weights == 0).any():
        raise ValueError(
            f"levels is no derivation of {grammar.name}: above the node of sentence {int((weights == 0).argmax())} a "
            "tuple is no rule, or the root has probability 0; make it with grammar.parse(tokens), or use law='uniform'"
        )


def _put(new: list[np.ndarray], below: list[np.ndarray], nodes: np.ndarray, change: np.ndarray) -> None:
    """Writes what lies below one node a sentence, entry j of shape `(n, width)`, where `change` is set."""
    rows = np.flatnonzero(change)
    for target, part in zip(new, below, strict=False):
        columns = nodes[rows, None] * part.shape[1] + np.arange(part.shape[1])
        target[rows[:, None], columns] = part[rows]


def _nodes(grammar, levels, level: int, node: int | None, stream: _Stream) -> np.ndarray:
    """The node of every sentence, `(n,)`."""
    count, num = grammar.num_nodes_at(level), len(levels[0])
    if node is None:
        return (stream.uniform(0, (num, 1))[:, 0] * count).astype(np.int64)
    return np.full(num, check_integer("node", node, 0, count))


def _checked(grammar, levels, level: int, lowest: int) -> list[np.ndarray]:
    """Every level as a fresh array of its smallest type."""
    if not grammar.has_blocks:
        raise NotSupported("an intervention", grammar, "its trees have no nodes by level and position")
    check_integer("level", level, lowest, grammar.depth + 1)
    if len(levels) != grammar.depth + 1:
        raise ValueError(
            f"levels has {len(levels)} entries: {grammar.name} asks for {grammar.depth + 1}, tokens first, as "
            "grammar.derivations and grammar.parse return them"
        )
    checked = []
    for height, symbols in enumerate(map(np.asarray, levels)):
        shape = (len(levels[0]), grammar.num_nodes_at(height))
        if symbols.shape != shape or symbols.dtype.kind not in "iu":
            raise ValueError(
                f"levels[{height}] has shape {symbols.shape} and dtype {symbols.dtype}: it must be integers {shape}, "
                "(sentences, nodes)"
            )
        if symbols.size and (symbols.min() < 0 or symbols.max() >= grammar.num_symbols_at(height)):
            raise ValueError(
                f"levels[{height}] holds a symbol out of range: level {height} of {grammar.name} has the symbols 0 to "
                f"{grammar.num_symbols_at(height) - 1}"
            )
        checked.append(symbols.astype(_dtype(grammar, height)))
    return checked


def _dtype(grammar, level: int) -> np.dtype:
    return smallest_dtype(grammar.num_symbols_at(level))
