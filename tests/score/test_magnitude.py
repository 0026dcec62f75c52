import jax.numpy as jnp

from jaxmask import score


def test_absolute_values_of_every_leaf():
    w = {"a": jnp.array([[-3.0, 2.0]]), "hole": None, "b": (jnp.array(-0.5), jnp.zeros((0, 2)))}
    scores = score.magnitude()(w, jnp.ones(3))
    assert scores["a"].tolist() == [[3, 2]]
    assert scores["hole"] is None
    assert scores["b"][0] == 0.5
    assert scores["b"][1].shape == (0, 2)
