"""Initial scores: distributions, keys by path, shuffling."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxmask import mask
from jaxmask.errors import InputError
from jaxmask.mask.initialize import split_key

KEY = jax.random.key(3)
WEIGHTS = {
    "conv": {"kernel": jnp.arange(-36, 36, dtype=jnp.float32).reshape(3, 3, 2, 4)},
    "scale": jnp.float32(-2.0),
    "empty": jnp.ones((0, 3)),
    "hole": None,
}
INITS = {
    "constant": mask.constant(2.0),
    "normal": mask.normal(0.5),
    "magnitude": mask.magnitude(),
    "relative magnitude": mask.relative_magnitude(0.5),
    "kaiming_uniform": mask.kaiming_uniform(),
    "shuffled": mask.shuffled(mask.magnitude()),
    "shuffled uniform": mask.shuffled(mask.kaiming_uniform()),
}


def equal(found, expected):
    """Bit for bit, and of one structure, shapes and dtypes."""
    chex.assert_trees_all_equal(found, expected, strict=True)


@pytest.mark.parametrize("name", INITS)
def test_shapes_and_determinism(name, variant):
    init = INITS[name]
    scores = init(KEY, WEIGHTS)
    chex.assert_trees_all_equal_shapes_and_dtypes(scores, WEIGHTS)
    chex.assert_tree_all_finite(scores)
    equal(variant(init)(KEY, WEIGHTS), scores)
    other = variant(init)(jax.random.key(4), WEIGHTS)
    if name in ("constant", "magnitude", "relative magnitude"):
        equal(other, scores)
    else:
        assert not jnp.array_equal(other["conv"]["kernel"], scores["conv"]["kernel"])


@pytest.mark.parametrize("name", INITS)
def test_scores_are_float32_or_wider(name, x64):
    for dtype, expected in [(jnp.bfloat16, "float32"), ("float32",) * 2, ("float64",) * 2]:
        scores = jax.eval_shape(INITS[name], KEY, {"w": jax.ShapeDtypeStruct((4, 2), dtype)})
        chex.assert_type(scores["w"], expected)
        chex.assert_shape(scores["w"], (4, 2))


def test_values():
    constant = mask.constant(2.0)(None, WEIGHTS)
    equal(constant, jax.tree.map(lambda w: jnp.full(w.shape, 2.0), WEIGHTS))
    equal(mask.magnitude()(None, WEIGHTS), jax.tree.map(jnp.abs, WEIGHTS))
    big = {"w": jnp.zeros((300, 300))}
    drawn = mask.normal(0.5)(KEY, big)["w"]
    assert abs(float(drawn.std()) - 0.5) < 0.01
    assert abs(float(drawn.mean())) < 0.01


def test_relative_magnitudes_are_1_on_average_in_every_layer():
    stack = np.random.default_rng(0).normal(size=(2, 5, 3)) * [[[0.01]], [[10.0]]]
    weights = {"w": jnp.asarray(stack, jnp.float32), "zero": jnp.zeros(4)}
    axes = {"w": "layers in out", "zero": "out"}
    found = mask.relative_magnitude(0.25, axes)(None, weights)
    size = np.abs(stack)
    wanted = 0.75 + 0.25 * size / size.mean((1, 2), keepdims=True)
    np.testing.assert_allclose(found["w"], wanted, rtol=1e-5)
    np.testing.assert_allclose(found["w"].mean((1, 2)), 1, rtol=1e-5)
    assert found["zero"].tolist() == [0.75] * 4
    for share in (1.5, -0.1, float("nan")):
        with pytest.raises(InputError, match="share"):
            mask.relative_magnitude(share)


@pytest.mark.parametrize(
    ("shape", "out_axis", "fan_in"),
    [
        ((300, 200), -1, 300),
        ((3, 3, 40, 70), -1, 360),
        ((70, 40, 3, 3), 0, 360),
        ((400,), -1, 400),
        ((), -1, 1),
    ],
)
def test_kaiming_uniform_bound(shape, out_axis, fan_in):
    s = mask.kaiming_uniform(out_axis)(KEY, {"w": jnp.zeros(shape)})["w"]
    bound = np.sqrt(6 / ((1 + 5) * fan_in))
    assert float(jnp.max(jnp.abs(s))) <= bound
    if s.size > 1000:
        assert float(jnp.max(s)) > 0.99 * bound
        assert float(jnp.min(s)) < -0.99 * bound
        assert abs(float(s.std()) / (bound / np.sqrt(3)) - 1) < 0.02


def test_a_leaf_draws_by_its_path_and_not_its_position():
    weights = {"b": jnp.ones(100), "c": jnp.ones(100)}
    for init in (mask.kaiming_uniform(), mask.shuffled(mask.kaiming_uniform())):
        scores = init(KEY, weights)
        assert not jnp.array_equal(scores["b"], scores["c"])
        more = init(KEY, {"a": jnp.ones(100), **weights})
        equal({name: more[name] for name in weights}, scores)


def test_shuffled_permutes_within_each_leaf():
    weights = {"w": jnp.arange(200.0).reshape(10, 20), "v": jnp.arange(200.0) + 1000}
    scores = mask.shuffled(mask.magnitude())(KEY, weights)
    for name in weights:
        assert not jnp.array_equal(scores[name], weights[name])
        np.testing.assert_array_equal(np.sort(scores[name], axis=None), weights[name].reshape(-1))
        # far fewer fixed points than a shuffle that does little would leave
        assert int((scores[name] == weights[name]).sum()) < 10
    equal(mask.shuffled(mask.constant(3.0))(KEY, weights), mask.constant(3.0)(None, weights))


@given(st.integers(0, 2**32 - 1), st.integers(-20, 20))
@settings(max_examples=20)
def test_scales_and_signs_go_through(seed, exponent):
    key, factor = jax.random.key(seed), np.float32(2.0**exponent)
    rng = np.random.default_rng(seed)
    weights = {"w": rng.integers(-9, 9, (3, 4)).astype(np.float32)}
    scaled, flipped = {"w": weights["w"] * factor}, {"w": -weights["w"]}
    # a wider normal distribution is the same one, wider
    equal(
        mask.normal(float(factor))(key, weights),
        jax.tree.map(lambda s: s * factor, mask.normal(1.0)(key, weights)),
    )
    for init in (mask.magnitude(), mask.shuffled(mask.magnitude())):
        scores = init(key, weights)
        equal(init(key, scaled), jax.tree.map(lambda s: s * factor, scores))
        equal(init(key, flipped), scores)
        np.testing.assert_array_equal(
            np.sort(scores["w"], axis=None), np.sort(np.abs(weights["w"]), axis=None)
        )
    # these see the shapes alone
    for init in (mask.normal(), mask.kaiming_uniform(), mask.constant(3)):
        equal(init(key, scaled), init(key, weights))


@pytest.mark.parametrize("name", INITS)
def test_vmap_over_keys_equals_a_loop(name):
    keys = jax.random.split(KEY, 3)
    init = INITS[name]
    weights = {"w": jnp.arange(12.0).reshape(4, 3)}
    stacked = jax.jit(jax.vmap(init, (0, None)))(keys, weights)
    for index, key in enumerate(keys):
        equal({"w": stacked["w"][index]}, init(key, weights))


def test_old_style_keys_work():
    weights = {"w": jnp.ones(5)}
    old = mask.kaiming_uniform()(jax.random.PRNGKey(3), weights)
    equal(old, mask.kaiming_uniform()(KEY, weights))


def test_split_key_gives_distinct_keys():
    keys = split_key(KEY, {str(index): 0.0 for index in range(50)})
    data = {tuple(jax.random.key_data(key).tolist()) for key in keys.values()}
    assert len(data) == 50


@pytest.mark.parametrize("name", INITS)
def test_wrong_leaves_and_missing_keys(name):
    with pytest.raises(InputError, match="'count' is int32"):
        INITS[name](KEY, {"count": jnp.ones(2, jnp.int32)})
    if name not in ("constant", "magnitude", "relative magnitude"):
        with pytest.raises(InputError, match="random key"):
            INITS[name](None, {"w": jnp.ones(2)})
