"""Connectedness: which kept weights lie on a path from the input to the output."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxmask.convolution import fast
from jaxmask.errors import InputError
from jaxmask.score.paths import Flow, follow
from jaxmask.sharding import like
from jaxmask.tree import PyTree


def connected(forward: Callable[..., PyTree]) -> Callable[..., PyTree]:
    """`c = m AND dR/dm > 0`, with R the number of paths from the input to the output, cut to 0 or 1
    at every entry of every value.

    A weight that is kept but not connected is of no use: nothing reaches it, or nothing that it
    changes reaches the output. The share of connected weights, `mask.measure.density` of the
    result, is the effective density.

    Only where entries meet counts, not by how much: all factors are positive and nothing cancels;
    a maximum passes on all its operands. The values of the mask alone are taken from what is
    scored, and none of the input: each of its entries is a start. What `forward` closes over
    starts no path; a factor that is zero ends one, so give scales that are zero at first as ones.
    A masked bias is connected where the value to which it is added lies on a path.

    `forward` is followed operation by operation: matrix products, convolutions, pooling, residuals,
    normalizations, attention, scans (step by step). One whose paths are not known, such as a sort,
    a `while_loop` or a look-up at places that come from the input, is refused.

    Source: Vysogorets, Kempe, Connectivity matters: neural network pruning through the lens of
    effective sparsity, 2023, https://arxiv.org/abs/2107.02306.

    Args:
      forward: (weights, *inputs) -> outputs, in eval mode. The weights are floats, ones and zeros.

    Returns:
      (masks, *inputs) -> a tree of bool, structured as the masks. Masks are bool, {0, 1} or
      {-1, 1}; of the inputs, arrays or `jax.ShapeDtypeStruct`, only shapes and dtypes count.

    Raises:
      InputError: when called without an input, or if no output depends on it; an operation is not
        understood.

    Example:
      >>> forward = lambda w, x: jax.nn.relu(x @ w["a"]) @ w["b"]
      >>> masks = {"a": jnp.array([[1, 1], [0, 0]]), "b": jnp.array([[1], [0]])}
      >>> found = score.connected(forward)(masks, jnp.ones((1, 2)))
      >>> jax.tree.map(lambda leaf: leaf.tolist(), found)
      {'a': [[True, False], [False, False]], 'b': [[True], [False]]}
      >>> mask.measure.density(masks), round(mask.measure.density(found), 3)
      (0.5, 0.333)
    """

    @jax.jit
    def found(masks: PyTree, inputs: tuple[Any, ...]) -> PyTree:
        kept = jax.tree.map(_kept, masks)

        def reached(kept: PyTree) -> jax.Array:
            outputs = _outputs(forward, masks, kept, inputs)
            signals = [each.signal for each in outputs if isinstance(each, Flow)]
            reaching = [jnp.sum(signal) for signal in signals if signal is not None]
            if not reaching:
                raise InputError("connected: no output of forward depends on its input")
            return sum(reaching, jnp.zeros((), jnp.float32))

        paths = fast(jax.grad(reached))(kept)
        return like(masks, jax.tree.map(lambda m, g: (m > 0) & (g > 0.5), kept, paths))

    def connections(masks: PyTree, *inputs: Any) -> PyTree:
        shapes = jax.tree.map(lambda leaf: jnp.ones(jnp.shape(leaf), _dtype(leaf)), inputs)
        if not jax.tree.leaves(shapes):
            raise InputError(
                "connected: paths start at the input: give it beside the masks, "
                "connected(forward)(masks, x), with a forward (w, x) -> outputs"
            )
        return found(masks, shapes)

    return connections


def _outputs(
    forward: Callable[..., PyTree], masks: PyTree, kept: PyTree, inputs: tuple[Any, ...]
) -> list[Any]:
    """The outputs of `forward`, followed."""
    traced = jax.make_jaxpr(forward)(jax.tree.map(_weights, masks), *inputs)
    flows = [Flow(leaf, None) for leaf in jax.tree.leaves(kept)]
    ones = [jnp.ones(jnp.shape(leaf), jnp.float32) for leaf in jax.tree.leaves(inputs)]
    return follow(traced.jaxpr, traced.consts, [*flows, *(Flow(each, each) for each in ones)])


def _kept(leaf: Any) -> jax.Array:
    return (jnp.asarray(leaf) > 0).astype(jnp.float32)


def _weights(leaf: Any) -> jax.ShapeDtypeStruct:
    """As what a mask goes into `forward`: in its own dtype if that is one of weights."""
    dtype = _dtype(leaf)
    floating = jnp.issubdtype(dtype, jnp.floating)
    return jax.ShapeDtypeStruct(jnp.shape(leaf), dtype if floating else jnp.dtype("float32"))


def _dtype(leaf: Any) -> np.dtype:
    return jnp.result_type(leaf) if not hasattr(leaf, "dtype") else leaf.dtype
