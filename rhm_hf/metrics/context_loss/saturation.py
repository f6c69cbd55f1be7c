"""From losses at several context lengths to two numbers: where the loss saturates, and how fast it gets there.

A *row* is what the standard errors take as independent, a document or a block of one; it holds the summed losses of
its targets at every context length n and the number of its targets (or of their characters).
"""

from collections.abc import Sequence

import numpy as np
import torch

from rhm_hf.statistics import Accumulator


EXPONENTS = np.geomspace(0.01, 8, 241)  # where gamma is looked for; the best one is refined between its neighbours
REPLICATES = 400
RELATIVE = 0.05  # of the loss without context minus that with the longest, for `n_sat_relative`


def curve(sums: torch.Tensor, counts: torch.Tensor) -> tuple[list[float], list[float]]:
    """Means and standard errors at every context length.

    Args:
        sums (`torch.Tensor`): shape `(rows, lengths)`, nats.
        counts (`torch.Tensor`): shape `(rows,)`.
    """
    accumulator = Accumulator(tuple(sums.shape[1:]), sums.device)
    accumulator.add(sums, counts[:, None])
    return accumulator.mean.tolist(), accumulator.stderr.tolist()


def differences(sums: torch.Tensor, counts: torch.Tensor) -> tuple[list[float], list[float]]:
    """Delta(n) = mean[l(n) - l(N)], N the longest context, with standard errors of the differences themselves."""
    return curve(sums - sums[:, -1:], counts)


def saturation_length(lengths: Sequence[int], delta, stderr, tolerance: float) -> int | None:
    """The smallest n from which on Delta(n) <= max(tolerance, 2 standard errors).

    Args:
        lengths (`Sequence[int]`): ascending; the last one is N, whose Delta is 0.
        delta, stderr (`Sequence[float]`): of [`differences`].
        tolerance (`float`): nats.

    Returns:
        `int`, N itself where the loss falls up to there; None where the errors are unknown (a single row), a loss is
        infinite, or the one at N is above one with less context by more than max(tolerance, 4 standard errors): there
        the model does worse than it can, as at positions that it was not trained to predict from.
    """
    if not np.isfinite([*delta, *stderr]).all():
        return None
    if any(value < -max(tolerance, 4 * error) for value, error in zip(delta, stderr, strict=True)):
        return None
    above = [n for n, value, error in zip(lengths, delta, stderr, strict=True) if value > max(tolerance, 2 * error)]
    return next((n for n in lengths if n > above[-1]), lengths[-1]) if above else lengths[0]


def fit_decay(lengths: Sequence[int], sums: torch.Tensor, counts: torch.Tensor, seed: int = 0) -> dict:
    """gamma in L_n = L_inf + A n^-gamma by weighted least squares, its 95 % interval by resampling rows.

    For every gamma of a grid L_inf and A are linear. Errors common to all n, which the same targets or documents
    cause, move L_inf only, so that the weights come from the losses relative to their own mean over n.

    Args:
        lengths (`Sequence[int]`): n >= 1, those of the fit range, ascending.
        sums (`torch.Tensor`): shape `(rows, lengths)`.
        counts (`torch.Tensor`): shape `(rows,)`.
        seed (`int`, *optional*, defaults to 0): of the resampling.

    Returns:
        `dict`: `gamma`, `gamma_interval`, `loss_inf`, each None where they are not to be had: fewer than 4 lengths or
        8 rows, infinite losses, a loss that does not fall, or a gamma at an end of what is looked at (0.01 to 8). An
        interval that reaches an end is open there.
    """
    nothing = {"gamma": None, "gamma_interval": None, "loss_inf": None}
    if len(lengths) < 4 or len(sums) < 8 or not torch.isfinite(sums).all():
        return nothing
    errors = np.array(curve(sums - sums.mean(1, keepdim=True), counts)[1])
    if not errors.max() > 0:
        errors = np.ones(len(lengths))
    weights = 1 / np.maximum(errors, 0.05 * errors.max()) ** 2
    sums, counts = sums.cpu().numpy(), counts.cpu().numpy()
    gamma, loss_inf, inside = _best_exponent(lengths, (sums.sum(0) / counts.sum())[None], weights)
    if not inside[0]:
        return nothing
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(len(sums), np.full(len(sums), 1 / len(sums)), size=REPLICATES)
    replicas, _, _ = _best_exponent(lengths, drawn @ sums / (drawn @ counts)[:, None], weights)
    low, high = np.quantile(replicas, [0.025, 0.975])
    return {"gamma": float(gamma[0]), "gamma_interval": (float(low), float(high)), "loss_inf": float(loss_inf[0])}


def _best_exponent(lengths, losses: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """gamma and L_inf of every curve, `(curves, lengths)`, and whether gamma is inside the grid and the loss falls."""
    residual, _, _ = _residuals(lengths, losses, weights, np.broadcast_to(EXPONENTS, (len(losses), len(EXPONENTS))))
    best = residual.argmin(1)
    inside = (best > 0) & (best < len(EXPONENTS) - 1)
    best = best.clip(1, len(EXPONENTS) - 2)  # the refinement still reaches the ends
    low, high = np.log(EXPONENTS[best - 1]), np.log(EXPONENTS[best + 1])
    fine = np.exp(low[:, None] + (high - low)[:, None] * np.linspace(0, 1, 65))
    residual, amplitude, loss_inf = _residuals(lengths, losses, weights, fine)
    chosen = np.arange(len(losses)), residual.argmin(1)
    return fine[chosen], loss_inf[chosen], inside & (amplitude[chosen] > 0)


def _residuals(lengths, losses, weights, exponents) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weighted squares left over, A and L_inf of the best line in n^-gamma, each `(curves, exponents)`."""
    weights = weights / weights.sum()
    powers = np.asarray(lengths, dtype=float) ** -exponents[..., None]  # (curves, exponents, lengths)
    x = powers - (powers * weights).sum(-1, keepdims=True)
    y = (losses - (losses * weights).sum(-1, keepdims=True))[:, None, :]
    amplitude = (weights * x * y).sum(-1) / (weights * x * x).sum(-1)
    residual = (weights * (y - amplitude[..., None] * x) ** 2).sum(-1)
    mean_power = (powers * weights).sum(-1)
    return residual, amplitude, (losses * weights).sum(-1)[:, None] - amplitude * mean_power
