"""The theory of a learning curve, drawn: the polygon through P_l and the plateaus."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ... import theory
from ...checks import checked
from ...grammar import GrammarParameters


@dataclass(frozen=True)
class PlateauPolygon:
    """Points of the theory of learning curves, to be joined by straight lines in log-log axes.

    Attributes:
        levels (`np.ndarray`): ℓ of the vertices.
        sizes (`np.ndarray`): P_ℓ.
        excess (`np.ndarray`): loss at them above its limit, nats.
        exponents (`np.ndarray`): minus the slopes of the lines, one fewer than vertices.
    """

    levels: np.ndarray
    sizes: np.ndarray
    excess: np.ndarray
    exponents: np.ndarray

    def level_at(self, sizes: np.ndarray) -> np.ndarray:
        """ℓ of the last vertex at or below each P, 0 before the first: between P_ℓ and P_(ℓ+1) comes plateau L_ℓ."""
        return np.searchsorted(self.sizes, sizes, side="right")

    def excess_at(self, sizes: np.ndarray) -> np.ndarray:
        """The lines at each P, between the first vertex and the last: as if it were a measured curve."""
        sizes = np.asarray(sizes, dtype=np.float64)
        if not ((sizes >= self.sizes[0]) & (sizes <= self.sizes[-1])).all():
            raise ValueError(f"sizes={sizes.tolist()} must lie between {self.sizes[0]:g} and {self.sizes[-1]:g}")
        return np.exp(np.interp(np.log(sizes), np.log(self.sizes), np.log(self.excess)))


@checked
def plateau_polygon(
    parameters: GrammarParameters,
    plateaus: Sequence[float],
    limit: float,
    architecture: str = "transformer",
    corner: str = "after",
) -> PlateauPolygon:
    """The exact plateaus against the theory's P_ℓ of last-token prediction (2406.00048).

    At the depths that can be trained its slopes are far from `theory.learning_exponent`, which is asymptotic; a
    measured exponent should be compared with these.

    Args:
        parameters ([`GrammarParameters`]): of the ensemble.
        plateaus (`Sequence[float]`): L_0 > .. > L_L, nats, e.g. means over grammars.
        limit (`float`): L_inf. With the exact L_L of depth L the last plateau has no logarithm and is left out; with
            `theory.limiting_loss` the curve is one of an infinitely deep grammar.
        architecture (`str`, *optional*, defaults to `"transformer"`): or `"cnn"`, of `theory.sample_complexity`.
        corner (`str`, *optional*, defaults to `"after"`): the loss that belongs to P_ℓ, where step ℓ goes from L_(ℓ-1)
            to L_ℓ: `"before"`, L_(ℓ-1) (the outer envelope); `"half_way"`, their mean, which curves pass through;
            `"after"`, L_ℓ (the inner envelope).

    Raises:
        `ValueError`: for plateaus that do not fall or are not L + 1, an unknown corner, no vertex above the limit, or
            P_ℓ that do not increase (m = 1 or f = 1).
    """
    plateaus = np.asarray(plateaus, dtype=np.float64)
    if plateaus.shape != (parameters.depth + 1,) or not (np.diff(plateaus) < 0).all():
        raise ValueError(f"plateaus={plateaus.tolist()} must be L_0 > .. > L_{parameters.depth}, one more than depth")
    corners = {
        "before": plateaus[:-1],
        "half_way": (plateaus[:-1] + plateaus[1:]) / 2,
        "after": plateaus[1:],
    }
    if corner not in corners:
        raise ValueError(f"corner={corner!r} is unknown: it must be {', '.join(corners)}")
    excess = corners[corner] - limit
    kept = np.flatnonzero(excess > 0)
    if not len(kept):
        raise ValueError(f"limit={limit} must be below the loss at the first vertex; plateaus={plateaus.tolist()}")
    levels, excess = kept + 1, excess[kept]
    sizes = [theory.sample_complexity(parameters, int(level), architecture=architecture) for level in levels]
    sizes = np.array(sizes)
    if not (np.isfinite(sizes).all() and (np.diff(sizes) > 0).all()):
        raise ValueError(f"{parameters.name} has P_l = {sizes.tolist()}: without increasing steps there is no polygon")
    return PlateauPolygon(levels, sizes, excess, -np.diff(np.log(excess)) / np.diff(np.log(sizes)))
