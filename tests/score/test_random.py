import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmask import score
from jaxmask.errors import InputError

SCORER = score.random(jax.random.key(5))


def test_scores_are_standard_normal_and_depend_on_key_and_path_alone():
    w = {"a": jnp.zeros((100, 100)), "b": jnp.zeros((100, 100))}
    scores = SCORER(w)
    for leaf in scores.values():
        # 10,000 draws: five standard errors of the mean and of the deviation
        assert abs(leaf.mean()) < 0.05
        assert abs(leaf.std() - 1) < 0.036
    both = np.corrcoef(np.ravel(scores["a"]), np.ravel(scores["b"]))[0, 1]
    assert abs(both) < 0.05
    chex.assert_trees_all_equal_shapes_and_dtypes(scores, w)
    other_weights = SCORER({"a": jnp.ones((100, 100)), "c": jnp.ones(2)}, jnp.ones(3))
    chex.assert_trees_all_equal(other_weights["a"], scores["a"], strict=True)
    chex.assert_trees_all_equal(SCORER(w), scores, strict=True)
    other_key = score.random(jax.random.key(6))(w)
    assert (other_key["a"] != scores["a"]).mean() > 0.99


def test_only_floating_point_is_scored():
    with pytest.raises(InputError, match="'n' is int32"):
        SCORER({"n": jnp.arange(3)})
