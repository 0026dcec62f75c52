"""The fit of the entropy codec's model: what it makes likely is what there is."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from jaxmask.maskfile import contexts, fit
from jaxmask.maskfile.contexts import UNIT


def planes(masks):
    layouts = [contexts.layout(leaf.shape) for leaf in masks]
    offs = [(~leaf).reshape(at.planes).view(np.uint8) for leaf, at in zip(masks, layouts)]
    return offs, layouts, [None] * len(masks)


def expected(model, index, off, leaf, given=None):
    """The expected number of off bits in each plane."""
    bound = fit.bind(model, index, leaf)
    rows = slice(0, leaf.inputs)
    return [
        contexts.probabilities(contexts.scores(bound, off, plane, rows, given)).sum(dtype=float)
        for plane in range(len(off))
    ]


def with_channels(seed=0, shape=(60, 40)):
    """Bits that are more often off in some outputs than in others."""
    random = np.random.default_rng(seed)
    logits = 2 * random.normal(size=shape[-1]) - 1
    return random.random(shape) > 1 / (1 + np.exp(-logits))


@pytest.mark.parametrize("density", [0.5, 0.9, 0.02])
@pytest.mark.parametrize("shape", [(70, 50), (3, 3, 20, 30)])
def test_as_many_bits_are_expected_off_as_are_off(shape, density):
    mask = np.random.default_rng(0).random(shape) < density
    offs, layouts, given = planes([mask])
    model = fit.fit(offs, layouts, given)
    found = sum(expected(model, 0, offs[0], layouts[0]))
    # an offset is a whole number of sixty-fourths of a nat
    assert found == pytest.approx((~mask).sum(), abs=mask.size * 0.25 / UNIT + 1)


@pytest.mark.parametrize("wanted", [1, 40, 100, 199])
def test_an_offset_is_the_lowest_that_makes_enough_bits_off(wanted):
    scores = np.random.default_rng(0).integers(-300, 300, 200)
    often = np.bincount(scores + fit._FAR, minlength=2 * fit._FAR + 1)
    found = fit._offset(often, wanted)
    sums = [
        contexts.probabilities(scores + offset).sum(dtype=float) for offset in (found - 1, found)
    ]
    assert sums[0] < wanted <= sums[1]


def test_planes_of_different_density_have_offsets_of_their_own():
    shares = np.array([0.9, 0.3, 0.6, 0.1]).reshape(2, 2, 1, 1)
    mask = np.random.default_rng(0).random((2, 2, 40, 50)) < shares
    offs, layouts, given = planes([mask])
    model = fit.fit(offs, layouts, given)
    assert len(model.offsets[0]) == 4
    wanted = (~mask).reshape(4, -1).sum(1)
    assert expected(model, 0, offs[0], layouts[0]) == pytest.approx(wanted, abs=2000 * 0.25 / 64)
    even = np.random.default_rng(0).random((2, 2, 40, 50)) < 0.5
    assert len(fit.fit(*planes([even])).offsets[0]) == 1


def test_channels_that_differ_have_levels_in_their_order_and_others_none():
    mask = with_channels()
    outputs, inputs = fit.fit(*planes([mask])).channels[0]
    assert outputs.step > 0
    assert np.abs(outputs.levels).max() <= fit.MOST
    shares = (~mask).mean(0)
    assert np.corrcoef(outputs.levels, np.log((shares + 0.01) / (1.01 - shares)))[0, 1] > 0.98
    assert (inputs.step, np.abs(inputs.levels).max()) == (0, 0)  # they are all alike


def test_a_channel_of_a_few_bits_has_no_level():
    mask = with_channels(shape=(fit._FEW - 1, 40))
    outputs, _ = fit.fit(*planes([mask])).channels[0]
    assert outputs.step == 0


def test_a_feature_that_is_left_out_has_no_weight():
    mask = with_channels(shape=(3, 3, 20, 30))
    names = contexts.names((3, 3), False)
    whole = fit.fit(*planes([mask])).weights[3, 3]
    part = fit.fit(*planes([mask]), without=("output", "count")).weights[3, 3]
    assert dict(zip(names, whole))["output"] != 0
    assert dict(zip(names, part))["output"] == dict(zip(names, part))["count"] == 0


def test_leaves_of_one_kernel_size_share_their_weights():
    masks = [with_channels(0), with_channels(1), with_channels(2, (3, 3, 20, 30))]
    model = fit.fit(*planes(masks))
    assert set(model.weights) == {(1, 1), (3, 3)}
    assert len(model.offsets) == len(model.channels) == 3


def test_the_same_masks_give_the_same_model():
    masks = [with_channels(0), with_channels(2, (3, 3, 20, 30))]
    one, other = fit.fit(*planes(masks)), fit.fit(*planes([mask.copy() for mask in masks]))
    assert one.weights == other.weights
    assert one.offsets == other.offsets
    for pairs in zip(one.channels, other.channels):
        for a, b in zip(*pairs):
            assert a.step == b.step
            np.testing.assert_array_equal(a.levels, b.levels)


def test_bound_channels_are_their_level_times_step_and_weight():
    channels = (fit.Channels(2, np.array([1, -2, 3])), fit.Channels(1, np.array([4, -5])))
    model = fit.Model([[7]], [channels], {(1, 1): (32, 64)})
    bound = fit.bind(model, 0, contexts.Planes(1, 1, 2, 3))
    assert bound.outputs.tolist() == [1 * 16 // 2, -2 * 16 // 2, 3 * 16 // 2]  # of steps of 16
    assert bound.inputs.tolist() == [4 * 8, -5 * 8]
    assert (bound.offsets.tolist(), bound.weights) == ([7], ())


def test_the_weights_are_those_of_a_ridge_regression():
    """Ridge 1 toward 0; the columns of ones and of the leaf's logit are solved for as well."""
    random = np.random.default_rng(0)
    features = random.normal(size=(400, 3))
    base = 0.5
    logits = base + features @ [1.0, -0.5, 0.0]
    targets = (random.random(400) < 1 / (1 + np.exp(-logits))).astype(np.float64)
    inputs = np.column_stack([np.ones(400), np.full(400, base), features])
    found = fit._logistic(inputs, targets, np.ones(5, bool))
    # the intercept is nearly free: two columns of it, that share the ridge
    reference = LogisticRegression(C=1.0, tol=1e-10, max_iter=10_000).fit(features, targets)
    np.testing.assert_allclose(found, reference.coef_[0], atol=0.02)
    part = fit._logistic(inputs, targets, np.array([True, True, True, False, True]))
    assert part[1] == 0
    assert part[0] != 0
