"""The rules of one level as a prefix tree: the common ground of parsing and of next-token inference.

Rules sorted by their tuples put all rules that share a prefix next to each other, so a prefix of i children is a
*state*: a range of the sorted rules. Reading a child moves from a state of length i-1 to one of length i. There are at
most v m states of each length, whatever v^s is, so nothing overflows for long tuples.
"""

from functools import cached_property

import numpy as np


# Transitions are a dense table while it has at most this many entries (64 MB), a sorted list of keys beyond.
DENSE_TABLE_LIMIT = 2**24


class PrefixTree:
    """Prefix tree of one level's production rules; rules of probability 0 are left out.

    Args:
        rules (`np.ndarray`): integers of shape `(symbols, rules per symbol, children)`.
        rule_probs (`np.ndarray`): shape `(symbols, rules per symbol)`.
        num_child_symbols (`int`): number of symbols of the level below.

    Attributes:
        order (`np.ndarray`): shape `(R,)`, the flat index `symbol * rules_per_symbol + rule` of the sorted rules.
        starts (`list[np.ndarray]`): entry i, i = 0..s, of shape `(states_i + 1,)`: state q of length i is the range
            `starts[i][q]:starts[i][q+1]` of the sorted rules. Length 0 has one state, length s one state a rule.
        keys (`list[np.ndarray]`): entry i, i = 1..s, sorted int64 of shape `(states_i,)`: the state that is reached
            from state q by child symbol x has key `q * num_child_symbols + x`. Entry 0 is empty.
    """

    def __init__(self, rules: np.ndarray, rule_probs: np.ndarray, num_child_symbols: int):
        _, rules_per_symbol, tuple_size = rules.shape
        flat = rules.reshape(-1, tuple_size)
        possible = np.flatnonzero(rule_probs.ravel() > 0)
        self.rules_per_symbol = rules_per_symbol
        self.num_child_symbols = num_child_symbols
        self.order: np.ndarray = possible[np.lexsort(flat[possible].T[::-1])]
        self.sorted_rules: np.ndarray = flat[self.order]
        num_rules = len(self.order)
        self.starts: list[np.ndarray] = [np.array([0, num_rules])]
        self.keys: list[np.ndarray] = [np.empty(0, dtype=np.int64)]
        state = np.zeros(num_rules, dtype=np.int64)  # of every sorted rule, at the current length
        for child in range(tuple_size):
            key = state * num_child_symbols + self.sorted_rules[:, child]
            is_first = np.ones(num_rules, dtype=bool)
            is_first[1:] = key[1:] != key[:-1]
            state = np.cumsum(is_first) - 1
            self.starts.append(np.append(np.flatnonzero(is_first), num_rules))
            self.keys.append(key[is_first])

    @property
    def tuple_size(self) -> int:
        return len(self.keys) - 1

    def duplicate(self) -> tuple[int, int] | None:
        """The flat indices of two rules with the same tuple, or None where the rules are unambiguous."""
        sizes = np.diff(self.starts[-1])
        if not len(sizes) or sizes.max() == 1:
            return None
        first = self.starts[-1][np.argmax(sizes)]
        return int(self.order[first]), int(self.order[first + 1])

    @cached_property
    def tables(self) -> list[np.ndarray | None]:
        """Entry i = 1..s: int32 of shape `(states_(i-1), num_child_symbols)`, the next state or -1; None if large."""
        tables: list[np.ndarray | None] = [None]
        for length in range(1, self.tuple_size + 1):
            shape = (len(self.starts[length - 1]) - 1, self.num_child_symbols)
            if shape[0] * shape[1] > DENSE_TABLE_LIMIT:
                tables.append(None)
                continue
            table = np.full(shape, -1, dtype=np.int32)
            table.ravel()[self.keys[length]] = np.arange(len(self.keys[length]), dtype=np.int32)
            tables.append(table)
        return tables

    def step(self, length: int, states: np.ndarray, symbols: np.ndarray) -> np.ndarray:
        """States of `length` children after reading `symbols` in `states` of `length - 1`; -1 where no rule fits."""
        dead = states < 0
        if (table := self.tables[length]) is not None:
            return np.where(dead, -1, table[np.where(dead, 0, states), symbols])
        keys = self.keys[length]
        wanted = np.where(dead, -1, states.astype(np.int64) * self.num_child_symbols + symbols)
        found = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        return np.where(keys[found] == wanted, found, -1)

    def find(self, tuples: np.ndarray) -> np.ndarray:
        """Flat index `symbol * rules_per_symbol + rule` of every tuple, -1 where it is no rule.

        Args:
            tuples (`np.ndarray`): integers of shape `(..., children)`.
        """
        states = np.zeros(tuples.shape[:-1], dtype=np.int64)
        for child in range(self.tuple_size):
            states = self.step(child + 1, states, tuples[..., child])
        return np.where(states < 0, -1, self.order[np.maximum(states, 0)])
