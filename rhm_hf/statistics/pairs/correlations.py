"""`token_correlations`: C~(t) of any token stream, its noise, its decay and the effective context.

J_t is the law of two tokens at distance t, C_t = J_t - p q^T its connected part, p and q J's own left and right
marginals. The correlation function C~(t) is the root mean square of C_t over all pairs of symbols (Cagnetta and Wyart,
arXiv 2406.00048). n pairs of independent symbols have, on average, C~^2 = floor^2 = (1 - S_p)(1 - S_q) / (v^2 n) with
S = sum p^2. U = <C, C'> / v^2 of two halves of the corpus estimates C~^2 without that noise.
"""

from collections.abc import Iterable
from functools import cached_property
from typing import Any

import numpy as np

from .counts import PairCounts
from .decay import EffectiveContextCurve, PowerLawFit, context_curve, curve_of, last_above, power_law
from .pair_laws import BlockTable, PairLaw, jackknife_variance, leaving_one_out
from .token_inputs import count_tokens


class TokenCorrelations:
    """The correlations of a corpus, from its [`PairCounts`]. Arrays have one entry a distance.

    Args:
        counts ([`PairCounts`]): of the corpus.
        population (`int`, *optional*): P_max, where the P rows were drawn from so many equiprobable ones without
            replacement (`sampling="unique"`): noise^2 is smaller by 1 - (P-1)/(P_max-1).

    Attributes:
        distances (`np.ndarray`): t, tokens.
        num_pairs (`np.ndarray`): n_t.
        correlation, correlation_stderr (`np.ndarray`): C~(t), noise included.
        noise_floor (`np.ndarray`): floor_t.
        signal, signal_stderr (`np.ndarray`): U_t, an estimate of C~^2 without noise; it may be negative. From two
            interleaved halves of the blocks; where only one block holds pairs, C~^2 - floor^2.

    Standard errors are those of the delete-one-block jackknife, infinite where there are fewer than four blocks: they
    hold for text, whose pairs depend on each other, as long as blocks are much longer than that dependence. That of U
    is up to sqrt(2) too large where there is no signal.
    """

    def __init__(self, counts: PairCounts, population: int | None = None):
        self.counts, self.population = counts, population
        self.distances = np.array(counts.distances)
        self._tables = [counts.blocks(t) for t in counts.distances]
        self._laws = [table.law() for table in self._tables]
        for t, law in zip(self.distances, self._laws, strict=True):
            if min(np.count_nonzero(side, axis=1).max() for side in (law.left, law.right)) == 1:
                raise ValueError(
                    f"tokens hold one distinct id at distance {t}, among the left members of pairs or the right ones: "
                    "correlations need two or more"
                )
        self.num_pairs = np.array([round(law.num_pairs) for law in self._laws])
        self.correlation = np.array([law.correlation for law in self._laws])
        self._unseen = 1.0
        if population is not None:
            rows = self._num_rows
            if population < max(rows, 2):
                raise ValueError(f"population={population} must be at least the number of distinct rows, {rows:.0f}")
            self._unseen = 1 - (rows - 1) / (population - 1)
        self.noise_floor = np.sqrt([law.noise * self._unseen for law in self._laws])
        estimates = [_estimates(table, law) for table, law in zip(self._tables, self._laws, strict=True)]
        self.signal, self.signal_stderr, self.correlation_stderr = np.array(estimates).T

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

    def law(self, distance: int) -> PairLaw:
        """J_t and C_t themselves."""
        return self._laws[list(self.distances).index(distance)]

    def blocks(self, distance: int) -> BlockTable:
        """The counts by block that J_t is the sum of."""
        return self._tables[list(self.distances).index(distance)]

    # Effective context.

    @property
    def effective_context(self) -> float:
        """t*, tokens: the last t such that U > floor^2 for it and every smaller measured t, interpolated in log t.

        0 where that holds for no t; the largest distance where it holds for all of them (see
        [`TokenCorrelations.effective_context_is_bound`]).
        """
        return last_above(self.distances, self.signal, self.noise_floor**2)[0]

    @property
    def effective_context_is_bound(self) -> bool:
        """Whether `effective_context` is only a lower bound: no measured distance falls below the noise."""
        return last_above(self.distances, self.signal, self.noise_floor**2)[1]

    def effective_context_curve(self, sizes: Iterable[float]) -> EffectiveContextCurve:
        """t*(P): the floor of P pairs against the signal of this whole corpus, and z in t* ~ P^(1/z).

        Args:
            sizes (`Iterable[float]`): P, numbers of pairs: tokens of a text, sentences where `anchor="last"`.
        """
        sizes = np.asarray(list(sizes), dtype=np.float64)
        if not len(sizes) or not (sizes >= 1).all():
            raise ValueError(f"sizes={sizes.tolist()} must be one or more numbers >= 1")
        noise = np.array([law.noise * law.num_pairs for law in self._laws])
        if self.population is not None:
            sizes_left = np.clip(1 - (sizes - 1) / (self.population - 1), 0, None)
        else:
            sizes_left = np.ones(len(sizes))
        return context_curve(self.distances, self.signal, sizes, noise / sizes[:, None] * sizes_left[:, None])

    # Decay.

    def fit(
        self,
        t_min: int | None = None,
        t_max: int | None = None,
        resamples: int = 200,
        confidence: float = 0.95,
        seed: int = 0,
    ) -> PowerLawFit:
        """Fits C~ ~ t^-β to sqrt(U_t).

        Args:
            t_min, t_max (`int`, *optional*): the range of distances; by default all from the first one up to t*.
            resamples (`int`, *optional*, defaults to 200): bootstraps of the blocks, each half in itself, for the
                interval: distances share their data, so their errors are resampled together.
            confidence (`float`, *optional*, defaults to 0.95): of the interval.
            seed (`int`, *optional*, defaults to 0): of the bootstrap.

        Returns:
            [`PowerLawFit`]: `.exponent`, `.interval`, `.amplitude`, and the range used.

        Raises:
            `ValueError`: if fewer than two distances of positive signal lie in the range.
        """
        t_min = int(self.distances[0]) if t_min is None else t_min
        t_max = int(self.effective_context) if t_max is None else t_max
        chosen = np.flatnonzero((self.distances >= t_min) & (self.distances <= t_max) & (self.signal > 0))
        if len(chosen) < 2:
            raise ValueError(
                f"t_min={t_min}, t_max={t_max}: {len(chosen)} measured distances of positive signal lie there, a fit "
                "needs two; widen the range or count more distances"
            )
        if not 0 < confidence < 1:
            raise ValueError(f"confidence={confidence} must lie between 0 and 1")
        replicates = self._resampled_signals(chosen, resamples, seed)
        return power_law(self.distances[chosen], self.signal[chosen], replicates, t_min, t_max, confidence)

    def _resampled_signals(self, chosen: np.ndarray, resamples: int, seed: int) -> np.ndarray:
        """U_t of bootstraps `(resamples, distances)`: the blocks of each half drawn anew, the same for all t."""
        occupied = self._tables[chosen[-1]].occupied
        if len(occupied) < 4:
            return np.empty((0, len(chosen)))
        rng = np.random.default_rng(seed)
        weights = np.zeros((resamples, 2, self._tables[0].num_blocks))
        for half in range(2):
            blocks = occupied[half::2]
            weights[:, half, blocks] = rng.multinomial(len(blocks), np.full(len(blocks), 1 / len(blocks)), resamples)
        tables = [self._tables[index] for index in chosen]
        return np.array([[_product(table, *pair) for table in tables] for pair in weights])

    def to_dict(self) -> dict[str, list]:
        """The arrays of all distances as lists, for JSON and data frames."""
        names = ["distances", "num_pairs", "correlation", "correlation_stderr", "noise_floor"]
        return {name: getattr(self, name).tolist() for name in [*names, "signal", "signal_stderr"]}


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
    num_blocks: int | None = None,
    sparse: bool | None = None,
    num_threads: int = 1,
) -> TokenCorrelations:
    """Correlations of tokens at chosen distances.

    Args:
        tokens: rows of equal length `(n, d)`; one text `(n,)`; documents, a list or iterator of arrays or lists; or a
            `datasets.Dataset` or `IterableDataset`, each row a document. Windows never cross rows or documents. What
            cannot be read twice (iterators, streaming datasets) needs `vocab_size`.
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
        population (`int`, *optional*): see [`TokenCorrelations`].
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
    return TokenCorrelations(counts, population)


def prefix_contexts(
    tokens: Any,
    sizes: Iterable[int],
    distances: Iterable[int],
    vocab_size: int | None = None,
    num_blocks: int = 4,
    **kwargs,
) -> EffectiveContextCurve:
    """t*(P) as someone measures it who has P tokens only: of the first P tokens, their signal against their noise.

    A short text is more uniform than the corpus it is from (one topic, one speaker), so these t* exceed those of
    [`TokenCorrelations.effective_context_curve`] at small P and meet them at the end.

    Args:
        tokens: one text `(n,)` or rows `(n, d)`, as an array.
        sizes (`Iterable[int]`): P, tokens or rows.
        distances, vocab_size, kwargs: see [`token_correlations`].
        num_blocks (`int`, *optional*, defaults to 4): the fewest that make two interleaved halves of several parts;
            long blocks keep the halves of a short text independent.
    """
    sizes = np.array(sorted(sizes))
    if not len(sizes) or sizes[0] < 2 or sizes[-1] > len(tokens):
        raise ValueError(f"sizes={sizes.tolist()} must be one or more from 2 to what there is, {len(tokens)}")
    vocab_size = int(tokens.max()) + 1 if vocab_size is None else vocab_size
    kwargs["num_blocks"] = num_blocks
    parts = [token_correlations(tokens[:size], distances, vocab_size, **kwargs) for size in sizes.tolist()]
    contexts = np.array([part.effective_context for part in parts])
    bounds = np.array([part.effective_context_is_bound for part in parts])
    return curve_of(sizes, contexts, bounds, parts[0].distances[0])


def _product(table: BlockTable, first: np.ndarray, second: np.ndarray) -> float:
    """U of two weightings of the blocks."""
    pair = [table.law(weights) for weights in (first, second)]
    return pair[0].inner(pair[1]) / pair[0].num_entries


def _estimates(table: BlockTable, law: PairLaw) -> tuple[float, float, float]:
    """U, its standard error and that of C~."""
    occupied = table.occupied
    if len(occupied) < 2:
        return law.correlation**2 - law.noise, np.inf, np.inf
    halves = table.halves
    laws = [table.law(weights) for weights in halves]
    signal = laws[0].inner(laws[1]) / law.num_entries
    if len(occupied) < 4:
        return signal, np.inf, np.inf
    # Leaving one block out of a half, in turn: each half is a jackknife of its own, and their variances add.
    variance = 0.0
    for weights, other in zip(halves, reversed(laws), strict=True):
        variance += jackknife_variance(
            [table.law(kept).inner(other) / law.num_entries for kept in leaving_one_out(weights)]
        )
    correlations = [table.law(kept).correlation for kept in leaving_one_out(halves.sum(0))]
    return signal, float(np.sqrt(variance)), float(np.sqrt(jackknife_variance(correlations)))
