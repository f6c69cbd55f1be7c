"""Parameters and short names of sparse grammars, which wrap those of their base."""

import math
import re
from dataclasses import dataclass
from typing import Any, ClassVar

from ...checks import check, checked
from .. import registry
from ..layered.parameters import GrammarParameters
from ..layered.uneven import LayeredParameters
from ..names import Ensemble, set_integer
from .placements import count_placements, sparse_suffix


@dataclass(frozen=True)
class SparseParameters:
    """A grammar of an ensemble, with uninformative slots.

    Args:
        base ([`GrammarParameters`] or [`LayeredParameters`]): of the informative symbols' grammar.
        sparsity (`int`): s0 >= 1, uninformative slots for every child, at every level (arXiv 2404.10727); see
            [`SparseGrammar`]. v of the base counts the informative symbols.
        placement (`str`, *optional*, defaults to `"A"`): `"A"`, each child in a sub-patch of s0 + 1 slots of its own,
            or `"B"`, the children anywhere in their order.

    Raises:
        `ValueError`: for values out of range, a base that is no layered grammar, or sentences of 2^31 tokens.
    """

    base: GrammarParameters | LayeredParameters
    sparsity: int
    placement: str = "A"

    kind: ClassVar[str] = "sparse"
    names: ClassVar[re.Pattern[str]] = re.compile(r"(.+)-sparse(\d+)(b?)")
    form: ClassVar[str] = "the name of a layered grammar with -sparse<s0> or -sparse<s0>b after it"
    wraps: ClassVar[bool] = True
    keyword_names: ClassVar[tuple[str, ...]] = ("sparsity", "placement")

    def __post_init__(self) -> None:
        check("base", self.base, Ensemble)
        set_integer(self, "sparsity", 1)
        if not isinstance(self.base, GrammarParameters | LayeredParameters):
            raise ValueError(
                f"sparsity={self.sparsity} of {self.base.name}: a filtered grammar or a chain cannot be made sparse, "
                "only one with rules at every level can: leave one of them out"
            )
        for tuple_size in set(self.base.tuple_sizes):
            count_placements(tuple_size, self.sparsity, self.placement)
        if self.sentence_length >= 2**31:
            raise ValueError(
                f"sparsity={self.sparsity} is too large: a sentence of {self.name} would have {self.sentence_length} "
                "tokens; less than 2^31 are supported"
            )

    @classmethod
    def of(cls, base: Any, sparsity: int | None = None, placement: str | None = None) -> "SparseParameters":
        """The parameters of keywords."""
        if sparsity is None:
            raise ValueError(f"placement={placement!r} without sparsity: give s0, uninformative slots for every child")
        return cls(base, sparsity, "A" if placement is None else placement)

    @classmethod
    @checked
    def from_name(cls, name: str, rules_seed: int = 0) -> "SparseParameters":
        """Parses a short name."""
        base, sparsity, placement = cls.names.fullmatch(name).groups()
        return cls(registry.parameters_from_name(base, rules_seed), int(sparsity), "B" if placement else "A")

    @property
    def name(self) -> str:
        """The base's short name with `-sparse<s0>`, and `b` after it for placement B."""
        return self.base.name + sparse_suffix(self.sparsity, self.placement)

    @property
    def rules_seed(self) -> int:
        """The base's."""
        return self.base.rules_seed

    @property
    def keywords(self) -> dict[str, Any]:
        """The values that `load_dataset("rhm", ..)` takes by keyword."""
        return {**self.base.keywords, "sparsity": self.sparsity, "placement": self.placement}

    @property
    def sentence_length(self) -> int:
        """d, in tokens."""
        return math.prod(size * (self.sparsity + 1) for size in self.base.tuple_sizes)

    @property
    def num_sentences(self) -> int:
        """P_max, as a Python integer of any size: the base's times the placements of all nodes."""
        nodes, count = 1, self.base.num_sentences
        for size in self.base.tuple_sizes:
            count, nodes = count * count_placements(size, self.sparsity, self.placement) ** nodes, nodes * size
        return count

    def to_dict(self) -> dict[str, Any]:
        """The parameters, ready for JSON."""
        own = {"sparsity": self.sparsity, "placement": self.placement}
        return {"kind": self.kind, "base": self.base.to_dict(), **own}
