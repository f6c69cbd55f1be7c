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
from .pair_laws import BlockTable, PairLaw, leaving_one_out
from .products import MIN_BLOCKS, Products


TOLERANCE = 0.1  # of the corpus's own signal


@dataclass(frozen=True)
class Agreement:
    """Arrays have one entry a distance.

    Attributes:
        distances (`np.ndarray`): t, tokens.
        difference, difference_stderr (`np.ndarray`): D, unbiased (it may be negative), and its error by
            delete-one-block jackknives of both texts.
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
        confidence (`float`, *optional*, defaults to 0.95): of the interval of t_agree.

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
    difference, stderr, excess, reach = [], [], [], []
    for index, t in enumerate(corpus.counts.distances):
        tables = _blocks(generated, t), _blocks(corpus, t)
        products = _half_products(tables)
        plain, beyond = (_difference((generated, corpus), products, index, share) for share in (0.0, tolerance))
        difference.append(plain[0])
        stderr.append(plain[1])
        excess.append(beyond[0])
        reach.append(beyond[1] * student(confidence, sum(len(table.occupied) for table in tables) - 4))
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


def _half_products(tables: tuple[BlockTable, BlockTable]) -> Products:
    """Of the halves of both texts, in the order generated, generated, corpus, corpus."""
    pattern = _union(tables)
    weighted = [(table, weights, _places(table, pattern)) for table in tables for weights in table.halves]
    left_out = [
        [_law(table, kept, pattern, places) for kept in leaving_one_out(weights)]
        for table, weights, places in weighted
    ]
    return Products([_law(table, weights, pattern, places) for table, weights, places in weighted], left_out)


def _difference(
    texts: tuple[TokenCorrelations, TokenCorrelations], products: Products, index: int, share: float
) -> tuple[float, float]:
    """D - share U_corpus at one of the distances, and its standard error."""
    coefficients = np.full((4, 4), -0.5)
    coefficients[:2, :2], coefficients[2:, 2:] = 1, 1 - share
    found, entries = products.sum(coefficients), texts[0].law(texts[0].distances[index]).num_entries
    value, unseen, kept = found.value / entries, np.repeat([text.unseen for text in texts], 2), np.ones((4, 4))
    for place, (text, weight) in enumerate(zip(texts, (1, 1 - share), strict=True)):
        if text.population is not None:  # its own signal is not the product of its halves: see `distinct_rows_square`
            one, other = 2 * place, 2 * place + 1
            value += weight * (text.signal[index] - products.whole[one, other] / entries)
            kept[one, other] = kept[other, one] = 0.5
    return value, float(np.sqrt(found.variance(unseen, kept))) / entries


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


def _law(table: BlockTable, weights: np.ndarray, pattern: np.ndarray | None, places: np.ndarray | None) -> PairLaw:
    """The law of weighted blocks; a sparse one with an entry for each of `pattern`."""
    law = table.law(weights)
    if pattern is None:
        return law
    values = np.zeros(len(pattern))
    values[places] = law.values
    return PairLaw(values, law.left, law.right, law.num_pairs, *np.divmod(pattern, table.num_right))
