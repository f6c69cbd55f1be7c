"""How fast the loss approaches its limit with context: gamma in L_n = L_inf + A n^-gamma, and how sure that is."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from rhm_hf.statistics.intervals import jackknife_interval, sub_ranges

from .saturation import FEWEST_ROWS, curve


EXPONENTS = np.geomspace(0.01, 8, 241)  # where gamma is looked for; the best one is refined between its neighbours
GROUPS = 64  # of rows, at most, that the jackknife leaves out in turn
FEWEST_LENGTHS = 4
FINE = 65


def fit_decay(lengths: Sequence[int], sums: torch.Tensor, counts: torch.Tensor) -> dict[str, Any]:
    """gamma in L_n = L_inf + A n^-gamma by weighted least squares, beside an exponential approach.

    For every gamma of a grid L_inf and A are linear. Errors common to all n, which the same targets or documents
    cause, move L_inf only, so that the weights come from the losses relative to their own mean over n.

    Args:
        lengths (`Sequence[int]`): n >= 1, those of the fit range, ascending.
        sums (`torch.Tensor`): shape `(rows, lengths)`.
        counts (`torch.Tensor`): shape `(rows,)`.

    Returns:
        `dict`: `gamma`, `loss_inf`; `gamma_interval` and `loss_inf_interval`, 95 %, which hold the choice of range:
        from the lowest to the highest of `gamma_statistical_interval` (a jackknife over rows with Student's t, of ln
        gamma) and `gamma_range`, the smallest and largest gamma of parts of the range that are at least half as long
        in ln n, of 4 lengths or more; `power_rms` and `exponential_rms`, nats, the residuals of this fit and of
        L_inf + A exp(-n / xi); `gamma_status`, `"power law"` or, where the second is the better fit, `"exponential"`.
        All None where they are not to be had: fewer than 4 lengths or 8 rows, infinite losses, a loss that does not
        fall, or a gamma at an end of what is looked at (0.01 to 8). An interval that reaches an end is open there.
    """
    names = ("gamma", "gamma_interval", "gamma_statistical_interval", "gamma_range", "loss_inf", "loss_inf_interval")
    nothing = dict.fromkeys((*names, "power_rms", "exponential_rms", "gamma_status"))
    if len(lengths) < FEWEST_LENGTHS or len(sums) < FEWEST_ROWS or not torch.isfinite(sums).all():
        return nothing
    errors = np.array(curve(sums - sums.mean(1, keepdim=True), counts)[1])
    if not errors.max() > 0:
        errors = np.ones(len(lengths))
    weights = 1 / np.maximum(errors, 0.05 * errors.max()) ** 2
    lengths, sums, counts = np.asarray(lengths, dtype=float), sums.cpu().numpy(), counts.cpu().numpy()
    whole = (sums.sum(0) / counts.sum())[None]
    gamma, loss_inf, inside, residual = _best(lengths, whole, weights, EXPONENTS, _powers)
    if not inside[0]:
        return nothing
    logs, limits = _left_out(lengths, sums, counts, weights)
    estimates = np.array([np.log(gamma[0]), loss_inf[0]])
    ends = jackknife_interval(estimates, [np.stack([logs, limits], -1)], 0.95)
    statistical = tuple(np.exp(ends[0]).tolist())
    gammas, limits = [gamma[0]], [loss_inf[0]]
    for part in sub_ranges(np.log(lengths), FEWEST_LENGTHS):
        found = _best(lengths[part], whole[:, part], weights[part], EXPONENTS, _powers)
        gammas.append(found[0][0] if found[2][0] else np.inf if found[0][0] > 1 else 0.0)
        limits.append(found[1][0] if found[2][0] else loss_inf[0])
    by_range = float(min(gammas)), float(max(gammas))
    scales = np.geomspace(lengths[0] / 4, 4 * lengths[-1], 241)
    exponential = _best(lengths, whole, weights, scales, _exponentials)[3]
    return {
        "gamma": float(gamma[0]),
        "gamma_interval": (min(statistical[0], by_range[0]), max(statistical[1], by_range[1])),
        "gamma_statistical_interval": statistical,
        "gamma_range": by_range,
        "loss_inf": float(loss_inf[0]),
        "loss_inf_interval": (float(min(ends[1, 0], *limits)), float(max(ends[1, 1], *limits))),
        "power_rms": float(np.sqrt(residual[0])),
        "exponential_rms": float(np.sqrt(exponential[0])),
        "gamma_status": "power law" if residual[0] <= exponential[0] else "exponential",
    }


def _left_out(lengths, sums, counts, weights) -> tuple[np.ndarray, np.ndarray]:
    """ln gamma, infinite at the ends of what is looked at, and L_inf, without each group of rows in turn."""
    group = np.arange(len(sums)) * min(len(sums), GROUPS) // len(sums)
    grouped = np.zeros((group[-1] + 1, len(lengths)))
    np.add.at(grouped, group, sums)
    sizes = np.bincount(group, counts)
    losses = (grouped.sum(0) - grouped) / (sizes.sum() - sizes)[:, None]
    gamma, loss_inf, inside, _ = _best(lengths, losses, weights, EXPONENTS, _powers)
    return np.where(inside, np.log(gamma), np.where(gamma > 1, np.inf, -np.inf)), loss_inf


def _powers(lengths: np.ndarray, exponents: np.ndarray) -> np.ndarray:
    return lengths ** -exponents[..., None]


def _exponentials(lengths: np.ndarray, scales: np.ndarray) -> np.ndarray:
    return np.exp(-lengths / scales[..., None])


def _best(lengths, losses, weights, grid, shape) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The parameter and L_inf of every curve `(curves, lengths)`, whether the parameter is inside the grid and the
    loss falls, and the weighted mean square of what is left over."""
    residual, _, _ = _residuals(losses, weights, shape(lengths, np.broadcast_to(grid, (len(losses), len(grid)))))
    best = residual.argmin(1)
    inside = (best > 0) & (best < len(grid) - 1)
    best = best.clip(1, len(grid) - 2)  # the refinement still reaches the ends
    low, high = np.log(grid[best - 1]), np.log(grid[best + 1])
    fine = np.exp(low[:, None] + (high - low)[:, None] * np.linspace(0, 1, FINE))
    residual, amplitude, loss_inf = _residuals(losses, weights, shape(lengths, fine))
    chosen = np.arange(len(losses)), residual.argmin(1)
    return fine[chosen], loss_inf[chosen], inside & (amplitude[chosen] > 0), residual[chosen]


def _residuals(losses: np.ndarray, weights: np.ndarray, shapes: np.ndarray):
    """Weighted mean squares left over, A and L_inf of the best line in shapes `(curves, parameters, lengths)`."""
    weights = weights / weights.sum()
    x = shapes - (shapes * weights).sum(-1, keepdims=True)
    y = (losses - (losses * weights).sum(-1, keepdims=True))[:, None, :]
    amplitude = (weights * x * y).sum(-1) / np.maximum((weights * x * x).sum(-1), 1e-300)
    residual = (weights * (y - amplitude[..., None] * x) ** 2).sum(-1)
    mean_shape = (shapes * weights).sum(-1)
    return residual, amplitude, (losses * weights).sum(-1)[:, None] - amplitude * mean_shape
