"""Fits the entropy codec's model to the masks to encode."""

import math
from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np

from jaxmask.maskfile import contexts
from jaxmask.maskfile.contexts import LIMIT, UNIT, Frozen, Planes

STEPS = (0, 8, 16, 24, 32, 48, 64, 96)  # of a channel's level, in scores; 0: the leaf has none
MOST = 15  # levels are -MOST..MOST
# The other axis and nearby bits carry half the information of a channel's level (measured).
_SHARE = 0.5
_FEW = 8  # with fewer bits than this, a channel has no level
_SAMPLE = 2**17
_CLOSE = 0.5 / UNIT
_FAR = 4 * LIMIT
_OFFSET_BITS = 16


class Channels(NamedTuple):
    """How the channels of one axis of a leaf differ: an index of STEPS, one level per channel."""

    step: int
    levels: np.ndarray


class Model(NamedTuple):
    """Everything a decoder needs; integers, in units of scores.

    offsets: of each leaf, one, or one per plane; channels: (outputs, inputs) of each leaf; weights:
    by kernel size, in the order of `contexts.names`.
    """

    offsets: list[list[int]]
    channels: list[tuple[Channels, Channels]]
    weights: dict[tuple[int, int], tuple[int, ...]]


def bind(model: Model, index: int, leaf: Planes) -> contexts.Leaf:
    """The model of one leaf, in the form that scores are computed from."""
    outputs, inputs = (
        channels.levels.astype(np.int32) * (weight * STEPS[channels.step]) // UNIT
        for channels, weight in zip(model.channels[index], model.weights[leaf.kernel])
    )
    offsets = np.array(model.offsets[index], np.int32)
    offsets = np.broadcast_to(offsets, leaf.planes[:1])
    return contexts.Leaf(leaf, offsets, inputs, outputs, model.weights[leaf.kernel][2:])


def fit(
    offs: list[np.ndarray],
    layouts: list[Planes],
    given: list[Frozen | None],
    without: Collection[str] = (),
) -> Model:
    """The model of masks, given as planes of off bits.

    The weights maximize the likelihood of a sample of the bits; the offset of a leaf makes its
    expected number of off bits the true one; the levels of channels minimize the total of the
    bits' and their own cost.

    Args:
      without: names of features to leave out, to see what each is worth.
    """
    bases = [_logit(int(np.count_nonzero(off)), off.size) for off in offs]
    steps = [STEPS[:1] if name in without else STEPS for name in contexts.CHANNELS]
    channels = [
        (_channels(off, 1, base, steps[0]), _channels(off, 2, base, steps[1]))
        for off, base in zip(offs, bases)
    ]
    weights = {}
    for kernel in sorted({leaf.kernel for leaf in layouts}):
        inside = [index for index, leaf in enumerate(layouts) if leaf.kernel == kernel]
        stride = sum(offs[index].size for index in inside) // _SAMPLE + 1
        parts = [
            _sample(offs[index], layouts[index], given[index], channels[index], stride)
            for index in inside
        ]
        names = contexts.names(kernel, given[inside[0]] is not None)
        free = np.array([True, True, *(name not in without for name in names)])
        inputs, targets = (np.concatenate(part) for part in zip(*parts))
        solved = _logistic(inputs, targets, free)
        bound = LIMIT / UNIT
        weights[kernel] = tuple(round(UNIT * min(max(w, -bound), bound)) for w in solved)
    model = Model([[0] for _ in offs], channels, weights)
    for index, (off, leaf) in enumerate(zip(offs, layouts)):
        model.offsets[index] = _offsets(bind(model, index, leaf), off, given[index])
    return model


def _logit(count: int, size: int) -> float:
    return math.log((count + 0.5) / (size - count + 0.5))


def _channels(off: np.ndarray, others: int, base: float, steps: Sequence[int]) -> Channels:
    """The step and levels that minimize the total cost of the channels' bits and the levels.

    The channels are along the axis, of inputs and outputs, that is not `others`.
    """
    none = Channels(0, np.zeros(off.shape[3 - others], np.int64))
    size = off.size // max(off.shape[3 - others], 1)
    if size < _FEW:
        return none
    counts = off.sum(0, dtype=np.int32).sum(others - 1, dtype=np.int64)
    # A channel's share is shrunk a little toward its leaf's, as it may be 0 or 1.
    share = 1 / (1 + math.exp(-base))
    logits = np.log((counts + share) / (size - counts + 1 - share)) - base
    best, least = none, math.inf
    for index, step in enumerate(steps):
        levels = np.clip(np.rint(logits * UNIT / step), -MOST, MOST) if step else 0 * logits
        score = base + levels * (step / UNIT)
        nats = counts @ np.logaddexp(0, -score) + (size - counts) @ np.logaddexp(0, score)
        often = np.unique(levels, return_counts=True)[1]
        bits = _SHARE * nats / math.log(2) + often @ np.log2(len(counts) / often)
        if bits < least:
            best, least = Channels(index, levels.astype(np.int64)), bits
    return best


def _thin(off: np.ndarray, given: Frozen | None, stride: int) -> tuple[np.ndarray, Frozen | None]:
    """Every stride-th input."""
    return off[:, ::stride], given and Frozen(*(part[:, ::stride] for part in given))


def _sample(
    off: np.ndarray,
    leaf: Planes,
    given: Frozen | None,
    channels: tuple[Channels, Channels],
    stride: int,
) -> tuple[np.ndarray, np.ndarray]:
    """[bits, 2 + features], the first two columns 1 and the leaf's or plane's logit; the bits."""
    counts, size = _counts(off)
    off, given = _thin(off, given, stride)
    outputs, inputs = (axis.levels * (STEPS[axis.step] / UNIT) for axis in channels)
    rows = slice(0, off.shape[1])
    planes = []
    for plane in range(len(off)):
        found = contexts.features(off, leaf, plane, rows, given)
        base = _logit(int(counts[plane % len(counts)]), size)
        columns = [1, base, outputs, inputs[::stride, None], *found]
        filled = [np.broadcast_to(0 if c is None else c, off.shape[1:]).ravel() for c in columns]
        planes.append(np.stack(filled, 1, dtype=np.float64, casting="unsafe"))
    return np.concatenate(planes), off.reshape(-1)


def _logistic(inputs: np.ndarray, targets: np.ndarray, free: np.ndarray) -> np.ndarray:
    """Newton's method with halved steps, ridge 1 toward the leaf's logit alone."""
    start = (np.arange(len(free)) == 1).astype(float)
    inputs, start = inputs[:, free], start[free]
    weights = start

    def look(weights: np.ndarray) -> tuple[np.ndarray, float]:
        """The probabilities, and the loss."""
        share = 1 / (1 + np.exp(-np.clip(inputs @ weights, -30, 30)))
        nats = -np.log(np.abs(1 - targets - share)).sum()
        return share, float(nats + np.sum((weights - start) ** 2) / 2)

    share, now = look(weights)
    for _ in range(12):
        slope = inputs.T @ (targets - share) - (weights - start)
        curve = (inputs * (share * (1 - share))[:, None]).T @ inputs + np.eye(len(weights))
        step = np.linalg.solve(curve, slope)
        new, then = look(weights + step)
        while then > now and np.abs(step).max() > _CLOSE:
            step /= 2
            new, then = look(weights + step)
        if then >= now:
            break
        weights, share, now = weights + step, new, then
        if np.abs(step).max() < _CLOSE:
            break
    solved = np.zeros(len(free))
    solved[free] = weights
    return solved[2:]


def _offsets(model: contexts.Leaf, off: np.ndarray, given: Frozen | None) -> list[int]:
    """The integers that make the expected number of off bits the true one.

    From all bits, not a sample, which may miss the few inputs left in a sparse leaf. One per plane
    if the planes' densities save more than twice the bits of the offsets.
    """
    if not off.size:
        return [0]
    often = np.zeros((len(off), 2 * _FAR + 1), np.int64)
    for plane, rows in contexts.chunks(model.layout):
        score = contexts.scores(model, off, plane, rows, given).reshape(-1)
        often[plane] += np.bincount(np.clip(score, -_FAR, _FAR) + _FAR, minlength=2 * _FAR + 1)
    counts, _ = _counts(off)
    often = often if len(counts) > 1 else often.sum(0, keepdims=True)
    return [_offset(*plane) for plane in zip(often, counts.tolist())]


def _counts(off: np.ndarray) -> tuple[np.ndarray, int]:
    """The number of off bits, and of all bits: per leaf, or per plane if these differ."""
    counts = np.count_nonzero(off, axis=(1, 2))
    leaf = counts.sum(keepdims=True)
    gain = _bits(leaf, off.size).sum() - _bits(counts, off[0].size).sum()
    if gain < 2 * _OFFSET_BITS * (len(off) - 1) or len(off) == 1:
        return leaf, off.size
    return counts, off[0].size


def _bits(counts: np.ndarray, size: int) -> np.ndarray:
    """The entropy of `counts` of `size` bits."""
    shares = np.clip(counts / max(size, 1), 1e-9, 1 - 1e-9)
    return -size * (shares * np.log2(shares) + (1 - shares) * np.log2(1 - shares))


def _offset(often: np.ndarray, wanted: int) -> int:
    """By bisection, from how often each score occurs."""
    values = np.flatnonzero(often)
    low, high = -2 * _FAR, 2 * _FAR
    while low < high:
        middle = (low + high) // 2
        enough = often[values] @ contexts.probabilities(values - _FAR + middle) >= wanted
        low, high = (low, middle) if enough else (middle + 1, high)
    return low
