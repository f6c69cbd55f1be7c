"""The correlation learner: the theory of how a grammar is learnt, run as an algorithm on sentences alone.

Synonyms, the tuples of one latent symbol, have the same correlations with everything outside of them. So estimate the
correlations of tuples with tokens, cluster the tuples into as many groups as there are symbols, replace every tuple by
its group, and go up a level. Tuples can be told apart where their correlations exceed the sampling noise: that is
where the sample complexities come from (Cagnetta et al., arXiv 2307.02129; Cagnetta and Wyart, arXiv 2406.00048), and
`theory.clustering_complexity` is their formula.
"""

from dataclasses import dataclass

import numpy as np

from ...checks import SEED_LIMIT, check_integer, checked
from ...grammar import Grammar
from ...grammar.layered.prefix_tree import PrefixTree
from .kmeans import kmeans


TARGETS = ("last_token", "sibling_token", "sibling_latent")


class TupleGroups:
    """Distinct tuples and the group of each.

    Args:
        children (`np.ndarray`): int64 `(tuples, s)`, distinct.
        labels (`np.ndarray`): int64 `(tuples,)`, 0, 1, .. without gaps.
        counts (`np.ndarray`): int64 `(tuples,)`, how often each was seen.
        num_child_symbols (`int`): above every entry of `children`.
    """

    def __init__(self, children: np.ndarray, labels: np.ndarray, counts: np.ndarray, num_child_symbols: int):
        self.children: np.ndarray = children
        self.labels: np.ndarray = labels
        self.counts: np.ndarray = counts
        self._tree = PrefixTree(children[None], np.ones((1, len(children))), num_child_symbols)

    def find(self, tuples: np.ndarray) -> np.ndarray:
        """The groups of tuples `(..., s)`; -1 where one was not seen or has a -1 in it."""
        index = self._tree.find(np.maximum(tuples, 0))
        return np.where((index < 0) | (tuples < 0).any(-1), -1, self.labels[np.maximum(index, 0)])

    def as_rules(self) -> tuple[np.ndarray, np.ndarray]:
        """Rules `(groups, most tuples of a group, s)` and their frequencies, 0 where a group has fewer tuples."""
        sizes = np.bincount(self.labels)
        order = np.argsort(self.labels, kind="stable")
        rank = np.empty(len(order), dtype=np.int64)
        rank[order] = np.arange(len(order)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        rules = np.zeros((len(sizes), sizes.max(), self.children.shape[1]), dtype=np.int64)
        probs = np.zeros(rules.shape[:2])
        rules[self.labels, rank] = self.children
        probs[self.labels, rank] = self.counts
        return rules, probs / probs.sum(1, keepdims=True)


@dataclass(frozen=True)
class LearnedLatents:
    """Latent symbols inferred from sentences; [`learn_latents`] makes them.

    Attributes:
        num_symbols (`int`): v of the tokens.
        sentence_length (`int`): d.
        targets (`str`): what the tuples were correlated with.
        levels (`list`): entry ℓ - 1, ℓ = 1..L-1: the [`TupleGroups`] of every node of level ℓ, None where it has none.
        root (`TupleGroups`): the tuples of the highest latent symbols, all in one group.
    """

    num_symbols: int
    sentence_length: int
    targets: str
    levels: list[list[TupleGroups | None]]
    root: TupleGroups | None

    def parse(self, tokens: np.ndarray) -> list[np.ndarray]:
        """The inferred derivation of sentences.

        Returns:
            `list[np.ndarray]`: entry ℓ = 0..L-1, int64 `(N, nodes at level ℓ)`: the tokens, then inferred symbols; -1
            where a tuple was not seen in training, and above it, and at nodes that were not learnt.
        """
        tokens = _integers(tokens, self.num_symbols)
        if tokens.shape[1] != self.sentence_length:
            raise ValueError(
                f"tokens has shape {tokens.shape}: these latents are of (sentences, {self.sentence_length})"
            )
        derivation = [tokens]
        for groups in self.levels:
            derivation.append(_relabelled(derivation[-1], groups))
        return derivation

    def grammar(self) -> Grammar:
        """The inferred grammar: groups are symbols, their tuples the rules, with their frequencies; one class.

        Its oracle and the hierarchical n-gram on it are models like any other.

        Raises:
            `ValueError`: for `targets="last_token"`, where every node has groups of its own.
        """
        if self.root is None:
            raise ValueError(
                f"targets={self.targets!r} learns the groups of every node by itself, which is no grammar: use "
                "targets='sibling_token' or 'sibling_latent'"
            )
        rules, probs = zip(
            *(groups.as_rules() for groups in (self.root, *(g[0] for g in self.levels[::-1]))), strict=True
        )
        return Grammar.from_rules(rules, probs, vocab_size=self.num_symbols)


@checked
def learn_latents(
    tokens: np.ndarray,
    num_latents: int,
    tuple_size: int,
    *,
    targets: str = "last_token",
    num_symbols: int | None = None,
    seed: int = 0,
) -> LearnedLatents:
    """Infers latent symbols level by level from the correlations of tuples.

    Args:
        tokens (`np.ndarray`): sentences, integers `(N, s^L)`, L >= 2.
        num_latents (`int`): groups at every level, v of the grammar's symbols.
        tuple_size (`int`): s.
        targets (`str`, *optional*, defaults to `"last_token"`): what tuples of level-ℓ nodes are correlated with:

            - `"last_token"`: the last token, every node by itself: what training on last tokens offers to a network
              that shares no weights over positions. Level-1 nodes whose lowest common ancestor with it is at level ℓ
              are learnt at P_ℓ = v m^(2ℓ-1) / (1-f). Nodes above the last token have no groups.
            - `"sibling_token"`: the nearest token of every sibling, nodes of a level together: learnt at
              v m^(ℓ+2) / (1-f), the law of CNNs.
            - `"sibling_latent"`: the nearest child of every sibling, learnt before: v m^3 / (1-f) at every level
              (latent prediction, arXiv 2605.27734).
        num_symbols (`int`, *optional*, defaults to the largest token + 1): v of the tokens.
        seed (`int`, *optional*, defaults to 0): of the k-means.

    Raises:
        `ValueError`: for sentences whose length is no power of s, or anything else out of range.
    """
    if targets not in TARGETS:
        raise ValueError(f"targets={targets!r} is unknown: it must be one of {', '.join(TARGETS)}")
    num_latents = check_integer("num_latents", num_latents, 1)
    tuple_size = check_integer("tuple_size", tuple_size, 2)
    tokens = _integers(tokens, num_symbols)
    num_symbols = int(tokens.max()) + 1 if num_symbols is None else num_symbols
    _check_length(tokens.shape[1], tuple_size)
    rng = np.random.Generator(np.random.Philox(check_integer("seed", seed, 0, SEED_LIMIT)))
    symbols, num_below, levels = tokens, num_symbols, []
    while symbols.shape[1] > tuple_size:
        nodes = symbols.shape[1] // tuple_size
        together = [[node] for node in range(nodes - 1)] if targets == "last_token" else [range(nodes)]
        groups: list[TupleGroups | None] = [None] * nodes
        for members in together:
            outside = _joint_targets(tokens, symbols, members, tuple_size, targets)
            tuples = symbols.reshape(len(tokens), nodes, tuple_size)[:, list(members)]
            learned = _grouped(tuples, outside, num_below, num_latents, rng)
            for node in members:
                groups[node] = learned
        levels.append(groups)
        symbols, num_below = _relabelled(symbols, groups), num_latents
    root = None
    if targets != "last_token":
        children, _, counts = _distinct(symbols, num_below)
        root = TupleGroups(children, np.zeros(len(children), dtype=np.int64), counts, num_below)
    return LearnedLatents(num_symbols, tokens.shape[1], targets, levels, root)


@checked
def synonym_agreement(labels: np.ndarray, symbols: np.ndarray, rules: np.ndarray) -> float:
    """How well labels tell which tuples are synonyms, whatever the labels are called.

    Args:
        labels (`np.ndarray`): integers `(N,)`, inferred symbols of some nodes; -1 agrees with no label.
        symbols (`np.ndarray`): integers `(N,)`, their true symbols.
        rules (`np.ndarray`): integers `(N,)`, the production rules that were used there, each of one symbol.

    Returns:
        `float`: over pairs of nodes, P(same label | same symbol, different rules) - P(same label | different symbols):
        1 where labels and symbols are the same partition, 0 by chance or where all have one label.

    Raises:
        `ValueError`: where no two nodes have the same symbol and different rules, or all have one symbol.
    """
    given = [np.asarray(array).ravel() for array in (labels, symbols, rules)]
    if len({len(array) for array in given}) > 1 or any(array.dtype.kind not in "iu" for array in given):
        raise ValueError(
            f"labels, symbols and rules have {', '.join(f'{len(a)} {a.dtype}' for a in given)}: give equally many "
            "integers of each"
        )
    labels, symbols, rules = (np.unique(array, return_inverse=True) for array in given)
    known = labels[0][labels[1]] >= 0

    def pairs(groups=None, of=None) -> float:
        """Number of ordered pairs that agree in the label (if known), the group, or both."""
        keys = np.zeros(len(known), dtype=np.int64) if groups is None else groups[1]
        if of is not None:
            keys = (keys * len(of[0]) + of[1])[known]
        return float((np.unique(keys, return_counts=True)[1].astype(np.float64) ** 2).sum())

    synonyms, strangers = pairs(symbols) - pairs(rules), pairs() - pairs(symbols)
    if synonyms == 0 or strangers == 0:
        raise ValueError(
            "symbols and rules must hold two rules of one symbol, and two symbols: there is nothing to tell"
        )
    together = (pairs(symbols, labels) - pairs(rules, labels)) / synonyms
    return together - (pairs(None, labels) - pairs(symbols, labels)) / strangers


def _integers(tokens: np.ndarray, num_symbols: int | None) -> np.ndarray:
    tokens = np.asarray(tokens)
    if tokens.ndim != 2 or not tokens.size or tokens.dtype.kind not in "iu":
        raise ValueError(f"tokens has shape {tokens.shape} and dtype {tokens.dtype}: give integers (sentences, s^L)")
    if num_symbols is None:
        num_symbols = max(int(tokens.max()), 0) + 1
    num_symbols = check_integer("num_symbols", num_symbols, 1, 2**31)
    if tokens.min() < 0 or tokens.max() >= num_symbols:
        bad = tokens.min() if tokens.min() < 0 else tokens.max()
        raise ValueError(
            f"tokens holds {bad}, out of range: num_symbols={num_symbols}, so symbols are 0 to {num_symbols - 1}"
        )
    return tokens.astype(np.int64)


def _check_length(sentence_length: int, tuple_size: int) -> None:
    length = tuple_size**2
    while length < sentence_length:
        length *= tuple_size
    if length != sentence_length:
        raise ValueError(
            f"tokens has sentences of {sentence_length}: with tuple_size={tuple_size} they have {tuple_size}^L, L >= 2"
        )


def _relabelled(symbols: np.ndarray, groups: list[TupleGroups | None]) -> np.ndarray:
    """The symbols of the next level `(N, nodes)`; -1 where nothing is known."""
    tuples = symbols.reshape(len(symbols), len(groups), -1)
    above = np.full(tuples.shape[:2], -1)
    for node, group in enumerate(groups):
        if group is not None:
            above[:, node] = group.find(tuples[:, node])
    return above


def _joint_targets(tokens, symbols, members, tuple_size: int, targets: str) -> np.ndarray:
    """What lies outside of nodes: int64 `(N, nodes, targets)`, every kind of target with a range of its own."""
    if targets == "last_token":
        return np.repeat(tokens[:, -1:, None], len(members), 1)
    source = tokens if targets == "sibling_token" else symbols
    block = source.shape[1] // len(members)  # of one node, in symbols of the source
    size = source.max() + 1
    outside = np.empty((len(tokens), len(members), tuple_size - 1), dtype=np.int64)
    for node in members:
        child = node % tuple_size
        siblings = [k for k in range(tuple_size) if k != child]
        for slot, sibling in enumerate(siblings):
            start = (node - child + sibling) * block
            nearest = start if sibling > child else start + block - 1
            outside[:, node, slot] = (child * tuple_size + sibling) * size + source[:, nearest]
    return outside


def _distinct(tuples: np.ndarray, base: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The distinct ones of tuples `(N, s)`, which of them every tuple is, how often each occurs; v^s never appears."""
    rank = np.zeros(len(tuples), dtype=np.int64)
    for child in tuples.T:
        _, first, rank, counts = np.unique(
            rank * base + child, return_index=True, return_inverse=True, return_counts=True
        )
    return tuples[first], rank, counts


def _grouped(tuples: np.ndarray, outside: np.ndarray, num_below: int, num_groups: int, rng) -> TupleGroups:
    """Clusters tuples `(N, nodes, s)` by their correlations with targets `(N, nodes, targets)`.

    A tuple's row is P(target | tuple) - P(target), targets scaled to equal noise; the variance of the noise goes with
    one over the tuple's count, which is the row's weight.
    """
    children, which, counts = _distinct(tuples.reshape(-1, tuples.shape[-1]), num_below)
    _, target = np.unique(outside, return_inverse=True)
    target = target.reshape(len(which), -1)
    kinds = target.max() + 1
    joint = np.zeros((len(children), kinds))
    for column in target.T:
        joint += np.bincount(which * kinds + column, minlength=joint.size).reshape(joint.shape)
    law = joint.sum(0) / joint.sum()
    rows = (joint / joint.sum(1, keepdims=True) - law) / np.sqrt(law)
    return TupleGroups(children, kmeans(rows, counts, num_groups, rng), counts, num_below)
