"""Depthwise convolutions on a CPU as sums of shifted products, which XLA fuses into fast loops.

XLA's CPU backend runs a convolution with many groups as scalar code. Here a group may have a few
inputs a or outputs b, as a convolution with a multiplier and its gradients do: each pair of them
becomes a channel of its own, of which a * b then make up a group. Measured on two cores, not in a
loop, for 32 images, in milliseconds, XLA's and these; in a loop XLA's are slower still:

| image, kernel, stride | forward | gradient in the image | in the kernel |
|---|---|---|---|
| 24x24x144, 3x3, 1 | 52, 1.9 | 51, 1.5 | 54, 2.7 |
| 6x6x480, 5x5, 1 | 17, 1.1 | 17, 1.3 | 57, 1.8 |
| 24x24x144, 5x5, 2 | 23, 1.2 | 210, 2 | 35, 1.6 |
"""

import itertools
import math
from collections.abc import Sequence
from functools import reduce
from typing import Any

import jax
import jax.numpy as jnp

MOST_PAIRS = 4  # of an input and an output in a group: each is computed alone
MOST_TAPS = 64  # of a kernel: each is an operation of the compiled program
MOST_ROWS = 24  # of an image, likewise: of more, several are added together


def fast(
    images: jax.Array, kernel: jax.Array, result: Sequence[int], parameters: dict[str, Any]
) -> bool:
    """Whether products of arrays are faster than XLA's convolution, by its shapes.

    Args:
      images, kernel: in the order of `parameters["dimension_numbers"]`.
      result: the shape of the result.
      parameters: of `lax.conv_general_dilated_p`.
    """
    numbers = parameters["dimension_numbers"]
    groups = parameters["feature_group_count"] * parameters["batch_group_count"]
    shapes = images.shape, kernel.shape, result
    empty = any(0 in shape for shape in shapes)
    if groups == 1 or empty or not jnp.issubdtype(images.dtype, jnp.floating):
        return False
    out, into, *window = (kernel.shape[axis] for axis in numbers.rhs_spec)
    if parameters["batch_group_count"] > 1:
        into = images.shape[numbers.lhs_spec[0]] // groups
        window = [result[axis] for axis in numbers.out_spec[2:]]
    few = min(into, out // groups) == 1 and into * (out // groups) <= MOST_PAIRS
    return few and math.prod(window) <= MOST_TAPS


def convolution(
    images: jax.Array, kernel: jax.Array, space: Sequence[int], groups: int, **parameters: Any
) -> jax.Array:
    """A convolution with `feature_group_count=groups`.

    Args:
      images: [B, *S, groups * a].
      kernel: [*K, a, groups * b].
      space: the spatial sizes of the result.
      **parameters: `window_strides`, `padding`, `lhs_dilation` and `rhs_dilation` of
        `lax.conv_general_dilated`.

    Returns:
      [B, *space, groups * b].
    """
    into, out = kernel.shape[-2], kernel.shape[-1] // groups
    taps = kernel.shape[:-2]
    pairs = kernel.reshape(*taps, into, groups, out).swapaxes(-3, -2).reshape(*taps, -1)
    result = _convolution(_repeated(images, out), pairs, space, **parameters)
    return result.reshape(*result.shape[:-1], groups, into, out).sum(-2).reshape(
        *result.shape[:-1], groups * out
    )  # fmt: skip


def gradient(
    images: jax.Array, slopes: jax.Array, window: Sequence[int], groups: int, **parameters: Any
) -> jax.Array:
    """The gradient of a grouped convolution in its kernel, see `convolution`.

    Args:
      images: [B, *S, groups * a].
      slopes: [B, *O, groups * b], by the convolution's result.
      window: K.
      **parameters: as in `convolution`, of the convolution of `images` by `slopes`:
        `window_strides` is the dilation of the kernel, `rhs_dilation` the stride.

    Returns:
      [*K, a, groups * b].
    """
    into, out = images.shape[-1] // groups, slopes.shape[-1] // groups
    twins = slopes.reshape(*slopes.shape[:-1], groups, 1, out)
    twins = jnp.broadcast_to(twins, (*slopes.shape[:-1], groups, into, out))
    twins = twins.reshape(*slopes.shape[:-1], -1)
    result = _gradient(_repeated(images, out), twins, window, **parameters)
    pairs = result.reshape(*window, groups, into, out).swapaxes(-3, -2)
    return pairs.reshape(*window, into, groups * out)


def _repeated(images: jax.Array, times: int) -> jax.Array:
    return images if times == 1 else jnp.repeat(images, times, axis=-1)


def _convolution(
    images: jax.Array,
    kernel: jax.Array,
    space: Sequence[int],
    *,
    window_strides: Sequence[int],
    padding: Sequence[tuple[int, int]],
    lhs_dilation: Sequence[int],
    rhs_dilation: Sequence[int],
) -> jax.Array:
    """[B, *S, C] by [*K, C] -> [B, *space, C]."""
    if any(s > 1 and d > 1 for s, d in zip(window_strides, lhs_dilation)):
        images = _padded(images, [(0, 0)] * len(space), lhs_dilation)
        lhs_dilation = (1,) * len(space)
    axes = [_phases(*sizes) for sizes in zip(kernel.shape, padding, lhs_dilation, rhs_dilation)]
    counts = [-(-size // step) for size, step in zip(space, lhs_dilation)]
    spans = [(stride * (count - 1) + 1, stride) for stride, count in zip(window_strides, counts)]
    offsets = [[offset for phase in axis for _, offset in phase] for axis in axes]
    low = [-min(each) for each in offsets]
    high = [
        max(each) + span - size for each, (span, _), size in zip(offsets, spans, images.shape[1:-1])
    ]
    images = _padded(images, list(zip(low, high)))

    def one(phase: Sequence[list[tuple[int, int]]]) -> jax.Array:
        """What the taps of one phase along each axis add up to."""
        total = jnp.zeros((), images.dtype)
        for taps in itertools.product(*phase):
            cut = [
                slice(offset + start, offset + start + span, stride)
                for (_, offset), start, (span, stride) in zip(taps, low, spans)
            ]
            total = total + images[:, *cut] * kernel[tuple(tap for tap, _ in taps)]
        return jnp.broadcast_to(total, (len(images), *counts, images.shape[-1]))

    return _interleaved([one(phase) for phase in itertools.product(*axes)], lhs_dilation, space)


def _phases(
    size: int, padding: tuple[int, int], lhs_dilation: int, rhs_dilation: int
) -> list[list[tuple[int, int]]]:
    """Which taps of a kernel meet an element and not a hole between them, along one axis.

    Returns:
      For results 0 to `lhs_dilation - 1`: (tap, the index of the image's element). The next
      `lhs_dilation` results meet the elements after these.
    """
    phases: list[list[tuple[int, int]]] = [[] for _ in range(lhs_dilation)]
    for result, tap in itertools.product(range(lhs_dilation), range(size)):
        offset, hole = divmod(result + tap * rhs_dilation - padding[0], lhs_dilation)
        if not hole:
            phases[result].append((tap, offset))
    return phases


def _interleaved(parts: list[jax.Array], steps: Sequence[int], space: Sequence[int]) -> jax.Array:
    """Parts [B, *T, C], one for every combination of phases -> [B, *space, C]."""
    if len(parts) == 1:
        return parts[0]
    batch, *counts, channels = parts[0].shape
    ndim = len(counts)
    whole = jnp.stack(parts).reshape(*steps, batch, *counts, channels)
    order = [ndim]
    for axis in range(ndim):
        order += [ndim + 1 + axis, axis]
    whole = whole.transpose(*order, 2 * ndim + 1)
    whole = whole.reshape(batch, *(c * s for c, s in zip(counts, steps)), channels)
    return whole[:, *(slice(size) for size in space)]


def _gradient(
    images: jax.Array,
    slopes: jax.Array,
    window: Sequence[int],
    *,
    window_strides: Sequence[int],
    padding: Sequence[tuple[int, int]],
    lhs_dilation: Sequence[int],
    rhs_dilation: Sequence[int],
) -> jax.Array:
    """[B, *S, C] by [B, *O, C] -> [*K, C]."""
    images = _padded(images, padding, lhs_dilation)
    taps: list[tuple[int, ...]] = list(itertools.product(*map(range, window)))
    if len(window) == 1:  # as one image, whose rows are the examples
        images, slopes = images[None], slopes[None]
        window_strides, rhs_dilation = (1, *window_strides), (1, *rhs_dilation)
        taps = [(0, *tap) for tap in taps]

    places = {
        tap: [
            divmod(t * stride, step) for t, stride, step in zip(tap, window_strides, rhs_dilation)
        ]
        for tap in taps
    }
    phases = {
        phase: images[:, *(slice(first, None, step) for first, step in zip(phase, rhs_dilation))]
        for phase in {tuple(first for _, first in place) for place in places.values()}
    }
    if max(rhs_dilation) > 1:  # in memory: with steps in them, products take twice the time, also
        phases = jax.lax.optimization_barrier(phases)  # to compile

    def met(tap: tuple[int, ...]) -> jax.Array:
        """[B, *O, C], the elements of the images that `tap` multiplies."""
        there = phases[tuple(first for _, first in places[tap])]
        cuts = zip(places[tap], slopes.shape[1:])
        return there[:, *(slice(start, start + size) for (start, _), size in cuts)]

    # Sums of products are fast loops if they are written as such, row by row. Sums of arrays are
    # fast, too, but a sum over an axis would compute the products in its own slow loop.
    height = slopes.shape[1]
    block = -(-height // MOST_ROWS)
    full = height // block * block
    rows: list[Any] = [slice(row, row + block) for row in range(0, full, block)]
    if block == 1:
        rows = list(range(height))

    def sums(tap: tuple[int, ...]) -> jax.Array:
        there = met(tap)
        parts = [reduce(jnp.add, [there[:, row] * slopes[:, row] for row in rows])]
        if full < height:
            parts.append(there[:, full:] * slopes[:, full:])
        return reduce(jnp.add, [part.sum(tuple(range(part.ndim - 1))) for part in parts])

    return jnp.stack([sums(tap) for tap in taps]).reshape(*window, -1)


def _padded(
    images: jax.Array, padding: Sequence[tuple[int, int]], dilation: Sequence[int] | None = None
) -> jax.Array:
    """Images [B, *S, C], padded with zeros, or cut where `padding` is negative."""
    steps = dilation or (1,) * len(padding)
    space = [(low, high, step - 1) for (low, high), step in zip(padding, steps)]
    zero = jnp.zeros((), images.dtype)
    return jax.lax.pad(images, zero, [(0, 0, 0), *space, (0, 0, 0)])
