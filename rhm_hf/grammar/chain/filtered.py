"""Hierarchical filtering: a grammar whose correlations are cut above one level (arXiv 2408.15138)."""

import re
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np

from ...checks import OwnCheck, check, check_integer, checked
from .. import registry
from ..layered.grammar import Grammar
from ..layered.parameters import GrammarParameters
from ..layered.uneven import LayeredParameters
from ..names import Ensemble, set_integer
from .chain_grammar import ChainGrammar


EMISSION_LIMIT = 2**24  # entries of the laws of all nodes given the root


@dataclass(frozen=True)
class FilteredParameters:
    """A grammar of an ensemble, filtered.

    Args:
        base ([`GrammarParameters`] or [`LayeredParameters`]): of the whole grammar.
        cut_level (`int`): k = 0..L-1: the nodes of level k are drawn independently given the root, each from its exact
            law; see [`FilteredGrammar`].

    Raises:
        `ValueError`: for a level out of range, or a base that is no layered grammar.
    """

    base: GrammarParameters | LayeredParameters
    cut_level: int

    kind: ClassVar[str] = "filtered"
    names: ClassVar[re.Pattern[str]] = re.compile(r"(.+)-cut(\d+)")
    form: ClassVar[str] = "the name of a layered grammar with -cut<level> after it"
    wraps: ClassVar[bool] = True
    keyword_names: ClassVar[tuple[str, ...]] = ("cut_level",)

    def __post_init__(self) -> None:
        check("base", self.base, Ensemble)
        if not isinstance(self.base, GrammarParameters | LayeredParameters):
            raise ValueError(
                f"cut_level={self.cut_level!r} of {self.base.name}: only a grammar with rules at every level can be "
                "filtered; leave one of them out"
            )
        if self.cut_level == self.base.depth:
            raise ValueError(f"cut_level={self.cut_level} with depth={self.base.depth} cuts nothing: leave it out")
        set_integer(self, "cut_level", 0, self.base.depth)

    @classmethod
    def of(cls, base: Any, cut_level: int) -> "FilteredParameters":
        """The parameters of keywords."""
        return cls(base, cut_level)

    @classmethod
    @checked
    def from_name(cls, name: str, rules_seed: int = 0) -> "FilteredParameters":
        """Parses a short name."""
        base, level = cls.names.fullmatch(name).groups()
        return cls(registry.parameters_from_name(base, rules_seed), int(level))

    @property
    def name(self) -> str:
        """The base's short name with `-cut<k>`."""
        return f"{self.base.name}-cut{self.cut_level}"

    @property
    def rules_seed(self) -> int:
        """The base's."""
        return self.base.rules_seed

    @property
    def keywords(self) -> dict[str, Any]:
        """The values that `load_dataset("rhm", ..)` takes by keyword."""
        return {**self.base.keywords, "cut_level": self.cut_level}

    @property
    def sentence_length(self) -> int:
        """d, in tokens: the base's."""
        return self.base.sentence_length

    def to_dict(self) -> dict[str, Any]:
        """The parameters, ready for JSON."""
        return {"kind": self.kind, "base": self.base.to_dict(), "cut_level": self.cut_level}


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

    def __init__(self, grammar: Annotated[Grammar, OwnCheck()], level: int):
        if not isinstance(grammar, Grammar):
            raise ValueError(f"grammar={grammar!r} is no Grammar: make one with Grammar.from_name or from_rules")
        self.grammar: Grammar = grammar
        self.level: int = check_integer("level", level, 0, grammar.depth)
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
    def parameters(self) -> FilteredParameters | None:
        """Those of the grammar and the level of the cut, or None."""
        base = self.grammar.parameters
        return None if base is None else FilteredParameters(base, self.level)

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
    def from_arrays(
        cls, arrays: dict[str, np.ndarray], settings: dict[str, Any], parameters: Ensemble | None = None
    ) -> "FilteredGrammar":
        """See [`Source.from_arrays`]."""
        base = None if parameters is None else parameters.base
        return cls(Grammar.from_arrays(arrays, settings, base), settings["level"])

    @classmethod
    def drawn_from(cls, parameters: FilteredParameters) -> "FilteredGrammar":
        """See [`Source.drawn_from`]."""
        return cls(Grammar.drawn_from(parameters.base), parameters.cut_level)


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


registry.register(FilteredGrammar, FilteredParameters)
