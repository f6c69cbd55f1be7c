"""Sentences and derivations of a general grammar as a pure function of (seed, split, index)."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from ..sentences.permutation import philox_key
from ..sentences.sampling import MAX_ATTEMPTS, REGIONS
from .rules import Rules


BATCH = 2**14  # sentences that are derived together


@dataclass
class Drawn:
    """Sentences with their derivations, in pieces: rows, tokens, rules, and the ends of both."""

    num: int
    pieces: list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]] = field(default_factory=list)

    def lengths(self) -> np.ndarray:
        """int64 `(num,)`: the numbers of tokens."""
        lengths = np.zeros(self.num, dtype=np.int64)
        for rows, _, _, ends in self.pieces:
            lengths[rows] = np.diff(ends[:, 0])
        return lengths

    def padded(self, pad: int, dtype: np.dtype) -> np.ndarray:
        """`(num, longest)`: the sentences, filled up with `pad`."""
        from .expand import pad_rows

        lengths = self.lengths()
        padded = np.empty((self.num, int(lengths.max(initial=0))), dtype=dtype)
        for rows, tokens, _, ends in self.pieces:
            pad_rows(tokens, ends, rows, padded.dtype.type(pad), padded)
        return padded

    def derivations(self) -> list[np.ndarray]:
        """The rules of every derivation."""
        found = [None] * self.num
        for rows, _, rules, ends in self.pieces:
            for i, row in enumerate(rows.tolist()):
                found[row] = rules[ends[i, 1] : ends[i + 1, 1]].copy()
        return found


class Plan:
    """What the kernel reads: alias tables of every symbol's rules.

    Args:
        rules ([`Rules`]): the rules.
        size (`float`): about how many tokens a sentence has; arrays begin with as much room.
    """

    def __init__(self, rules: Rules, size: float):
        from ..sentences.expansion import alias_tables

        self.rules, self.size = rules, size
        self.limits = np.zeros(rules.num_rules, dtype=np.uint64)
        self.aliases = np.zeros(rules.num_rules, dtype=np.int64)
        for a in range(rules.num_symbols):
            those = slice(rules.rules_of(a).start, rules.rules_of(a).stop)
            limits, aliases = np.zeros((1, those.stop - those.start), np.uint64), np.zeros((1, len(self.limits[those])), "i4")
            alias_tables(rules.probs[None, those], limits, aliases)
            self.limits[those], self.aliases[those] = limits[0], aliases[0] + those.start

    def derive(self, key: np.ndarray, attempt: int, indices: np.ndarray):
        """Tokens, rules and ends of the sentences of these indices."""
        from .expand import derive

        room = int(len(indices) * (self.size + 1)) + 64
        tokens, rules = np.empty(room, np.int32), np.empty(room, np.int32)
        stack, ends, done = np.empty(256, np.int64), np.zeros((len(indices) + 1, 2), np.int64), 0
        r = self.rules
        while True:
            done = derive(
                key, np.uint64(attempt), indices, r.vocab_size, r.starts, r.rights, r.first_rules, self.limits,
                self.aliases, tokens, rules, stack, ends, done,
            )  # fmt: skip
            if done == len(indices):
                return tokens[: ends[-1, 0]].copy(), rules[: ends[-1, 1]].copy(), ends
            tokens, rules, stack = (np.concatenate([a, np.empty_like(a)]) for a in (tokens, rules, stack))


def batches(start: int, num: int) -> Iterator[tuple[int, int]]:
    """Pairs (first row, number of rows) of what is derived together."""
    return ((row, min(BATCH, num - row)) for row in range(0, num, BATCH))


def draw(plan: Plan, num: int, seed: int, purpose: str, start: int, region: str | None = None) -> Drawn:
    """Draws sentences `start .. start + num - 1`.

    Args:
        purpose (`str`): with the seed, the key of the random numbers: the split.
        region (`str`, *optional*): the split whose hash region the sentences must lie in: sentence i is the first of
            its draws that does.

    Raises:
        `ValueError`: where no draw of a sentence falls into its region.
    """
    from .expand import hash_rows

    key, hash_key, drawn = philox_key(seed, purpose), philox_key(seed, "disjoint"), Drawn(num)
    for first, count in batches(start, num):
        missing = np.arange(first, first + count)
        for attempt in range(MAX_ATTEMPTS):
            tokens, rules, ends = plan.derive(key, attempt, start + missing)
            if region is None:
                drawn.pieces.append((missing, tokens, rules, ends))
                missing = missing[:0]
                break
            hashes = np.empty(len(missing), dtype=np.uint64)
            hash_rows(tokens, ends, hash_key, hashes)
            tenths = hashes // np.uint64(2**64 // 10 + 1)
            inside = (tenths >= REGIONS[region][0]) & (tenths < REGIONS[region][1])
            if inside.any():
                drawn.pieces.append((missing[inside], *_kept(tokens, rules, ends, inside)))
            missing = missing[~inside]
            if not len(missing):
                break
        if len(missing):
            raise ValueError(
                f"disjoint=True leaves split={region!r} (almost) without sentences: none of {MAX_ATTEMPTS} draws with "
                f"seed={seed} fell into its region; use disjoint=False or a larger grammar"
            )
    return drawn


def _kept(tokens, rules, ends, inside):
    """The tokens, rules and ends of some of the sentences."""
    sizes = np.diff(ends, axis=0)
    kept_ends = np.concatenate([np.zeros((1, 2), np.int64), np.cumsum(sizes[inside], axis=0)])
    return tokens[np.repeat(inside, sizes[:, 0])], rules[np.repeat(inside, sizes[:, 1])], kept_ends
