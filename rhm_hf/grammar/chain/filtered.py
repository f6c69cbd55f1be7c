"""Hierarchical filtering: a grammar whose correlations are cut above one level (arXiv 2408.15138)."""

from dataclasses import replace
from typing import Any

import numpy as np

from ...checks import check_integer
from ..layered.grammar import Grammar
from .chain_grammar import ChainGrammar


EMISSION_LIMIT = 2**24  # entries of the laws of all nodes given the root


class FilteredGrammar(ChainGrammar):
    """A grammar without its correlations above level k: hierarchical filtering (Garnier-Brun et al., arXiv
    2408.15138).

    The nodes of level k are independent given the root, each with the law that the grammar gives it; below them the
    grammar's rules go on. k = L - 1 leaves out only what the children of the root have to do with one another; with
    k = 0 the tokens are independent given the class. (The authors count k from the root.)

    Args:
        grammar ([`Grammar`]): any.
        level (`int`): k, 0 .. L-1.

    Raises:
        `ValueError`: for a level out of range, or if the laws of all level-k nodes given the root have more than 2^24
            entries.
    """

    family = "filtered"

    def __init__(self, grammar: Grammar, level: int):
        if not isinstance(grammar, Grammar):
            raise ValueError(f"grammar={grammar!r} is no Grammar: make one with Grammar.from_name or from_rules")
        self.grammar, self.level = grammar, check_integer("level", level, 0, grammar.depth)
        nodes, symbols = grammar.num_nodes_at(level), grammar.num_symbols_at(level)
        if nodes * grammar.num_classes * symbols > EMISSION_LIMIT:
            raise ValueError(
                f"level={level} of {grammar.name} has {nodes} nodes of {symbols} symbols given {grammar.num_classes} "
                f"classes: more than {EMISSION_LIMIT} probabilities; cut at a higher level"
            )
        lowest = grammar.depth - level
        blocks = Grammar(
            grammar.rules[lowest:],
            grammar.rule_probs[lowest:],
            np.full(symbols, 1 / symbols),
            grammar.vocab_size,
        )
        self._set_chain(blocks, grammar.root_probs.copy(), None, laws_given_root(grammar, level), nodes)

    @property
    def parameters(self):
        """Those of the grammar with `cut_level`, or None."""
        known = self.grammar.parameters
        return replace(known, cut_level=self.level) if hasattr(known, "cut_level") else None

    @property
    def name(self) -> str:
        """The grammar's name with `-cut<k>`."""
        return f"{self.grammar.name}-cut{self.level}"

    def arrays(self) -> dict[str, np.ndarray]:
        """Those of the grammar."""
        return self.grammar.arrays()

    def settings(self) -> dict[str, Any]:
        """Those of the grammar, and the level of the cut."""
        return {**self.grammar.settings(), "level": self.level}

    @classmethod
    def from_arrays(cls, arrays, settings, parameters=None) -> "FilteredGrammar":
        """See [`Source.from_arrays`]."""
        whole = None if parameters is None else replace(parameters, cut_level=None)
        return cls(Grammar.from_arrays(arrays, settings, whole), settings["level"])


def laws_given_root(grammar: Grammar, level: int) -> np.ndarray:
    """P(node j of the level has symbol a | the root is r), the product of the child laws along its path.

    Sums run in a fixed order: a product by a numerical library may differ in its last bit between machines.

    Returns:
        `np.ndarray`: float64 `(nodes, classes, symbols)`; rows of classes of probability 0 are laws as well.
    """
    laws = np.eye(grammar.num_classes)[None]
    for upper in range(grammar.depth, level, -1):
        rules, probs = grammar.rules_at(upper), grammar.rule_probs_at(upper)
        nodes, classes, _ = laws.shape
        size, below = rules.shape[2], grammar.num_symbols_at(upper - 1)
        children = np.zeros((size, below, nodes, classes))
        for rule in range(rules.shape[1]):
            weights = np.moveaxis(laws * probs[:, rule], 2, 0)
            for child in range(size):
                np.add.at(children[child], rules[:, rule, child], weights)
        laws = np.ascontiguousarray(np.moveaxis(children, (0, 1), (1, 3)).reshape(nodes * size, classes, below))
    return laws / laws.sum(2, keepdims=True)
