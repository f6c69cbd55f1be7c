"""Laws by which losses approach a limit as contexts grow: a power, or an exponential, each with a limit of its own."""

import numpy as np


def power(n: np.ndarray, limit: float, height: float, gamma: float) -> np.ndarray:
    """limit + height n^-gamma."""
    return limit + height * n**-gamma


def exponential(n: np.ndarray, limit: float, height: float, rate: float) -> np.ndarray:
    """limit + height exp(-rate n)."""
    return limit + height * np.exp(-rate * n)


LAWS = {"gamma": power, "rate of an exponential": exponential}  # by what their third parameter is called


def fitted(law: str, n: np.ndarray, loss: np.ndarray) -> list[dict]:
    """Least squares of a law; nothing where it finds no minimum, as of losses that fall nowhere.

    Args:
        law (`str`): a key of `LAWS`.
        n (`np.ndarray`): context lengths, tokens, at least three of them.
        loss (`np.ndarray`): nats.

    Returns:
        `list[dict]`: `value`, the exponent or rate, `rms` of what is left, nats, `limit` and `height`.
    """
    from scipy.optimize import curve_fit

    start, bounds = (loss.min() - 0.05, loss.max() - loss.min(), 1.0), ([0, 0, 1e-3], [loss.min(), np.inf, 10])
    try:
        found, _ = curve_fit(LAWS[law], n, loss, p0=start, bounds=bounds)
    except (RuntimeError, ValueError):  # ValueError: a start outside of the bounds
        return []
    off = float(np.sqrt(np.mean((LAWS[law](n, *found) - loss) ** 2)))
    return [{"value": float(found[2]), "rms": off, "limit": float(found[0]), "height": float(found[1])}]
