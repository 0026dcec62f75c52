"""What all scorers have in common: `(w, *batch) -> scores`, and JAX's transformations of it."""

import jax
import jax.numpy as jnp
import pytest
from networks import DRIVEN, FREE, agree, batch, flat, loss, weights

from jaxmask import tree

EVERY = {**DRIVEN, **FREE}
RULES = [(".*/kernel", "mask")]


@pytest.mark.parametrize("name", EVERY)
def test_under_jit_under_vmap_and_in_a_loop(name, x64):
    scorer = EVERY[name](loss)
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *map(weights, range(3)))
    batched = jax.vmap(lambda w: scorer(w, *batch()))(stacked)
    for index in (0, 2):
        scores = scorer(weights(index), *batch())
        agree(jax.tree.map(lambda leaf: leaf[index], batched), scores)  # noqa: B023
        agree(jax.jit(scorer)(weights(index), *batch()), scores)
    assert (flat(scores) != 0).any()


@pytest.mark.parametrize("name", EVERY)
def test_only_the_leaves_of_a_tree_with_holes_are_scored(name, x64):
    w = weights()
    parts = tree.partition(w, tree.label(w, RULES))

    def of_part(part, x, y):
        return loss(tree.combine(part, parts["freeze"]), x, y)

    scores = EVERY[name](of_part)(parts["mask"], *batch())
    assert jax.tree.structure(scores) == jax.tree.structure(parts["mask"])
    assert scores["first"]["bias"] is None
    # where a weight's score is its own affair, it is the same as in the whole tree
    if name in ("fisher", "gradient_norm", "movement", "optimal_brain_damage", "magnitude"):
        whole = EVERY[name](loss)(w, *batch())
        agree(scores, tree.partition(whole, tree.label(w, RULES))["mask"])


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("kinds", ["bfloat16 bfloat16", "float64 float64", "bfloat16 float32"])
def test_scores_have_the_shapes_and_dtypes_of_the_weights(name, kinds, x64):
    def parabola(w, x):
        return jnp.mean((x @ w["a"] + w["b"]) ** 2)

    a, b = kinds.split()
    w = {"a": jnp.ones(2, a), "b": jnp.ones((), b)}
    scores = EVERY[name](parabola)(w, jnp.ones((3, 2), jnp.bfloat16))
    for leaf, kind in (("a", a), ("b", b)):
        # random scores are initial scores of a mask: float32 or wider
        wanted = jnp.promote_types(kind, jnp.float32) if name == "random" else kind
        assert scores[leaf].dtype == wanted
        assert scores[leaf].shape == w[leaf].shape
        assert jnp.isfinite(scores[leaf]).all()
