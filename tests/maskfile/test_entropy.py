"""The entropy codec: masks come back, and take no more bytes than their model says they must."""

import lzma
import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from jaxmask.errors import InputError
from jaxmask.maskfile import contexts, entropy, fit


def planes(masks):
    layouts = [contexts.layout(mask.shape) for mask in masks]
    offs = [
        np.logical_not(mask).reshape(leaf.planes).view(np.uint8)
        for mask, leaf in zip(masks, layouts)
    ]
    return offs, layouts, [None] * len(masks)


def round_trip(masks, weights=None):
    stored = entropy.compress(masks, weights)
    back = entropy.decompress(stored, [mask.shape for mask in masks], weights)
    for mask, other in zip(masks, back, strict=True):
        assert other.dtype == bool
        np.testing.assert_array_equal(mask, other)
    return stored


def lzma_bytes(masks):
    return len(lzma.compress(np.packbits(np.concatenate([m.ravel() for m in masks])).tobytes()))


def drawn(random, scores):
    return random.random(scores.shape) > 1 / (1 + np.exp(-scores))


def learned(size=80):
    """Masks like learned ones: channels differ, and the bits of a filter are alike."""
    random = np.random.default_rng(0)
    masks = []
    for shape in ((3, 3, size, size), (1, 1, size, 2 * size), (2 * size, size)):
        channels = random.normal(size=(shape[-2], 1)) + random.normal(size=shape[-1])
        filters = random.normal(size=shape[-2:]) * (2 if len(shape) == 4 and shape[0] == 3 else 0)
        masks.append(drawn(random, channels + filters - 2 + np.zeros(shape)))
    return masks


@given(
    st.lists(
        npst.arrays(bool, npst.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=6)),
        max_size=4,
    )
)
@settings(max_examples=30, deadline=None)
def test_any_masks_come_back(masks):
    stored = round_trip(masks)
    assert entropy.compress([mask.copy() for mask in masks]) == stored


def test_these_bytes_are_read_for_ever():
    masks = [np.arange(2 * 2 * 3 * 4).reshape(2, 2, 3, 4) % 5 != 0, np.arange(6) < 4]
    stored = bytes.fromhex(PINNED)
    for mask, other in zip(masks, entropy.decompress(stored, [mask.shape for mask in masks])):
        np.testing.assert_array_equal(mask, other)


PINNED = "000000000000000000001800f9ffe6ffe7ffeffff3ffafffbcffd4ff33d4565ada03d69f03000000"


@pytest.mark.parametrize("density", [0.5, 0.9, 0.99, 0.001])
def test_bits_without_structure_take_their_entropy(density):
    mask = np.random.default_rng(0).random((300, 400)) < density
    share = mask.mean()
    bits = -mask.size * (share * math.log2(share) + (1 - share) * math.log2(1 - share))
    assert bits / 8 <= len(round_trip([mask])) < bits / 8 * 1.01 + 30


def test_the_code_is_as_long_as_the_model_says():
    masks = learned()
    offs, layouts, given_ = planes(masks)
    model = fit.fit(offs, layouts, given_)
    # written out anew from the table in the docstring of `contexts`, bit by bit
    bits = 0.0
    for index, (off, leaf) in enumerate(zip(offs, layouts)):
        names = contexts.names(leaf.kernel, False)
        weights = dict(zip(names, model.weights[leaf.kernel]))
        levels = {
            name: axis.levels * (weights[name] * fit.STEPS[axis.step]) // 64
            for name, axis in zip(("output", "input"), model.channels[index])
        }
        offsets = model.offsets[index]
        padded = np.zeros((leaf.height + 1, leaf.width + 2, *off.shape[1:]), int)
        for plane, here in enumerate(off):
            y, x = divmod(plane, leaf.width)
            seen = {
                "has_up": y > 0,
                "has_left": x > 0,
                "up": padded[y, x + 1],
                "left": padded[y + 1, x],
                "up_left": padded[y, x],
                "up_right": padded[y, x + 2],
                "count": off[:plane].sum(0, dtype=int),
            }
            score = offsets[plane % len(offsets)] + levels["output"] + levels["input"][:, None]
            score = score + sum(weights[name] * seen[name] for name in names[2:])
            share = 1 / (1 + np.exp(-score / 64))
            bits -= np.log2(np.where(here, share, 1 - share)).sum()
            padded[y + 1, x + 1] = here
    stored = entropy.encode(model, offs, layouts, given_)
    axes = [axis.levels for pair in model.channels for axis in pair if axis.step]
    side = len(masks) + 2 * sum(map(len, [*model.weights.values(), *model.offsets])) + 4
    # levels take at least their entropy, and little more
    for levels in axes:
        often = np.unique(levels, return_counts=True)[1]
        side += often @ np.log2(often.sum() / often) / 8
    assert bits / 8 + side - 1 <= len(stored) < 1.02 * bits / 8 + 1.3 * side
    assert len(round_trip(masks)) == len(stored)


def test_masks_like_learned_ones_are_smaller_than_under_lzma():
    masks = learned()
    assert len(round_trip(masks)) < 0.8 * lzma_bytes(masks)


def test_every_context_is_worth_its_bytes():
    offs, layouts, given_ = planes(learned())
    size = len(entropy.encode(fit.fit(offs, layouts, given_), offs, layouts, given_))
    for without in (["output"], ["input"], contexts.FILTER):
        other = fit.fit(offs, layouts, given_, without)
        assert len(entropy.encode(other, offs, layouts, given_)) > 1.01 * size


def test_planes_of_different_density():
    random = np.random.default_rng(0)
    density = np.array([0.9, 0.5, 0.9, 0.5, 0.1, 0.5, 0.9, 0.5, 0.9]).reshape(3, 3, 1, 1)
    mask = random.random((3, 3, 100, 100)) < density
    bits = -10000 * (density * np.log2(density) + (1 - density) * np.log2(1 - density)).sum()
    assert len(round_trip([mask])) < 1.01 * bits / 8 + 40


def test_a_leaf_that_is_empty_but_for_a_few_inputs():
    mask = np.zeros((3, 3, 300, 200), bool)
    mask[:, :, 100:103, :20] = np.random.default_rng(0).random((3, 3, 3, 20)) < 0.7
    assert len(round_trip([mask])) < lzma_bytes([mask])


@pytest.mark.parametrize("value", [True, False])
@pytest.mark.parametrize("shape", [(1000, 1000), (10**6,), (4096, 1, 24), (3, 3, 1, 1)])
def test_one_value_only_takes_next_to_nothing(value, shape):
    assert len(round_trip([np.full(shape, value)])) < 64


def test_given_the_frozen_weights():
    random = np.random.default_rng(0)
    weights = [random.normal(size=(3, 3, 30, 40)).astype(np.float32), random.normal(size=(50, 60))]
    masks = [drawn(random, 3 - 4 * np.abs(weight)) for weight in weights]
    stored = round_trip(masks, weights)
    assert len(stored) < 0.9 * len(entropy.compress(masks))
    other = [weights[0], weights[1] * 1.01]
    with pytest.raises(InputError, match="different weights"):
        entropy.decompress(stored, [mask.shape for mask in masks], other)
    with pytest.raises(InputError):
        entropy.decompress(stored, [mask.shape for mask in masks])


def test_absurd_sizes_are_refused_at_once():
    stored = entropy.compress([np.ones((1000, 1000), bool)])
    began = time.perf_counter()
    for shape in ((2**24, 2**24), (2**33,), (2**28,)):
        with pytest.raises(InputError, match="cannot hold"):
            entropy.decompress(stored, [shape])
    # not absurd, but not these bytes either: found before all of it is decoded
    coded = entropy.compress([np.random.default_rng(0).random((20, 20)) < 0.9])
    with pytest.raises(InputError, match="ends before"):
        entropy.decompress(coded, [(20, 2**20)])
    assert time.perf_counter() - began < 2


def test_a_last_word_of_zero_is_refused():
    mask = np.random.default_rng(0).random((20, 20)) < 0.9
    with pytest.raises(InputError, match="a word of 0"):
        entropy.decompress(entropy.compress([mask]) + bytes(4), [mask.shape])
