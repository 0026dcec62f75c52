"""What the entropy codec knows of a bit: its table of probabilities and its features, by loops."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxmask.maskfile import contexts
from jaxmask.maskfile.contexts import LIMIT, UNIT, Planes


def test_layouts():
    assert contexts.layout((3, 5, 8, 9)) == (3, 5, 8, 9)
    assert contexts.layout((2, 3, 5, 8, 9)) == (6, 5, 8, 9)
    assert contexts.layout((8, 9)) == (1, 1, 8, 9)
    assert contexts.layout((9,)) == (1, 1, 1, 9)
    assert contexts.layout(()) == (1, 1, 1, 1)
    # no levels of channels for what is not there; no time that grows as the planes' square
    assert contexts.layout((0, 2**40)) == (1, 1, 0, 0)
    assert contexts.layout((2**20, 2, 9)) == (1, 1, 2**21, 9)


@pytest.mark.parametrize("shape", [(3, 5, 8, 9), (2, 3, 5, 8, 9), (8, 9), (9,), (), (0, 7)])
def test_a_layout_has_as_many_bits_as_the_leaf(shape):
    assert np.prod(contexts.layout(shape).planes) == np.prod(shape)


def test_probabilities_are_a_sigmoid_in_multiples_of_two_to_the_minus_16():
    scores = np.arange(-2 * LIMIT, 2 * LIMIT + 1).reshape(3, -1)[:, ::7]
    found = contexts.probabilities(scores)
    assert found.shape == (scores.size,)
    clipped = np.clip(scores.ravel(), -LIMIT, LIMIT)
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-clipped / UNIT)), atol=2**-17 + 1e-9)
    assert (found * 2**16 == np.round(found * 2**16)).all()
    assert found.min() == 2.0**-16
    assert found.max() == 1 - 2.0**-16
    assert (np.diff(contexts.probabilities(np.arange(-LIMIT, LIMIT + 1))) >= 0).all()


def test_the_names_of_features_are_of_what_there_is():
    assert contexts.names((1, 1), False) == ("output", "input")
    assert contexts.names((1, 1), True) == ("output", "input", *contexts.FROZEN)
    assert contexts.names((3, 3), False) == ("output", "input", *contexts.FILTER)
    assert contexts.names((3, 3), True)[-5:] == contexts.SIGNED


@settings(max_examples=20)
@given(st.integers(1, 3), st.integers(0, 50), st.integers(0, 4), st.sampled_from([1, 5, 40]))
def test_chunks_are_all_inputs_of_every_plane_once_and_in_order(planes, inputs, outputs, most):
    leaf = Planes(planes, 1, inputs, outputs)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(contexts, "_CHUNK", most)
        found = list(contexts.chunks(leaf))
    rows = [(plane, row) for plane, rows in found for row in range(inputs)[rows]]
    assert rows == [(p, row) for p in range(planes if outputs else 0) for row in range(inputs)]
    for _, rows in found:
        assert (rows.stop - rows.start) * outputs <= max(most, outputs)


def test_octiles_are_of_the_magnitude_and_signs_are_signs():
    random = np.random.default_rng(0)
    weights = random.permutation(np.arange(1, 81)).astype(np.float32) * random.choice([-1, 1], 80)
    leaf = contexts.layout((8, 10))
    found = contexts.frozen(weights.reshape(8, 10), leaf)
    ranks = np.argsort(np.argsort(np.abs(weights))) * 8 // 80
    np.testing.assert_array_equal(found.octile.ravel(), ranks)
    np.testing.assert_array_equal(found.sign.ravel(), np.sign(weights))
    assert contexts.frozen(np.zeros((0, 3)), contexts.layout((0, 3))).octile.size == 0


def by_loops(off, leaf, plane, row, column, given):
    """{feature: value} of one bit, as the table says."""
    y, x = divmod(plane, leaf.width)
    near = {"up": (y - 1, x), "left": (y, x - 1), "up_left": (y - 1, x - 1),
            "up_right": (y - 1, x + 1)}  # fmt: skip
    found = {"has_up": int(y > 0), "has_left": int(x > 0)}
    for name, (i, j) in near.items():
        inside = i >= 0 and 0 <= j < leaf.width
        found[name] = int(off[i * leaf.width + j, row, column]) if inside else 0
    found["count"] = sum(int(off[p, row, column]) for p in range(plane))
    if given is None:
        return found
    octile, sign = (int(part[plane, row, column]) for part in given)
    found |= {"magnitude": octile, "magnitude_squared": octile**2, "sign": sign}
    for name, (i, j) in near.items():
        inside = i >= 0 and 0 <= j < leaf.width
        at = i * leaf.width + j
        other = int(given.sign[at, row, column]) if inside else 0
        found[f"{name}_sign"] = found[name] * other * sign
    found["count_sign"] = sign * sum(
        int(off[p, row, column]) * int(given.sign[p, row, column]) for p in range(plane)
    )
    return found


@pytest.mark.parametrize("with_weights", [False, True])
def test_features_are_what_the_table_says(with_weights):
    random = np.random.default_rng(1)
    leaf = Planes(2, 3, 4, 2)
    off = random.integers(0, 2, leaf.planes).astype(np.uint8)
    given_ = contexts.frozen(random.normal(size=leaf.planes), leaf) if with_weights else None
    names = contexts.names(leaf.kernel, with_weights)[2:]
    for plane in range(6):
        rows = slice(1, 4)
        found = contexts.features(off, leaf, plane, rows, given_)
        assert len(found) == len(names)
        full = [np.broadcast_to(0 if each is None else each, (3, 2)) for each in found]
        for row in range(3):
            for column in range(2):
                wanted = by_loops(off, leaf, plane, 1 + row, column, given_)
                assert {name: int(each[row, column]) for name, each in zip(names, full)} == wanted


def test_a_score_is_the_offset_the_channels_and_the_weighted_features():
    random = np.random.default_rng(2)
    leaf = Planes(1, 2, 3, 4)
    off = random.integers(0, 2, leaf.planes).astype(np.uint8)
    weights = (3, -5, 7, 11, 13, 17, -19)
    model = contexts.Leaf(leaf, np.array([10, -20], np.int32), np.arange(3, dtype=np.int32),
                          np.arange(4, dtype=np.int32) * 100, weights)  # fmt: skip
    for plane in range(2):
        found = contexts.scores(model, off, plane, slice(0, 3), None)
        for row in range(3):
            for column in range(4):
                features = by_loops(off, leaf, plane, row, column, None)
                wanted = [10, -20][plane] + row + 100 * column
                wanted += sum(w * value for w, value in zip(weights, features.values()))
                assert found[row, column] == wanted
