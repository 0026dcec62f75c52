"""Linear probe: multinomial logistic regression by L-BFGS, on the device."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxmask.errors import InputError
from jaxmask.precision import widened
from jaxmask.sharding import replicated

TOLERANCE = 1e-5  # of the gradient's largest entry
FLATTER = 16  # times flatter than at zero: the loss at the end, where probabilities are sharp
ROWS = 8  # times F examples suffice to estimate how the features correlate
EVALUATIONS = 20  # per line search, at most


class LinearProbe(NamedTuple):
    """A linear classifier: `features @ kernel + bias` are its logits.

    Attributes:
      kernel: [F, C].
      bias: [C].
      iterations: of L-BFGS.
    """

    kernel: jax.Array
    bias: jax.Array
    iterations: jax.Array


class _State(NamedTuple):
    """The state of L-BFGS: the weights in its coordinates, and what is derived from them.

    The logits are updated by adding those of the step, so that an iteration multiplies by the
    features twice: once for the direction's logits, once for the gradient.
    """

    weights: tuple[jax.Array, jax.Array]
    kernel: jax.Array  # [C, F]
    gradient: tuple[jax.Array, jax.Array]
    largest: jax.Array  # entry of the gradient with respect to kernel and bias
    point: "_Point"
    lbfgs: Any
    iterations: jax.Array
    descends: jax.Array


class _Point(NamedTuple):
    logits: jax.Array  # [N, C]
    losses: jax.Array  # [N]
    residual: jax.Array  # [N, C], probabilities minus one-hot labels


class _Search(NamedTuple):
    low: jax.Array  # the loss falls here
    low_slope: jax.Array
    high: jax.Array  # it rises here, or has risen; infinite if unknown
    high_slope: jax.Array
    step: jax.Array
    point: _Point
    found: jax.Array
    evaluations: jax.Array


@partial(jax.jit, static_argnames=("classes", "iterations"))
@replicated
def linear_probe(
    features: jax.Array,
    labels: jax.Array,
    regularization: float | jax.Array,
    *,
    classes: int,
    iterations: int = 500,
) -> LinearProbe:
    """Minimizes mean cross-entropy `+ regularization / 2 * |kernel|^2` on standardized features.

    Features are centered and divided by their standard deviation; the returned classifier takes
    the original features. The bias is not regularized. The problem is convex: L-BFGS (Liu and
    Nocedal, "On the limited memory BFGS method", 1989) starts from zero and stops when no entry
    of the gradient exceeds 1e-5, or when rounding hides any further descent. Equal to
    scikit-learn's `LogisticRegression` with `C = 1 / (regularization * N)`.

    L-BFGS works in coordinates in which the loss has about the same curvature in every direction:
    those that whiten `S / C + 16 regularization I`, where S is the features' correlation. This
    changes the path but not its end, and takes fewer iterations if features are correlated.

    Args:
      features: [N, F], floating point; computed with in float32 or wider.
      labels: [N], integers in [0, classes).
      regularization: at least 0; may be traced, so a search over it compiles once.
      classes: C.
      iterations: at most this many.

    Raises:
      InputError: the shapes do not match.

    Example:
      >>> features, labels = jnp.eye(4), jnp.array([0, 0, 1, 1])
      >>> probe = linear_probe(features, labels, 1e-3, classes=2)
      >>> (features @ probe.kernel + probe.bias).argmax(-1).tolist()
      [0, 0, 1, 1]
    """
    if features.ndim != 2 or labels.shape != features.shape[:1] or not len(features):
        raise InputError(
            f"linear probe: features {features.shape} and labels {labels.shape} do not match; "
            "give [N, F] and [N]"
        )
    features = widened(features)
    count, dtype = len(features), features.dtype
    mean, deviation = features.mean(axis=0), features.std(axis=0)
    deviation = jnp.where(deviation > 0, deviation, 1)
    inputs = (features - mean[None]) / deviation[None]
    targets = jax.nn.one_hot(labels, classes, dtype=dtype)
    whitening = _whitening(inputs, regularization, classes)

    def of(weights: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        """Kernel [C, F] and bias from L-BFGS's coordinates; linear."""
        return _product(weights[0], whitening.T), weights[1] * classes**0.5

    def gradient(
        kernel: jax.Array, residual: jax.Array
    ) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
        """By L-BFGS's coordinates; and the largest entry of the gradient by kernel and bias."""
        # On a CPU, XLA's product is twice as fast in this order as in the other.
        by_kernel = _product(residual.T, inputs) / count + regularization * kernel
        by_bias = residual.mean(axis=0)
        largest = jnp.maximum(jnp.abs(by_kernel).max(), jnp.abs(by_bias).max())
        return (_product(by_kernel, whitening), by_bias * classes**0.5), largest

    def iterate(state: _State) -> _State:
        updates, lbfgs = solver.update(state.gradient, state.lbfgs, state.weights)
        direction = jax.tree.map(jnp.negative, updates)
        change, bias = of(direction)
        logits = _product(inputs, change.T) + bias[None]
        along = regularization * (state.kernel * change).sum(), regularization * (change**2).sum()
        slope = optax.tree.vdot(state.gradient, direction)
        search = _line_search(state.point, logits, targets, along, slope)
        weights = jax.tree.map(lambda w, d: w + search.step * d, state.weights, direction)
        kernel = state.kernel + search.step * change
        return _State(
            weights, kernel, *gradient(kernel, search.point.residual), search.point, lbfgs,
            state.iterations + 1, search.found,
        )  # fmt: skip

    def unfinished(state: _State) -> jax.Array:
        return (state.iterations < iterations) & (state.largest > TOLERANCE) & state.descends

    solver = optax.scale_by_lbfgs()
    kernel = jnp.zeros((classes, features.shape[1]), dtype)
    weights = kernel, jnp.zeros(classes, dtype)
    start = _Point(
        jnp.zeros((count, classes), dtype),
        jnp.full(count, jnp.log(classes), dtype),
        1 / classes - targets,
    )
    state = _State(
        weights, kernel, *gradient(kernel, start.residual), start, solver.init(weights),
        jnp.int32(0), jnp.bool(True),
    )  # fmt: skip
    state = jax.lax.while_loop(unfinished, iterate, state)
    kernel, bias = of(state.weights)
    kernel = kernel.T / deviation[:, None]
    return LinearProbe(kernel, bias - _product(mean, kernel), state.iterations)


def _whitening(inputs: jax.Array, regularization: float | jax.Array, classes: int) -> jax.Array:
    """[F, F], T with `T T' = inverse(S / C + 16 regularization I)`.

    At zero the loss's Hessian is S / C, except in directions that move all logits alike; it falls
    from there, while that of the regularization stays the same.
    """
    count, size = inputs.shape
    some = inputs[:: max(count // (ROWS * size), 1)]
    curvature = _product(some.T, some) / (len(some) * classes)
    # The second term keeps the matrix of correlated features positive definite in float32.
    more = FLATTER * regularization + 1e-5 * jnp.trace(curvature) + jnp.finfo(inputs.dtype).tiny
    identity = jnp.eye(size, dtype=inputs.dtype)
    factor = jnp.linalg.cholesky(curvature + more * identity)
    return jax.scipy.linalg.solve_triangular(factor, identity, lower=True).T


def _line_search(
    start: _Point,
    direction: jax.Array,
    targets: jax.Array,
    along: tuple[jax.Array, jax.Array],
    slope: jax.Array,
) -> _Search:
    """A step to where the loss is lower and its slope at most half as steep.

    The loss along a line is convex, and needs only the logits of its two ends. The step that
    L-BFGS proposes, 1, nearly always works; otherwise it is doubled until the loss rises, and
    then found by the secant method on the slopes.

    Args:
      direction: [N, C], the direction's logits.
      along: the regularization's slope at the start, and its curvature.
      slope: of the objective, at the start.
    """
    slack = jnp.finfo(direction.dtype).eps  # what rounding may add to a loss

    def attempt(search: _Search) -> _Search:
        step = search.step
        point = _softmax(start.logits + step * direction, targets)
        # The mean of differences keeps digits that a difference of means would lose.
        change = (point.losses - start.losses).mean() + step * (along[0] + step / 2 * along[1])
        here = (point.residual * direction).sum() / len(direction) + along[0] + step * along[1]
        lower = change <= slack
        before = lower & (here < 0)
        low, low_slope = (
            jnp.where(before, *pair) for pair in ((step, search.low), (here, search.low_slope))
        )
        high, high_slope = (
            jnp.where(before, *pair) for pair in ((search.high, step), (search.high_slope, here))
        )
        inside = jnp.clip(low_slope / (low_slope - high_slope), 0.1, 0.9)
        between = low + jnp.where(high_slope > 0, inside, 0.5) * (high - low)
        found = lower & (jnp.abs(here) <= jnp.abs(slope) / 2)
        following = jnp.where(jnp.isinf(high), 2 * step, between)
        return _Search(
            low, low_slope, high, high_slope, jnp.where(found, step, following), point, found,
            search.evaluations + 1,
        )  # fmt: skip

    def unfinished(search: _Search) -> jax.Array:
        return ~search.found & (search.evaluations < EVALUATIONS)

    zero, one, infinite = (jnp.asarray(number, slope.dtype) for number in (0, 1, jnp.inf))
    search = _Search(
        zero, slope, infinite, infinite, one, start, jnp.bool(False), jnp.int32(0)
    )  # fmt: skip
    search = jax.lax.while_loop(unfinished, attempt, search)
    # If no lower point is found, the weights stay as they are.
    return jax.tree.map(
        partial(jnp.where, search.found), search, search._replace(step=zero, point=start)
    )


def _softmax(logits: jax.Array, targets: jax.Array) -> _Point:
    largest = logits.max(axis=1, keepdims=True)
    powers = jnp.exp(logits - largest)
    total = powers.sum(axis=1, keepdims=True)
    losses = jnp.log(total[:, 0]) + (largest - logits).sum(axis=1, where=targets > 0)
    return _Point(logits, losses, powers / total - targets)


def _product(a: jax.Array, b: jax.Array) -> jax.Array:
    """Their product in full precision: with an accelerator's default, descent would end early."""
    return jnp.matmul(a, b, precision="highest")
