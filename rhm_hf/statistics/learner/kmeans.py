"""Weighted k-means, small and deterministic."""

import numpy as np


def kmeans(
    rows: np.ndarray, weights: np.ndarray, num_clusters: int, rng: np.random.Generator, restarts: int = 8
) -> np.ndarray:
    """Lloyd's algorithm from k-means++ seeds (Arthur and Vassilvitskii 2007), the best of some restarts.

    Args:
        rows (`np.ndarray`): float64 `(N, features)`.
        weights (`np.ndarray`): `(N,)`, positive.
        num_clusters (`int`): k; with k >= N every row is a cluster.
        rng (`np.random.Generator`): source of the seeds.
        restarts (`int`, *optional*, defaults to 8): runs, of which the one with the smallest weighted sum of squared
            distances is kept.

    Returns:
        `np.ndarray`: int64 `(N,)`, labels 0, 1, .. without gaps.
    """
    if num_clusters >= len(rows):
        return np.arange(len(rows))
    runs = [_lloyd(rows, weights, _seeds(rows, weights, num_clusters, rng)) for _ in range(restarts)]
    labels, _ = min(runs, key=lambda run: run[1])
    return np.unique(labels, return_inverse=True)[1]


def _squared_distances(rows: np.ndarray, centres: np.ndarray) -> np.ndarray:
    distances = (rows**2).sum(1)[:, None] - 2 * rows @ centres.T + (centres**2).sum(1)
    return np.maximum(distances, 0)


def _seeds(rows: np.ndarray, weights: np.ndarray, num_clusters: int, rng: np.random.Generator) -> np.ndarray:
    """Rows drawn one after the other, with probability proportional to weight x squared distance to those drawn."""
    chosen = [rng.choice(len(rows), p=weights / weights.sum())]
    nearest = _squared_distances(rows, rows[chosen])[:, 0]
    while len(chosen) < num_clusters:
        chances = weights * nearest
        chances[chosen] = 0
        if chances.sum() == 0:  # the other rows are copies of those drawn
            chances = np.ones(len(rows))
        chosen.append(rng.choice(len(rows), p=chances / chances.sum()))
        nearest = np.minimum(nearest, _squared_distances(rows, rows[chosen[-1:]])[:, 0])
    return rows[chosen]


def _lloyd(rows: np.ndarray, weights: np.ndarray, centres: np.ndarray) -> tuple[np.ndarray, float]:
    labels = np.full(len(rows), -1)
    for _ in range(200):
        distances = _squared_distances(rows, centres)
        nearest = distances.argmin(1)
        if (nearest == labels).all():
            break
        labels = nearest
        mass = np.bincount(labels, weights, len(centres))
        sums = np.zeros_like(centres)
        np.add.at(sums, labels, rows * weights[:, None])
        centres = np.where(mass[:, None] > 0, sums / np.maximum(mass, 1e-300)[:, None], centres)
    return labels, float(weights @ distances[np.arange(len(rows)), labels])
