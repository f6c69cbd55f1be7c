"""Products <C_1, C_2> of laws from separate blocks, without bias, and the variance of sums of such products.

U and D are sums c_12 <C_1, C_2> + .. over parts (halves of texts) that share no block. Each C is the truth plus
noise, so that the variance has two kinds of terms: *linear*, the noise of one part times what is true of the others,
and *bilinear*, noise times noise, which is all that is left where there is no signal. A jackknife of part 1 with the
others held fixed counts its linear term once, but each bilinear term is counted by the jackknives of both of its
parts: up to sqrt(2) too large a standard error (Efron and Stein, Ann. Stat. 9, 586, 1981). So bilinear terms are
measured apart.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .pair_laws import BlockTable, PairLaw


MIN_BLOCKS = 4  # two a half, for a jackknife of each
CHUNK_ENTRIES = 2**19  # of sparse laws that are multiplied at a time: 16 bytes for each and law


class LawStack:
    """Laws of one pattern, for all their inner products at once.

    Args:
        laws (`Sequence[PairLaw]`): dense ones of one shape, or sparse ones of one pattern.
    """

    def __init__(self, laws: Sequence[PairLaw]):
        self.laws: Sequence[PairLaw] = laws
        self.scale: np.ndarray = np.array([law.unbiased for law in laws])
        self._kept: tuple[np.ndarray, np.ndarray] | None = None
        if not laws[0].is_sparse:
            self.connected: np.ndarray = self._connected().reshape(len(laws), -1)

    def _connected(self) -> np.ndarray:
        """C of dense laws, `(laws, left, right)`."""
        if len(self.laws[0].left) > 1:
            return np.stack([law.connected for law in self.laws])
        left, right = (self._marginals(side)[:, 0] for side in ("left", "right"))
        return np.stack([law.values for law in self.laws]) - left[:, :, None] * right[:, None]

    def products_with(self, other: "LawStack") -> np.ndarray:
        """<C_i, C'_j> of both stacks, unbiased, `(laws, other laws)`; see [`PairLaw.inner`]."""
        scale = self.scale[:, None] * other.scale
        if not self.laws[0].is_sparse:
            return scale * (self.connected @ other.connected.T)
        sums = np.zeros(scale.shape)
        for start in range(0, len(self.laws[0].values), CHUNK_ENTRIES):
            part = slice(start, start + CHUNK_ENTRIES)
            values, products = self._entries(part)
            their_values, their_products = other._entries(part)
            sums += values @ (their_values - their_products).T - products @ their_values.T
        left, right = (
            np.einsum("ika,jla->ijkl", self._marginals(side), other._marginals(side)) for side in ("left", "right")
        )
        return scale * (sums + (left * right).mean((2, 3)))

    def _entries(self, part: slice) -> tuple[np.ndarray, np.ndarray]:
        """J and mean_k p_k q_k at some of the entries, `(laws, entries)`; kept where these are all."""
        if self._kept is not None:
            return self._kept
        values = np.stack([law.values[part] for law in self.laws])
        products = np.stack([law.products_at(part) for law in self.laws])
        if values.shape[1] == len(self.laws[0].values):
            self._kept = values, products
        return values, products

    def _marginals(self, side: str) -> np.ndarray:
        return np.stack([getattr(law, side) for law in self.laws])


@dataclass(frozen=True)
class ProductSum:
    """sum over pairs of parts of c_ij <C_i, C_j>, and its variance.

    Attributes:
        value (`float`): unbiased where rows (or blocks) are independent.
        linear (`np.ndarray`): `(parts,)`, linear terms of the variance.
        bilinear (`np.ndarray`): `(parts, parts)`, symmetric; the bilinear term of every pair.
        left_out (`list[np.ndarray]`): of every part, the sum with one of its blocks left out at a time.
    """

    value: float
    linear: np.ndarray
    bilinear: np.ndarray
    left_out: list[np.ndarray]

    def variance(self, unseen: np.ndarray | float = 1.0, kept: np.ndarray | float = 1.0) -> float:
        """The variance of the sum.

        Args:
            unseen (`np.ndarray`, *optional*, defaults to 1): `(parts,)`, the finite-population factor of every part,
                1 - (P-1)/(P_max-1).
            kept (`np.ndarray`, *optional*, defaults to 1): `(parts, parts)`, how much of each bilinear term the
                estimate has.
        """
        linear, bilinear = self._terms(unseen, kept)
        # Estimated linear terms may be negative where there is no signal; the sum is at least about the bilinear part.
        return max(linear + bilinear, bilinear / 2)

    def _terms(self, unseen: np.ndarray | float, kept: np.ndarray | float) -> tuple[float, float]:
        """The linear and the bilinear part of the variance."""
        factors = np.broadcast_to(unseen, self.linear.shape)
        # The jackknife of a part sees the noise of another one in its product, which of rows drawn without replacement
        # is less than `bilinear` took off.
        linear = self.linear + self.bilinear @ ((1 - factors) / 2)
        return float(linear @ factors), float((self.bilinear * kept * np.outer(factors, factors)).sum() / 2)

    def square_interval(
        self,
        value: float,
        noise: float,
        directions: int,
        quantile: float,
        unseen: np.ndarray | float = 1.0,
        kept: np.ndarray | float = 1.0,
    ) -> tuple[float, float]:
        """Where a square lies, ||C||^2 or ||C - C'||^2, of which `value` is an estimate: a score interval.

        The linear part of the variance is in proportion to ||C||^2, so that its estimate comes out small where the
        value does: value -/+ quantile errors covers 85 % of a nominal 95 where the signal is about the noise. As in
        Wilson's interval of a binomial share, the ends here are those u that are `quantile` errors away from the value
        *with the variance that they would have at u*, bilinear + slope u. The slope is linear / value where the value
        is clear of the noise; below, that of noise which is the same in all directions.

        Args:
            value (`float`): the estimate.
            noise (`float`): E of the square of all that was counted, without any signal.
            directions (`int`): of C, over which it is spread; in fewer of them noise times noise would be larger.
            quantile (`float`): of Student's t.
            unseen, kept: see [`ProductSum.variance`].
        """
        linear, bilinear = self._terms(unseen, kept)
        raw, share = float(self.bilinear.sum() / 2), float(np.mean(unseen))
        # Of few blocks the bilinear term is a product of few numbers, most often far below its mean.
        least = 4 * (noise / share) ** 2 / max(directions, 1)
        if raw < least:
            raw, bilinear = least, least * share**2 * float(np.max(kept))
        clear, alike = max(value, 0.0) ** 2, raw * share**2 / noise if noise > 0 else 0.0
        weight = clear / (clear + 4 * raw) if clear > 0 else 0.0
        slope = weight * max(linear, 0.0) / value + (1 - weight) * alike if value > 0 else alike
        middle = value + quantile**2 * slope / 2
        reach = np.sqrt(max(middle**2 - value**2 + quantile**2 * bilinear, 0.0))
        return max(float(middle - reach), 0.0), max(float(middle + reach), 0.0)


class Products:
    """All products of some parts, and of the same with one block left out at a time, to be summed in any way.

    Args:
        parts (`Sequence[PairLaw]`): C_i, of separate blocks.
        left_out (`Sequence[Sequence[PairLaw]]`): of every part, its laws with one block left out at a time, two or
            more.
    """

    def __init__(self, parts: Sequence[PairLaw], left_out: Sequence[Sequence[PairLaw]]):
        whole, stacks = LawStack(parts), [LawStack(laws) for laws in left_out]
        self.whole: np.ndarray = whole.products_with(whole)
        self.one_sided: list[np.ndarray] = [stack.products_with(whole) for stack in stacks]
        self.interactions: np.ndarray = np.zeros((len(parts), len(parts)))  # bilinear terms for coefficients of 1
        for i, j in zip(*np.tril_indices(len(parts), -1), strict=True):
            cross = stacks[i].products_with(stacks[j])
            cross = cross - cross.mean(0) - cross.mean(1)[:, None] + cross.mean()
            self.interactions[i, j] = np.prod(np.array(cross.shape) - 1) * (cross**2).mean()
        self.interactions += self.interactions.T

    def sum(self, coefficients: np.ndarray) -> ProductSum:
        """sum of c_ij <C_i, C_j> over pairs of parts, c symmetric `(parts, parts)`; its diagonal is not used."""
        coefficients = np.where(np.eye(len(self.whole), dtype=bool), 0.0, coefficients)
        value = float((coefficients * self.whole).sum() / 2)
        bilinear = coefficients**2 * self.interactions
        changes = [own @ row for own, row in zip(self.one_sided, coefficients, strict=True)]
        linear = np.array([(len(change) - 1) * change.var() for change in changes]) - bilinear.sum(1)
        fixed = (coefficients * self.whole).sum(1)
        left_out = [value - part + change for part, change in zip(fixed, changes, strict=True)]
        return ProductSum(value, linear, bilinear, left_out)


def half_products(table: BlockTable) -> ProductSum | None:
    """<C_1, C_2> of two interleaved halves; without a variance of fewer than four blocks, None of a single one."""
    if len(table.occupied) < 2:
        return None
    halves = table.halves
    laws = [table.law(weights) for weights in halves]
    if len(table.occupied) < MIN_BLOCKS:
        value = laws[0].inner(laws[1]) * laws[0].unbiased * laws[1].unbiased
        return ProductSum(value, np.empty(0), np.empty((0, 0)), [])
    left_out = [list(table.left_out(weights)) for weights in halves]
    return Products(laws, left_out).sum(np.ones((2, 2)))


def distinct_rows_square(law: PairLaw, population: float) -> float:
    """An unbiased estimate of ||C||^2 of a whole population of which n distinct rows were drawn, one pair a row.

    ||C||^2 is the mean over four rows 1..4, drawn with replacement, of h = <a_1-a_2, a_3-a_4> <b_1-b_2, b_3-b_4> / 4,
    a and b the unit vectors of left and right members. A sample estimates the mean of h over *distinct* rows, and what
    four draws from a finite population add where rows coincide: T_3 for one coincidence, T_2 for two. Both the
    sample's (n) and the population's (N) follow from the counts, so nothing is left out: with n = N it is exact.

    Args:
        law ([`PairLaw`]): counted, pooled, of four pairs at least.
        population (`float`): N, rows that there are.
    """
    n = law.num_pairs
    left, right = law.left[0], law.right[0]
    squares, of_left, of_right = float((law.values**2).sum()), float(left @ left), float(right @ right)
    mixed = float((law.values * law.products).sum())
    same_left, same_right = (n * of_left - 1) / (n - 1), (n * of_right - 1) / (n - 1)
    same_both = (n * squares - 1) / (n - 1)
    # Left members of rows 1, 2 equal and right members of rows 1, 3, all rows distinct.
    chained = (n**2 * mixed - n * of_left - n * of_right - n * squares + 2) / ((n - 1) * (n - 2))
    two = 4 * (1 - same_left - same_right + same_both)
    three = 1 - same_left - same_right + 3 * same_both - 2 * chained

    def shares(size: float) -> tuple[float, float, float]:
        """Of four draws with replacement: all distinct, in one of the four ways one coincides, in one of two both."""
        ones = (1 - 1 / size) * (1 - 2 / size)
        return ones * (1 - 3 / size), ones / size, (1 - 1 / size) / size**2 / 2

    distinct, once, twice = shares(n)
    of_distinct = (law.inner(law) - once * three - twice * two) / distinct
    distinct, once, twice = shares(population)
    return distinct * of_distinct + once * three + twice * two
