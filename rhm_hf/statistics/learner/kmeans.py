"""Weighted k-means with labels without gaps: scikit-learn's, deterministic for a given generator."""

import warnings

import numpy as np


MAX_ITERATIONS = 300


def kmeans(
    rows: np.ndarray, weights: np.ndarray, num_clusters: int, rng: np.random.Generator, restarts: int = 8
) -> np.ndarray:
    """Lloyd's algorithm from greedy k-means++ seeds, the best of some restarts (`sklearn.cluster.KMeans`).

    Args:
        rows (`np.ndarray`): float64 `(N, features)`.
        weights (`np.ndarray`): `(N,)`, positive.
        num_clusters (`int`): k; with k >= N every row is a cluster.
        rng (`np.random.Generator`): source of the seeds.
        restarts (`int`, *optional*, defaults to 8): runs, of which the one with the smallest weighted sum of squared
            distances is kept.

    Returns:
        `np.ndarray`: int64 `(N,)`, labels 0, 1, .. without gaps; fewer than k where fewer rows are distinct.
    """
    if num_clusters >= len(rows):
        return np.arange(len(rows))
    # Imported here: scikit-learn takes a second, and most statistics need none of it.
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    seed = int(rng.integers(2**31))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct rows than clusters: fewer labels
        found = KMeans(num_clusters, n_init=restarts, max_iter=MAX_ITERATIONS, tol=0, random_state=seed).fit(
            rows, sample_weight=weights
        )
    return np.unique(found.labels_, return_inverse=True)[1]
