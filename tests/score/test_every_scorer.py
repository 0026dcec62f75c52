"""What all scorers have in common: `(w, *batch) -> scores`, and JAX's transformations of it."""

from fractions import Fraction

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import (
    CLASSES,
    DRIVEN,
    EXAMPLES,
    FREE,
    HIDDEN,
    agree,
    batch,
    flat,
    loss,
    row,
    stacked,
    weights,
)

from jaxmask import mask, score, tree
from jaxmask.precision import wide

EVERY = {**DRIVEN, **FREE}
RULES = [(".*/kernel", "mask")]


@pytest.mark.parametrize("name", EVERY)
def test_under_jit_under_vmap_and_in_a_loop(name, x64):
    scorer = EVERY[name](loss)
    batched = jax.vmap(lambda w: scorer(w, *batch()))(stacked(map(weights, range(3))))
    compiled = jax.jit(chex.assert_max_traces(lambda *given: scorer(*given), n=1))
    for index in (0, 2):
        scores = scorer(weights(index), *batch())
        agree(row(batched, index), scores)
        agree(compiled(weights(index), *batch()), scores)
    assert (flat(scores) != 0).any()


def scaled_loss(w, x, y, factor):
    """Times a factor that comes with the examples, so that none of them compiles anew."""
    return factor[0] * loss(w, x, y)


# By what power of a factor in front of the loss the scores of each grow; absolute if so they are.
HOMOGENEOUS = {
    "fisher": (2, abs),
    "gradient_norm": (1, abs),
    "grasp": (2, float),
    "grasp, absolute": (2, abs),
    "movement": (1, float),
    "optimal_brain_damage": (1, float),
    "optimal_brain_damage, estimated": (1, float),
    "snip": (0, float),
}
# Random signs are drawn by place, and random scores too: those do not follow a weight.
PLACED = ("optimal_brain_damage, estimated", "random")
SCALED = {name: make(scaled_loss) for name, make in DRIVEN.items()}
FOLLOWING = {name: make(loss) for name, make in EVERY.items() if name not in PLACED}
cases = st.tuples(st.integers(0, 2**32 - 1), st.floats(0.01, 100) | st.floats(-100, -0.01))


@pytest.mark.parametrize("name", DRIVEN)
@given(cases)
@settings(max_examples=5)
def test_the_loss_is_a_mean_of_examples_in_any_order_and_its_scale_goes_through(name, case):
    seed, factor = case
    with jax.enable_x64(True):
        w, (x, y) = weights(seed), batch()

        def scores(factor, order):
            return SCALED[name](w, x[order], y[order], jnp.full(EXAMPLES, factor))

        order, power = np.random.default_rng(seed).permutation(EXAMPLES), HOMOGENEOUS[name]
        once = scores(1.0, np.arange(EXAMPLES))
        agree(scores(1.0, order), once, rtol=1e-9, atol=1e-12)
        grown = jax.tree.map(lambda leaf: power[1](factor) ** power[0] * leaf, once)
        agree(scores(factor, order), grown, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", FOLLOWING)
@given(st.integers(0, 2**32 - 1))
@settings(max_examples=5)
def test_a_score_follows_its_weight_to_wherever_units_and_classes_move(name, seed):
    with jax.enable_x64(True):
        rng = np.random.default_rng(seed)
        units, classes = rng.permutation(HIDDEN), rng.permutation(CLASSES)

        def moved(w):
            first, second = w["first"], w["second"]
            return {
                "first": {"bias": first["bias"][units], "kernel": first["kernel"][:, units]},
                "second": {
                    "bias": second["bias"][classes],
                    "kernel": second["kernel"][units][:, classes],
                },
            }

        w, (x, y) = weights(seed), batch()
        scores = FOLLOWING[name](w, x, y)
        again = FOLLOWING[name](moved(w), x, jnp.argsort(classes)[y])
        agree(again, moved(scores), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", EVERY)
def test_only_the_leaves_of_a_tree_with_holes_are_scored(name, x64):
    w = weights()
    parts = tree.partition(w, tree.label(w, RULES))

    def of_part(part, x, y):
        return loss(tree.combine(part, parts["freeze"]), x, y)

    scores = EVERY[name](of_part)(parts["mask"], *batch())
    chex.assert_trees_all_equal_shapes_and_dtypes(scores, parts["mask"])
    assert scores["first"]["bias"] is None
    # where a weight's score is its own affair, it is the same as in the whole tree
    if name in ("fisher", "gradient_norm", "movement", "optimal_brain_damage", "magnitude"):
        whole = EVERY[name](loss)(w, *batch())
        agree(scores, tree.partition(whole, tree.label(w, RULES))["mask"])


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("kinds", ["bfloat16 bfloat16", "float64 float64", "float16 float32"])
def test_scores_have_the_shapes_of_the_weights_in_float32_or_wider(name, kinds, x64):
    def parabola(w, x):
        return jnp.mean((x @ w["a"] + w["b"]) ** 2)

    a, b = kinds.split()
    w = {"a": jnp.ones(2, a), "b": jnp.ones((), b)}
    scores = EVERY[name](parabola)(w, jnp.ones((3, 2), jnp.bfloat16))
    if name != "magnitude":  # exact in any dtype
        w = jax.tree.map(lambda leaf: leaf.astype(wide(leaf.dtype)), w)
    chex.assert_trees_all_equal_shapes_and_dtypes(scores, w)
    chex.assert_tree_all_finite(scores)


def separate(w, x):
    """Computes in the dtype of the examples, whatever the weights are stored in."""
    leaves = [jnp.cosh(leaf.astype(x.dtype)[None] * x) for leaf in jax.tree.leaves(w)]
    return jnp.mean(sum(jnp.sum(leaf, axis=1) for leaf in leaves))


KINDS = ["float16", "bfloat16", "float8_e4m3fn", "float8_e5m2", "float32"]
OF_LOSS = {**EVERY, "synflow": lambda loss: score.synflow(lambda w: loss(w, jnp.ones((1, 1))))}


@pytest.mark.parametrize("kinds", [KINDS[:1], KINDS], ids=["float16", "one of each"])
@pytest.mark.parametrize("name", sorted(EVERY.keys() - {"random"}))
def test_scores_of_narrow_weights_are_those_of_float64(name, kinds, x64):
    rng = np.random.default_rng(0)
    values = [rng.uniform(0.5, 2, 30) * rng.choice([-1, 1], 30) for _ in kinds]
    w = {kind: jnp.asarray(leaf, kind) for kind, leaf in zip(kinds, values)}
    exact = jax.tree.map(lambda leaf: leaf.astype("float64"), w)
    x = jnp.asarray(rng.uniform(0.5, 1, size=(3, 1)))
    wanted, found = (OF_LOSS[name](separate)(each, x) for each in (exact, w))
    # A derivative comes in the dtype of its weight; nothing else is rounded to it.
    error = {kind: 3 * float(jnp.finfo(kind).eps) for kind in kinds}
    if name == "snip":  # rounding goes through the sum
        error = dict.fromkeys(kinds, 2 * max(error.values()))
    for kind in kinds:
        np.testing.assert_allclose(found[kind], wanted[kind], rtol=error[kind])


def test_snip_in_float16_does_not_lose_large_networks():
    # The sum, 2^17, is beyond float16, and so are the scores below what it can hold.
    w = {"w": jnp.ones(2**15, "float16").at[0].set(3)}
    found = score.snip(lambda w, x: 4 * jnp.sum(w["w"].astype(jnp.float32)) * jnp.mean(x))(
        w, jnp.ones(1)
    )["w"]
    np.testing.assert_allclose(found, np.asarray(w["w"], float) / (2**15 + 2), rtol=1e-6)
    assert mask.keep_top({"w": found}, Fraction(1, 2**15))["w"][0]


def test_synaptic_flow_in_float16_sums_many_outputs():
    w = {"w": jnp.full((4, 40_000), 2.0, "float16")}
    found = score.synflow(lambda w: jnp.ones((1, 4), "float16") @ w["w"])(w)
    np.testing.assert_array_equal(found["w"], 2.0)
