"""The joint law of two tokens and its connected part C = J - p q^T, dense or sparse."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np


CHUNK_ENTRIES = 2**20  # of dense laws that are made at a time


@dataclass(frozen=True)
class PairLaw:
    """The law J of pairs (left, right), and what independent pairs would have: the mean of K products p_k q_k^T.

    Args:
        values (`np.ndarray`): J, `(left, right)`, or the `(nnz,)` values of its entries at `rows` and `columns`.
        left, right (`np.ndarray`): marginals `(K, left)` and `(K, right)`. K = 1 and J's own marginals where positions
            are pooled, one pair of marginals a position where they are centred by position.
        num_pairs (`float`): the pairs that J was counted on; infinite for an exact law.
        rows, columns (`np.ndarray`, *optional*): of the entries of a sparse J.
    """

    values: np.ndarray
    left: np.ndarray
    right: np.ndarray
    num_pairs: float = np.inf
    rows: np.ndarray | None = None
    columns: np.ndarray | None = None

    @classmethod
    def of(
        cls,
        values: np.ndarray,
        num_pairs: float = np.inf,
        marginals: tuple[np.ndarray, np.ndarray] | None = None,
        pattern: tuple[np.ndarray, np.ndarray] | None = None,
        shape: tuple[int, int] | None = None,
    ) -> "PairLaw":
        """From J, with its own marginals unless others are given; a sparse J needs its pattern and shape."""
        if pattern is None:
            left, right = marginals or (values.sum(1)[None], values.sum(0)[None])
            return cls(values, left, right, num_pairs)
        rows, columns = pattern
        if marginals is None:
            marginals = np.bincount(rows, values, shape[0])[None], np.bincount(columns, values, shape[1])[None]
        return cls(values, *marginals, num_pairs, rows, columns)

    @property
    def num_entries(self) -> int:
        """v^2, or the number of left ids times that of right ones."""
        return self.left.shape[1] * self.right.shape[1]

    @property
    def num_directions(self) -> int:
        """Of C, whose rows and columns sum to 0."""
        return (self.left.shape[1] - 1) * (self.right.shape[1] - 1)

    @property
    def is_sparse(self) -> bool:
        return self.rows is not None

    @cached_property
    def connected(self) -> np.ndarray:
        """C as a dense matrix; of a dense law only."""
        return self.values - np.einsum("ka,kb->ab", self.left, self.right) / len(self.left)

    def inner(self, other: "PairLaw") -> float:
        """sum over all pairs of C_1 C_2, of laws with one pattern.

        Sparse: <J1, J2> - <J1, p2 q2> - <J2, p1 q1> + <p1, p2> <q1, q2>, only the first three over the entries of J.
        Sums here are einsum's: those of BLAS would start threads for a few microseconds' work, thousands of times.
        """
        if not self.is_sparse:
            return float(np.einsum("ab,ab->", self.connected, other.connected))
        left, right = (np.einsum("ka,la->kl", a, b) for a, b in ((self.left, other.left), (self.right, other.right)))
        sums = np.einsum("i,i->", self.values, other.values - other.products)
        sums -= np.einsum("i,i->", other.values, self.products)
        return float(sums + (left * right).mean())

    @cached_property
    def products(self) -> np.ndarray:
        """mean_k p_k q_k at the entries of J."""
        return self.products_at(slice(None)) if self.is_sparse else self.values - self.connected

    def products_at(self, part: slice) -> np.ndarray:
        """The same at some of the entries of a sparse J."""
        rows, columns = self.rows[part], self.columns[part]
        return sum(p[rows] * q[columns] for p, q in zip(self.left, self.right, strict=True)) / len(self.left)

    @property
    def unbiased(self) -> float:
        """What makes C of independent pairs unbiased, n / (n - 1): E p q^T is C / n above the product of the laws.

        Where positions are centred one by one, n is the number of rows. 1 for an exact law.
        """
        rows = self.num_pairs / len(self.left)
        return rows / (rows - 1) if 1 < rows < np.inf else 1.0

    @property
    def correlation(self) -> float:
        """C~, the root mean square of C over all pairs: the Frobenius norm over v."""
        return float(np.sqrt(max(self.inner(self), 0.0) / self.num_entries))

    @property
    def noise(self) -> float:
        """floor^2 = (1 - S_p)(1 - S_q) / (v^2 n), S = sum p^2: E C~^2 of n pairs of independent tokens."""
        spread = (1 - (self.left**2).sum(1)) * (1 - (self.right**2).sum(1))
        return float(np.maximum(spread, 0).mean() / (self.num_entries * self.num_pairs))

    def operator_norm(self) -> float:
        """The largest singular value of C: of small dense laws directly, else by Lanczos iterations on x -> C x."""
        if not self.is_sparse and max(self.values.shape) <= 512:
            return float(np.linalg.norm(self.connected, 2))
        from scipy.sparse.linalg import LinearOperator, svds  # here: few need it, and it takes a while to import

        shape = self.left.shape[1], self.right.shape[1]
        operator = LinearOperator(
            shape, dtype=np.float64, matvec=self._times, rmatvec=lambda x: self._times(x, transposed=True)
        )
        start = np.random.default_rng(0).normal(size=min(shape))  # fixed: the same law, the same figure
        return float(svds(operator, k=1, v0=start, return_singular_vectors=False)[0])

    def _times(self, vector: np.ndarray, transposed: bool = False) -> np.ndarray:
        """C x, or C^T x."""
        vector = np.ravel(vector)
        left, right = (self.right, self.left) if transposed else (self.left, self.right)
        if not self.is_sparse:
            product = self.values.T @ vector if transposed else self.values @ vector
        else:
            rows, columns = (self.columns, self.rows) if transposed else (self.rows, self.columns)
            product = np.bincount(rows, self.values * vector[columns], left.shape[1])
        return product - (right @ vector) @ left / len(left)

    def mutual_information(self) -> float:
        """I = sum J ln(J / (p q)) in nats, of pooled positions, less the leading bias of n pairs (Miller, Madow).

        The bias is (K_pairs - K_left - K_right + 1) / (2 n), K the number of values that occur.
        """
        if len(self.left) > 1:
            raise ValueError("mutual information of laws centred by position: count with center='pooled'")
        p, q = self.left[0], self.right[0]
        values = self.values[self.values > 0]
        occurring = (self.rows, self.columns) if self.is_sparse else np.nonzero(self.values)
        rows, columns = (o[self.values > 0] for o in occurring) if self.is_sparse else occurring
        information = values @ np.log(values / (p[rows] * q[columns]))
        bias = (len(values) - np.count_nonzero(p) - np.count_nonzero(q) + 1) / (2 * self.num_pairs)
        return float(information - bias)


def jackknife_variance(left_out: Sequence[float]) -> float:
    """Of an estimate, from its values with one block left out at a time."""
    return (len(left_out) - 1) * float(np.var(left_out))


class BlockTable:
    """The counts of one distance by block, to be summed with any weights.

    Args:
        counts (`np.ndarray` or `tuple`): `(blocks, left, right)`, or sorted keys and counts of a sparse table.
        shape (`tuple[int, int, int]`): blocks, left, right.
        distance (`int`): t.
        positions (`np.ndarray`, *optional*): `(blocks, d, v)`, the counts of tokens at each position, to centre by.
        num_left (`int`, *optional*): ids from here on are no left members.
    """

    def __init__(
        self,
        counts: np.ndarray | tuple[np.ndarray, np.ndarray],
        shape: tuple[int, int, int],
        distance: int,
        positions: np.ndarray | None = None,
        num_left: int | None = None,
    ):
        self.num_blocks: int = shape[0]
        self.num_right: int = shape[2]
        rows = shape[1]
        self.num_left: int = rows if num_left is None else num_left
        self.distance: int = distance
        self.positions: np.ndarray = positions
        self.pattern: tuple[np.ndarray, np.ndarray] | None = None
        self._sums: list[tuple[np.ndarray, np.ndarray]] = []
        if isinstance(counts, tuple):
            keys, self._counts = counts
            self._block, pair = np.divmod(keys, rows * self.num_right)
            counted = pair < self.num_left * self.num_right
            pair, self._block, self._counts = pair[counted], self._block[counted], self._counts[counted]
            pairs, self._entry = np.unique(pair, return_inverse=True)
            self.pattern = np.divmod(pairs, self.num_right)
            self.pairs_per_block: np.ndarray = np.bincount(self._block, self._counts, self.num_blocks)
            self._bounds = np.searchsorted(self._block, np.arange(self.num_blocks + 1))  # keys are sorted by block
        else:
            self._counts = np.ascontiguousarray(counts[:, : self.num_left]).reshape(self.num_blocks, -1)
            self.pairs_per_block = self._counts.sum(1).astype(np.float64)

    @property
    def occupied(self) -> np.ndarray:
        """The blocks that hold any pair."""
        return np.flatnonzero(self.pairs_per_block)

    @property
    def halves(self) -> np.ndarray:
        """Weights `(2, blocks)` of two interleaved halves of the occupied blocks."""
        weights = np.zeros((2, self.num_blocks))
        for half in range(2):
            weights[half, self.occupied[half::2]] = 1
        return weights

    def law(self, weights: np.ndarray | None = None) -> PairLaw:
        """The law of the weighted sum of the blocks, all of weight 1 by default. Some pair must have weight."""
        weights = np.ones(self.num_blocks) if weights is None else weights
        num_pairs = float(weights @ self.pairs_per_block)
        shape = (self.num_left, self.num_right)
        values = self._weighted(weights)
        values = values.reshape(shape) if self.pattern is None else values
        return PairLaw.of(values / num_pairs, num_pairs, self._marginals(weights), self.pattern, shape)

    def left_out(self, weights: np.ndarray) -> Iterator[PairLaw]:
        """The laws of the same sum without each of the blocks that have a weight, in turn."""
        blocks = np.flatnonzero(weights)
        if self.pattern is not None or self.positions is not None:
            for block in blocks:
                kept = weights.copy()
                kept[block] = 0
                yield self.law(kept)
            return
        whole, num_pairs = self._weighted(weights), float(weights @ self.pairs_per_block)
        for part in np.array_split(blocks, 1 + len(blocks) * len(whole) // CHUNK_ENTRIES):  # many small laws at once
            pairs = num_pairs - weights[part] * self.pairs_per_block[part]
            values = whole - weights[part, None] * self._counts[part]
            values = (values / pairs[:, None]).reshape(len(part), self.num_left, self.num_right)
            yield from map(PairLaw, values, values.sum(2)[:, None], values.sum(1)[:, None], pairs.tolist())

    def _weighted(self, weights: np.ndarray) -> np.ndarray:
        """The weighted sum of the blocks, from an earlier one that differs in few blocks.

        Jackknives leave one block out at a time. Sums of counts are whole numbers, exact in either order.
        """
        known = min(self._sums, key=lambda pair: np.count_nonzero(weights - pair[0]), default=None)
        if known is None or np.count_nonzero(weights - known[0]) > np.count_nonzero(weights) / 2:
            entries = self._counts.shape[1] if self.pattern is None else len(self.pattern[0])
            known = np.zeros(self.num_blocks), np.zeros(entries)
        values = known[1].copy()
        for block in np.flatnonzero(weights - known[0]):
            change = weights[block] - known[0][block]
            if self.pattern is None:
                values += change * self._counts[block]
            else:  # an entry occurs once a block
                own = slice(*self._bounds[block : block + 2])
                values[self._entry[own]] += change * self._counts[own]
        if not known[0].any():
            self._sums = [*self._sums[-2:], (weights.copy(), values)]  # two halves and the whole
        return values

    def _marginals(self, weights: np.ndarray):
        if self.positions is None:
            return None
        laws = np.tensordot(weights, self.positions, 1)
        laws /= laws.sum(1, keepdims=True)
        return laws[: len(laws) - self.distance], laws[self.distance :]
