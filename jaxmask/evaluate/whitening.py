"""Whitening: principal components of features, each scaled to one variance."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxmask.errors import InputError

NEGLIGIBLE = 1e-5  # of the largest deviation: what float32 features cannot tell from none
MANY = 2048  # features from which the covariance is factored, and not the features themselves


class Whitening(NamedTuple):
    """A linear map of features, `(features - mean) @ directions`.

    Attributes:
      mean: [D].
      directions: [D, F]; columns are principal directions over their standard deviations.
    """

    mean: jax.Array
    directions: jax.Array


def whitening(features: np.ndarray, size: int) -> Whitening:
    """The whitening of the `size` leading principal components.

    With the mean m over N examples and the singular values of `X - m = U S V'`, the directions are
    `sqrt(N - 1) V_i / S_i`: each component has a variance of 1 over these examples, and no two
    are correlated. A direction without variance maps to zero. Computed in float64 on the host by
    scikit-learn.

    Args:
      features: [N, D].
      size: F; fewer if there are fewer examples or features.

    Returns:
      float32.

    Raises:
      InputError: there are fewer than two examples, or no component is wanted.

    Example:
      >>> features = np.random.default_rng(0).normal(size=(100, 3)) * [1, 5, 25]
      >>> whitened = whiten(whitening(features, 2), features)
      >>> np.abs(np.cov(whitened.T) - np.eye(2)).max() < 1e-4
      np.True_
    """
    from sklearn.decomposition import PCA

    if np.ndim(features) != 2 or len(features) < 2 or size < 1:
        raise InputError(
            f"whitening to {size} components: features {np.shape(features)}; give [N, D] of at "
            "least two examples, and at least one component"
        )
    examples = np.asarray(features, np.float64)
    size = min(size, *examples.shape)
    solver = "covariance_eigh" if examples.shape[1] > MANY else "full"
    found = PCA(n_components=size, svd_solver=solver).fit(examples)
    deviation = np.sqrt(found.explained_variance_)
    useful = deviation > NEGLIGIBLE * deviation[0]
    scales = np.where(useful, 1 / np.where(useful, deviation, 1), 0)
    return Whitening(
        found.mean_.astype(np.float32), (found.components_.T * scales).astype(np.float32)
    )


def whiten(whitening: Whitening, features: jax.Array) -> jax.Array:
    """[N, F] whitened features of [N, D]."""
    centered = features - whitening.mean
    return jnp.matmul(centered, whitening.directions, precision="highest")
