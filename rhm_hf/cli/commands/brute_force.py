"""The law of a grammar once more, straight from its definition and slowly: what `rhm verify` compares with.

Only the rules and their probabilities are read from a grammar; nothing of its sampling, parsing or inference is used.
Small grammars are listed derivation by derivation. In large ones the probability of any evidence is summed node by
node over all symbols, once for every question.
"""

import itertools
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Definition:
    """What defines a law.

    Args:
        rules, probs (`list[np.ndarray]`): entry l - 1 the rules `(symbols, rules, children)` of level l = 1, 2, .. and
            their probabilities `(symbols, rules)`.
        initial (`np.ndarray`): the law of the root, or of the first state of a chain.
        emissions (`np.ndarray`, *optional*): of a chain, `(1 or blocks, states, symbols)`; None for a tree.
        transitions (`np.ndarray`, *optional*): of a chain whose states change.
        num_blocks (`int`): of a chain; 1 for a tree.
        vocab_size (`int`): v.
    """

    rules: list[np.ndarray]
    probs: list[np.ndarray]
    initial: np.ndarray
    emissions: np.ndarray | None
    transitions: np.ndarray | None
    num_blocks: int
    vocab_size: int

    @classmethod
    def of(cls, source: Any) -> "Definition":
        """Reads the numbers of a source.

        Raises:
            `ValueError`: for a family that this brute force does not know.
        """
        if hasattr(source, "emissions"):
            blocks = source.blocks
            levels = range(1, blocks.depth + 1)
            chain = (source.initial, source.emissions, source.transitions, source.num_blocks)
        elif hasattr(source, "root_probs"):
            blocks, levels = source, range(1, source.depth + 1)
            chain = (source.root_probs, None, None, 1)
        else:
            raise ValueError(
                f"{source.name} is of the family {source.family}, which rhm verify has no brute force for: it knows "
                "trees, chains and grammars of production rules"
            )
        rules = [np.asarray(blocks.rules_at(level)) for level in levels]
        probs = [np.asarray(blocks.rule_probs_at(level)) for level in levels]
        return cls(rules, probs, *chain, source.vocab_size)

    @property
    def block_length(self) -> int:
        """Tokens of a block of a chain; of a whole sentence of a tree."""
        return math.prod(rules.shape[2] for rules in self.rules)

    # Small grammars: every derivation.

    def num_derivations(self) -> int:
        """How many derivations of positive probability there are."""
        below = [1] * self.vocab_size
        for rules, probs in zip(self.rules, self.probs, strict=True):
            below = [
                sum(
                    math.prod(below[c] for c in rule)
                    for rule, p in zip(own.tolist(), law.tolist(), strict=True)
                    if p > 0
                )
                for own, law in zip(rules, probs, strict=True)
            ]
        if self.emissions is None:
            return sum(n for n, p in zip(below, self.initial.tolist(), strict=True) if p > 0)
        counts = [int(p > 0) for p in self.initial.tolist()]
        for block in range(self.num_blocks):
            emission = self.emissions[min(block, len(self.emissions) - 1)]
            counts = [
                n * sum(below[a] for a, p in enumerate(row) if p > 0)
                for n, row in zip(counts, emission.tolist(), strict=True)
            ]
            if self.transitions is not None and block + 1 < self.num_blocks:
                moves = (self.transitions > 0).astype(object)
                counts = list(np.array(counts, dtype=object) @ moves)
        return int(sum(counts))

    def derivations(self) -> Iterator[tuple[float, list[tuple[int, ...]]]]:
        """Every derivation with its probability: the symbols of every level, tokens first."""
        if self.emissions is None:
            for root, p in enumerate(self.initial.tolist()):
                if p > 0:
                    yield from ((p * q, levels) for q, levels in self._subtrees(len(self.rules), root))
            return
        states = range(len(self.initial))
        chains = ((z,) * self.num_blocks for z in states)
        if self.transitions is not None:
            chains = itertools.product(states, repeat=self.num_blocks)
        for chain in chains:
            p = float(self.initial[chain[0]])
            if self.transitions is not None:
                p *= math.prod(float(self.transitions[a, b]) for a, b in itertools.pairwise(chain))
            if p > 0:
                yield from self._emitted(p, chain)

    def _emitted(self, p: float, chain: tuple[int, ...]) -> Iterator[tuple[float, list[tuple[int, ...]]]]:
        parts = []
        for block, state in enumerate(chain):
            law = self.emissions[min(block, len(self.emissions) - 1)][state].tolist()
            parts.append(
                [
                    (q * r, levels)
                    for a, q in enumerate(law)
                    if q > 0
                    for r, levels in self._subtrees(len(self.rules), a)
                ]
            )
        above = [chain[:1]] if self.transitions is None else [chain, chain[:1]]
        for chosen in itertools.product(*parts):
            joined = [sum((levels[i] for _, levels in chosen), ()) for i in range(len(self.rules) + 1)]
            yield p * math.prod(q for q, _ in chosen), [*joined, *above]

    def _subtrees(self, level: int, symbol: int) -> list[tuple[float, list[tuple[int, ...]]]]:
        if level == 0:
            return [(1.0, [(symbol,)])]
        found = []
        for rule, p in zip(
            self.rules[level - 1][symbol].tolist(), self.probs[level - 1][symbol].tolist(), strict=True
        ):
            if p == 0:
                continue
            for chosen in itertools.product(*(self._subtrees(level - 1, child) for child in rule)):
                joined = [sum((levels[i] for _, levels in chosen), ()) for i in range(level)]
                found.append((p * math.prod(q for q, _ in chosen), [*joined, (symbol,)]))
        return found

    # Any grammar: the probability of evidence.

    def evidence(self, likelihoods: np.ndarray, clamped: dict[tuple[int, int], np.ndarray] | None = None) -> float:
        """The probability of evidence: the sum over all derivations of theirs times the likelihoods of their tokens.

        Args:
            likelihoods (`np.ndarray`): `(d, v)`; a row of ones where nothing is known.
            clamped (`dict`, *optional*): (level, node) -> what the symbols of that node are multiplied by.
        """
        clamped = clamped or {}
        nodes = [likelihoods[i] * clamped.get((0, i), 1.0) for i in range(len(likelihoods))]
        for level, (rules, probs) in enumerate(zip(self.rules, self.probs, strict=True), start=1):
            size = rules.shape[2]
            above = []
            for node in range(len(nodes) // size):
                weight = probs
                for child in range(size):
                    weight = weight * nodes[node * size + child][rules[:, :, child]]
                above.append(weight.sum(1) * clamped.get((level, node), 1.0))
            nodes = above
        top = len(self.rules)
        if self.emissions is None:
            return float(self.initial @ nodes[0])
        beliefs = self.initial * clamped.get((top + (1 if self.transitions is None else 2), 0), 1.0)
        for block, node in enumerate(nodes):
            if block and self.transitions is not None:
                beliefs = beliefs @ self.transitions
            if self.transitions is not None:
                beliefs = beliefs * clamped.get((top + 1, block), 1.0)
            beliefs = beliefs * (self.emissions[min(block, len(self.emissions) - 1)] @ node)
        return float(beliefs.sum())

    def next_token(self, prefix: np.ndarray, length: int) -> np.ndarray:
        """P(x_i = . | the prefix), `(v,)`."""
        likelihoods = np.ones((length, self.vocab_size))
        likelihoods[: len(prefix)] = np.eye(self.vocab_size)[prefix]
        law = np.zeros(self.vocab_size)
        for token in range(self.vocab_size):
            likelihoods[len(prefix)] = np.eye(self.vocab_size)[token]
            law[token] = self.evidence(likelihoods)
        return law / law.sum()

    def posterior(self, row: np.ndarray, hidden: np.ndarray, level: int, node: int, symbols: int) -> np.ndarray:
        """The law of one node given the tokens that are not hidden, `(symbols,)`."""
        likelihoods = np.where(hidden[:, None], 1.0, np.eye(self.vocab_size)[row])
        law = np.array([self.evidence(likelihoods, {(level, node): np.eye(symbols)[k]}) for k in range(symbols)])
        return law / law.sum()


class Listed:
    """All sentences of a small law with their probabilities, and laws by adding these up.

    Args:
        derivations (`Iterable`): the probability of every derivation, and its symbols by levels, tokens first.
        vocab_size (`int`): v.
        with_end (`bool`, *optional*, defaults to `False`): whether sentences end where END = v is drawn, as where they
            differ in length.
    """

    def __init__(
        self, derivations: Iterable[tuple[float, list[tuple[int, ...]]]], vocab_size: int, with_end: bool = False
    ):
        self.derivations: list[tuple[float, list[tuple[int, ...]]]] = list(derivations)
        self.vocab_size: int = vocab_size
        self.with_end: bool = with_end
        self.sentences: dict[tuple[int, ...], float] = defaultdict(float)
        for p, levels in self.derivations:
            self.sentences[levels[0]] += p
        self.length: int = max(map(len, self.sentences))

    @property
    def entropy(self) -> float:
        """Nats a sentence."""
        return -math.fsum(p * math.log(p) for p in self.sentences.values())

    def prefixes(self) -> dict[tuple[int, ...], np.ndarray]:
        """Every prefix that is possible -> the law of what follows."""
        found: dict[tuple[int, ...], np.ndarray] = defaultdict(lambda: np.zeros(self.vocab_size + self.with_end))
        for tokens, p in self.sentences.items():
            for i, token in enumerate([*tokens, self.vocab_size] if self.with_end else tokens):
                found[tokens[:i]][token] += p
        return {prefix: law / law.sum() for prefix, law in found.items()}

    def plateau(self, block: int) -> float:
        """Nats a token, given the tokens to its left in its own block of so many tokens."""
        total = 0.0
        for i in range(self.length):
            start = i - i % block
            joint: dict[tuple[int, ...], np.ndarray] = defaultdict(lambda: np.zeros(self.vocab_size))
            for tokens, p in self.sentences.items():
                joint[tokens[start:i]][tokens[i]] += p
            for law in joint.values():
                positive = law[law > 0]
                total -= float((positive * np.log(positive / law.sum())).sum())
        return total / self.length

    def posterior(self, row: tuple[int, ...], hidden: np.ndarray, level: int, node: int, symbols: int) -> np.ndarray:
        """The law of one node given the tokens that are not hidden."""
        law = np.zeros(symbols)
        for p, levels in self.derivations:
            if all(h or a == b for h, a, b in zip(hidden, levels[0], row, strict=True)):
                law[levels[level][node]] += p
        return law / law.sum()

    def pair(self, i: int, j: int) -> np.ndarray:
        """P(x_i = a, x_j = b)."""
        law = np.zeros((self.vocab_size, self.vocab_size))
        for tokens, p in self.sentences.items():
            law[tokens[i], tokens[j]] += p
        return law
