"""Names of general grammars: the gallery's, and layered ones of several arities that a seed draws."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, ClassVar

import numpy as np

from ...checks import SEED_LIMIT, check_integer, checked
from ..names import set_integer
from ..sentences.keys import philox_key
from .production_rules import Rules, make_rules, rules_from_text


_DRAWN = re.compile(r"pcfg-v(\d+)-m(\d+)-s(\d+(?:\.\d+)*)-L(\d+)")
SYMBOL_LIMIT = 2**16  # symbols of all levels of a drawn grammar
ATTEMPTS = 100  # to draw a level that uses all symbols of the one below


@cache
def gallery() -> dict[str, str]:
    """The texts of the gallery's grammars by their names, `dyck2`, ..: our own, in the folder `gallery`."""
    files = {file.name: file for file in (resources.files(__package__) / "gallery").iterdir()}
    return {name[:-4]: files[name].read_text(encoding="utf-8") for name in sorted(files) if name.endswith(".cfg")}


@checked
@dataclass(frozen=True)
class PCFGParameters:
    """A general grammar that has a name: one of the gallery, or one of an ensemble.

    The ensemble, in the manner of cfg3 of arXiv 2305.13673: L levels of v symbols (tokens at level 0) below the start
    symbol, m equiprobable rules for every symbol. The arity of a rule is one of `tuple_sizes` with equal chances, its
    children are uniform; no right side occurs twice on a level. A level is drawn again, up to 100 times, where it does
    not use all symbols of the one below; where there are too few rules for that, symbols that are not used are absent.
    With its start symbol, `pcfg-v3-m2-s2.3-L6` has seven levels, like theirs.

    Args:
        title (`str`, *optional*): a grammar of the gallery; then nothing else is given.
        vocab_size (`int`, *optional*): v >= 2, the symbols of every level below the start.
        num_rules (`int`, *optional*): m, rules of every symbol.
        tuple_sizes (`Sequence[int]`, *optional*): the arities of rules, ascending, 1 or more.
        depth (`int`, *optional*): L, levels of rules.
        rules_seed (`int`, *optional*, defaults to 0): picks the grammar of the ensemble; 0 in the gallery.

    Raises:
        `ValueError`: if a value is out of range, or there are not enough right sides.
    """

    title: str | None = None
    vocab_size: int | None = None
    num_rules: int | None = None
    tuple_sizes: Sequence[int] | None = None
    depth: int | None = None
    rules_seed: int = 0

    kind: ClassVar[str] = "pcfg"
    names: ClassVar[re.Pattern[str]] = re.compile(r"pcfg-.*")
    form: ClassVar[str] = (
        "pcfg-<title>, a grammar of the gallery, or pcfg-v<vocab_size>-m<num_rules>-s<arities>-L<depth>, for example "
        "pcfg-dyck2, pcfg-v3-m2-s2.3-L6"
    )
    wraps: ClassVar[bool] = False

    def __post_init__(self) -> None:
        def set_value(name, value):
            object.__setattr__(self, name, value)

        set_integer(self, "rules_seed", 0, SEED_LIMIT)
        drawn = (self.vocab_size, self.num_rules, self.tuple_sizes, self.depth)
        if self.title is not None:
            if self.title not in gallery():
                raise ValueError(f"title={self.title!r} is not in the gallery: it has {', '.join(gallery())}")
            if self.rules_seed or any(value is not None for value in drawn):
                raise ValueError(f"title={self.title!r} is one grammar: it goes with no other value and no rules_seed")
            return
        set_integer(self, "vocab_size", 2, SYMBOL_LIMIT)
        set_integer(self, "num_rules", 1, SYMBOL_LIMIT)
        set_integer(self, "depth", 1, SYMBOL_LIMIT)
        sizes = tuple(check_integer("tuple_sizes", size, 1, 2**8) for size in self.tuple_sizes or ())
        if not sizes or list(sizes) != sorted(set(sizes)):
            raise ValueError(f"tuple_sizes={self.tuple_sizes!r} must be arities in ascending order, such as (2, 3)")
        set_value("tuple_sizes", sizes)
        v, m = self.vocab_size, self.num_rules
        if v * m * self.depth > SYMBOL_LIMIT:
            raise ValueError(f"vocab_size={v}, num_rules={m}, depth={self.depth} make more than {SYMBOL_LIMIT} rules")
        if v * m > sum(v**size for size in sizes) / 2:
            raise ValueError(
                f"num_rules={m} is too many: {v} symbols with arities {sizes} have {sum(v**size for size in sizes)} "
                "right sides, of which half at most may be used"
            )

    @property
    def name(self) -> str:
        """The short name: `pcfg-dyck2`, `pcfg-v3-m2-s2.3-L6`; it does not include `rules_seed`."""
        if self.title is not None:
            return f"pcfg-{self.title}"
        return f"pcfg-v{self.vocab_size}-m{self.num_rules}-s{'.'.join(map(str, self.tuple_sizes))}-L{self.depth}"

    @classmethod
    @checked
    def from_name(cls, name: str, rules_seed: int = 0) -> "PCFGParameters":
        """Parses a short name."""
        match = _DRAWN.fullmatch(name)
        if match is not None:
            sizes = tuple(int(size) for size in match[3].split("."))
            return cls(None, int(match[1]), int(match[2]), sizes, int(match[4]), rules_seed)
        title = name.removeprefix("pcfg-")
        if title == name or title not in gallery():
            raise ValueError(
                f"name={name!r} is not a general grammar's short name: write {cls.form}; the gallery has "
                f"{', '.join(gallery())}"
            )
        return cls(title, rules_seed=rules_seed)

    @property
    def keywords(self) -> dict[str, Any]:
        """The values that `load_dataset("rhm", ..)` takes by keyword."""
        return {"rules_seed": self.rules_seed}

    def to_dict(self) -> dict[str, Any]:
        """The parameters, ready for JSON."""
        if self.title is not None:
            return {"kind": self.kind, "title": self.title}
        sizes = {"tuple_sizes": list(self.tuple_sizes), "depth": self.depth, "rules_seed": self.rules_seed}
        return {"kind": self.kind, "vocab_size": self.vocab_size, "num_rules": self.num_rules, **sizes}

    def rules(self) -> Rules:
        """The rules that the name and the seed stand for."""
        return rules_from_text(gallery()[self.title]) if self.title is not None else drawn_rules(self)


def drawn_rules(p: PCFGParameters) -> Rules:
    """Draws the rules of every level, root first, again where a level leaves a symbol out, for some time."""
    words = _Words(p.rules_seed)
    made, parents = [], ["S"]
    for level in range(p.depth, 0, -1):
        for _ in range(ATTEMPTS):
            right_sides: dict[tuple[int, ...], None] = {}
            while len(right_sides) < len(parents) * p.num_rules:
                size = p.tuple_sizes[words.below(len(p.tuple_sizes))]
                right_sides.setdefault(tuple(words.below(p.vocab_size) for _ in range(size)))
            used = sorted({child for right in right_sides for child in right})
            if len(used) == p.vocab_size:
                break
        for place, right in enumerate(right_sides):
            children = [(str(c), True) if level == 1 else (f"{level - 1}.{c}", False) for c in right]
            made.append((parents[place // p.num_rules], children, None))
        parents = [f"{level - 1}.{c}" for c in used]
    return make_rules(made, "S", terminals=[str(k) for k in range(p.vocab_size)])


class _Words:
    """Uniform numbers below a bound, from raw words: the same with every version of numpy."""

    def __init__(self, seed: int):
        self.words = np.random.Philox(key=philox_key(seed, "pcfg"))

    def below(self, bound: int) -> int:
        while True:
            word = int(self.words.random_raw())
            if word < (2**64 // bound) * bound:
                return word % bound
