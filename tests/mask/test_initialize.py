"""Initial scores: distributions, keys by path, shuffling."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

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
    "kaiming_uniform": mask.kaiming_uniform(),
    "shuffled": mask.shuffled(mask.magnitude()),
    "shuffled uniform": mask.shuffled(mask.kaiming_uniform()),
}


@pytest.mark.parametrize("name", INITS)
def test_shapes_and_determinism(name):
    init = INITS[name]
    scores = init(KEY, WEIGHTS)
    assert jax.tree.map(jnp.shape, scores) == jax.tree.map(jnp.shape, WEIGHTS)
    for again in (init(KEY, WEIGHTS), jax.jit(init)(KEY, WEIGHTS)):
        jax.tree.map(np.testing.assert_array_equal, scores, again)
    if name not in ("constant", "magnitude"):
        other = init(jax.random.key(4), WEIGHTS)
        assert not jnp.array_equal(other["conv"]["kernel"], scores["conv"]["kernel"])


@pytest.mark.parametrize("name", INITS)
def test_scores_are_float32_or_wider(name, x64):
    for dtype, expected in [(jnp.bfloat16, "float32"), ("float32",) * 2, ("float64",) * 2]:
        weights = {"w": jax.ShapeDtypeStruct((4, 2), dtype)}
        assert jax.eval_shape(INITS[name], KEY, weights)["w"].dtype == expected


def test_values():
    assert (mask.constant(2.0)(None, WEIGHTS)["conv"]["kernel"] == 2).all()
    magnitude = mask.magnitude()(None, WEIGHTS)
    np.testing.assert_array_equal(magnitude["conv"]["kernel"], np.abs(WEIGHTS["conv"]["kernel"]))
    big = {"w": jnp.zeros((300, 300))}
    drawn = mask.normal(0.5)(KEY, big)["w"]
    assert abs(float(drawn.std()) - 0.5) < 0.01
    assert abs(float(drawn.mean())) < 0.01


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
        assert jnp.array_equal(more["b"], scores["b"])
        assert jnp.array_equal(more["c"], scores["c"])


def test_shuffled_permutes_within_each_leaf():
    weights = {"w": jnp.arange(200.0).reshape(10, 20), "v": jnp.arange(200.0) + 1000}
    scores = mask.shuffled(mask.magnitude())(KEY, weights)
    for name in weights:
        assert not jnp.array_equal(scores[name], weights[name])
        np.testing.assert_array_equal(np.sort(scores[name], axis=None), weights[name].reshape(-1))
        # far fewer fixed points than a shuffle that does little would leave
        assert int((scores[name] == weights[name]).sum()) < 10
    constant = mask.shuffled(mask.constant(3.0))(KEY, weights)
    assert (constant["w"] == 3).all()


def test_vmap_over_keys_equals_a_loop():
    keys = jax.random.split(KEY, 3)
    init = mask.shuffled(mask.kaiming_uniform())
    weights = {"w": jnp.ones((4, 3))}
    stacked = jax.vmap(init, (0, None))(keys, weights)
    for index, key in enumerate(keys):
        np.testing.assert_array_equal(stacked["w"][index], init(key, weights)["w"])


def test_old_style_keys_work():
    weights = {"w": jnp.ones(5)}
    old = mask.kaiming_uniform()(jax.random.PRNGKey(3), weights)
    np.testing.assert_array_equal(old["w"], mask.kaiming_uniform()(KEY, weights)["w"])


def test_split_key_gives_distinct_keys():
    keys = split_key(KEY, {str(index): 0.0 for index in range(50)})
    data = {tuple(jax.random.key_data(key).tolist()) for key in keys.values()}
    assert len(data) == 50


@pytest.mark.parametrize("name", INITS)
def test_wrong_leaves_and_missing_keys(name):
    with pytest.raises(InputError, match="'count' is int32"):
        INITS[name](KEY, {"count": jnp.ones(2, jnp.int32)})
    if name not in ("constant", "magnitude"):
        with pytest.raises(InputError, match="random key"):
            INITS[name](None, {"w": jnp.ones(2)})
