"""The parameters of a Random Hierarchy Model and their short names.

A short name such as `v16-m4-s2-L3` (or `v16-m4-s2-L3-c8` where the number of classes differs from v) says everything
about the ensemble; `rules_seed` picks one grammar of it. What departs from the uniform model follows, in this order:
`-zipf1.0@1`, `-uncorrelated`.
"""

import decimal
import math
import re
from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import Any, ClassVar

import numpy as np

from ...checks import MAX_VOCAB_SIZE, SEED_LIMIT, check_integer, check_memory, check_number, checked
from ..names import FLOAT, check_rules, set_integer
from .random_rules import random_rules


_NAME = re.compile(
    r"v(?P<vocab_size>\d+)-m(?P<num_synonyms>\d+)-s(?P<tuple_size>\d+)-L(?P<depth>\d+)(?:-c(?P<num_classes>\d+))?"
    rf"(?:-zipf(?P<zipf_exponent>{FLOAT})(?:@(?P<zipf_level>\d+))?)?"
    r"(?P<uncorrelated>-uncorrelated)?"
)


@dataclass(frozen=True)
class GrammarParameters:
    """Parameters of the Random Hierarchy Model (Cagnetta et al., arXiv 2307.02129).

    Args:
        vocab_size (`int`): v, the number of symbols of every level below the root.
        num_synonyms (`int`): m, production rules per symbol, equiprobable unless `zipf_exponent` is given.
        tuple_size (`int`): s, children per symbol.
        depth (`int`): L, levels of rules; sentences have s^L tokens.
        num_classes (`int`, *optional*, defaults to `vocab_size`): n_c, symbols of the root.
        rules_seed (`int`, *optional*, defaults to 0): picks the grammar of the ensemble.
        zipf_exponent (`float`, *optional*): a >= 0: rule k = 1..m of a symbol has a probability ∝ k^-(1+a)
            (arXiv 2505.07067).
        zipf_level (`int`, *optional*, defaults to all levels): the only level whose rules have these probabilities,
            1..L; level 1 holds the rules that write tokens.
        uncorrelated (`bool`, *optional*, defaults to `False`): above level 1, every symbol occurs equally often at
            every place among the rules of each symbol, so that all level-1 tuples are equally frequent in every class:
            no tuple and no token tells the class. Needs a multiple of v rules per symbol, with s = 2 exactly v.

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
    zipf_exponent: float | None = None
    zipf_level: int | None = None
    uncorrelated: bool = False

    kind: ClassVar[str] = "rhm"
    names: ClassVar[re.Pattern[str]] = re.compile(r"v\d+-.*")
    form: ClassVar[str] = (
        "v<vocab_size>-m<num_synonyms>-s<tuple_size>-L<depth>, for example v16-m4-s2-L3, and after it, where wanted "
        "and in this order, -c<num_classes>, -zipf<a> or -zipf<a>@<level>, -uncorrelated"
    )
    wraps: ClassVar[bool] = False

    def __post_init__(self) -> None:
        set_integer(self, "vocab_size", 1, MAX_VOCAB_SIZE)
        set_integer(self, "num_synonyms", 1)
        set_integer(self, "tuple_size", 2)
        set_integer(self, "depth", 1)
        if self.num_classes is None:
            object.__setattr__(self, "num_classes", self.vocab_size)
        set_integer(self, "num_classes", 1, MAX_VOCAB_SIZE)
        set_integer(self, "rules_seed", 0, SEED_LIMIT)
        rules = max(self.vocab_size, self.num_classes) * self.num_synonyms
        what = f"num_synonyms={self.num_synonyms} rules of tuple_size={self.tuple_size} for each symbol"
        if self.tuple_size > 64:  # with fewer v^s can be written out, and says more below
            check_memory(what, 4 * rules * self.tuple_size, "make one of them smaller")
        if self.depth * math.log2(self.tuple_size) > 31:
            raise ValueError(
                f"depth={self.depth} is too large: with tuple_size={self.tuple_size} a sentence would have "
                f"{self.tuple_size}^{self.depth} tokens; at most 2^31 are supported"
            )
        self._check_room("vocab_size", self.vocab_size if self.depth > 1 else 1)
        self._check_room("num_classes", self.num_classes)
        self._check_zipf()
        self._check_uncorrelated()

    def _check_uncorrelated(self) -> None:
        if not isinstance(self.uncorrelated, bool | np.bool_):
            raise ValueError(f"uncorrelated={self.uncorrelated!r} must be True or False")
        object.__setattr__(self, "uncorrelated", bool(self.uncorrelated))
        if not self.uncorrelated:
            return
        if self.depth == 1:
            raise ValueError("uncorrelated=True with depth=1: the tuple is the sentence and tells its class")
        if self.num_synonyms % self.vocab_size:
            raise ValueError(
                f"num_synonyms={self.num_synonyms} cannot be uncorrelated: every symbol has its turn at every place "
                f"only if it is a multiple of vocab_size={self.vocab_size}"
            )
        if self.zipf_exponent is not None and self.zipf_level != 1:
            raise ValueError(
                f"zipf_exponent={self.zipf_exponent!r} above level 1 makes tuples tell their class again, against "
                "uncorrelated=True: set zipf_level=1"
            )

    def _check_zipf(self) -> None:
        if self.zipf_exponent is None:
            if self.zipf_level is not None:
                raise ValueError(
                    f"zipf_level={self.zipf_level!r} without zipf_exponent: give a, rules then have probabilities "
                    "∝ k^-(1+a)"
                )
            return
        if self.num_synonyms == 1:
            raise ValueError(
                f"zipf_exponent={self.zipf_exponent!r} changes nothing where num_synonyms=1: leave it out, or take "
                "num_synonyms >= 2"
            )
        largest = 1000 / math.log2(self.num_synonyms) - 1  # m^-(1+a) stays above 0
        object.__setattr__(self, "zipf_exponent", check_number("zipf_exponent", self.zipf_exponent, 0, largest))
        if self.zipf_level is not None:
            level = check_integer("zipf_level", self.zipf_level, 1, self.depth + 1)
            # The same law has one name only.
            object.__setattr__(self, "zipf_level", None if self.depth == 1 else level)

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
        if self.num_classes != self.vocab_size:
            name += f"-c{self.num_classes}"
        if self.zipf_exponent is not None:
            name += f"-zipf{self.zipf_exponent!r}" + ("" if self.zipf_level is None else f"@{self.zipf_level}")
        name += "-uncorrelated" * self.uncorrelated
        return name

    @classmethod
    @checked
    def from_name(cls, name: str, rules_seed: int = 0) -> "GrammarParameters":
        """Parses a short name: `GrammarParameters.from_name("v16-m4-s2-L3-c8-zipf1.0@1")`."""
        match = _NAME.fullmatch(name) if isinstance(name, str) else None
        if match is None:
            raise ValueError(f"name={name!r} is not a grammar's short name: write {cls.form}")
        groups = {key: text for key, text in match.groupdict().items() if text is not None}
        convert = {"zipf_exponent": float, "uncorrelated": bool}
        values = {key: convert.get(key, int)(text) for key, text in groups.items()}
        return cls(**values, rules_seed=rules_seed)

    def rule_law(self, level: int) -> np.ndarray:
        """The probabilities of the m rules of a level-`level` symbol, `level` = 1..L: float64 `(num_synonyms,)`."""
        level = check_integer("level", level, 1, self.depth + 1)
        if self.zipf_exponent is None or self.zipf_level not in (None, level):
            return np.full(self.num_synonyms, 1 / self.num_synonyms)
        with decimal.localcontext(prec=34):  # the floating-point powers of two machines may differ in their last bit
            weights = [Decimal(k) ** -(1 + Decimal(self.zipf_exponent)) for k in range(1, self.num_synonyms + 1)]
            total = sum(weights)
            return np.array([float(weight / total) for weight in weights])

    @property
    def keywords(self) -> dict[str, Any]:
        """The values that `load_dataset("rhm", ..)` takes by keyword."""
        return asdict(self)

    def draw_rules(self) -> tuple[list[np.ndarray], list[np.ndarray], int]:
        """The rules that `rules_seed` picks and their probabilities, root first, and the number of tokens.

        With `uncorrelated`, the rules above level 1 are balanced, see [`~random_rules.balanced_tuples`].
        """
        symbols = [self.num_classes, *[self.vocab_size] * (self.depth - 1)]
        shapes = [(n, self.num_synonyms, self.tuple_size) for n in symbols]
        check_rules(self.name, shapes)
        balanced = [self.uncorrelated and generation + 1 < self.depth for generation in range(self.depth)]
        rules = random_rules(shapes, [self.vocab_size] * self.depth, self.rules_seed, balanced)
        laws = [self.rule_law(level) for level in range(self.depth, 0, -1)]
        probs = [np.tile(law, (len(r), 1)) for r, law in zip(rules, laws, strict=True)]
        return rules, probs, self.vocab_size

    @property
    def tuple_sizes(self) -> tuple[int, ...]:
        """The children of a rule by level, root first."""
        return (self.tuple_size,) * self.depth

    @property
    def sentence_length(self) -> int:
        """d = s^L, in tokens."""
        return self.tuple_size**self.depth

    @property
    def num_sentences(self) -> int:
        """P_max = n_c m^((s^L-1)/(s-1)), as a Python integer of any size."""
        nodes = (self.tuple_size**self.depth - 1) // (self.tuple_size - 1)
        return self.num_classes * self.num_synonyms**nodes

    def to_dict(self) -> dict[str, Any]:
        """The parameters as plain numbers, ready for JSON; those that are left out are absent."""
        return {name: value for name, value in asdict(self).items() if value is not None and value is not False}
