import chex
import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from jaxmask import score

MAGNITUDE = score.magnitude()
numbers = npst.arrays(np.float32, (2, 3), elements=st.floats(width=32))


def test_absolute_values_of_every_leaf():
    w = {"a": jnp.array([[-3.0, 2.0]]), "hole": None, "b": (jnp.array(-0.5), jnp.zeros((0, 2)))}
    scores = MAGNITUDE(w, jnp.ones(3))
    chex.assert_trees_all_equal(scores, jax.tree.map(jnp.abs, w), strict=True)
    assert scores["a"].tolist() == [[3, 2]]


@given(numbers, st.integers(-20, 20))
@settings(max_examples=50)
def test_signs_do_not_matter_and_scale_goes_through(w, exponent):
    chex.assert_trees_all_equal(MAGNITUDE(w), np.abs(w), strict=True)
    chex.assert_trees_all_equal(MAGNITUDE(-w), MAGNITUDE(w), strict=True)
    # whole numbers: others may become infinite, or too small to be told from 0
    whole = np.float32(np.nan_to_num(w).clip(-99, 99).round())
    factor = np.float32(2.0**exponent)
    chex.assert_trees_all_equal(MAGNITUDE(factor * whole), factor * MAGNITUDE(whole), strict=True)


def test_other_weights_of_the_same_shapes_do_not_recompile():
    compiled = jax.jit(chex.assert_max_traces(lambda w: MAGNITUDE(w), n=1))
    for w in (jnp.array([-1.0, 2.0]), jnp.array([3.0, -4.0])):
        chex.assert_trees_all_equal(compiled(w), jnp.abs(w), strict=True)
