"""Routers: which cluster of embeddings an example belongs to."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxmask.errors import InputError
from jaxmask.evaluate.features import unit
from jaxmask.evaluate.whitening import Whitening, whiten, whitening

ITERATIONS = 1000  # at most


class Router(NamedTuple):
    """Clusters of embeddings.

    An example x belongs to the cluster k with the largest `offset_k - |(y - center_k) factor_k|^2
    / 2`, where y are the whitened principal components of `x / |x|`.

    Attributes:
      whitening: to P components.
      centers: [K, P].
      factors: [K, P, P].
      offsets: [K].
    """

    whitening: Whitening
    centers: jax.Array
    factors: jax.Array
    offsets: jax.Array


class Clustering(NamedTuple):
    """A way to make a router.

    Attributes:
      clusters: how many.
      fit: (embeddings [N, F], seed) -> Router.
    """

    clusters: int
    fit: Callable[[np.ndarray, int], Router]


def mixture(components: int = 5, principal: int = 20) -> Clustering:
    """Clusters as the components of a Gaussian mixture with full covariances.

    The factor of a cluster is the Cholesky factor of its precision, its offset `log weight_k + log
    |factor_k|`: the score above is the log of weight times density, up to a constant. Fitted by
    expectation maximization from k-means (scikit-learn) on the principal components of unit-norm
    embeddings, whitened to one variance.

    Raises:
      InputError: a number is below 1; or, from `fit`, there are fewer examples than clusters.

    Example:
      >>> embeddings = np.random.default_rng(0).normal(size=(50, 8))
      >>> router = mixture(components=2, principal=4).fit(embeddings, 0)
      >>> sorted(set(route(router, embeddings).tolist()))
      [0, 1]
    """
    _check(components=components, principal=principal)

    def fit(embeddings: np.ndarray, seed: int) -> Router:
        from sklearn.mixture import GaussianMixture

        white, examples = _components(embeddings, components, principal)
        made = GaussianMixture(components, max_iter=ITERATIONS, random_state=seed)
        found = made.fit(examples)
        factors = found.precisions_cholesky_
        diagonals = np.diagonal(factors, axis1=1, axis2=2)
        offsets = np.log(found.weights_) + np.log(diagonals).sum(axis=1)
        return _router(white, found.means_, factors, offsets)

    return Clustering(components, fit)


def kmeans(clusters: int = 5, principal: int = 20) -> Clustering:
    """Clusters by k-means (scikit-learn) on the same components: the nearest center.

    Raises:
      InputError: as `mixture`.

    Example:
      >>> embeddings = np.random.default_rng(0).normal(size=(50, 8))
      >>> kmeans(clusters=3, principal=4).fit(embeddings, 0).centers.shape
      (3, 4)
    """
    _check(clusters=clusters, principal=principal)

    def fit(embeddings: np.ndarray, seed: int) -> Router:
        from sklearn.cluster import KMeans

        white, examples = _components(embeddings, clusters, principal)
        found = KMeans(clusters, n_init=10, max_iter=ITERATIONS, random_state=seed).fit(examples)
        centers = found.cluster_centers_
        same = np.broadcast_to(np.eye(centers.shape[1]), (clusters, *(centers.shape[1],) * 2))
        return _router(white, centers, same, np.zeros(clusters))

    return Clustering(clusters, fit)


ROUTERS: dict[str, Callable[..., Clustering]] = {"mixture": mixture, "kmeans": kmeans}


def route(router: Router, embeddings: jax.typing.ArrayLike) -> jax.Array:
    """The cluster of each embedding, int32 [N]; of equally likely ones the first."""
    components = whiten(router.whitening, unit(jnp.asarray(embeddings)))

    def score(center: jax.Array, factor: jax.Array, offset: jax.Array) -> jax.Array:
        away = jnp.matmul(components - center, factor, precision="highest")
        return offset - (away**2).sum(axis=1) / 2

    scores = jax.vmap(score)(router.centers, router.factors, router.offsets)
    return scores.argmax(axis=0).astype(jnp.int32)


def _components(
    embeddings: np.ndarray, clusters: int, principal: int
) -> tuple[Whitening, np.ndarray]:
    """The whitening, and what it makes of the embeddings, in float64."""
    if len(embeddings) < clusters:
        raise InputError(
            f"a router of {clusters} clusters for {len(embeddings)} examples; give fewer clusters"
        )
    examples = np.asarray(unit(jnp.asarray(embeddings)))
    white = whitening(examples, principal)
    return white, np.asarray(whiten(white, jnp.asarray(examples)), np.float64)


def _router(white: Whitening, *parts: np.ndarray) -> Router:
    return Router(white, *(jnp.asarray(part, jnp.float32) for part in parts))


def _check(**numbers: int) -> None:
    for name, value in numbers.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise InputError(
                f"router: {name} is {value!r}; it must be a whole number of at least 1"
            )
