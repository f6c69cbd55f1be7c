"""Sentences and derivations of a general grammar as a pure function of (key, attempt, index)."""

from dataclasses import dataclass

import numpy as np

from .production_rules import Rules


@dataclass(frozen=True, eq=False)
class Drawn:
    """Derivations and their sentences, one after the other.

    Args:
        tokens, rules (`np.ndarray`): int32, the tokens and the rules (leftmost symbol first) of all.
        ends (`np.ndarray`): int64 `(num + 1, 2)`: sentence i has `tokens[ends[i, 0] : ends[i + 1, 0]]` and the rules
            `rules[ends[i, 1] : ends[i + 1, 1]]`.
    """

    tokens: np.ndarray
    rules: np.ndarray
    ends: np.ndarray

    @property
    def lengths(self) -> np.ndarray:
        """int64 `(num,)`: the numbers of tokens."""
        return np.diff(self.ends[:, 0])

    def padded(self, pad: int, dtype: np.dtype) -> np.ndarray:
        """`(num, longest)`: the sentences, filled up with `pad`."""
        from .derivation_kernels import pad_rows

        padded = np.empty((len(self.ends) - 1, int(self.lengths.max(initial=0))), dtype=dtype)
        pad_rows(self.tokens, self.ends, padded.dtype.type(pad), padded)
        return padded

    def rules_of(self, row: int) -> np.ndarray:
        """int32: the rules of a derivation."""
        return self.rules[self.ends[row, 1] : self.ends[row + 1, 1]].copy()


class Plan:
    """What the kernel reads: alias tables of every symbol's rules.

    Args:
        rules ([`Rules`]): the rules.
        size (`float`): about how many tokens and rules a sentence has; arrays begin with as much room.
    """

    def __init__(self, rules: Rules, size: float):
        from ..sentences.expansion import alias_tables

        self.rules: Rules = rules
        self.size: float = size
        self.limits: np.ndarray = np.zeros(rules.num_rules, dtype=np.uint64)
        self.aliases: np.ndarray = np.zeros(rules.num_rules, dtype=np.int64)
        for a in range(rules.num_symbols):
            those = slice(rules.rules_of(a).start, rules.rules_of(a).stop)
            probs = rules.probs[None, those]
            limits, aliases = np.zeros(probs.shape, np.uint64), np.zeros(probs.shape, np.int32)
            alias_tables(probs, limits, aliases)
            self.limits[those], self.aliases[those] = limits[0], aliases[0] + those.start

    def draw(self, key: np.ndarray, attempt: int, indices: np.ndarray) -> Drawn:
        """The derivations of these indices.

        Args:
            key (`np.ndarray`): uint64 `(2,)`, of the generator.
            attempt (`int`): another one gives other derivations, independently.
            indices (`np.ndarray`): int64 `(num,)`, each in `[0, 2^63)`.
        """
        from .derivation_kernels import derive

        room = int(len(indices) * (self.size + 1)) + 64
        tokens, rules = np.empty(room, np.int32), np.empty(room, np.int32)
        stack, ends, done = np.empty(256, np.int64), np.zeros((len(indices) + 1, 2), np.int64), 0
        r, indices = self.rules, np.ascontiguousarray(indices, dtype=np.int64)
        while True:
            done = derive(
                key, np.uint64(attempt), indices, r.vocab_size, r.starts, r.rights, r.first_rules, self.limits,
                self.aliases, tokens, rules, stack, ends, done,
            )  # fmt: skip
            if done == len(indices):
                return Drawn(tokens[: ends[-1, 0]], rules[: ends[-1, 1]], ends)
            tokens, rules, stack = (np.concatenate([a, np.empty_like(a)]) for a in (tokens, rules, stack))
