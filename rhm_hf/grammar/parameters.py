"""The parameters of a Random Hierarchy Model and their short names.

A short name such as `v16-m4-s2-L3` (or `v16-m4-s2-L3-c8` where the number of classes differs from v) says everything
about the ensemble; `rules_seed` picks one grammar of it.
"""

import math
import operator
import re
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np


MAX_VOCAB_SIZE = 2**31 - 4  # ids are int32 at most, and BOS, PAD and MASK follow the symbols
SEED_LIMIT = 2**63

_NAME = re.compile(r"v(\d+)-m(\d+)-s(\d+)-L(\d+)(?:-c(\d+))?")


def smallest_dtype(num_symbols: int) -> np.dtype:
    """The smallest of uint8, uint16 and int32 that holds 0..num_symbols-1."""
    return np.dtype("uint8" if num_symbols <= 2**8 else "uint16" if num_symbols <= 2**16 else "int32")


def check_integer(name: str, value: Any, minimum: int, limit: int | None = None) -> int:
    """Returns `value` as a Python integer of `[minimum, limit)`, or raises a `ValueError` that names the argument."""
    allowed = f"an integer >= {minimum}" + (f" and < {limit}" if limit is not None else "")
    try:
        number = operator.index(value)  # takes numpy integers, refuses floats and strings
    except TypeError:
        raise ValueError(f"{name}={value!r} is not {allowed}: pass a Python or numpy integer") from None
    if isinstance(value, bool) or number < minimum or (limit is not None and number >= limit):
        raise ValueError(f"{name}={value!r} is out of range: it must be {allowed}")
    return number


@dataclass(frozen=True)
class GrammarParameters:
    """Parameters of the Random Hierarchy Model (Cagnetta et al., arXiv 2307.02129).

    Args:
        vocab_size (`int`): v, the number of symbols of every level below the root.
        num_synonyms (`int`): m, production rules per symbol, equiprobable.
        tuple_size (`int`): s, children per symbol.
        depth (`int`): L, levels of rules; sentences have s^L tokens.
        num_classes (`int`, *optional*, defaults to `vocab_size`): n_c, symbols of the root.
        rules_seed (`int`, *optional*, defaults to 0): picks the grammar of the ensemble.

    Raises:
        `ValueError`: if a value is out of range, or if v (or n_c) symbols with m rules each do not fit into the v^s
            tuples: rules are unambiguous, an s-tuple belongs to one symbol at most.
    """

    vocab_size: int
    num_synonyms: int
    tuple_size: int
    depth: int
    num_classes: int | None = None
    rules_seed: int = 0

    def __post_init__(self):
        def set_checked(name, minimum, limit=None):
            object.__setattr__(self, name, check_integer(name, getattr(self, name), minimum, limit))

        set_checked("vocab_size", 1, MAX_VOCAB_SIZE)
        set_checked("num_synonyms", 1)
        set_checked("tuple_size", 2)
        set_checked("depth", 1)
        if self.num_classes is None:
            object.__setattr__(self, "num_classes", self.vocab_size)
        set_checked("num_classes", 1, MAX_VOCAB_SIZE)
        set_checked("rules_seed", 0, SEED_LIMIT)
        if self.depth * math.log2(self.tuple_size) > 31:
            raise ValueError(
                f"depth={self.depth} is too large: with tuple_size={self.tuple_size} a sentence would have "
                f"{self.tuple_size}^{self.depth} tokens; at most 2^31 are supported"
            )
        self._check_room("vocab_size", self.vocab_size if self.depth > 1 else 1)
        self._check_room("num_classes", self.num_classes)

    def _check_room(self, name: str, symbols: int) -> None:
        num_tuples = self.vocab_size**self.tuple_size
        if symbols * self.num_synonyms <= num_tuples:
            return
        if symbols > num_tuples:
            raise ValueError(
                f"{name}={symbols} is too many: vocab_size={self.vocab_size} with tuple_size={self.tuple_size} has "
                f"only {num_tuples} tuples, and every symbol needs a tuple of its own"
            )
        of = "" if name == "vocab_size" else f" of the {symbols} classes"
        raise ValueError(
            f"num_synonyms={self.num_synonyms} is too many: vocab_size={self.vocab_size} with "
            f"tuple_size={self.tuple_size} allows at most {num_tuples // symbols} unambiguous rules per symbol{of}"
        )

    @property
    def name(self) -> str:
        """The short name, which does not include `rules_seed`."""
        name = f"v{self.vocab_size}-m{self.num_synonyms}-s{self.tuple_size}-L{self.depth}"
        return name if self.num_classes == self.vocab_size else f"{name}-c{self.num_classes}"

    @classmethod
    def from_name(cls, name: str, rules_seed: int = 0) -> "GrammarParameters":
        """Parses a short name: `GrammarParameters.from_name("v16-m4-s2-L3-c8")`."""
        match = _NAME.fullmatch(name) if isinstance(name, str) else None
        if match is None:
            raise ValueError(
                f"name={name!r} is not a grammar's short name: write v<vocab_size>-m<num_synonyms>-s<tuple_size>"
                "-L<depth>, with -c<num_classes> after it where that differs from v, for example v16-m4-s2-L3"
            )
        return cls(*(None if group is None else int(group) for group in match.groups()), rules_seed=rules_seed)

    @property
    def sentence_length(self) -> int:
        """d = s^L, in tokens."""
        return self.tuple_size**self.depth

    @property
    def num_sentences(self) -> int:
        """P_max = n_c m^((d-1)/(s-1)), as a Python integer of any size."""
        return self.num_classes * self.num_synonyms ** ((self.sentence_length - 1) // (self.tuple_size - 1))

    def to_dict(self) -> dict[str, int]:
        """The parameters as plain integers, ready for JSON."""
        return asdict(self)
