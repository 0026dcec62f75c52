"""Embeddings as points in the plane."""

from collections.abc import Callable

import numpy as np

STEPS = 500  # of t-SNE: twice its early exaggeration

# [n, F] -> ([n, 2], what the projection says of itself)
Projection = Callable[[np.ndarray], tuple[np.ndarray, str]]


def unit(features: np.ndarray) -> np.ndarray:
    """Rows of length 1, in float64; a row of zeros stays."""
    length = np.linalg.norm(features.astype(np.float64), axis=1, keepdims=True)
    return features / np.where(length > 0, length, 1)


def pca(features: np.ndarray) -> tuple[np.ndarray, str]:
    """The first two principal components, and the share of the variance that they have."""
    from sklearn.decomposition import PCA

    made = PCA(min(2, *features.shape), random_state=0)
    placed = made.fit_transform(features)
    said = f"{100 * made.explained_variance_ratio_.sum():.0f} % of the variance"
    return np.pad(placed, [(0, 0), (0, 2 - placed.shape[1])]), said


def tsne(features: np.ndarray) -> tuple[np.ndarray, str]:
    """t-SNE (van der Maaten and Hinton 2008): neighbors stay near; distances mean little."""
    from sklearn.manifold import TSNE

    if features.shape[1] < 2:
        features = np.pad(features, [(0, 0), (0, 1)])
    perplexity = min(30.0, (len(features) - 1) / 3)
    made = TSNE(perplexity=perplexity, init="pca", random_state=0, max_iter=STEPS)
    return made.fit_transform(features), ""


def placed(features: np.ndarray, way: Projection) -> tuple[np.ndarray, str]:
    """Projects features onto the plane; the same features give the same positions.

    Args:
      features: [n, F], n of at least 3.
      way: `pca` or `tsne`.
    """
    from threadpoolctl import threadpool_limits

    if np.ptp(features, axis=0).max(initial=0.0) < 1e-9:
        return np.zeros((len(features), 2)), "all at one point"
    # Several threads add up in another order each time, and wait for each other on a busy machine.
    with threadpool_limits(1):
        return way(features)
