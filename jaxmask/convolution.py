"""Convolutions that XLA's CPU backend runs fast inside a loop.

On a CPU, XLA hands a convolution to an optimized kernel if its dimensions come in the order
batch, space, features (the kernel's: space, in, out). Outside loops it reorders others itself;
inside a loop it falls back to nested loops of scalar code, about fifty times slower, and the
gradient of every convolution has such an order (https://github.com/jax-ml/jax/issues/12868).
Explicit reordering fixes that. Kernels larger than their images (3 x 3 on 2 x 2, in the last layers
of a VGG on 32 pixels) are slow everywhere; their images are padded beforehand.

Groups are slow everywhere, too: depthwise convolutions become sums of shifted products
(`depthwise`), other groups convolutions without (`grouped`). What multiplies matrices is written so
(`pointwise`), and so are convolutions of few pixels by large kernels (`patches`). Each is a rule
from shapes, measured on two cores with AVX-512.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend import core
from jax.extend.core.primitives import conv_general_dilated_p, jit_p, rev_p, scan_p

from jaxmask import depthwise, grouped, patches, pointwise

WORTH_A_BRANCH = 2**14  # elements


def canonical(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same function, with its convolutions in the form that is fast on a CPU, also in loops.

    Results equal those of `function` up to the order of summation. Convolutions in the function's
    own scans are rewritten too; those in its `cond` and `while_loop` are left as they are. Of a
    function under `vmap`, rewrite what `vmap` returns: several kernels become groups there.

    Args:
      function: takes and returns pytrees of arrays; any derivatives are already taken inside it.
    """

    def rewritten(*arguments: Any) -> Any:
        traced, shapes = jax.make_jaxpr(function, return_shape=True)(*arguments)
        outputs = _evaluate(traced.jaxpr, traced.consts, jax.tree.leaves(arguments))
        return jax.tree.unflatten(jax.tree.structure(shapes), outputs)

    return rewritten


def fast(function: Callable[..., Any]) -> Callable[..., Any]:
    """`canonical(function)` on a CPU, and the function itself on other devices."""
    return canonical(function) if jax.default_backend() == "cpu" else function


def _evaluate(jaxpr: core.Jaxpr, constants: list[Any], arguments: list[Any]) -> list[Any]:
    values = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*constants, *arguments], strict=True))

    origins: dict[Any, tuple[jax.Array, tuple[int, ...]]] = {}  # of what is reversed, its axes

    def read(variable: Any) -> Any:
        return variable.val if isinstance(variable, core.Literal) else values[variable]

    for equation in jaxpr.eqns:
        inputs = [read(variable) for variable in equation.invars]
        if equation.primitive is jit_p:
            inner = equation.params["jaxpr"]
            outputs = _evaluate(inner.jaxpr, inner.consts, inputs)
        elif equation.primitive is scan_p and _convolves(equation.params["jaxpr"].jaxpr):
            outputs = _scan(inputs, equation)
        elif equation.primitive is conv_general_dilated_p:
            origin = origins.get(equation.invars[1])
            outputs = [_convolution(inputs[0], inputs[1], origin, **equation.params)]
        else:
            if equation.primitive is rev_p:
                origins[equation.outvars[0]] = inputs[0], equation.params["dimensions"]
            parameters = equation.primitive.get_bind_params(equation.params)
            with equation.ctx.manager:
                outputs = equation.primitive.bind(*inputs, **parameters)
            outputs = outputs if equation.primitive.multiple_results else [outputs]
        values.update(zip(equation.outvars, outputs, strict=True))
    return [read(variable) for variable in jaxpr.outvars]


def _convolves(jaxpr: core.Jaxpr) -> bool:
    return any(
        equation.primitive is conv_general_dilated_p
        or (equation.primitive in (jit_p, scan_p) and _convolves(equation.params["jaxpr"].jaxpr))
        for equation in jaxpr.eqns
    )


def _scan(inputs: list[Any], equation: core.JaxprEqn) -> list[Any]:
    """The same scan, with its body rewritten."""
    parameters = equation.params
    jaxpr = parameters["jaxpr"]
    # Scanned and stacked arrays have one more axis outside the body than inside: count them by
    # that, as the parameters with the counts are named differently across JAX versions.
    scanned = _with_an_axis_more(equation.invars, jaxpr.jaxpr.invars)
    num_carry = len(equation.outvars) - _with_an_axis_more(equation.outvars, jaxpr.jaxpr.outvars)
    num_consts = len(inputs) - scanned - num_carry
    constants, rest = inputs[:num_consts], inputs[num_consts:]

    def body(carry: list[Any], slices: list[Any]) -> tuple[list[Any], list[Any]]:
        outputs = _evaluate(jaxpr.jaxpr, jaxpr.consts, [*constants, *carry, *slices])
        return outputs[:num_carry], outputs[num_carry:]

    carry, stacked = jax.lax.scan(
        body, rest[:num_carry], rest[num_carry:], parameters["length"],
        reverse=parameters["reverse"], unroll=parameters["unroll"],
    )  # fmt: skip
    return [*carry, *stacked]


def _with_an_axis_more(outside: Any, inside: Any) -> int:
    return sum(a.aval.ndim > b.aval.ndim for a, b in zip(outside, inside, strict=True))


def _convolution(
    images: jax.Array,
    kernel: jax.Array,
    origin: tuple[jax.Array, tuple[int, ...]] | None = None,
    **parameters: Any,
) -> jax.Array:
    """`lax.conv_general_dilated` in a form that is fast on a CPU, back in the given order.

    Args:
      origin: an array and axes, if the kernel is this reversed along them.
    """
    shape = jax.eval_shape(partial(conv_general_dilated_p.bind, **parameters), images, kernel).shape
    numbers = parameters["dimension_numbers"]
    batch, features, *space = numbers.out_spec
    sizes = [shape[axis] for axis in space]
    result = pointwise.product(images, kernel, sizes, parameters)
    if result is None:
        found = patches.product(images, *(origin or (kernel, ())), shape, parameters)
        if found is not None:
            return found
    if result is None and depthwise.fast(images, kernel, shape, parameters):
        result = _products(images, kernel, sizes, parameters)
    elif result is None:
        divided = grouped.divided(images, kernel, parameters, _convolution)
        if divided is not None:
            return divided
        result = _reordered(images, kernel, parameters)
    back = [0] * result.ndim
    for position, dimension in enumerate((batch, *space, features)):
        back[dimension] = position
    return result.transpose(back)


def _reordered(images: jax.Array, kernel: jax.Array, parameters: dict[str, Any]) -> jax.Array:
    """The convolution with explicit transposes to a canonical order: [B, *O, C]."""
    numbers = parameters["dimension_numbers"]
    batch, features, *space = numbers.lhs_spec
    images = _transposed(images, (batch, *space, features))
    out, into, *space = numbers.rhs_spec
    kernel = _transposed(kernel, (*space, into, out))
    last = images.ndim - 1
    images, parameters = _padded(images, kernel.shape[:-2], parameters)
    order = (0, last, *range(1, last))
    canonical_numbers = jax.lax.ConvDimensionNumbers(
        order, (last, last - 1, *range(last - 1)), order
    )
    return conv_general_dilated_p.bind(
        images, kernel, **{**parameters, "dimension_numbers": canonical_numbers}
    )


def _products(
    images: jax.Array, kernel: jax.Array, shape: list[int], parameters: dict[str, Any]
) -> jax.Array:
    """The convolution as products of arrays: [B, *O, C]."""
    numbers = parameters["dimension_numbers"]
    kept = ("window_strides", "padding", "lhs_dilation", "rhs_dilation")
    chosen = {name: parameters[name] for name in kept}
    found = parameters["preferred_element_type"] or images.dtype
    # as in XLA's own, sums of products are in float32
    wide = jnp.promote_types(images.dtype, jnp.float32)
    batch, features, *space = numbers.lhs_spec
    out, into, *window = numbers.rhs_spec
    if parameters["batch_group_count"] > 1:  # the gradient of a kernel
        images = images.transpose((features, *space, batch)).astype(wide)
        slopes = kernel.transpose((into, *window, out)).astype(wide)
        groups = parameters["batch_group_count"]
        result = depthwise.gradient(images, slopes, shape, groups, **chosen)
        return jnp.moveaxis(result, -2, 0).astype(found)
    images = images.transpose((batch, *space, features)).astype(wide)
    kernel = kernel.transpose((*window, into, out)).astype(wide)
    groups = parameters["feature_group_count"]
    return depthwise.convolution(images, kernel, shape, groups, **chosen).astype(found)


def _transposed(x: jax.Array, order: tuple[int, ...]) -> jax.Array:
    """`x.transpose(order)`, of a large array on one device as an operation of its own.

    XLA would fuse it with what computes `x`, though `x` is in memory: each activation of a residual
    network again from those before it, back to the start of its stage, read across memory. It
    fuses nothing into a branch. Both branches return the same; it cannot see that, nor which is
    taken: the second, only if the first element is NaN.
    """
    moved = order != tuple(range(x.ndim))
    if not moved or x.size < WORTH_A_BRANCH or jax.device_count() > 1:
        return x.transpose(order)
    first = x[(0,) * x.ndim]
    turned = lambda x: jnp.flip(jnp.flip(x).transpose(order))  # noqa: E731
    return jax.lax.cond(first == first, lambda x: x.transpose(order), turned, x)


def _padded(
    images: jax.Array, window: tuple[int, ...], parameters: dict[str, Any]
) -> tuple[jax.Array, dict[str, Any]]:
    """Images [B, ..., C], already padded if the window is larger than they are.

    XLA runs such convolutions as scalar code too, unless it cannot see that this is padding.
    """
    spread = [(size - 1) * step + 1 for size, step in zip(window, parameters["rhs_dilation"])]
    if not any(size > there for size, there in zip(spread, images.shape[1:-1])):
        return images, parameters
    space = [
        (max(low, 0), max(high, 0), step - 1)
        for (low, high), step in zip(parameters["padding"], parameters["lhs_dilation"])
    ]
    cropped = [(min(low, 0), min(high, 0)) for low, high in parameters["padding"]]
    whole = jax.lax.pad(images, jnp.zeros((), images.dtype), [(0, 0, 0), *space, (0, 0, 0)])
    ones = (1,) * len(window)
    changed = {**parameters, "padding": tuple(cropped), "lhs_dilation": ones}
    return jax.lax.optimization_barrier(whole), changed
