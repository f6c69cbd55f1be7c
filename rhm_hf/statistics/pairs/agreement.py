"""How far the correlations of a generated text agree with those of a corpus.

C_gen and C_corpus are compared at every distance by D = ||C_gen - C_corpus||^2 / v^2 without the noise of either: with
each text in two interleaved halves, D = U_gen + U_corpus - 2 <C_gen, C_corpus> / v^2. Pairs of a text depend on each
other, so that a multinomial error would find any two halves of one book different: errors come from blocks, and a
difference counts by its size, not by its significance alone.
"""

from dataclasses import dataclass

import numpy as np

from .correlations import TokenCorrelations
from .pair_laws import BlockTable, PairLaw, jackknife_variance, leaving_one_out


TOLERANCE = 0.1  # of the corpus's own signal
FEWEST_BLOCKS = 4  # two a half, for a jackknife of each


@dataclass(frozen=True)
class Agreement:
    """Arrays have one entry a distance.

    Attributes:
        distances (`np.ndarray`): t, tokens.
        difference, difference_stderr (`np.ndarray`): D, unbiased (it may be negative), and its error by a
            delete-one-block jackknife of both texts.
        relative_difference (`np.ndarray`): D / max(U_corpus, floor_corpus^2).
        agrees (`np.ndarray`): where that is at most the tolerance, or D at most 2 standard errors.
        t_agree (`int`): tokens, the last distance up to which every one agrees, from the first on; 0 where the first
            does not. Never beyond `t_res`.
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
    t_res: int
    censored: bool


def compare_correlations(
    generated: TokenCorrelations, corpus: TokenCorrelations, tolerance: float = TOLERANCE
) -> Agreement:
    """Compares two texts over one vocabulary at the same distances.

    Args:
        generated, corpus ([`TokenCorrelations`]): with the same distances, vocabulary and anchor.
        tolerance (`float`, *optional*, defaults to 0.1): the relative difference that counts as none.

    Raises:
        `ValueError`: for other settings, or fewer than 4 blocks of text, which give no errors.
    """
    for name in ("distances", "vocab_size", "anchor", "num_left", "center"):
        ours, theirs = generated.counts.settings[name], corpus.counts.settings[name]
        if ours != theirs:
            raise ValueError(f"{name}={ours!r} of the generated text differs from the corpus's {theirs!r}")
    if not tolerance > 0:
        raise ValueError(f"tolerance={tolerance} must be above 0")
    measured = [_difference(_blocks(generated, t), _blocks(corpus, t)) for t in corpus.counts.distances]
    difference, stderr = np.array(measured).T
    relative = difference / np.maximum(corpus.signal, corpus.noise_floor**2)
    agrees = (relative <= tolerance) | (difference <= 2 * stderr)
    floor = np.maximum(corpus.noise_floor, generated.noise_floor) ** 2
    resolved = _leading(corpus.signal > floor)
    agreeing = min(_leading(agrees), resolved)
    return Agreement(
        distances=corpus.distances,
        difference=difference,
        difference_stderr=stderr,
        relative_difference=relative,
        agrees=agrees,
        t_agree=int(corpus.distances[agreeing - 1]) if agreeing else 0,
        t_res=int(corpus.distances[resolved - 1]) if resolved else 0,
        censored=agreeing == resolved,
    )


def _leading(holds: np.ndarray) -> int:
    """For how many entries it holds before the first where it does not."""
    return len(holds) if holds.all() else int(holds.argmin())


def _blocks(text: TokenCorrelations, distance: int) -> BlockTable:
    table = text.blocks(distance)
    if len(table.occupied) < FEWEST_BLOCKS:
        raise ValueError(
            f"distance={distance}: the text has pairs in {len(table.occupied)} blocks, and errors need "
            f"{FEWEST_BLOCKS}: give more text or a larger num_blocks"
        )
    return table


def _difference(generated: BlockTable, corpus: BlockTable) -> tuple[float, float]:
    """D and its standard error: each half of each text is a jackknife of its own, and their variances add."""
    tables, entries = (generated, corpus), generated.num_left * generated.num_right
    weights = [table.halves for table in tables]
    pattern = _union(tables)
    laws = [[_law(t, w, pattern) for w in halves] for t, halves in zip(tables, weights, strict=True)]
    variance = 0.0
    for side, half in np.ndindex(2, 2):
        # The terms of D that hold this half: with the other half of its text, and with both of the other text.
        fixed = (laws[side][1 - half], laws[1 - side])
        left_out = (_law(tables[side], kept, pattern) for kept in leaving_one_out(weights[side][half]))
        variance += jackknife_variance(
            [law.inner(fixed[0]) - 0.5 * sum(law.inner(other) for other in fixed[1]) for law in left_out]
        )
    same = sum(halves[0].inner(halves[1]) for halves in laws)
    cross = sum(ours.inner(theirs) for ours in laws[0] for theirs in laws[1]) / 2
    return (same - cross) / entries, float(np.sqrt(variance)) / entries


def _union(tables: tuple[BlockTable, BlockTable]) -> np.ndarray | None:
    """The entries that occur in either text, as sorted keys; None where the tables are dense."""
    if any(table.pattern is None for table in tables):
        if not all(table.pattern is None for table in tables):
            raise ValueError("one text is counted sparsely and the other not: give sparse= to both")
        return None
    return np.union1d(*(table.pattern[0] * table.num_right + table.pattern[1] for table in tables))


def _law(table: BlockTable, weights: np.ndarray, pattern: np.ndarray | None) -> PairLaw:
    """The law of weighted blocks; a sparse one with an entry for each of `pattern`."""
    law = table.law(weights)
    if pattern is None:
        return law
    values = np.zeros(len(pattern))
    values[np.searchsorted(pattern, law.rows * table.num_right + law.columns)] = law.values
    return PairLaw(values, law.left, law.right, law.num_pairs, *np.divmod(pattern, table.num_right))
