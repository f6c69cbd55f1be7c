"""`Tree`: a derivation of a general grammar."""

from collections.abc import Iterator
from functools import cached_property

import numpy as np

from .production_rules import Rules


class Tree:
    """One derivation: the rules that it uses, leftmost symbol first.

    Args:
        grammar_rules ([`Rules`]): the rules of the grammar.
        rules (`np.ndarray`): int32 `(nodes,)`: the rule of every node, a node before its children, from the left.
    """

    def __init__(self, grammar_rules: Rules, rules: np.ndarray):
        self.grammar_rules: Rules = grammar_rules
        self.rules: np.ndarray = np.asarray(rules, dtype=np.int32)

    @cached_property
    def _walked(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Tokens, spans (nodes, 2), and the number of nodes of the subtree of every node."""
        v, right_sides = self.grammar_rules.vocab_size, self.grammar_rules.right_sides
        tokens, spans, sizes = [], np.zeros((len(self.rules), 2), np.int64), np.ones(len(self.rules), np.int64)
        # The open nodes, each with the children that it still waits for.
        opened: list[tuple[int, Iterator[int]]] = []
        following = 0
        agenda = iter((v,))
        while True:
            code = next(agenda, None)
            if code is None:
                if not opened:
                    break
                node, agenda = opened.pop()
                spans[node, 1], sizes[node] = len(tokens), following - node
            elif code < v:
                tokens.append(code)
            else:
                if following == len(self.rules):
                    raise ValueError("rules end before the derivation does")
                opened.append((following, agenda))
                spans[following, 0] = len(tokens)
                agenda = iter(right_sides[self.rules[following]])
                following += 1
        return np.array(tokens, dtype=np.int64), spans, sizes

    @property
    def tokens(self) -> np.ndarray:
        """int64 `(length,)`: the sentence."""
        return self._walked[0]

    @property
    def symbols(self) -> np.ndarray:
        """int32 `(nodes,)`: the symbol of every node, in the order of `production_rules`."""
        return self.grammar_rules.lefts[self.rules]

    @property
    def spans(self) -> np.ndarray:
        """int64 `(nodes, 2)`: the first token of every node and the one after its last."""
        return self._walked[1]

    @property
    def log_prob(self) -> float:
        """The log probability of the derivation, in nats."""
        return float(np.log(self.grammar_rules.probs[self.rules]).sum())

    def __len__(self) -> int:
        """The number of nodes, tokens not counted."""
        return len(self.rules)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tree) and np.array_equal(self.rules, other.rules)

    def __hash__(self) -> int:
        return hash(self.rules.tobytes())

    def __repr__(self) -> str:
        return f"Tree({self})"

    def __str__(self) -> str:
        """With brackets, as nltk writes trees: `(S a (S a b) b)`."""
        v, grammar = self.grammar_rules.vocab_size, self.grammar_rules
        text, following = [], iter(self.rules.tolist())
        stack: list[int | None] = [v]
        while stack:
            code = stack.pop()
            if code is None:
                text.append(")")
            elif code < v:
                text.append(f" {grammar.terminals[code]}")
            else:
                rule = next(following)
                text.append(f" ({grammar.symbols[code - v]}")
                stack += [None, *reversed(grammar.right_sides[rule])]
        return "".join(text)[1:]
