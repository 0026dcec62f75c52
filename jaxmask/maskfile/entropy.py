"""The codec `entropy`: asymmetric numeral systems with a model of masks (`maskfile.contexts`).

All integers little-endian:

| bytes | what |
|---|---|
| 8 | of the SHA-256 of the frozen weights, if the masks are coded given them |
| 1 each | of each leaf, 16 x the step of its outputs' levels + the step of its inputs'; \
128 more if each of its planes has an offset |
| 2 each | the shared weights: kernel sizes ascending, features as in `contexts.names` |
| 2 each | the offsets, leaf by leaf |
| 4 each | the words of the code |

The code holds the levels of all channels of leaves whose step is not 0, then the bits of each
leaf, chunk by chunk (`contexts.chunks`). Encoder and decoder are exact inverses: after the last
bit the decoder must be back at the word that the encoder started from, so what is decoded under a
model encodes to the same bytes.
"""

import hashlib
import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from jaxmask.errors import InputError
from jaxmask.maskfile import contexts
from jaxmask.maskfile.contexts import Frozen, Planes
from jaxmask.maskfile.fit import MOST, STEPS, Channels, Model, bind, fit

_BY_PLANE = 128
# prior counts of levels: mostly small ones
_PRIOR = 2.0 ** -np.abs(np.arange(-MOST, MOST + 1))
# The encoder starts from this word: a decoder that ends elsewhere read other bytes. Without it,
# likely bits would cost nothing, and a few bytes could be the code of any number of them.
_FIRST = np.array([0x4B53414D], np.uint32)
# a bit costs at least log2(1 / (1 - 2**-16)) bits, so a byte encodes at most this many
_BITS_A_BYTE = 2**19
_SLACK = 64


def compress(masks: list[np.ndarray], weights: list[np.ndarray] | None = None) -> bytes:
    """The bytes of bool masks, optionally given frozen weights of the same shapes."""
    layouts = [contexts.layout(mask.shape) for mask in masks]
    offs = [
        np.logical_not(mask).reshape(leaf.planes).view(np.uint8)
        for mask, leaf in zip(masks, layouts)
    ]
    given = _given(weights, layouts)
    return mark(weights) + encode(fit(offs, layouts, given), offs, layouts, given)


def encode(
    model: Model, offs: list[np.ndarray], layouts: list[Planes], given: list[Frozen | None]
) -> bytes:
    """The bytes under a model: the same model and masks always give the same."""
    from constriction import stream

    coder = stream.stack.AnsCoder(_FIRST)
    family = stream.model.Bernoulli(perfect=False)
    for index in reversed(range(len(offs))):
        bound, off = bind(model, index, layouts[index]), offs[index]
        for plane, rows in reversed(list(contexts.chunks(layouts[index]))):
            score = contexts.scores(bound, off, plane, rows, given[index])
            coder.encode_reverse(
                off[plane, rows].reshape(-1).astype(np.int32),
                family,
                contexts.probabilities(score),
            )
    push_levels(coder, model)
    words = np.asarray(coder.get_compressed(), np.uint32)
    steps = [
        outputs.step << 4 | inputs.step | _BY_PLANE * (len(offsets) > 1)
        for (outputs, inputs), offsets in zip(model.channels, model.offsets)
    ]
    integers = [model.weights[kernel] for kernel in sorted(model.weights)] + model.offsets
    numbers = np.array(list(itertools.chain(*integers)), "<i2")
    return bytes(steps) + numbers.tobytes() + words.astype("<u4").tobytes()


def push_levels(coder: Any, model: Model) -> None:
    """Codes the levels of all channels."""
    for levels in [axis.levels for pair in model.channels for axis in pair if axis.step][::-1]:
        for block in reversed(list(_blocks(len(levels)))):
            symbols = (levels[block] + MOST).astype(np.int32)
            coder.encode_reverse(symbols, _level_model(levels[: block.start]))


def decompress(
    stored: bytes,
    shapes: list[tuple[int, ...]],
    weights: list[np.ndarray] | None = None,
) -> list[np.ndarray]:
    """The masks, bool of these shapes.

    Raises:
      InputError: for bytes that are not the code of masks of these shapes (given these weights).
    """
    layouts = [contexts.layout(shape) for shape in shapes]
    if sum(map(math.prod, shapes)) > (len(stored) + _SLACK) * _BITS_A_BYTE:
        raise InputError(f"{len(stored)} bytes of entropy code cannot hold this many bits")
    signature = mark(weights)
    if not stored.startswith(signature):
        raise InputError("the masks are coded given different weights")
    _, offs = decode(stored[len(signature) :], layouts, _given(weights, layouts))
    return [np.logical_not(off).reshape(shape) for off, shape in zip(offs, shapes)]


def decode(
    stored: bytes, layouts: list[Planes], given: list[Frozen | None]
) -> tuple[Model, list[np.ndarray]]:
    """The model and the planes of off bits: `encode` gives exactly `stored` for them."""
    from constriction import stream

    shared, offsets, steps, words = _parsed(
        stored, layouts, any(part is not None for part in given)
    )
    coder, family = stream.stack.AnsCoder(words), stream.model.Bernoulli(perfect=False)
    least = stream.stack.AnsCoder(_FIRST).num_valid_bits()

    def levels(step: int, count: int) -> Channels:
        found = np.zeros(count, np.int64)
        for block in _blocks(count if step else 0):
            symbols = coder.decode(_level_model(found[: block.start]), block.stop - block.start)
            found[block] = symbols - MOST
        return Channels(step, found)

    channels = [
        (levels(step >> 4 & 7, leaf.outputs), levels(step & 15, leaf.inputs))
        for step, leaf in zip(steps, layouts)
    ]
    model = Model(offsets, channels, shared)
    offs = []
    for index, leaf in enumerate(layouts):
        bound, off = bind(model, index, leaf), np.empty(leaf.planes, np.uint8)
        for plane, rows in contexts.chunks(leaf):
            score = contexts.scores(bound, off, plane, rows, given[index])
            bits = coder.decode(family, contexts.probabilities(score))
            off[plane, rows] = bits.reshape(score.shape)
            # Before the next chunk, as more may be claimed than there is.
            if coder.num_valid_bits() < least:
                raise InputError("the entropy code ends before the masks do")
        offs.append(off)
    if not np.array_equal(coder.get_compressed(), _FIRST):
        raise InputError("the entropy code does not end where it should")
    return model, offs


def mark(weights: list[np.ndarray] | None) -> bytes:
    """The bytes that masks coded given these weights start with."""
    if weights is None:
        return b""
    digest = hashlib.sha256()
    for leaf in weights:
        digest.update(np.asarray(leaf, "<f4").tobytes())
    return digest.digest()[:8]


def _given(weights: list[np.ndarray] | None, layouts: list[Planes]) -> list[Frozen | None]:
    if weights is None:
        return [None] * len(layouts)
    return [contexts.frozen(leaf, place) for leaf, place in zip(weights, layouts, strict=True)]


def _parsed(
    stored: bytes, layouts: list[Planes], given: bool
) -> tuple[dict[tuple[int, int], tuple[int, ...]], list[list[int]], bytes, np.ndarray]:
    """Shared weights, offsets, steps, the words of the code."""
    kernels = sorted({leaf.kernel for leaf in layouts})
    counts = [len(contexts.names(kernel, given)) for kernel in kernels]
    steps = stored[: len(layouts)]
    for step, leaf in zip(steps, layouts):
        if max(step >> 4 & 7, step & 15) >= len(STEPS) or (step & _BY_PLANE and leaf.planes[0] < 2):
            raise InputError("the entropy code has invalid steps of levels")
        counts.append(leaf.planes[0] if step & _BY_PLANE else 1)
    start, end = len(layouts), len(layouts) + 2 * sum(counts)
    if len(stored) < end or (len(stored) - end) % 4:
        raise InputError("the entropy code's length does not fit its model and whole words")
    numbers = iter(np.frombuffer(stored[start:end], "<i2").tolist())
    integers = [list(itertools.islice(numbers, count)) for count in counts]
    words = np.frombuffer(stored[end:], "<u4").astype(np.uint32)
    if words.size and words[-1] == 0:
        raise InputError("the entropy code ends with a word of 0, which an encoder never writes")
    weights = {kernel: tuple(shared) for kernel, shared in zip(kernels, integers)}
    return weights, integers[len(kernels) :], steps, words


def _blocks(count: int) -> Iterator[slice]:
    """4, 4, 8, 16, ... channels: each block is coded by the counts of levels in those before."""
    start = 0
    while start < count:
        end = max(2 * start, 4)
        yield slice(start, min(end, count))
        start = end


def _level_model(levels: np.ndarray) -> Any:
    """A model of the levels that follow these on one axis, as 0..2 * MOST."""
    from constriction import stream

    often = np.bincount(levels + MOST, minlength=2 * MOST + 1) + _PRIOR
    return stream.model.Categorical(often / often.sum(), perfect=False)
