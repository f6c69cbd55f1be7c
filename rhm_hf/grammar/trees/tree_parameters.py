"""Parameters and short names of trees of every shape: `trees-v16-s2m4-s3m64-L3`.

Every part `s<arity>m<rules>[p<probability>][@<level>]` gives each symbol of a level that many rules of this arity,
used with this probability (all arities equally often where none is written). Parts with a level, counted from the
leaves, stand for that level alone and replace the others there. `trees-v16-f0.25-L3` is short for the paper's choice.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar

from ...checks import MAX_VOCAB_SIZE, SEED_LIMIT, check_integer, check_number, checked
from ..names import FLOAT, set_integer


_NAME = re.compile(r"trees-v(\d+)((?:-[sf](?:[^-]|(?<=e)-)+)+)-L(\d+)(?:-c(\d+))?")
_PART = re.compile(rf"s(\d+)m(\d+)(?:p({FLOAT}))?(?:@(\d+))?")
_FRACTION = re.compile(rf"f({FLOAT})")
SUM_TOLERANCE = 1e-9

Choices = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class TreeParameters:
    """An ensemble of layered trees whose nodes have varying numbers of children (arXiv 2602.06065).

    All leaves lie at depth L. Every symbol of a level has random rules of several arities, drawn without replacement
    within each arity and level, so that a tuple belongs to at most one symbol; rules of one arity are equiprobable.

    Args:
        vocab_size (`int`): v, symbols of every level.
        num_rules (`Mapping[int, int]`, or a list of them): rules per symbol by arity, `{2: 4, 3: 64}`; a list has one
            entry (a mapping or pairs) for each level, root first. The paper's choice is m2 = f v, m3 = f v^2, see
            [`TreeParameters.from_fraction`].
        depth (`int`): L, levels of rules.
        arity_probs (`Mapping[int, float]`, or a list of them, *optional*): how often each arity is used; equally often
            by default. Numbers without arities belong to the arities in ascending order.
        num_classes (`int`, *optional*): n_c, symbols of the root; v by default.
        rules_seed (`int`, *optional*, defaults to 0): picks the grammar of the ensemble.

    After construction `num_rules` is, for every level, root first, the pairs (arity, rules per symbol), and
    `arity_probs` the probabilities in the same order.

    Raises:
        `ValueError`: if a value is out of range, or rules do not fit into the tuples.
    """

    vocab_size: int
    num_rules: Any
    depth: int
    arity_probs: Any = None
    num_classes: int | None = None
    rules_seed: int = 0

    kind: ClassVar[str] = "trees"
    names: ClassVar[re.Pattern[str]] = re.compile(r"trees-.*")
    form: ClassVar[str] = (
        "trees-v<vocab_size>-s<arity>m<rules>[p<probability>][@<level>]-..-L<depth>[-c<num_classes>], for example "
        "trees-v16-s2m4-s3m64-L3, or trees-v16-f0.25-L3 for m2 = f v and m3 = f v^2"
    )
    wraps: ClassVar[bool] = False

    def __post_init__(self) -> None:
        def set_value(name, value):
            object.__setattr__(self, name, value)

        set_integer(self, "vocab_size", 1, MAX_VOCAB_SIZE)
        set_integer(self, "depth", 1, 64)
        classes = self.vocab_size if self.num_classes is None else self.num_classes
        set_value("num_classes", check_integer("num_classes", classes, 1, MAX_VOCAB_SIZE))
        set_integer(self, "rules_seed", 0, SEED_LIMIT)
        levels = _per_level("num_rules", self.num_rules, self.depth)
        set_value("num_rules", tuple(_checked_choices(g, level) for g, level in enumerate(levels)))
        set_value("arity_probs", self._checked_probs())
        for g, choices in enumerate(self.num_rules):
            symbols = self.num_classes if g == 0 else self.vocab_size
            for arity, count in choices:
                room = self.vocab_size ** min(arity, 64)  # of longer tuples there are enough, unless v = 1
                if symbols * count > room:
                    raise ValueError(
                        f"num_rules={count} of arity {arity} are too many on level {self.depth - g}: {symbols} "
                        f"symbols with tuples of {arity} out of {self.vocab_size} symbols have room for "
                        f"{room // symbols} unambiguous rules each"
                    )
        if self.max_length >= 2**31:
            raise ValueError(f"num_rules and depth={self.depth} make sentences of 2^31 tokens or more")

    def _checked_probs(self) -> tuple[tuple[float, ...], ...]:
        if self.arity_probs is None:
            return tuple((1 / len(choices),) * len(choices) for choices in self.num_rules)
        levels, checked = _per_level("arity_probs", self.arity_probs, self.depth), []
        for g, (level, choices) in enumerate(zip(levels, self.num_rules, strict=True)):
            arities = [arity for arity, _ in choices]
            if not isinstance(level, Mapping) and not any(isinstance(entry, Sequence) for entry in level):
                level = list(zip(arities, level, strict=False)) if len(level) == len(arities) else []
            pairs = sorted(_pairs("arity_probs", level))
            if [arity for arity, _ in pairs] != arities:
                raise ValueError(f"arity_probs={levels[g]!r} must have one probability for each arity of {arities}")
            values = [p for _, p in pairs]
            values = [check_number(f"arity_probs[{g}]", p, 0, 1) for p in values]
            if abs(math.fsum(values) - 1) > SUM_TOLERANCE:
                raise ValueError(f"arity_probs={levels[g]!r} sums to {math.fsum(values):.9g} instead of 1")
            checked.append(tuple(values))
        return tuple(checked)

    @classmethod
    @checked
    def from_fraction(cls, vocab_size: int, fraction: float, depth: int, rules_seed: int = 0) -> "TreeParameters":
        """The paper's ensemble: m2 = f v binary and m3 = f v^2 ternary rules per symbol, used equally often.

        Args:
            vocab_size (`int`): v.
            fraction (`float`): f, the share of all pairs and triples that are grammatical; f v must be an integer.
            depth (`int`): L.
            rules_seed (`int`, *optional*, defaults to 0): picks the grammar.
        """
        vocab_size = check_integer("vocab_size", vocab_size, 1, MAX_VOCAB_SIZE)
        fraction = check_number("fraction", fraction, 0, 1)
        pairs = Fraction(repr(fraction)) * vocab_size
        if pairs.denominator != 1 or pairs < 1:
            raise ValueError(
                f"fraction={fraction!r} with vocab_size={vocab_size} asks for {float(pairs):g} binary rules per "
                "symbol: their product must be a whole number; give num_rules instead"
            )
        m2 = int(pairs)
        return cls(vocab_size, {2: m2, 3: m2 * vocab_size}, depth, rules_seed=rules_seed)

    @property
    def name(self) -> str:
        """The short name, such as `trees-v16-s2m4-s3m64-L3`; it does not include `rules_seed`."""
        levels = [self._parts(g) for g in range(self.depth)]
        if len(set(map(tuple, levels))) == 1:
            parts = levels[0]
        else:
            parts = [f"{part}@{self.depth - g}" for g, level in enumerate(levels) for part in level]
        classes = "" if self.num_classes == self.vocab_size else f"-c{self.num_classes}"
        return f"trees-v{self.vocab_size}-{'-'.join(parts)}-L{self.depth}{classes}"

    def _parts(self, generation: int) -> list[str]:
        choices, probs = self.num_rules[generation], self.arity_probs[generation]
        even = all(p == 1 / len(choices) for p in probs)
        return [
            f"s{arity}m{count}" + ("" if even else f"p{p!r}") for (arity, count), p in zip(choices, probs, strict=True)
        ]

    @classmethod
    @checked
    def from_name(cls, name: str, rules_seed: int = 0) -> "TreeParameters":
        """Parses a short name."""
        match = _NAME.fullmatch(name)
        if match is None:
            raise ValueError(f"name={name!r} is not the short name of trees: write {cls.form}")
        vocab_size, depth = int(match[1]), int(match[3])
        classes = None if match[4] is None else int(match[4])
        parts = re.split("-(?=[sf])", match[2][1:])
        if len(parts) == 1 and (fraction := _FRACTION.fullmatch(parts[0])):
            p = cls.from_fraction(vocab_size, float(fraction[1]), depth, rules_seed)
            return cls(vocab_size, p.num_rules, depth, None, classes, rules_seed)
        common, own = [], {}
        for part in parts:
            found = _PART.fullmatch(part)
            if found is None:
                raise ValueError(f"name={name!r} has the part {part!r}, which is not understood: write {cls.form}")
            level = None if found[4] is None else int(found[4])
            if level is not None and not 1 <= level <= depth:
                raise ValueError(f"name={name!r} has the part {part!r}: levels are 1 to L={depth}")
            entry = (int(found[1]), int(found[2]), None if found[3] is None else float(found[3]))
            (common if level is None else own.setdefault(level, [])).append(entry)
        levels = [own.get(level, common) for level in range(depth, 0, -1)]
        if [] in levels:
            raise ValueError(f"name={name!r} has no rules for level {depth - levels.index([])}: write {cls.form}")
        probs = [[p for _, _, p in level] for level in levels]
        if any(None in level and set(level) != {None} for level in probs):
            raise ValueError(f"name={name!r} gives some probabilities of a level and not others: give all or none")
        rules = [[(arity, count) for arity, count, _ in level] for level in levels]
        laws = [[(arity, 1 / len(level) if p is None else p) for arity, _, p in level] for level in levels]
        return cls(vocab_size, rules, depth, laws, classes, rules_seed)

    @property
    def max_length(self) -> int:
        """The longest sentence, in tokens."""
        return math.prod(max(arity for arity, _ in choices) for choices in self.num_rules)

    @property
    def mean_length(self) -> float:
        """The mean number of tokens, the product over levels of the mean arity: (2 p2 + 3 p3)^L."""
        means = (
            math.fsum(arity * p for (arity, _), p in zip(choices, probs, strict=True))
            for choices, probs in zip(self.num_rules, self.arity_probs, strict=True)
        )
        return math.prod(means)

    @property
    def keywords(self) -> dict[str, Any]:
        """The values that `load_dataset("rhm", ..)` takes by keyword."""
        return {name: getattr(self, name) for name in ("vocab_size", "depth", "num_classes", "rules_seed")}

    def to_dict(self) -> dict[str, Any]:
        """The parameters, ready for JSON."""
        return {
            "kind": self.kind,
            "vocab_size": self.vocab_size,
            "num_rules": [[list(pair) for pair in choices] for choices in self.num_rules],
            "depth": self.depth,
            "arity_probs": [list(probs) for probs in self.arity_probs],
            "num_classes": self.num_classes,
            "rules_seed": self.rules_seed,
        }


def _pairs(name: str, level: Any) -> list[tuple[int, Any]]:
    """(arity, value) of one level, from a mapping (keys may be strings, as in JSON) or from pairs."""
    try:
        pairs = level.items() if isinstance(level, Mapping) else level
        pairs = [(int(arity) if isinstance(arity, str) else arity, value) for arity, value in pairs]
    except (TypeError, ValueError):
        raise ValueError(
            f"{name}={level!r} is not understood: write a value for each arity, {{2: 4, 3: 64}}"
        ) from None
    return [(check_integer(f"{name}: the arity", arity, 1, 2**31), value) for arity, value in pairs]


def _per_level(name: str, value: Any, depth: int) -> list[Any]:
    """One entry a level, root first: the same for all where only one is given."""
    if isinstance(value, Mapping):
        return [value] * depth
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise ValueError(f"{name}={value!r} is not understood: write a value for each arity, {{2: 4, 3: 64}}")
    if value and not isinstance(value[0], Mapping | Sequence):
        return [value] * depth
    if len(value) != depth:
        raise ValueError(f"{name} has {len(value)} entries: it must have one for each of the depth={depth} levels")
    return list(value)


def _checked_choices(generation: int, level: Any) -> Choices:
    pairs = sorted(_pairs("num_rules", level))
    if not pairs:
        raise ValueError(f"num_rules[{generation}] is empty: every level needs rules")
    if len({arity for arity, _ in pairs}) < len(pairs):
        raise ValueError(f"num_rules[{generation}]={level!r} names an arity twice")
    return tuple((arity, check_integer(f"num_rules[{generation}][{arity}]", count, 1)) for arity, count in pairs)
