"""Named ambiguous grammars: broadcast processes on trees (Ising, colouring), and random rules that share tuples."""

import re
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np

from ...checks import INTEGER_LIMIT, MAX_VOCAB_SIZE, SEED_LIMIT, check_number, checked
from ..layered.random_rules import distinct_tuples, raw_stream
from ..names import FLOAT, check_rules, set_integer
from .expansions import Expansion, Factors, RuleList


class _Named:
    """What the three have in common: a regular tree, and a record for files."""

    wraps: ClassVar[bool] = False

    def _check_tree(self) -> None:
        set_integer(self, "tuple_size", 1, 2**31)
        set_integer(self, "depth", 1, 64)
        set_integer(self, "rules_seed", 0, SEED_LIMIT)
        if self.sentence_length >= 2**31:
            raise ValueError(
                f"tuple_size={self.tuple_size} and depth={self.depth} make sentences of 2^31 tokens or more"
            )

    @property
    def sentence_length(self) -> int:
        """d = s^L, in tokens."""
        return self.tuple_size**self.depth

    @property
    def keywords(self) -> dict[str, Any]:
        """The values that `load_dataset("rhm", ..)` takes by keyword."""
        return {name: getattr(self, name) for name in ("vocab_size", "tuple_size", "depth", "rules_seed")}

    def to_dict(self) -> dict[str, Any]:
        """The parameters, ready for JSON."""
        return {"kind": self.kind, **asdict(self)}

    @classmethod
    def _match(cls, name: str) -> re.Match:
        match = cls._pattern.fullmatch(name)
        if match is None:
            raise ValueError(f"name={name!r} is not understood: write {cls.form}")
        return match


STREAM_BYTES = 4096  # of a symbol's generator


@dataclass(frozen=True)
class IsingParameters(_Named):
    """A binary broadcast process: every child has its parent's symbol with probability (1 + ρ) / 2 (2605.13687).

    Two leaves whose lowest common ancestor is on level l have the correlation ρ^(2l). From the leaves of a deep tree
    the root can be told better than by chance if and only if s ρ^2 > 1 (Kesten-Stigum).

    Args:
        correlation (`float`): ρ, -1..1.
        tuple_size (`int`): s, children of a node.
        depth (`int`): L.
        rules_seed (`int`, *optional*, defaults to 0): has no effect: there is one such process.
    """

    correlation: float
    tuple_size: int
    depth: int
    rules_seed: int = 0

    kind: ClassVar[str] = "ising"
    names: ClassVar[re.Pattern[str]] = re.compile(r"ising-.*")
    form: ClassVar[str] = "ising-rho<correlation>-s<tuple_size>-L<depth>, for example ising-rho0.8-s2-L4"
    _pattern: ClassVar[re.Pattern] = re.compile(rf"ising-rho(-?{FLOAT})-s(\d+)-L(\d+)")
    vocab_size: ClassVar[int] = 2

    def __post_init__(self) -> None:
        object.__setattr__(self, "correlation", check_number("correlation", self.correlation, -1, 1))
        self._check_tree()

    @property
    def name(self) -> str:
        """The short name, `ising-rho0.8-s2-L4`."""
        return f"ising-rho{self.correlation!r}-s{self.tuple_size}-L{self.depth}"

    @classmethod
    @checked
    def from_name(cls, name: str, rules_seed: int = 0) -> "IsingParameters":
        """Parses a short name."""
        match = cls._match(name)
        return cls(float(match[1]), int(match[2]), int(match[3]), rules_seed)

    @property
    def is_reconstructible(self) -> bool:
        """Whether s ρ^2 > 1: the leaves of an infinitely deep tree tell something about the root."""
        return self.tuple_size * self.correlation**2 > 1

    def draw_levels(self) -> list[Expansion]:
        """One matrix for all children of all levels."""
        check_rules(self.name, [(2, 4, self.tuple_size)] * self.depth)  # 2 x 2 float64 for every child
        same, other = (1 + self.correlation) / 2, (1 - self.correlation) / 2
        matrix = np.array([[same, other], [other, same]])
        return [Factors(np.tile(matrix, (self.tuple_size, 1, 1))) for _ in range(self.depth)]


@dataclass(frozen=True)
class ColouringParameters(_Named):
    """Random proper colourings of a tree with q colours: every child has one of the q - 1 others, equally likely.

    The matrix's second eigenvalue is -1 / (q - 1), so that the Kesten-Stigum bound is s > (q - 1)^2.

    Args:
        vocab_size (`int`): q, colours, 2 or more.
        tuple_size (`int`): s, children of a node.
        depth (`int`): L.
        rules_seed (`int`, *optional*, defaults to 0): has no effect: there is one such process.
    """

    vocab_size: int
    tuple_size: int
    depth: int
    rules_seed: int = 0

    kind: ClassVar[str] = "colouring"
    names: ClassVar[re.Pattern[str]] = re.compile(r"colouring-.*")
    form: ClassVar[str] = "colouring-q<colours>-s<tuple_size>-L<depth>, for example colouring-q5-s2-L4"
    _pattern: ClassVar[re.Pattern] = re.compile(r"colouring-q(\d+)-s(\d+)-L(\d+)")

    def __post_init__(self) -> None:
        set_integer(self, "vocab_size", 2, 2**12)
        self._check_tree()

    @property
    def name(self) -> str:
        """The short name, `colouring-q5-s2-L4`."""
        return f"colouring-q{self.vocab_size}-s{self.tuple_size}-L{self.depth}"

    @classmethod
    @checked
    def from_name(cls, name: str, rules_seed: int = 0) -> "ColouringParameters":
        """Parses a short name."""
        return cls(*map(int, cls._match(name).groups()), rules_seed)

    def draw_levels(self) -> list[Expansion]:
        """One matrix for all children of all levels."""
        check_rules(self.name, [(self.vocab_size, 2 * self.vocab_size, self.tuple_size)] * self.depth)
        matrix = (1 - np.eye(self.vocab_size)) / (self.vocab_size - 1)
        return [Factors(np.tile(matrix, (self.tuple_size, 1, 1))) for _ in range(self.depth)]


@dataclass(frozen=True)
class AmbiguousParameters(_Named):
    """The RHM without unambiguity: every symbol draws its m tuples by itself, so that symbols share some.

    Args:
        vocab_size (`int`): v, symbols of every level, the root's included.
        num_synonyms (`int`): m, equiprobable rules per symbol, at most v^s.
        tuple_size (`int`): s, children of a rule.
        depth (`int`): L.
        rules_seed (`int`, *optional*, defaults to 0): picks the grammar of the ensemble.
    """

    vocab_size: int
    num_synonyms: int
    tuple_size: int
    depth: int
    rules_seed: int = 0

    kind: ClassVar[str] = "ambiguous"
    names: ClassVar[re.Pattern[str]] = re.compile(r"ambiguous-.*")
    form: ClassVar[str] = (
        "ambiguous-v<vocab_size>-m<num_synonyms>-s<tuple_size>-L<depth>, for example ambiguous-v8-m4-s2-L3"
    )
    _pattern: ClassVar[re.Pattern] = re.compile(r"ambiguous-v(\d+)-m(\d+)-s(\d+)-L(\d+)")

    def __post_init__(self) -> None:
        set_integer(self, "vocab_size", 1, MAX_VOCAB_SIZE)
        self._check_tree()
        set_integer(self, "num_synonyms", 1, INTEGER_LIMIT)
        if self.num_synonyms > self.vocab_size ** min(self.tuple_size, 64):  # of longer tuples there are enough
            raise ValueError(
                f"num_synonyms={self.num_synonyms} is too many: there are {self.vocab_size}^{self.tuple_size} tuples"
            )

    @property
    def name(self) -> str:
        """The short name, `ambiguous-v8-m4-s2-L3`; it does not include `rules_seed`."""
        return f"ambiguous-v{self.vocab_size}-m{self.num_synonyms}-s{self.tuple_size}-L{self.depth}"

    @classmethod
    @checked
    def from_name(cls, name: str, rules_seed: int = 0) -> "AmbiguousParameters":
        """Parses a short name."""
        return cls(*map(int, cls._match(name).groups()), rules_seed)

    def draw_levels(self) -> list[Expansion]:
        """For every level and symbol a sample of tuples without replacement, from a stream of its own."""
        stream = (self.vocab_size, 1, STREAM_BYTES // 4)
        check_rules(self.name, [(self.vocab_size, self.num_synonyms, self.tuple_size)] * self.depth + [stream])
        levels: list[Expansion] = []
        for generation in range(self.depth):
            streams = [raw_stream(self.rules_seed, generation + (a << 32)) for a in range(self.vocab_size)]
            rules = [distinct_tuples(self.vocab_size, self.tuple_size, self.num_synonyms, own) for own in streams]
            probs = np.full((self.vocab_size, self.num_synonyms), 1 / self.num_synonyms)
            levels.append(RuleList(np.stack(rules), probs))
        return levels
