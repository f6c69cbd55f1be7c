"""The parameters of a Random Hierarchy Model and their short names.

A short name such as `v16-m4-s2-L3` (or `v16-m4-s2-L3-c8` where the number of classes differs from v) says everything
about the ensemble; `rules_seed` picks one grammar of it. What departs from the uniform model follows, in this order:
`-zipf1.0@1`, `-uncorrelated`, `-cut2`, `-sparse1` or `-sparse1b`.
"""

import decimal
import math
import re
from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import Any

import numpy as np

from ...checks import SEED_LIMIT, check_integer, check_number, smallest_dtype  # noqa: F401
from ..sparse.placements import count_placements, sparse_suffix


MAX_VOCAB_SIZE = 2**31 - 4  # ids are int32 at most, and BOS, PAD and MASK follow the symbols

NUMBER = r"\d+(?:\.\d+)?(?:e[+-]?\d+)?"  # as repr prints a float >= 0
_NAME = re.compile(
    r"v(?P<vocab_size>\d+)-m(?P<num_synonyms>\d+)-s(?P<tuple_size>\d+)-L(?P<depth>\d+)(?:-c(?P<num_classes>\d+))?"
    rf"(?:-zipf(?P<zipf_exponent>{NUMBER})(?:@(?P<zipf_level>\d+))?)?"
    r"(?P<uncorrelated>-uncorrelated)?(?:-cut(?P<cut_level>\d+))?"
    r"(?:-sparse(?P<sparsity>\d+)(?P<placement>b)?)?"
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
        cut_level (`int`, *optional*): k = 0..L-1: the nodes of level k are drawn independently given the root, each
            from its exact law; see [`FilteredGrammar`].
        sparsity (`int`, *optional*): s0 >= 1, uninformative slots for every child, at every level (arXiv 2404.10727);
            see [`SparseGrammar`]. v counts the informative symbols, sentences have (s (s0 + 1))^L tokens.
        placement (`str`, *optional*, defaults to `"A"` with `sparsity`): `"A"`, each child in a sub-patch of s0 + 1
            slots of its own, or `"B"`, the children anywhere in their order.

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
    cut_level: int | None = None
    sparsity: int | None = None
    placement: str | None = None

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
        self._check_zipf()
        self._check_uncorrelated()
        if self.cut_level is not None:
            if self.cut_level == self.depth:
                raise ValueError(f"cut_level={self.depth} with depth={self.depth} cuts nothing: leave it out")
            set_checked("cut_level", 0, self.depth)
        self._check_sparse()

    def _check_sparse(self) -> None:
        if self.sparsity is None:
            if self.placement is not None:
                raise ValueError(
                    f"placement={self.placement!r} without sparsity: give s0, uninformative slots for every child"
                )
            return
        object.__setattr__(self, "sparsity", check_integer("sparsity", self.sparsity, 1))
        if self.cut_level is not None:
            raise ValueError(
                f"sparsity={self.sparsity} with cut_level={self.cut_level}: a filtered grammar cannot be made sparse, "
                "only one with rules at every level can: leave one of them out"
            )
        object.__setattr__(self, "placement", "A" if self.placement is None else self.placement)
        count_placements(self.tuple_size, self.sparsity, self.placement)
        if self.sentence_length >= 2**31:
            raise ValueError(
                f"sparsity={self.sparsity} is too large: with tuple_size={self.tuple_size} and depth={self.depth} a "
                f"sentence would have {self.sentence_length} tokens; less than 2^31 are supported"
            )

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
        if self.cut_level is not None:
            name += f"-cut{self.cut_level}"
        return name if self.sparsity is None else name + sparse_suffix(self.sparsity, self.placement)

    @classmethod
    def from_name(cls, name: str, rules_seed: int = 0) -> "GrammarParameters":
        """Parses a short name: `GrammarParameters.from_name("v16-m4-s2-L3-c8-zipf1.0@1")`."""
        match = _NAME.fullmatch(name) if isinstance(name, str) else None
        if match is None:
            raise ValueError(
                f"name={name!r} is not a grammar's short name: write v<vocab_size>-m<num_synonyms>-s<tuple_size>"
                "-L<depth>, for example v16-m4-s2-L3, and after it, where wanted and in this order, -c<num_classes>, "
                "-zipf<a> or -zipf<a>@<level>, -uncorrelated, -cut<level>, -sparse<s0> or -sparse<s0>b"
            )
        groups = {key: text for key, text in match.groupdict().items() if text is not None}
        convert = {"zipf_exponent": float, "uncorrelated": bool, "placement": str.upper}
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
    def sentence_length(self) -> int:
        """d = s^L, with `sparsity` (s (s0 + 1))^L, in tokens."""
        return (self.tuple_size * (1 + (self.sparsity or 0))) ** self.depth

    @property
    def num_sentences(self) -> int:
        """P_max = n_c m^((s^L-1)/(s-1)), as a Python integer of any size.

        With `sparsity`, m counts the placements of every rule, too; with `cut_level` there are more sentences.
        """
        nodes = (self.tuple_size**self.depth - 1) // (self.tuple_size - 1)
        choices = self.num_synonyms
        if self.sparsity is not None:
            choices *= count_placements(self.tuple_size, self.sparsity, self.placement)
        return self.num_classes * choices**nodes

    def to_dict(self) -> dict[str, Any]:
        """The parameters as plain numbers, ready for JSON; those that are left out are absent."""
        return {name: value for name, value in asdict(self).items() if value is not None and value is not False}
