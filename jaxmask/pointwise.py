"""Convolutions that are one matrix product: those of 1x1 kernels, and their kernels' gradients.

XLA's CPU backend multiplies matrices faster than it convolves: forward up to twice as fast, and the
gradient of a 1x1 kernel, which is a convolution by a kernel as large as the image, 2 to 11 times.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp


def product(
    images: jax.Array, kernel: jax.Array, space: Sequence[int], parameters: dict[str, Any]
) -> jax.Array | None:
    """The convolution by a matrix product, [B, *space, C], or None if it is not one.

    Args:
      images, kernel: in the order of `parameters["dimension_numbers"]`.
      space: the spatial sizes of the result.
      parameters: of `lax.conv_general_dilated_p`.
    """
    groups = parameters["feature_group_count"] * parameters["batch_group_count"]
    if groups > 1 or images.dtype not in ("float32", "float64") or 0 in (*images.shape, *space):
        return None
    numbers = parameters["dimension_numbers"]
    window = [kernel.shape[axis] for axis in numbers.rhs_spec[2:]]
    if set(window) == {1}:
        return _pointwise(images, kernel, space, parameters)
    outside = any(side > 0 for sides in parameters["padding"] for side in sides)
    if set(space) == {1} and not outside and set(parameters["lhs_dilation"]) == {1}:
        return _whole(images, kernel, window, parameters)
    return None


def _pointwise(
    images: jax.Array, kernel: jax.Array, space: Sequence[int], parameters: dict[str, Any]
) -> jax.Array:
    """Every pixel by one matrix."""
    numbers = parameters["dimension_numbers"]
    batch, features, *axes = numbers.lhs_spec
    out, into, *window = numbers.rhs_spec
    matrix = jax.lax.squeeze(kernel.transpose((*window, into, out)), range(len(window)))
    images = images.transpose((batch, *axes, features))
    steps = parameters["window_strides"]
    if set(steps) == {1}:  # what is padding stays zero
        return _padded(_dot(images, matrix, parameters), parameters)
    met = [slice(0, (size - 1) * step + 1, step) for size, step in zip(space, steps)]
    return _dot(_padded(images, parameters)[:, *met], matrix, parameters)


def _padded(images: jax.Array, parameters: dict[str, Any]) -> jax.Array:
    """[B, *S, C] with zeros around and between, or cut where the padding is negative."""
    sides = zip(parameters["padding"], parameters["lhs_dilation"])
    spread = [(low, high, step - 1) for (low, high), step in sides]
    zero = jnp.zeros((), images.dtype)
    return jax.lax.pad(images, zero, [(0, 0, 0), *spread, (0, 0, 0)])


def _dot(images: jax.Array, matrix: jax.Array, parameters: dict[str, Any]) -> jax.Array:
    """[..., I] by [I, O]."""
    return jnp.matmul(
        images.reshape(-1, images.shape[-1]),
        matrix,
        precision=parameters["precision"],
        preferred_element_type=parameters["preferred_element_type"],
    ).reshape(*images.shape[:-1], -1)


def _whole(
    images: jax.Array, kernel: jax.Array, window: Sequence[int], parameters: dict[str, Any]
) -> jax.Array:
    """A kernel that meets every image in one place: both are flattened, in the order they have."""
    numbers = parameters["dimension_numbers"]
    _, features, *axes = numbers.lhs_spec
    _, into, *taps = numbers.rhs_spec
    cuts = [slice(None)] * images.ndim
    for axis, size, (low, _), step in zip(
        axes, window, parameters["padding"], parameters["rhs_dilation"]
    ):
        cuts[axis] = slice(-low, (size - 1) * step + 1 - low, step)
    found = jax.lax.dot_general(
        images[tuple(cuts)],
        kernel,
        (((features, *axes), (into, *taps)), ((), ())),
        precision=parameters["precision"],
        preferred_element_type=parameters["preferred_element_type"],
    )
    return found.reshape(len(found), *(1 for _ in axes), -1)
