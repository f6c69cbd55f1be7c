"""How the symbols of one level are expanded: a list of rules, or children that are independent given their parent."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..layered.validation import law
from ..names import checked_vocabulary


@dataclass(frozen=True)
class RuleList:
    """Rules `(V, rules per symbol, s)` and their probabilities `(V, rules per symbol)`; tuples may be shared.

    Args:
        rules (array or lists): integers.
        probs (array or lists, *optional*): equally probable by default; a rule of probability 0 counts as absent.
    """

    rules: np.ndarray
    probs: np.ndarray | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "rules", np.asarray(self.rules))

    @property
    def num_symbols(self) -> int:
        return len(self.rules)

    @property
    def tuple_size(self) -> int:
        return self.rules.shape[2]

    def child_law(self, child: int, num_child_symbols: int) -> np.ndarray:
        """The law of one child given the parent, `(V, v)`."""
        matrix = np.zeros((self.num_symbols, num_child_symbols))
        np.add.at(matrix, (np.arange(self.num_symbols)[:, None], self.rules[:, :, child]), self.probs)
        return matrix

    def pair_of_children(self, law: np.ndarray, first: int, second: int, num_child_symbols: int) -> np.ndarray:
        """The joint law of two different children of a node with this law, `(v, v)`."""
        joint = np.zeros((num_child_symbols, num_child_symbols))
        np.add.at(joint, (self.rules[:, :, first], self.rules[:, :, second]), law[:, None] * self.probs)
        return joint

    @property
    def num_weights(self) -> int:
        """How many numbers `upward` holds for each node."""
        return self.probs.size

    def upward(self, messages: list[np.ndarray]) -> np.ndarray:
        """P(tokens below | symbol), `(N, V)`, from those of the children, `(N, v)` each."""
        weights = np.broadcast_to(self.probs, (len(messages[0]), *self.probs.shape))
        for child, message in enumerate(messages):
            weights = weights * message[:, self.rules[:, :, child]]
        return weights.sum(axis=2)

    def choices(self) -> list[np.ndarray]:
        """The laws of what is drawn for a node: one choice of a rule, `(V, rules)`."""
        return [self.probs]

    def children_of(self, symbols: np.ndarray, chosen: list[np.ndarray]) -> np.ndarray:
        """The children `(.., s)` of nodes after these choices."""
        return self.rules[symbols, chosen[0]]

    def arrays(self) -> dict[str, np.ndarray]:
        return {"rules": self.rules, "rule_probs": self.probs}


@dataclass(frozen=True)
class Factors:
    """Independent children: `matrices[i, a, x]` is the probability that child i of a is x; `(s, V, v)`."""

    matrices: np.ndarray

    def __post_init__(self) -> None:
        object.__setattr__(self, "matrices", np.asarray(self.matrices, dtype=np.float64))

    @property
    def num_symbols(self) -> int:
        return self.matrices.shape[1]

    @property
    def tuple_size(self) -> int:
        return self.matrices.shape[0]

    def child_law(self, child: int, num_child_symbols: int) -> np.ndarray:
        """The law of one child given the parent, `(V, v)`."""
        return self.matrices[child]

    def pair_of_children(self, law: np.ndarray, first: int, second: int, num_child_symbols: int) -> np.ndarray:
        """The joint law of two different children of a node with this law, `(v, v)`."""
        return self.matrices[first].T @ (law[:, None] * self.matrices[second])

    @property
    def num_weights(self) -> int:
        """How many numbers `upward` holds for each node."""
        return self.num_symbols

    def upward(self, messages: list[np.ndarray]) -> np.ndarray:
        """P(tokens below | symbol), `(N, V)`, from those of the children, `(N, v)` each."""
        product = np.ones((len(messages[0]), self.num_symbols))
        for matrix, message in zip(self.matrices, messages, strict=True):
            product = product * (message @ matrix.T)
        return product

    def choices(self) -> list[np.ndarray]:
        """The laws of what is drawn for a node: every child, `(V, v)` each."""
        return list(self.matrices)

    def children_of(self, symbols: np.ndarray, chosen: list[np.ndarray]) -> np.ndarray:
        """The children `(.., s)` of nodes after these choices."""
        return np.stack(chosen, axis=-1)

    def arrays(self) -> dict[str, np.ndarray]:
        return {"factors": self.matrices}


Expansion = RuleList | Factors
BYTES_PER_TOKEN = 2**11  # of counts and laws by token, some of them Python numbers


def checked_expansions(levels: Any, root_probs: Any, vocab_size: int) -> tuple[list[Expansion], np.ndarray]:
    """Expansions, root first, with arrays of the right types that cannot be written to, and the root's law."""
    if not levels:
        raise ValueError("levels=[] is empty: give at least one level of rules")
    vocab_size = checked_vocabulary(vocab_size, 0, BYTES_PER_TOKEN)
    checked: list[Expansion] = []
    for g, level in enumerate(levels):
        below = vocab_size if g + 1 == len(levels) else levels[g + 1].num_symbols
        said = "the level below has" if g + 1 < len(levels) else f"vocab_size={vocab_size}, so there are"
        if isinstance(level, RuleList):
            checked.append(_checked_list(g, level, below, said))
        else:
            checked.append(_factors(g, level, below))
    classes = checked[0].num_symbols
    root = np.full(classes, 1 / classes) if root_probs is None else law("root_probs", root_probs, (classes,))
    for array in (root, *(array for level in checked for array in level.arrays().values())):
        array.flags.writeable = False
    return checked, root


def _checked_list(g: int, level: RuleList, below: int, said: str) -> RuleList:
    rules = level.rules
    if rules.ndim != 3 or 0 in rules.shape or rules.dtype.kind not in "iu":
        raise ValueError(
            f"rules[{g}] has shape {rules.shape} and dtype {rules.dtype}: it must be integers of shape (symbols, "
            "rules per symbol, children), none 0"
        )
    if rules.min() < 0 or rules.max() >= below:
        bad = rules[(rules < 0) | (rules >= below)][0]
        raise ValueError(f"rules[{g}] holds the symbol {bad}, out of range: {said} 0 to {below - 1}")
    probs = np.full(rules.shape[:2], 1 / rules.shape[1]) if level.probs is None else level.probs
    probs = law(f"rule_probs[{g}]", probs, rules.shape[:2])
    symbol, rule = np.nonzero(probs > 0)
    tuples = np.concatenate([symbol[:, None], rules[symbol, rule]], axis=1)
    if len(np.unique(tuples, axis=0)) < len(tuples):
        raise ValueError(f"rules[{g}] has a rule of one symbol twice: add up their probabilities")
    return RuleList(np.array(rules, dtype=np.int32, order="C"), np.array(probs, order="C"))


def _factors(g: int, level: Factors, below: int) -> Factors:
    matrices = level.matrices
    if matrices.ndim != 3 or 0 in matrices.shape or matrices.shape[2] != below:
        raise ValueError(
            f"factors[{g}] has shape {matrices.shape}: it must be (children, symbols, symbols of the level below = "
            f"{below})"
        )
    return Factors(np.array(law(f"factors[{g}]", matrices, matrices.shape), order="C"))


def downward(levels: list[Expansion], vocab_size: int) -> Iterator[tuple[Expansion, int]]:
    """Every level, root first, with the number of symbols below it."""
    for g, level in enumerate(levels):
        yield level, vocab_size if g + 1 == len(levels) else levels[g + 1].num_symbols
