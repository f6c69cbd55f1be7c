"""Parameters and short names of layered grammars whose levels differ in their sizes."""

import math
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np

from ...checks import INTEGER_LIMIT, MAX_VOCAB_SIZE, SEED_LIMIT, check_integer, checked
from ..names import check_rules, set_integer
from .random_rules import random_rules


_LAYERED = re.compile(r"layered-c(\d+)-v(\d+(?:\.\d+)*)-m(\d+(?:\.\d+)*)-s(\d+(?:\.\d+)*)")


@dataclass(frozen=True)
class LayeredParameters:
    """A layered grammar whose levels differ in their sizes; rules are random, unambiguous and equiprobable.

    All sequences have one entry for each level of rules and run root first.

    Args:
        num_classes (`int`): n_c, symbols of the root.
        vocab_sizes (`Sequence[int]`): symbols of the level that the rules write; the last entry counts the tokens.
        num_synonyms (`Sequence[int]`): rules per symbol.
        tuple_sizes (`Sequence[int]`): children per rule, 1 or more.
        rules_seed (`int`, *optional*, defaults to 0): picks the grammar of the ensemble.

    Raises:
        `ValueError`: if a value is out of range, the sequences differ in length, or rules do not fit into the tuples.
    """

    num_classes: int
    vocab_sizes: Sequence[int]
    num_synonyms: Sequence[int]
    tuple_sizes: Sequence[int]
    rules_seed: int = 0

    kind: ClassVar[str] = "layered"
    names: ClassVar[re.Pattern[str]] = re.compile(r"layered-.*")
    form: ClassVar[str] = (
        "layered-c<classes>-v<..>-m<..>-s<..>, each with one number for every level, root first and separated by dots:"
        " layered-c4-v8.16-m2.4-s3.2"
    )
    wraps: ClassVar[bool] = False

    def __post_init__(self) -> None:
        def set_value(name, value):
            object.__setattr__(self, name, value)

        set_integer(self, "num_classes", 1, MAX_VOCAB_SIZE)
        set_integer(self, "rules_seed", 0, SEED_LIMIT)
        for name in ("vocab_sizes", "num_synonyms", "tuple_sizes"):
            values = getattr(self, name)
            if isinstance(values, str) or not isinstance(values, Sequence) or not values:
                raise ValueError(f"{name}={values!r} must be a list of integers, one for each level, root first")
            limit = MAX_VOCAB_SIZE if name == "vocab_sizes" else INTEGER_LIMIT
            set_value(name, tuple(check_integer(f"{name}[{g}]", n, 1, limit) for g, n in enumerate(values)))
        if not len(self.vocab_sizes) == len(self.num_synonyms) == len(self.tuple_sizes):
            raise ValueError(
                f"vocab_sizes, num_synonyms and tuple_sizes have {len(self.vocab_sizes)}, {len(self.num_synonyms)} "
                f"and {len(self.tuple_sizes)} entries: they must have one for each level of rules"
            )
        if self.sentence_length >= 2**31:
            raise ValueError(f"tuple_sizes={list(self.tuple_sizes)} make sentences of 2^31 tokens or more")
        symbols = [self.num_classes, *self.vocab_sizes]
        for g, (v, m, s) in enumerate(zip(self.vocab_sizes, self.num_synonyms, self.tuple_sizes, strict=True)):
            room = v ** min(s, 128)  # of longer tuples there are enough, unless v = 1
            if symbols[g] * m > room:
                raise ValueError(
                    f"num_synonyms[{g}]={m} is too many: {symbols[g]} symbols with tuples of {s} out of {v} symbols "
                    f"have room for {room // symbols[g]} unambiguous rules each"
                )

    @property
    def name(self) -> str:
        """The short name, root first: `layered-c4-v8.16-m2.4-s3.2`; it does not include `rules_seed`."""
        v, m, s = (".".join(map(str, n)) for n in (self.vocab_sizes, self.num_synonyms, self.tuple_sizes))
        return f"layered-c{self.num_classes}-v{v}-m{m}-s{s}"

    @classmethod
    @checked
    def from_name(cls, name: str, rules_seed: int = 0) -> "LayeredParameters":
        """Parses a short name."""
        match = _LAYERED.fullmatch(name)
        if match is None:
            raise ValueError(f"name={name!r} is not a layered grammar's short name: write {cls.form}")
        lists = ([int(n) for n in group.split(".")] for group in match.groups()[1:])
        return cls(int(match[1]), *lists, rules_seed=rules_seed)

    @property
    def depth(self) -> int:
        """L, levels of rules."""
        return len(self.tuple_sizes)

    @property
    def sentence_length(self) -> int:
        """d, in tokens."""
        return math.prod(self.tuple_sizes)

    @property
    def keywords(self) -> dict[str, Any]:
        """The values that `load_dataset("rhm", ..)` takes by keyword."""
        return {"rules_seed": self.rules_seed}

    def draw_rules(self) -> tuple[list[np.ndarray], list[np.ndarray], int]:
        """The rules that `rules_seed` picks and their probabilities, root first, and the number of tokens."""
        symbols = [self.num_classes, *self.vocab_sizes[:-1]]
        shapes = list(zip(symbols, self.num_synonyms, self.tuple_sizes, strict=True))
        check_rules(self.name, shapes)
        rules = random_rules(shapes, self.vocab_sizes, self.rules_seed)
        return rules, [np.full(r.shape[:2], 1 / r.shape[1]) for r in rules], self.vocab_sizes[-1]

    @property
    def num_sentences(self) -> int:
        """P_max, as a Python integer of any size."""
        nodes, count = 1, self.num_classes
        for m, s in zip(self.num_synonyms, self.tuple_sizes, strict=True):
            count, nodes = count * m**nodes, nodes * s
        return count

    def to_dict(self) -> dict[str, Any]:
        """The parameters, ready for JSON."""
        values = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}
        return {"kind": self.kind, **values}
