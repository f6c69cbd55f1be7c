"""How far the correlations of a generated text agree with those of a corpus.

C_gen and C_corpus are compared at every distance by D = ||C_gen - C_corpus||^2 / v^2 without the noise of either: with
each text in two interleaved halves, D = U_gen + U_corpus - 2 <C_gen, C_corpus> / v^2. Pairs of a text depend on each
other, so that a multinomial error would find any two halves of one book different: errors come from blocks, and a
difference counts by its size, not by its significance alone.
"""

from dataclasses import dataclass

import numpy as np

from ...checks import check_number, checked
from ..intervals import check_confidence, student
from .correlations import TokenCorrelations
from .pair_laws import BlockTable, PairLaw
from .products import MIN_BLOCKS, Products


TOLERANCE = 0.1  # of the corpus's own signal


@dataclass(frozen=True)
class Agreement:
    """Arrays have one entry a distance.

    Attributes:
        distances (`np.ndarray`): t, tokens.
        difference, difference_stderr (`np.ndarray`): D, unbiased (it may be negative), and its error by
            delete-one-block jackknives of both texts.
        difference_interval (`np.ndarray`): where D lies, `(distances, 2)`, a score interval as that of the signal:
            where D is about the noise its error comes out small where its value does.
        relative_difference (`np.ndarray`): D / max(U_corpus, floor_corpus^2).
        agrees (`np.ndarray`): where that is at most the tolerance, or D at most 2 standard errors.
        t_agree (`int`): tokens, the last distance up to which every one agrees, from the first on; 0 where the first
            does not. Never beyond `t_res`.
        t_agree_interval (`tuple[float, float]`): up to where the texts agree for sure, every relative difference with
            its error within the tolerance, and up to where they may; infinite where nothing up to `t_res` shows that
            they differ.
        t_res (`int`): the last distance up to which the signal of the corpus exceeds both noise floors: beyond it
            nothing can be said.
        censored (`bool`): whether agreement holds up to `t_res`, so that `t_agree` is only a lower bound.
    """

    distances: np.ndarray
    difference: np.ndarray
    difference_stderr: np.ndarray
    difference_interval: np.ndarray
    relative_difference: np.ndarray
    agrees: np.ndarray
    t_agree: int
    t_agree_interval: tuple[float, float]
    t_res: int
    censored: bool


@checked
def compare_correlations(
    generated: TokenCorrelations, corpus: TokenCorrelations, tolerance: float = TOLERANCE, confidence: float = 0.95
) -> Agreement:
    """Compares two texts over one vocabulary at the same distances.

    Args:
        generated, corpus ([`TokenCorrelations`]): with the same distances, vocabulary and anchor.
        tolerance (`float`, *optional*, defaults to 0.1): the relative difference that counts as none.
        confidence (`float`, *optional*, defaults to 0.95): of the intervals of D and of t_agree.

    Raises:
        `ValueError`: for other settings, or fewer than 4 blocks of text, which give no errors.
    """
    for name in ("distances", "vocab_size", "anchor", "num_left", "center"):
        ours, theirs = generated.counts.settings[name], corpus.counts.settings[name]
        if ours != theirs:
            raise ValueError(f"{name}={ours!r} of the generated text differs from the corpus's {theirs!r}")
    if not check_number("tolerance", tolerance, 0) > 0:
        raise ValueError(f"tolerance={tolerance} must be above 0")
    confidence = check_confidence(confidence)
    difference, stderr, intervals, excess, reach = [], [], [], [], []
    for index, t in enumerate(corpus.counts.distances):
        tables = _blocks(generated, t), _blocks(corpus, t)
        products, rows = _half_products(tables)
        quantile = student(confidence, sum(len(table.occupied) for table in tables) - 4)
        plain, beyond = (_Difference((generated, corpus), products, rows, index, share) for share in (0.0, tolerance))
        difference.append(plain.value)
        stderr.append(plain.stderr)
        intervals.append(plain.interval(quantile))
        excess.append(beyond.value)
        reach.append(beyond.stderr * quantile)
    difference, stderr, excess, reach = (np.array(values) for values in (difference, stderr, excess, reach))
    relative = difference / np.maximum(corpus.signal, corpus.noise_floor**2)
    agrees = (relative <= tolerance) | (difference <= 2 * stderr)
    floor = np.maximum(corpus.noise_floor, generated.noise_floor) ** 2
    resolved = _leading(corpus.signal > floor)

    def distance(leading: int) -> int:
        return int(corpus.distances[leading - 1]) if leading else 0

    agreeing, surely, maybe = (_leading(holds) for holds in (agrees, excess + reach <= 0, excess - reach <= 0))
    return Agreement(
        distances=corpus.distances,
        difference=difference,
        difference_stderr=stderr,
        difference_interval=np.array(intervals),
        relative_difference=relative,
        agrees=agrees,
        t_agree=distance(min(agreeing, resolved)),
        t_agree_interval=(
            distance(min(surely, agreeing, resolved)),
            np.inf if maybe >= resolved or agreeing >= resolved else distance(max(maybe, agreeing)),
        ),
        t_res=distance(resolved),
        censored=min(agreeing, resolved) == resolved,
    )


def _leading(holds: np.ndarray) -> int:
    """For how many entries it holds before the first where it does not."""
    return len(holds) if holds.all() else int(holds.argmin())


def _blocks(text: TokenCorrelations, distance: int) -> BlockTable:
    table = text.blocks(distance)
    if len(table.occupied) < MIN_BLOCKS:
        raise ValueError(
            f"distance={distance}: the text has pairs in {len(table.occupied)} blocks, and errors need "
            f"{MIN_BLOCKS}: give more text or a larger num_blocks"
        )
    return table


def _half_products(tables: tuple[BlockTable, BlockTable]) -> tuple[Products, np.ndarray]:
    """Of the halves of both texts, in the order generated, generated, corpus, corpus; and the rows of each half."""
    pattern = _union(tables)
    weighted = [(table, weights, _places(table, pattern)) for table in tables for weights in table.halves]
    left_out = [
        [_spread(law, pattern, places) for law in table.left_out(weights)] for table, weights, places in weighted
    ]
    parts = [_spread(table.law(weights), pattern, places) for table, weights, places in weighted]
    return Products(parts, left_out), np.array([part.num_pairs / len(part.left) for part in parts])


class _Difference:
    """D - share U_corpus at one of the distances."""

    def __init__(
        self,
        texts: tuple[TokenCorrelations, TokenCorrelations],
        products: Products,
        rows: np.ndarray,
        index: int,
        share: float,
    ):
        coefficients = np.full((4, 4), -0.5)
        coefficients[:2, :2], coefficients[2:, 2:] = 1, 1 - share
        self.texts, self.index, self.sum = texts, index, products.sum(coefficients)
        self.law = texts[0].law(texts[0].distances[index])
        self.unseen, self.kept = np.repeat([text.unseen for text in texts], 2), np.ones((4, 4))
        entries, scale = self.law.num_entries, np.ones(4)
        self.value: float = self.sum.value / entries
        for place, (text, weight) in enumerate(zip(texts, (1, 1 - share), strict=True)):
            if text.population is not None:  # its signal is not the product of its halves: `distinct_rows_square`
                one, other = 2 * place, 2 * place + 1
                self.value += weight * (text.signal[index] - products.whole[one, other] / entries)
                self.kept[one, other] = self.kept[other, one] = 0.5
                scale[[one, other]] = _scale_of_distinct_rows(rows[[one, other]], text.population)
        crossed = products.whole[:2, 2:] * (np.outer(scale[:2], scale[2:]) - 1)
        self.value += float((coefficients[:2, 2:] * crossed).sum()) / entries

    @property
    def stderr(self) -> float:
        """The standard error of the value."""
        return float(np.sqrt(self.sum.variance(self.unseen, self.kept))) / self.law.num_entries

    def interval(self, quantile: float) -> tuple[float, float]:
        """Where D lies, for a share of 0."""
        if not self.unseen.any():  # all there is of both
            return self.value, self.value
        entries, directions = self.law.num_entries, self.law.num_directions
        noise = entries * sum(text.noise_squares[self.index] for text in self.texts)
        ends = self.sum.square_interval(entries * self.value, noise, directions, quantile, self.unseen, self.kept)
        return ends[0] / entries, ends[1] / entries


def _scale_of_distinct_rows(rows: np.ndarray, population: int) -> np.ndarray:
    """What makes C of so many distinct rows unbiased, over what [`PairLaw.unbiased`] takes for independent ones.

    E p q^T is C / n above the product of the laws for independent rows, and (N - n) / (N - 1) of that for distinct
    ones out of N.
    """
    return (1 - 1 / rows) / (1 - (population - rows) / (population - 1) / rows)


def _union(tables: tuple[BlockTable, BlockTable]) -> np.ndarray | None:
    """The entries that occur in either text, as sorted keys; None where the tables are dense."""
    if any(table.pattern is None for table in tables):
        if not all(table.pattern is None for table in tables):
            raise ValueError("one text is counted sparsely and the other not: give sparse= to both")
        return None
    return np.union1d(*(table.pattern[0] * table.num_right + table.pattern[1] for table in tables))


def _places(table: BlockTable, pattern: np.ndarray | None) -> np.ndarray | None:
    """Where the table's own entries are among those of `pattern`."""
    if pattern is None:
        return None
    return np.searchsorted(pattern, table.pattern[0] * table.num_right + table.pattern[1])


def _spread(law: PairLaw, pattern: np.ndarray | None, places: np.ndarray | None) -> PairLaw:
    """A law, if it is sparse with an entry for each of `pattern`."""
    if pattern is None:
        return law
    values = np.zeros(len(pattern))
    values[places] = law.values
    return PairLaw(values, law.left, law.right, law.num_pairs, *np.divmod(pattern, law.right.shape[1]))
