"""Formulas and gradients of every transform, against NumPy and finite differences."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from jaxmask import mask
from jaxmask.errors import InputError

RESCALES = [True, "constant", False]
TRANSFORMS = {
    "threshold": lambda rescale: mask.threshold(0.1, rescale=rescale),
    "top_k layer": lambda rescale: mask.top_k(0.4, rescale=rescale),
    "top_k global": lambda rescale: mask.top_k(0.4, "global", rescale=rescale),
    "top_k erk": lambda rescale: mask.top_k(0.4, "erk", rescale=rescale),
    "sign": lambda rescale: mask.sign(0.1),
}


def example(seed=0, dtype=np.float64):
    """Scores, weights and output gradients of a small tree with a hole, a scalar, an empty leaf."""
    rng = np.random.default_rng(seed)
    shapes = {"conv": (2, 2, 2, 3), "dense": {"bias": (5,)}, "scalar": (), "empty": (0, 3)}

    def draw(shape):
        return jnp.asarray(rng.normal(size=shape), dtype)

    trees = [
        jax.tree.map(draw, shapes, is_leaf=lambda node: isinstance(node, tuple)) for _ in range(3)
    ]
    return [{**tree, "hole": None} for tree in trees]


SMALL = {
    "conv": jnp.sin(jnp.arange(24.0)).reshape(2, 2, 2, 3),
    "bias": jnp.cos(jnp.arange(5.0)),
}


def equal(found, expected):
    """Bit for bit, and of one structure, shapes and dtypes."""
    chex.assert_trees_all_equal(found, expected, strict=True)


def reference_masks(name, scores):
    leaves, structure = jax.tree.flatten(jax.tree.map(np.asarray, scores))
    if name == "threshold":
        hard = [(s > 0.1).astype(float) for s in leaves]
    elif name == "sign":
        hard = [np.where(s > 0.1, 1.0, -1.0) for s in leaves]
    elif name == "top_k layer":
        hard = [s >= np.sort(s, axis=None)[::-1][-(-4 * s.size // 10) - 1] if s.size else s > 0
                for s in leaves]  # fmt: skip
    elif name == "top_k global":
        ordered = np.sort(np.concatenate([s.reshape(-1) for s in leaves]))[::-1]
        hard = [s >= ordered[-(-4 * ordered.size // 10) - 1] for s in leaves]
    else:
        pytest.skip("the counts of erk are tested in test_allocate")
    return jax.tree.unflatten(structure, [np.asarray(m, float) for m in hard])


def masked_weights(m, theta, rescale, alpha=None):
    """The design's formula, in NumPy."""
    if rescale is False:
        return theta * m
    if alpha is None:
        alpha = np.sqrt(m.sum() / m.size) if m.sum() else 1.0
    return theta * m / alpha


@pytest.mark.parametrize(
    ("name", "rescale"),
    [*((name, True) for name in TRANSFORMS), ("threshold", "constant"), ("top_k erk", False)],
)
def test_masked_weights_and_gradients(name, rescale, x64):
    scores, weights, out = example()
    tx = TRANSFORMS[name](rescale)
    rescale = False if name == "sign" else rescale
    masks = tx.mask(scores)
    if name != "top_k erk":
        equal(masks, reference_masks(name, scores))

    def loss(scores, weights):
        applied = tx.apply(scores, weights)
        return sum(jax.tree.leaves(jax.tree.map(lambda a, b: jnp.sum(a * b), applied, out)))

    applied = tx.apply(scores, weights)
    by_score, by_weight = jax.grad(loss, (0, 1))(scores, weights)
    chex.assert_trees_all_equal_shapes_and_dtypes(scores, masks, applied, by_score, by_weight)
    leaves = [jax.tree.leaves(t) for t in (masks, weights, out, applied, by_score, by_weight)]
    for m, theta, g, result, d_score, d_weight in zip(*map(lambda t: map(np.asarray, t), leaves)):
        np.testing.assert_allclose(result, masked_weights(m, theta, rescale), rtol=1e-14)
        alpha = np.sqrt(m.sum() / m.size) if m.size and m.sum() > 0 else 1.0
        fixed = alpha if rescale == "constant" or alpha == 1.0 else None
        step = 1e-6
        numeric = np.zeros(m.size)
        for index in range(m.size):
            change = np.zeros(m.size)
            change[index] = step
            change = change.reshape(m.shape)
            high = (masked_weights(m + change, theta, rescale, fixed) * g).sum()
            low = (masked_weights(m - change, theta, rescale, fixed) * g).sum()
            numeric[index] = (high - low) / (2 * step)
        if alpha == 1.0 and m.sum() and rescale is True:
            continue  # all on: the next test
        np.testing.assert_allclose(d_score.reshape(-1), numeric, rtol=1e-7, atol=1e-9)
        np.testing.assert_allclose(d_weight, masked_weights(m, g, rescale), rtol=1e-14)


def test_the_gradient_through_alpha_in_closed_form(x64):
    rng = np.random.default_rng(1)
    for on in (1, 3, 7):
        s = jnp.asarray(rng.permutation(np.arange(7.0) < on) - 0.5)
        theta, g = rng.normal(size=(2, 7))
        m, N = np.asarray(s > 0, float), 7
        alpha = np.sqrt(on / N)
        expected = theta * g / alpha - (theta * m * g).sum() / (2 * N * alpha**3)

        def loss(s, rescale, theta=theta, g=g):
            applied = mask.threshold(rescale=rescale).apply({"w": s}, {"w": jnp.asarray(theta)})
            return jnp.sum(applied["w"] * g)

        np.testing.assert_allclose(jax.grad(loss)(s, True), expected, rtol=1e-12)
        np.testing.assert_allclose(jax.grad(loss)(s, "constant"), theta * g / alpha, rtol=1e-12)
        np.testing.assert_allclose(jax.grad(loss)(s, False), theta * g, rtol=1e-12)


@pytest.mark.parametrize("rescale", RESCALES)
@pytest.mark.parametrize("shape", [(), (3, 2)])
def test_a_leaf_that_is_all_zero_can_come_back(rescale, shape):
    tx = mask.threshold(rescale=rescale)
    scores = {"w": jnp.full(shape, -1.0), "other": jnp.ones(3)}
    theta = {"w": jnp.full(shape, 2.0), "other": jnp.ones(3)}
    applied = tx.apply(scores, theta)
    assert not applied["w"].any()
    by_score, by_weight = jax.grad(
        lambda s, w: 3 * jnp.sum(tx.apply(s, w)["w"]), (0, 1)
    )(scores, theta)  # fmt: skip
    assert (by_score["w"] == 6).all()  # theta * g
    assert not by_weight["w"].any()
    chex.assert_tree_all_finite((by_score, by_weight))
    updated = jax.tree.map(lambda s, d: s + d, scores, by_score)
    assert tx.apply(updated, theta)["w"].all()


@pytest.mark.parametrize("name", ["threshold", "top_k global", "top_k erk", "sign"])
def test_empty_leaves_and_trees(name):
    tx = TRANSFORMS[name](True)
    weights = {"w": jnp.ones((0, 3)), "v": None}
    scores = tx.init(jax.random.key(0), weights)
    gradient = jax.grad(lambda s: jnp.sum(tx.apply(s, weights)["w"]))(scores)
    chex.assert_trees_all_equal_shapes_and_dtypes(gradient, weights)
    assert tx.apply({}, {}) == {}
    assert tx.apply(None, None) is None


def test_scores_equal_to_mu_and_nan_are_off():
    scores = {"w": jnp.array([0.5, jnp.nan, jnp.nextafter(0.5, 1.0), jnp.inf, -jnp.inf])}
    assert mask.threshold(0.5).mask(scores)["w"].tolist() == [0, 0, 1, 1, 0]
    assert mask.sign(0.5).mask(scores)["w"].tolist() == [-1, -1, 1, 1, -1]


@pytest.mark.parametrize("name", ["threshold", "top_k layer", "sign"])
def test_bfloat16_weights(name):
    rng = np.random.default_rng(2)
    weights = {"w": jnp.asarray(rng.normal(size=(40, 50)), jnp.bfloat16)}
    tx = TRANSFORMS[name](True)
    scores = mask.kaiming_uniform()(jax.random.key(0), weights)
    chex.assert_type([scores["w"], tx.mask(scores)["w"]], jnp.float32)
    chex.assert_type(tx.mask(weights)["w"], jnp.bfloat16)
    applied = tx.apply(scores, weights)
    wide = tx.apply(scores, jax.tree.map(lambda w: w.astype(jnp.float32), weights))
    equal(applied, jax.tree.map(lambda w: w.astype(jnp.bfloat16), wide))
    gradients = jax.grad(lambda s, w: jnp.sum(tx.apply(s, w)["w"] ** 2), (0, 1))(scores, weights)
    chex.assert_trees_all_equal_shapes_and_dtypes(gradients, (scores, weights))


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_the_count_is_float32_whatever_the_dtype(dtype):
    # 70,000 is infinite in float16
    ones = jnp.ones(70_000, dtype)
    equal(mask.masked(ones, ones), ones)


@pytest.mark.parametrize("name", ["threshold", "top_k global", "sign"])
def test_jit_equals_eager_and_vmap_a_loop(name):
    weights = SMALL
    tx = TRANSFORMS[name](True)
    keys = jax.random.split(jax.random.key(1), 2)
    scores = [mask.kaiming_uniform()(key, weights) for key in keys]

    def value_and_gradient(s):
        def loss(s):
            return sum(jnp.sum(jnp.sin(leaf)) for leaf in jax.tree.leaves(tx.apply(s, weights)))

        return tx.mask(s), tx.apply(s, weights), jax.grad(loss)(s)

    stacked = jax.tree.map(lambda *s: jnp.stack(s), *scores)
    batched = jax.jit(jax.vmap(value_and_gradient))(stacked)
    compiled = jax.jit(value_and_gradient)
    for index, s in enumerate(scores):
        eager, jitted = value_and_gradient(s), compiled(s)
        row = jax.tree.map(lambda x: x[index], batched)  # noqa: B023
        equal((jitted[0], row[0]), (eager[0], eager[0]))
        chex.assert_trees_all_close(eager, jitted, row, rtol=1e-5, atol=1e-6)
        chex.assert_trees_all_equal_shapes_and_dtypes(eager, jitted, row)


def test_mu_and_density_are_traced_without_recompiling_and_have_no_gradient():
    weights = SMALL
    scores = mask.kaiming_uniform()(jax.random.key(0), weights)
    makers = {
        mask.threshold: [0.0, 0.3, -2.0],
        mask.sign: [0.0, 0.3, -2.0],
        mask.top_k: [0.1, 0.5, 1.0],
        lambda d: mask.top_k(d, "erk"): [0.1, 0.5, 1.0],
    }
    for make, numbers in makers.items():

        def run(number, s, make=make):
            return make(number).apply(s, weights)

        def total(number, s, run=run):
            return sum(jnp.sum(leaf) for leaf in jax.tree.leaves(run(number, s)))

        chex.clear_trace_counter()
        compiled = jax.jit(chex.assert_max_traces(run, n=1))
        each = [run(number, scores) for number in numbers]
        for number, expected in zip(numbers, each):
            chex.assert_trees_all_close(compiled(number, scores), expected, rtol=1e-6)
        batched = jax.jit(jax.vmap(run, (0, None)))(jnp.array(numbers), scores)
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *each)
        chex.assert_trees_all_close(batched, stacked, rtol=1e-6)
        assert jax.jit(jax.grad(total))(numbers[1], scores) == 0


def test_top_k_keeps_its_share_at_every_density():
    scores = {"w": jnp.sin(jnp.arange(100.0)).reshape(10, 10), "v": jnp.zeros(20)}
    for percent in (1, 10, 35, 50, 99, 100):
        masks = mask.top_k(percent / 100).mask(scores)
        assert int(masks["w"].sum()) == percent
        assert int(masks["v"].sum()) == -(-20 * percent // 100)


def test_containers_may_differ_between_scores_and_weights():
    weights = {"a": jnp.ones(2), "b": jnp.ones(3)}
    applied = mask.threshold().apply({"b": jnp.ones(3), "a": jnp.ones(2)}, weights)
    assert list(applied) == ["a", "b"]


# Whole numbers and powers of two, so that what is equal in theory is so to the last bit.
whole = npst.arrays(np.float32, 12, elements=st.integers(-20, 20))
shuffles = st.permutations(range(12))


def of_two(vector):
    """Two leaves and a hole, of one vector."""
    return {"a": vector[:8].reshape(2, 4), "b": [vector[8:], None]}


@pytest.mark.parametrize("rescale", RESCALES)
@given(scores=whole, weights=whole, exponent=st.integers(-20, 20), shift=st.integers(-50, 50))
@settings(max_examples=20)
def test_scores_and_threshold_may_be_shifted_and_scaled(rescale, scores, weights, exponent, shift):
    scores, weights, factor = of_two(scores), of_two(weights), np.float32(2.0**exponent)
    for make in (lambda mu: mask.threshold(mu, rescale=rescale), mask.sign):
        applied = make(3).apply(scores, weights)
        shifted = jax.tree.map(lambda s: s + np.float32(shift), scores)
        equal(make(3 + shift).apply(shifted, weights), applied)
        scaled = jax.tree.map(lambda s: s * factor, scores)
        equal(make(3 * factor).apply(scaled, weights), applied)
        # weights have no say in the mask, and what they are scaled by, the result is
        scaled = jax.tree.map(lambda w: w * factor, weights)
        equal(make(3).apply(scores, scaled), jax.tree.map(lambda w: w * factor, applied))


@given(whole, whole, shuffles)
@settings(max_examples=20)
def test_a_weight_and_its_score_may_change_places_with_others(scores, weights, order):
    order = np.array(order)
    for tx in (mask.threshold(3), mask.sign(3), mask.threshold(3, rescale="constant")):
        applied = tx.apply({"w": scores}, {"w": weights})["w"]
        equal(tx.apply({"w": scores[order]}, {"w": weights[order]})["w"], applied[order])
    # top_k breaks ties by place: scores without any
    scores = scores + np.arange(12, dtype=np.float32) / 16
    kept = mask.top_k(0.3).mask({"w": scores})["w"]
    equal(mask.top_k(0.3).mask({"w": scores[order]})["w"], kept[order])
    assert kept.sum() == 4


@given(npst.arrays(np.float32, (3, 4), elements=st.sampled_from([0, 1])), whole)
@settings(max_examples=20)
def test_rescaling_keeps_the_mean_square_of_weights_that_are_all_as_large(bits, weights):
    signs = np.where(weights > 0, np.float32(2), np.float32(-2)).reshape(3, 4)
    for rescale in (True, "constant"):
        found = mask.masked(jnp.asarray(bits), jnp.asarray(signs), rescale)
        mean_square = float(jnp.mean(found**2))
        np.testing.assert_allclose(mean_square, 4 * bits.any(), rtol=1e-6)
        np.testing.assert_array_equal(np.sign(found), np.sign(signs) * bits)
    equal(mask.masked(jnp.asarray(bits), jnp.asarray(signs), False), jnp.asarray(signs * bits))


@pytest.mark.parametrize("rescale", RESCALES)
def test_one_leaf_by_itself_compiled_or_not_equals_numpy(rescale, variant):
    rng = np.random.default_rng(4)
    weight = jnp.asarray(rng.normal(size=(5, 7)), jnp.float32)
    for on in (0, 1, 12, 35):
        bits = (rng.permutation(35) < on).reshape(5, 7)
        found = variant(lambda m, w: mask.masked(m, w, rescale))(bits.astype(np.float32), weight)
        expected = masked_weights(bits.astype(np.float64), np.asarray(weight), rescale)
        chex.assert_type(found, jnp.float32)
        np.testing.assert_allclose(found, expected, rtol=1e-6)
        assert not np.asarray(found)[~bits].any()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: mask.threshold(rescale="live"), "rescale 'live'"),
        (lambda: mask.threshold(rescale=None), "rescale None"),
        (lambda: mask.threshold(rescale=1), "rescale 1"),
        (lambda: mask.top_k(0.5, rescale="no"), "rescale 'no'"),
        (lambda: mask.threshold(float("nan")), "mu nan"),
        (lambda: mask.threshold("0"), "mu '0'"),
        (lambda: mask.sign(jnp.ones(2)), "one number"),
        (lambda: mask.top_k(0.0), r"density 0\.0"),
        (lambda: mask.top_k(1.5), r"density 1\.5"),
        (lambda: mask.top_k("half"), "density 'half'"),
        (lambda: mask.top_k(0.5, "leaf"), "scope 'leaf'"),
        (lambda: mask.threshold().apply({"a": jnp.ones(2)}, {"b": jnp.ones(2)}), "no 'b'"),
        (lambda: mask.threshold().apply({"a": jnp.ones(2)}, {"a": jnp.ones(3)}), "'a' has shape"),
        (lambda: mask.threshold().apply({"a": jnp.ones(2)}, {"a": jnp.arange(2)}), "'a' is int32"),
        (lambda: mask.threshold().mask({"a": jnp.arange(2)}), "'a' is int32"),
    ],
)
def test_wrong_settings(make, words):
    with pytest.raises(InputError, match=words) as error:
        make()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("shape", [(50_000, 50_001), (3_000_000_000,)])
@pytest.mark.parametrize("rescale", [True, "constant", False])
def test_a_leaf_beyond_int32(shape, rescale):
    tx = mask.threshold(rescale=rescale)
    large = {"w": jax.ShapeDtypeStruct(shape, jnp.float32)}
    loss = lambda s, w: tx.apply(s, w)["w"].mean()  # noqa: E731
    assert jax.eval_shape(jax.grad(loss), large, large)["w"].shape == shape
