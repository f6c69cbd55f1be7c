"""`token_correlations`: C~(t) of any token stream, its noise, its decay and the effective context.

J_t is the law of two tokens at distance t, C_t = J_t - p q^T its connected part, p and q J's own left and right
marginals. The correlation function C~(t) is the root mean square of C_t over all pairs of symbols (Cagnetta and Wyart,
arXiv 2406.00048). n pairs of independent symbols have, on average, C~^2 = floor^2 = (1 - S_p)(1 - S_q) / (v^2 n) with
S = sum p^2. U = <C, C'> / v^2 of two halves of the corpus estimates C~^2 without that noise. It is unbiased: each C is
that of independent pairs times n / (n - 1), and of rows drawn without replacement (whose halves are anticorrelated) U
is the estimate of `products.distinct_rows_square`, exact where all rows were drawn.
"""

from collections.abc import Iterable
from functools import cached_property
from typing import Any

import numpy as np

from ...checks import PositiveInt, check_integer, checked
from ..intervals import check_confidence, student
from .decay import (
    EffectiveContextCurve,
    PowerLawFit,
    context_curve,
    context_interval,
    last_above,
    power_law,
)
from .pair_counts import PairCounts
from .pair_laws import BlockTable, PairLaw, jackknife_variance
from .products import MIN_BLOCKS, distinct_rows_square, half_products
from .token_inputs import count_tokens, drawn_from


class TokenCorrelations:
    """The correlations of a corpus, from its [`PairCounts`]. Arrays have one entry a distance.

    Args:
        counts ([`PairCounts`]): of the corpus.
        population (`int`, *optional*): P_max, where the P rows were drawn from so many equiprobable ones without
            replacement (`sampling="unique"`): noise^2, and variances, are smaller by 1 - (P-1)/(P_max-1), and U has
            another estimator.

    Attributes:
        distances (`np.ndarray`): t, tokens.
        num_pairs (`np.ndarray`): n_t.
        correlation, correlation_stderr (`np.ndarray`): C~(t), noise included.
        noise_floor (`np.ndarray`): floor_t.
        noise_squares (`np.ndarray`): what noise adds to C~^2: floor_t^2, or more in a text whose pairs depend on
            each other.
        unseen (`float`): the finite-population factor, 1 without `population`.
        signal, signal_stderr (`np.ndarray`): U_t, an estimate of C~^2 without noise; it may be negative. From two
            interleaved halves of the blocks; where only one block holds pairs, C~^2 - floor^2.

    Standard errors are those of the delete-one-block jackknife, infinite where there are fewer than four blocks: they
    hold for text, whose pairs depend on each other, as long as blocks are much longer than that dependence. Where U is
    about the noise, its error depends on its own value: take [`TokenCorrelations.signal_interval`] for an interval.
    """

    @checked
    def __init__(self, counts: PairCounts, population: int | None = None):
        self.counts: PairCounts = counts
        self.population: int | None = population
        self.distances: np.ndarray = np.array(counts.distances)
        self._tables = [counts.blocks(t) for t in counts.distances]
        self._laws = [table.law() for table in self._tables]
        for t, law in zip(self.distances, self._laws, strict=True):
            if min(np.count_nonzero(side, axis=1).max() for side in (law.left, law.right)) == 1:
                raise ValueError(
                    f"tokens hold one distinct id at distance {t}, among the left members of pairs or the right ones: "
                    "correlations need two or more"
                )
        self.num_pairs: np.ndarray = np.array([round(law.num_pairs) for law in self._laws])
        self.correlation: np.ndarray = np.array([law.correlation for law in self._laws])
        self.unseen = 1.0
        if population is not None:
            rows, population = self._num_rows, check_integer("population", population, 2)
            if population < rows:
                raise ValueError(f"population={population} must be at least the number of distinct rows, {rows:.0f}")
            self.unseen: float = 1 - (rows - 1) / (population - 1)
        self.noise_floor: np.ndarray = np.sqrt([law.noise * self.unseen for law in self._laws])
        self._sums = [half_products(table) for table in self._tables]
        self.signal: np.ndarray = np.array([self._signal(i) for i in range(len(self._laws))])
        beyond = self.correlation**2 - self.signal if population is None else -np.inf
        self.noise_squares: np.ndarray = np.maximum(self.noise_floor**2, beyond)
        self.signal_stderr: np.ndarray = np.array([self._signal_stderr(i) for i in range(len(self._laws))])
        self.correlation_stderr: np.ndarray = np.array([self._correlation_stderr(i) for i in range(len(self._laws))])

    def _signal(self, index: int) -> float:
        law, sums = self._laws[index], self._sums[index]
        if self.population is not None and law.num_pairs >= 4:
            return distinct_rows_square(law, self.population) / law.num_entries
        if sums is None:
            return law.correlation**2 - law.noise * self.unseen
        return sums.value / law.num_entries

    def _signal_stderr(self, index: int) -> float:
        """Of the product of halves; of distinct rows all pairs of blocks count, not those of two halves only."""
        sums, unseen = self._sums[index], self.unseen
        if unseen == 0:
            return 0.0
        if sums is None or not len(sums.linear):
            return np.inf
        return float(np.sqrt(sums.variance(unseen, self._kept))) / self._laws[index].num_entries

    @property
    def _kept(self) -> float:
        """How much of noise times noise U has: of distinct rows, where all pairs of blocks count, half."""
        return 1.0 if self.population is None else 0.5

    @checked
    def signal_interval(self, confidence: float = 0.95) -> np.ndarray:
        """`(distances, 2)`: where C~^2 lies; 0 to infinity where there are fewer than four blocks."""
        freedom = max(min(len(table.occupied) for table in self._tables) - 2, 1)
        quantile = student(check_confidence(confidence), freedom)
        found = np.tile([0.0, np.inf], (len(self._laws), 1))
        for index, (law, sums) in enumerate(zip(self._laws, self._sums, strict=True)):
            if self.unseen == 0:
                found[index] = self.signal[index]
            elif sums is not None and len(sums.linear):
                square, noise = law.num_entries * self.signal[index], law.num_entries * self.noise_squares[index]
                ends = sums.square_interval(square, noise, law.num_directions, quantile, self.unseen, self._kept)
                found[index] = np.array(ends) / law.num_entries
        return found

    def _correlation_stderr(self, index: int) -> float:
        table = self._tables[index]
        if self.unseen == 0:
            return 0.0
        if len(table.occupied) < MIN_BLOCKS:
            return np.inf
        correlations = [law.correlation for law in table.left_out(table.halves.sum(0))]
        return float(np.sqrt(jackknife_variance(correlations) * self.unseen))

    @property
    def _num_rows(self) -> float:
        if self.counts.settings["anchor"] != "last":
            raise ValueError("population= is the number of sentences they were drawn from: it needs anchor='last'")
        return float(self.num_pairs.max())

    @cached_property
    def operator_norm(self) -> np.ndarray:
        """The largest singular value of C_t, noise included."""
        return np.array([law.operator_norm() for law in self._laws])

    @cached_property
    def mutual_information(self) -> np.ndarray:
        """I(x_i; x_(i+t)) in nats, the leading bias of finite counts removed: see [`PairLaw.mutual_information`]."""
        return np.array([law.mutual_information() for law in self._laws])

    @checked
    def law(self, distance: int) -> PairLaw:
        """J_t and C_t themselves."""
        return self._laws[self._index_of(distance)]

    @checked
    def blocks(self, distance: int) -> BlockTable:
        """The counts by block that J_t is the sum of."""
        return self._tables[self._index_of(distance)]

    def _index_of(self, distance: int) -> int:
        if distance not in self.distances:
            raise ValueError(f"distance={distance} was not counted: {self.distances.tolist()} were")
        return self.distances.tolist().index(distance)

    # Effective context.

    @property
    def effective_context(self) -> float:
        """t*, tokens: the last t such that U > floor^2 for it and every smaller measured t, interpolated in log t.

        0 where that holds for no t; the largest distance where it holds for all of them (see
        [`TokenCorrelations.effective_context_is_bound`]).
        """
        return last_above(self.distances, self.signal, self.noise_floor**2)[0]

    @checked
    def effective_context_interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """An interval of t*: up to where U exceeds floor^2 for sure, and up to where it may.

        From the intervals of U at every distance, so that it covers at least what it says; from 0 to infinity where
        there are fewer than four blocks, and up to infinity where U may exceed the noise at the largest distance.
        """
        floor = self.noise_floor**2
        return context_interval(self.distances, self.signal, self.signal_interval(confidence), floor)

    @property
    def effective_context_is_bound(self) -> bool:
        """Whether `effective_context` is only a lower bound: no measured distance falls below the noise."""
        return last_above(self.distances, self.signal, self.noise_floor**2)[1]

    @checked
    def effective_context_curve(self, sizes: Iterable[float]) -> EffectiveContextCurve:
        """t*(P): the floor of P pairs against the signal of this whole corpus, and z in t* ~ P^(1/z).

        Args:
            sizes (`Iterable[float]`): P, numbers of pairs: tokens of a text, sentences where `anchor="last"`.
        """
        sizes = np.asarray(list(sizes), dtype=np.float64)
        if not len(sizes) or not (np.isfinite(sizes) & (sizes >= 1)).all():
            raise ValueError(f"sizes={sizes.tolist()} must be one or more numbers >= 1")
        noise = np.array([law.noise * law.num_pairs for law in self._laws])
        if self.population is not None:
            sizes_left = np.clip(1 - (sizes - 1) / (self.population - 1), 0, None)
        else:
            sizes_left = np.ones(len(sizes))
        noise = noise / sizes[:, None] * sizes_left[:, None]
        return context_curve(self.distances, self.signal, sizes, noise, self.signal_interval())

    # Decay.

    @checked
    def fit(self, t_min: int | None = None, t_max: int | None = None, confidence: float = 0.95) -> PowerLawFit:
        """Fits C~ ~ t^-β to sqrt(U_t).

        Args:
            t_min, t_max (`int`, *optional*): the range of distances; by default all from the first one up to t*.
            confidence (`float`, *optional*, defaults to 0.95): of the interval.

        Returns:
            [`PowerLawFit`]: `.exponent`, `.interval`, which holds the choice of range, `.amplitude`, the range used.

        Raises:
            `ValueError`: if fewer than two distances of positive signal lie in the range.
        """
        t_min = int(self.distances[0]) if t_min is None else check_integer("t_min", t_min, 1)
        t_max = int(self.effective_context) if t_max is None else check_integer("t_max", t_max, 1)
        confidence = check_confidence(confidence)
        chosen = np.flatnonzero((self.distances >= t_min) & (self.distances <= t_max) & (self.signal > 0))
        if len(chosen) < 2:
            raise ValueError(
                f"t_min={t_min}, t_max={t_max}: {len(chosen)} measured distances of positive signal lie there, a fit "
                "needs two; widen the range or count more distances"
            )
        return power_law(
            self.distances[chosen],
            self.signal[chosen],
            self.signal_stderr[chosen],
            self._left_out_signals(chosen),
            t_min,
            t_max,
            confidence,
            np.sqrt(self.unseen),
        )

    def _left_out_signals(self, chosen: np.ndarray) -> list[np.ndarray]:
        """U_t with one block left out at a time, of either half: `(blocks of the half, distances)`."""
        halves = []
        for half in range(2):
            blocks = sorted({block for i in chosen for block in self._tables[i].occupied[half::2].tolist()})
            values = np.tile(self.signal[chosen], (len(blocks), 1))
            for column, index in enumerate(chosen):
                sums, own = self._sums[index], self._tables[index].occupied[half::2]
                if sums is None or not len(sums.linear):
                    return []
                change = (sums.left_out[half] - sums.value) / self._laws[index].num_entries
                values[np.searchsorted(blocks, own), column] += change
            halves.append(values)
        return halves

    def to_dict(self) -> dict[str, list[Any]]:
        """The arrays of all distances as lists, for JSON and data frames."""
        names = (
            "distances",
            "num_pairs",
            "correlation",
            "correlation_stderr",
            "noise_floor",
            "signal",
            "signal_stderr",
        )
        return {name: getattr(self, name).tolist() for name in names}


@checked
def token_correlations(
    tokens: Any,
    distances: Iterable[int],
    vocab_size: int | None = None,
    anchor: str | None = None,
    *,
    left: Any = None,
    num_left: int | None = None,
    center: str = "pooled",
    population: int | None = None,
    column: str = "input_ids",
    num_blocks: PositiveInt | None = None,
    sparse: bool | None = None,
    num_threads: PositiveInt = 1,
) -> TokenCorrelations:
    """Correlations of tokens at chosen distances.

    Args:
        tokens: rows of equal length `(n, d)`, without padding; one text `(n,)`; documents, a list or iterator of
            arrays or lists; or a `datasets.Dataset` or `IterableDataset`, each row a document. Windows never cross
            rows or documents. What cannot be read twice (iterators, streaming datasets) needs `vocab_size`.
        distances (`Iterable[int]`): t >= 1, tokens.
        vocab_size (`int`, *optional*, defaults to the largest token + 1): v.
        anchor (`str`, *optional*): `"last"`, pairs (x_(d-1-t), x_(d-1)) that end with the last token of a row, the
            definition for sentences of the Random Hierarchy Model and the default for rows; or `"all"`, every pair at
            distance t, the default for text and documents.
        left (array, *optional*): other ids to correlate the tokens with, such as [`tuple_ids`]: of the shape of
            `tokens`, -1 where there is none. Left members are then these, right members the tokens.
        num_left (`int`, *optional*, defaults to the largest of `left` + 1): how many such ids there are.
        center (`str`, *optional*, defaults to `"pooled"`): with rows and `anchor="all"`, `"position"` subtracts
            mean_i(p_i q_(i+t)): positions whose marginals differ otherwise add a false plateau.
        population (`int`, *optional*): see [`TokenCorrelations`]; a dataset of this package says its own.
        column (`str`, *optional*, defaults to `"input_ids"`): of a dataset.
        num_blocks (`int`, *optional*): the corpus is cut into so many parts for error bars; by default 32, fewer where
            they would be shorter than ten times the largest distance, but 4 at least. Where the length is not known,
            stretches of 16 384 tokens are dealt to them in turn.
        sparse (`bool`, *optional*): keep only pairs that occur, the default for large vocabularies.
        num_threads (`int`, *optional*, defaults to 1): threads that share the distances.

    Returns:
        [`TokenCorrelations`]: `.correlation`, `.noise_floor`, `.operator_norm`, `.effective_context`, `.fit(1, 7)`.

    Raises:
        `ValueError`: for empty text, a distance that no document is long enough for, or one distinct token.
    """
    settings = {"center": center, "num_blocks": num_blocks, "sparse": sparse, "num_threads": num_threads}
    counts = count_tokens(tokens, distances, vocab_size, anchor, left, num_left, column, settings)
    population = drawn_from(tokens, counts.settings["anchor"], column) if population is None else population
    return TokenCorrelations(counts, population)
