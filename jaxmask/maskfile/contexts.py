"""What the entropy codec knows about a bit before decoding it: a logistic model in integers.

A leaf is viewed as `off[plane, input, output]`, 1 where the mask is 0, one plane per position in
the kernel (a dense or 1x1 kernel has one plane). It is coded plane by plane, and

    P(off) = sigmoid(score / 64),  score = offset + sum of weight * feature

where the offset is per leaf, or per plane if a leaf's planes differ, and weights are shared by all
leaves of one kernel size. The features:

| name | what |
|---|---|
| `output`, `input` | how the channel differs from its leaf, in quantized logits, stored |
| `has_up`, `has_left` | whether there is a plane above, to the left |
| `up`, `left`, `up_left`, `up_right` | the bit there of the same filter (same input and output) |
| `count` | number of bits of the same filter that are off so far |
| `magnitude`, `magnitude_squared`, `sign` | of the frozen weight, if given; octile, 0 to 7 |
| `..._sign` | a neighbor, times the sign of its weight times the sign of this one |

Everything is an integer and the table of probabilities is rounded to 16 bits, so that encoder
and decoder agree on every machine.
"""

import functools
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

UNIT = 64  # scores in one nat
LIMIT = 710  # beyond this score probabilities stay the same: 2**-16 and 1 - 2**-16
CHANNELS = ("output", "input")
FILTER = ("has_up", "has_left", "up", "left", "up_left", "up_right", "count")
FROZEN = ("magnitude", "magnitude_squared", "sign")
SIGNED = ("up_sign", "left_sign", "up_left_sign", "up_right_sign", "count_sign")
_CHUNK = 2**17
_MOST_PLANES = 256


class Planes(NamedTuple):
    """A leaf's shape as planes (`height * width` of them), inputs and outputs."""

    height: int
    width: int
    inputs: int
    outputs: int

    @property
    def planes(self) -> tuple[int, int, int]:
        return self.height * self.width, self.inputs, self.outputs

    @property
    def kernel(self) -> tuple[int, int]:
        return self.height, self.width


class Frozen(NamedTuple):
    """The features of a leaf's frozen weights, shaped like its planes: octile (0..7), sign."""

    octile: np.ndarray
    sign: np.ndarray


class Leaf(NamedTuple):
    """The model of a leaf: what each plane, input and output adds to scores; shared weights."""

    layout: Planes
    offsets: np.ndarray
    inputs: np.ndarray
    outputs: np.ndarray
    weights: tuple[int, ...]


def layout(shape: tuple[int, ...]) -> Planes:
    """The last two axes are inputs and outputs, those before them the kernel's."""
    if math.prod(shape) == 0:
        return Planes(1, 1, 0, 0)
    *kernel, inputs, outputs = (1,) * (2 - len(shape)) + shape
    if math.prod(kernel) > _MOST_PLANES:
        # As if without kernel: features look at all earlier planes, which takes quadratic time.
        return Planes(1, 1, math.prod(kernel) * inputs, outputs)
    return Planes(math.prod(kernel[:-1]), kernel[-1] if kernel else 1, inputs, outputs)


def names(kernel: tuple[int, int], given: bool) -> tuple[str, ...]:
    """The features of leaves with this kernel; `given`: whether frozen weights are available."""
    near = kernel != (1, 1)
    return CHANNELS + FILTER * near + (FROZEN + SIGNED * near) * given


def chunks(leaf: Planes) -> Iterator[tuple[int, slice]]:
    """Planes and ranges of their inputs, in coding order, small enough for a CPU cache."""
    planes, inputs, outputs = leaf.planes
    rows = max(_CHUNK // max(outputs, 1), 1)
    for plane in range(planes if outputs else 0):
        for start in range(0, inputs, rows):
            yield plane, slice(start, min(start + rows, inputs))


def frozen(weights: Any, leaf: Planes) -> Frozen:
    """Octiles of the magnitude and signs: comparisons only, so the same on every machine."""
    flat = np.asarray(weights, np.float32).reshape(leaf.planes)
    size = np.abs(flat)
    octile = np.zeros(leaf.planes, np.int8)
    if size.size:
        ranks = [size.size * eighth // 8 for eighth in range(1, 8)]
        for bound in np.partition(size, ranks, axis=None)[ranks]:
            octile += size >= bound
    return Frozen(octile, np.sign(flat).astype(np.int8))


def features(
    off: np.ndarray, leaf: Planes, plane: int, rows: slice, given: Frozen | None
) -> list[Any]:
    """One chunk's features after the channels', in the order of `names`; None if all are 0.

    Only planes before this one are used.
    """
    planes: list[int | None] = []
    found: list[Any] = []
    if leaf.kernel != (1, 1):
        y, x = divmod(plane, leaf.width)
        above = plane - leaf.width
        planes = [
            above if y else None,
            plane - 1 if x else None,
            above - 1 if y and x else None,
            above + 1 if y and x + 1 < leaf.width else None,
        ]
        found += [int(y > 0), int(x > 0)]
        found += [None if near is None else off[near, rows] for near in planes]
        found += [off[:plane, rows].sum(0, dtype=np.int32) if plane else None]
    if given is not None:
        octile, sign = given.octile[plane, rows], given.sign[plane, rows]
        found += [octile, octile * octile, sign]
        found += [
            None if near is None else off[near, rows] * given.sign[near, rows] * sign
            for near in planes
        ]
        if leaf.kernel != (1, 1):
            signed = np.multiply(off[:plane, rows], given.sign[:plane, rows], dtype=np.int8)
            found += [signed.sum(0, dtype=np.int32) * sign if plane else None]
    return found


def scores(
    model: Leaf, off: np.ndarray, plane: int, rows: slice, given: Frozen | None
) -> np.ndarray:
    """int32 [inputs in `rows`, outputs]."""
    score = (model.inputs[rows, None] + model.offsets[plane]) + model.outputs
    found = features(off, model.layout, plane, rows, given)
    for weight, feature in zip(model.weights, found, strict=True):
        if weight and feature is not None:
            score += np.multiply(feature, np.int32(weight), dtype=np.int32)
    return score


def probabilities(score: np.ndarray) -> np.ndarray:
    """P(off), float32 and a multiple of 2**-16, flat."""
    return np.take(_table(), score.reshape(-1) + LIMIT, mode="clip")


@functools.cache
def _table() -> np.ndarray:
    # math.exp, not NumPy's, whose last bit depends on the processor
    shares = [2**16 / (1 + math.exp(-score / UNIT)) for score in range(-LIMIT, LIMIT + 1)]
    return np.array([min(max(round(share), 1), 2**16 - 1) / 2**16 for share in shares], np.float32)
