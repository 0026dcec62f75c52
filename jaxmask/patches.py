"""Convolutions of few pixels by large kernels on a CPU, as products that never reorder the kernel.

In the last layers of a VGG on small images, kernels are larger than images, and time goes where
kernels are copied: to the order that XLA's convolution wants, or reversed, as gradients have them.
A matrix product takes them as they are, by patches of the images (`_gathered`) or, if the kernel's
inputs are not next to its window, by pixels, whose results are then shifted and added
(`_scattered`). The gradient in a kernel is a product by patches, too. Measured on two cores for one
image by a kernel of 3x3x512x512, in a loop, in milliseconds, by XLA's convolution in its best order
and so:

| image, dtype | forward | gradient in the image | in the kernel |
|---|---|---|---|
| 2x2, float64 | 1.9, 0.8 | 15, 1.0 | 3.2, 0.8 |
| 4x4, float64 | 2.4, 1.2 | 5.2, 2.1 | 2.6, 0.8 |
| 4x4, float32 | 0.40, 0.41 | 3.3, 1.1 | 0.9, 0.6 |
"""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

LARGE = 2**14  # elements of a kernel: copies of smaller ones take no time
MOST_PLACES = 64  # of a window, and of a result


def product(
    images: jax.Array,
    kernel: jax.Array,
    reversed_axes: Sequence[int],
    result: Sequence[int],
    parameters: dict[str, Any],
) -> jax.Array | None:
    """The convolution by a matrix product, in the given order, or None if that is not faster.

    Args:
      images, kernel: in the order of `parameters["dimension_numbers"]`.
      reversed_axes: of the window: the convolution is by the kernel reversed along these.
      result: the shape of the result.
      parameters: of `lax.conv_general_dilated_p`.
    """
    groups = parameters["feature_group_count"] * parameters["batch_group_count"]
    shapes = images.shape, kernel.shape, result
    if groups > 1 or images.dtype not in ("float32", "float64") or images.dtype != kernel.dtype:
        return None
    if any(0 in shape for shape in shapes):
        return None
    numbers = parameters["dimension_numbers"]
    out, into, *window = numbers.rhs_spec
    ends = (0, kernel.ndim - 1)
    taps = math.prod(kernel.shape[axis] for axis in window)
    places = math.prod(result[axis] for axis in numbers.out_spec[2:])
    large = max(kernel.size, math.prod(result)) >= LARGE
    if not large or max(taps, places) > MOST_PLACES or not set(reversed_axes) <= set(window):
        return None
    patches = result[numbers.out_spec[0]] * places * taps * kernel.shape[into]
    gradient = places <= 4 * taps  # in a kernel, which is then the result
    few = patches <= kernel.size // 4 or (gradient and patches <= math.prod(result))
    if few and (out in ends or kernel.size <= math.prod(result) // 4):
        return _gathered(images, kernel, result, parameters, reversed_axes)
    pixels = images.size // kernel.shape[into]
    if into in ends and pixels <= 2 * kernel.shape[into]:
        return _scattered(images, kernel, result, parameters, reversed_axes)
    return None


def _gathered(
    images: jax.Array,
    kernel: jax.Array,
    result: Sequence[int],
    parameters: dict[str, Any],
    reversed_axes: Sequence[int],
) -> jax.Array:
    """Patches [B * places, taps * I] by the kernel [taps * I, O], each in the kernel's order."""
    numbers = parameters["dimension_numbers"]
    out, into, *window = numbers.rhs_spec
    batch, features, *space = numbers.out_spec
    taps, places = [kernel.shape[axis] for axis in window], [result[axis] for axis in space]
    patches = _patches(_space_first(images, parameters), taps, places, parameters)
    ndim = len(space)
    patches = jnp.flip(patches, [window.index(axis) for axis in reversed_axes])
    # where the patches have the axes of the kernel but its outputs, and those of the result
    inside = dict(zip(window, range(ndim))) | {into: 2 * ndim + 1}
    outside = dict(zip(space, range(ndim, 2 * ndim))) | {batch: 2 * ndim}
    rows = patches.transpose(*(outside[axis] for axis in sorted(outside)),
                             *(inside[axis] for axis in sorted(inside)))  # fmt: skip
    matrix = _matrix(kernel, out)
    rows = rows.reshape(-1, matrix.size // kernel.shape[out])
    shape = [result[axis] for axis in sorted(outside)]
    summed = 1 if out == 0 else 0
    if features == 0:
        found = _dot(matrix, rows, summed, 1, parameters)
        return found.reshape(-1, *shape)
    found = _dot(rows, matrix, 1, summed, parameters)
    return jnp.moveaxis(found.reshape(*shape, -1), -1, features)


def _patches(
    images: jax.Array, taps: Sequence[int], places: Sequence[int], parameters: dict[str, Any]
) -> jax.Array:
    """[*S, B, I] -> what each tap meets in each place, [*taps, *places, B, I]."""
    images = _padded(images, parameters["padding"], parameters["lhs_dilation"])
    over, steps = taps, parameters["rhs_dilation"]
    along, strides = places, parameters["window_strides"]
    by_place = math.prod(places) < math.prod(taps)  # fewer parts
    if by_place:
        over, steps, along, strides = along, strides, over, steps

    def part(at: Sequence[int]) -> jax.Array:
        starts = [position * step for position, step in zip(at, steps)]
        return images[tuple(
            slice(start, start + (size - 1) * stride + 1, stride)
            for start, size, stride in zip(starts, along, strides)
        )]  # fmt: skip

    parts = jnp.stack([part(at) for at in itertools.product(*map(range, over))])
    whole = parts.reshape(*over, *along, *images.shape[-2:])
    ndim = len(taps)
    return jnp.moveaxis(whole, range(ndim), range(ndim, 2 * ndim)) if by_place else whole


def _scattered(
    images: jax.Array,
    kernel: jax.Array,
    result: Sequence[int],
    parameters: dict[str, Any],
    reversed_axes: Sequence[int],
) -> jax.Array:
    """Pixels [S * B, I] by the kernel [I, taps * O], then what goes to the same place is added."""
    numbers = parameters["dimension_numbers"]
    out, into, *window = numbers.rhs_spec
    batch, features, *space = numbers.out_spec
    pixels = _space_first(images, parameters)
    *sizes, count, inputs = pixels.shape
    ndim, others = len(space), [axis for axis in range(kernel.ndim) if axis != into]
    found = _dot(
        pixels.reshape(-1, inputs), _matrix(kernel, into), 1, 0 if into == 0 else 1, parameters
    )
    found = found.reshape(*sizes, count, *(kernel.shape[axis] for axis in others))
    where = {axis: ndim + 1 + index for index, axis in enumerate(others)}
    order = (*(where[axis] for axis in window), *range(ndim + 1), where[out])
    found = jnp.flip(found.transpose(order), [window.index(axis) for axis in reversed_axes])
    strides, dilation = parameters["window_strides"], parameters["lhs_dilation"]
    spans = [(result[axis] - 1) * stride + 1 for axis, stride in zip(space, strides)]

    def moved(tap: Sequence[int]) -> jax.Array:
        """[*places, B, O], from where this tap takes them."""
        low = [
            sides[0] - position * step
            for position, sides, step in zip(tap, parameters["padding"], parameters["rhs_dilation"])
        ]
        there = [(size - 1) * step + 1 for size, step in zip(sizes, dilation)]
        sides = [(start, span - start - size) for start, span, size in zip(low, spans, there)]
        whole = _padded(found[tuple(tap)], sides, dilation)
        return whole[tuple(slice(None, None, stride) for stride in strides)]

    taps = itertools.product(*(range(kernel.shape[axis]) for axis in window))
    total = sum(map(moved, taps), jnp.zeros((), found.dtype))
    return jnp.moveaxis(total, range(ndim + 2), (*space, batch, features))


def _space_first(images: jax.Array, parameters: dict[str, Any]) -> jax.Array:
    """[*S, B, I]."""
    batch, features, *space = parameters["dimension_numbers"].lhs_spec
    return images.transpose((*space, batch, features))


def _matrix(kernel: jax.Array, axis: int) -> jax.Array:
    """The kernel with all axes in one but `axis`, which is first or goes last."""
    size = kernel.shape[axis]
    kernel = kernel if axis == 0 else jnp.moveaxis(kernel, axis, -1)
    return kernel.reshape((size, -1) if axis == 0 else (-1, size))


def _dot(
    left: jax.Array, right: jax.Array, one: int, other: int, parameters: dict[str, Any]
) -> jax.Array:
    """Of two matrices, summed over axis `one` of the left and `other` of the right."""
    return jax.lax.dot_general(
        left,
        right,
        (((one,), (other,)), ((), ())),
        precision=parameters["precision"],
        preferred_element_type=parameters["preferred_element_type"],
    )


def _padded(
    images: jax.Array, padding: Sequence[tuple[int, int]], dilation: Sequence[int]
) -> jax.Array:
    """[*S, B, I] with zeros around and between, or cut where the padding is negative."""
    sides = [(low, high, step - 1) for (low, high), step in zip(padding, dilation)]
    zero = jnp.zeros((), images.dtype)
    return jax.lax.pad(images, zero, [*sides, (0, 0, 0), (0, 0, 0)])
