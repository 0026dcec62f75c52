"""Pruning in one shot and in many: counts, order, what comes back, what is reported."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.tree_util import Partial

from jaxmask import mask, prune, score
from jaxmask.errors import InputError

# One object each: a scorer is compiled once for each structure and number of shots.
MAGNITUDE, RANDOM = score.magnitude(), score.random(jax.random.key(1))
KEY = jax.random.key(7)
SCOPES = ("global", "layer", "erk")


def draw(seed, digits=None):
    """Weights with a hole; rounded, so that many tie, if digits are given.

    Else in 1024ths, whose sums are exact, so that whatever adds them up agrees.
    """
    rng = np.random.default_rng(seed)
    w = {
        "a": rng.normal(size=(5, 6)),
        "b": None,
        "c": rng.normal(size=(2, 3, 4)),
        "d": rng.normal(),
    }

    def rounded(leaf):
        return np.round(leaf * 1024) / 1024 if digits is None else np.round(leaf, digits)

    return jax.tree.map(lambda leaf: jnp.asarray(rounded(leaf), jnp.float32), w)


def flat(tree):
    return np.concatenate([np.asarray(leaf).reshape(-1) for leaf in jax.tree.leaves(tree)])


def counts(tree):
    return [int(leaf.sum()) for leaf in jax.tree.leaves(tree)]


def equal(one, other):
    """Bit for bit, and of one structure, shapes and dtypes."""
    chex.assert_trees_all_equal(one, other, strict=True)


def check_report(report, shots, leaves):
    chex.assert_shape(report, [(shots, leaves), (leaves,), (leaves,), ()])
    chex.assert_type(report, jnp.int32)


def loop(scorer, w, batch, shares, scope="global", key=None):
    """The same as multi_shot, in plain Python on `mask.keep_top`."""
    key = jax.random.key(0) if key is None else key
    left = jax.tree.map(lambda leaf: jnp.ones(leaf.shape, bool), w)
    for shot, share in enumerate(shares):
        scores = scorer(jax.tree.map(jnp.multiply, w, left), *batch)
        # what is pruned already is below everything, even below what is -inf
        ranked = jax.tree.map(lambda s, m: jnp.where(m, s, -jnp.inf), scores, left)
        left = mask.keep_top(ranked, share, scope, key=jax.random.fold_in(key, shot))
    return left


cases = st.tuples(
    st.integers(0, 2**32 - 1),
    st.sampled_from([None, 1, 0]),
    st.integers(1, 100).map(lambda n: n / 100),
)


@pytest.mark.parametrize("scope", SCOPES)
@given(cases, st.sampled_from([1, 3]), st.sampled_from(["exponential", "linear"]))
@settings(max_examples=20)
def test_exact_counts_that_never_rise(scope, case, shots, schedule):
    seed, digits, density = case
    w = draw(seed, digits)
    prune_it = prune.multi_shot(MAGNITUDE, density, shots, schedule, scope, report=True)
    kept, report = prune_it(w)
    chex.assert_trees_all_equal_shapes(kept, w)
    chex.assert_type(jax.tree.leaves(kept), bool)
    check_report(report, shots, 3)
    wanted = [
        np.sum(mask.allocate(w, share, scope))
        for share in prune.densities(density, shots, schedule)
    ]
    exact = report.kept.sum(axis=1).tolist()
    assert exact[-1] == wanted[-1]
    if scope == "erk":  # where rounding would give a leaf weights back, it keeps them throughout
        assert all(0 <= more - count <= 2 for more, count in zip(exact, wanted))
    else:
        assert exact == wanted
    assert counts(kept) == report.kept[-1].tolist()
    if scope != "global":
        assert counts(kept) == mask.allocate(w, density, scope).tolist()
    assert (np.diff(report.kept, axis=0) <= 0).all()
    # nothing that was pruned is larger than anything that was kept
    pairs = zip(jax.tree.leaves(w), jax.tree.leaves(kept))
    if scope == "global" and 0 < density < 1:
        assert np.abs(flat(w)[flat(kept)]).min() >= np.abs(flat(w)[~flat(kept)]).max(initial=0)
    elif scope != "global":
        for leaf, bits in ((np.abs(leaf), np.asarray(bits)) for leaf, bits in pairs):
            assert leaf[bits].min(initial=np.inf) >= leaf[~bits].max(initial=0)


def test_layers_by_erk_that_rounding_would_give_weights_back():
    """At 12 weights a leaf of 2 is given none, at 11 one: it must not have lost it by then."""
    shapes = {"a": 3, "b": 2, "c": (2, 2, 2), "d": 7, "e": 7}
    w = {name: jnp.asarray(np.random.default_rng(0).normal(size=s)) for name, s in shapes.items()}
    allocated = [mask.allocate(w, share, "erk") for share in prune.densities(0.1, 10)]
    assert (np.diff(allocated, axis=0) > 0).any()
    for density in prune.densities(0.1, 10):
        kept, report = prune.multi_shot(MAGNITUDE, density, 10, scope="erk", report=True)(w)
        assert counts(kept) == mask.allocate(w, density, "erk").tolist()
        assert (np.diff(report.kept, axis=0) <= 0).all()


@pytest.mark.parametrize("scope", SCOPES)
def test_many_shots_are_a_loop_over_keep_top(scope):
    def products(w, x):
        """Scores that change with what is left."""
        return jax.tree.map(lambda leaf: jnp.abs(leaf * (jnp.sum(x) + jnp.sum(leaf))), w)

    for digits in (None, 0):  # ties too are broken alike
        w, x = draw(3, digits), jnp.ones(2)
        found = prune.multi_shot(products, 0.2, 4, scope=scope, key=KEY)(w, x)
        equal(found, loop(products, w, (x,), prune.densities(0.2, 4), scope, KEY))


@given(cases)
@settings(max_examples=20)
def test_many_shots_of_scores_that_stay_are_one(case):
    seed, _, density = case
    w = draw(seed)
    for scorer in (MAGNITUDE, RANDOM):
        one = prune.one_shot(scorer, density)(w)
        equal(prune.multi_shot(scorer, density, 1)(w), one)
        equal(prune.multi_shot(scorer, density, 5)(w), one)
        equal(prune.multi_shot(scorer, density, 5, "linear")(w), one)


def backwards(w):
    """A scorer that changes its mind: what was pruned has the highest score."""
    return jax.tree.map(lambda leaf: jnp.where(leaf == 0, 10.0, leaf), w)


def test_what_was_pruned_comes_back_only_if_it_may():
    w = {"w": jnp.array([1.0, 2.0, 3.0, 4.0])}
    # shot 1 keeps 3 and 4; at shot 2 the other two have the highest scores
    stay = prune.multi_shot(backwards, 0.5, 2, begin=0.5)
    assert stay(w)["w"].tolist() == [False, False, True, True]
    back = prune.multi_shot(backwards, 0.5, 2, begin=0.5, monotone=False)
    assert back(w)["w"].tolist() == [True, True, False, False]


@given(cases, st.sampled_from([1, 3]))
@settings(max_examples=20)
def test_masks_shrink_whatever_the_scores(case, shots):
    seed, digits, density = case
    among = jax.tree.map(lambda leaf: leaf > 0, draw(seed + 1))
    kept = prune.multi_shot(backwards, density, shots)(draw(seed, digits), among=among)
    assert not (flat(kept) & ~flat(among)).any()
    # exactly as many as asked for, or all that there were
    wanted = int(mask.allocate(kept, density))
    assert flat(kept).sum() == min(wanted, flat(among).sum())


@pytest.mark.parametrize("scope", ["global", "layer"])
def test_pruning_goes_on_from_a_mask(scope):
    w = draw(4)
    half, first = prune.multi_shot(backwards, 0.5, 2, scope=scope, report=True)(w)
    quarter, then = prune.multi_shot(backwards, 0.25, 2, scope=scope, begin=0.5, report=True)(
        w, among=half
    )
    assert not (flat(quarter) & ~flat(half)).any()
    at_once, report = prune.multi_shot(backwards, 0.25, 4, scope=scope, report=True)(w)
    equal(jnp.concatenate([first.kept, then.kept]), report.kept)
    equal(quarter, at_once)
    # a mask of numbers, in another container, is as good
    numbers = [half["a"].astype(jnp.float32), half["c"], half["d"]]
    listed = [w["a"], w["c"], w["d"]]
    again = prune.one_shot(MAGNITUDE, 0.25, scope)(listed, among=numbers)
    assert not (flat(again) & ~flat(half)).any()


def test_the_report_of_a_run_that_goes_wrong():
    w = {"a": jnp.array([1.0, 2.0, 3.0, 4.0]), "b": jnp.array([5.0, 6.0, 7.0, 8.0])}

    def broken(w):
        """Infinite in b from the second shot on; nothing but zeros once two are left."""
        left = jnp.sum(w["a"] > 0) + jnp.sum(w["b"] > 0)
        b = jnp.where((left < 8) & (w["b"] == 8), jnp.inf, w["b"])
        return {"a": jnp.where(w["a"] == 0, jnp.nan, w["a"]), "b": jnp.where(left > 2, b, 0)}

    kept, report = prune.multi_shot(broken, 0.125, 4, "linear", report=True, begin=1)(w)
    assert isinstance(report, prune.Report)
    check_report(report, 4, 2)
    assert counts(kept) == [0, 1]
    # linear from 8 to 1: 8 * (0.78125, 0.5625, 0.34375, 0.125), rounded up
    assert report.kept.tolist() == [[3, 4], [1, 4], [0, 3], [0, 1]]
    assert report.emptied.tolist() == [3, 0]
    # NaN where a weight is gone is nobody's fault
    assert report.not_finite.tolist() == [0, 2]
    assert report.all_zero == 0
    _, zeros = prune.multi_shot(broken, 0.125, 3, report=True)(w)
    assert zeros.kept.sum(axis=1).tolist() == [4, 2, 1]
    assert zeros.all_zero == 3
    _, fine = prune.multi_shot(MAGNITUDE, 1, 2, report=True)(w)
    assert fine.kept.tolist() == [[4, 4], [4, 4]]
    assert [fine.emptied.tolist(), fine.not_finite.tolist(), int(fine.all_zero)] == [[0, 0]] * 2 + [
        0
    ]


def test_scores_that_are_not_numbers_go_first_and_are_told():
    w = {"w": jnp.array([1.0, 2.0, 3.0, 4.0])}

    def partly(w):
        return {"w": jnp.where(w["w"] == 4, jnp.nan, w["w"])}

    kept, report = prune.one_shot(partly, 0.5, report=True)(w)
    assert kept["w"].tolist() == [False, True, True, False]
    assert report.not_finite.tolist() == [1]


def test_another_density_another_batch_and_another_array_inside_do_not_recompile():
    def scaled(scale, w, x):
        return jax.tree.map(lambda leaf: jnp.abs(leaf) * scale * jnp.sum(x), w)

    def scorer(scale, w, x):
        return watched(scale, w, x)

    # how often one compilation traces a scorer is JAX's affair; a second call must not at all
    never = chex.assert_max_traces(scaled, n=0)
    plain = functools.partial(scorer, 2.0)
    w, x = draw(0), jnp.ones(3)
    watched = scaled
    prune.multi_shot(plain, 0.5, 3)(w, x)
    prune.multi_shot(Partial(scorer, jnp.float32(1)), 0.5, 3)(w, x)
    watched = never
    for density, schedule, begin in ((0.25, "linear", 1), (0.1, "exponential", 0.8)):
        kept = prune.multi_shot(plain, density, 3, schedule, begin=begin, key=KEY)(w, 2 * x)
        assert flat(kept).sum() == mask.allocate(w, density)
    flipped = prune.multi_shot(Partial(scorer, jnp.float32(-1)), 0.5, 3)(w, x)
    assert np.abs(flat(w)[flat(flipped)]).max() < np.abs(flat(w)[~flat(flipped)]).min()
    # another number of shots does
    with pytest.raises(AssertionError, match="traced > 0 times"):
        prune.multi_shot(plain, 0.5, 4)(w, x)


@pytest.mark.parametrize("scope", ["global", "layer"])
@given(st.integers(0, 2**32 - 1), st.integers(1, 100), st.integers(-20, 20))
@settings(max_examples=15)
def test_neither_scale_nor_signs_nor_places_matter(scope, seed, percent, exponent):
    rng = np.random.default_rng(seed)
    sizes = 1 + rng.permutation(30).astype(np.float32)
    w = {"a": sizes[:18].reshape(3, 6), "b": None, "c": sizes[18:]}
    prune_it = prune.multi_shot(MAGNITUDE, percent / 100, 3, scope=scope)
    kept = prune_it(w)
    equal(prune_it(jax.tree.map(lambda leaf: leaf * np.float32(2.0**exponent), w)), kept)
    signs = jax.tree.map(lambda leaf: leaf * rng.choice(np.float32([-1, 1]), leaf.shape), w)
    equal(prune_it(signs), kept)
    rows, places = rng.permutation(3), rng.permutation(12)
    moved = {"a": w["a"][rows], "b": None, "c": w["c"][places]}
    equal(prune_it(moved), {"a": kept["a"][rows], "b": None, "c": kept["c"][places]})


@pytest.mark.parametrize("scope", SCOPES)
def test_jit_equals_eager_and_vmap_a_loop(scope):
    def prune_it(w):
        return prune.multi_shot(backwards, 0.3, 3, scope=scope, key=KEY, report=True)(w)

    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), draw(0), draw(1, 0), draw(2))
    batched = jax.vmap(prune_it)(stacked)
    for index, w in enumerate((draw(0), draw(1, 0))):
        kept, report = prune_it(w)
        equal(jax.tree.map(lambda leaf: leaf[index], batched), (kept, report))  # noqa: B023
        equal(jax.jit(prune_it)(w), (kept, report))


@pytest.mark.parametrize("name", ["snip", "grasp"])
def test_a_network_with_convolutions_inside_a_scan(name):
    """Scored in the compiled loop, in pieces or not, as in plain Python."""
    with jax.enable_x64(True):
        rng = np.random.default_rng(0)
        shapes = {"one": (3, 3, 2, 4), "two": (3, 3, 4, 4), "head": (4, 3)}
        w = {leaf: jnp.asarray(rng.normal(size=shape)) for leaf, shape in shapes.items()}
        x, y = jnp.asarray(rng.normal(size=(6, 5, 5, 2))), jnp.asarray(rng.integers(0, 3, 6))

        def loss(w, x, y):
            numbers = ("NHWC", "HWIO", "NHWC")
            for layer in ("one", "two"):
                x = jax.nn.relu(
                    jax.lax.conv_general_dilated(
                        x, w[layer], (1, 1), "SAME", dimension_numbers=numbers
                    )
                )
            logits = x.mean(axis=(1, 2)) @ w["head"]
            return -jnp.mean(jax.nn.log_softmax(logits)[jnp.arange(len(y)), y])

        make = getattr(score, name)
        expected = loop(make(loss), w, (x, y), prune.densities(0.1, 3), key=KEY)
        for scorer in (make(loss), make(loss, batch_size=4)):
            equal(prune.multi_shot(scorer, 0.1, 3, key=KEY)(w, x, y), expected)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda w: prune.one_shot(MAGNITUDE, 0)(w), "density 0"),
        (lambda w: prune.one_shot(MAGNITUDE, 0.5, "leaf")(w), "scope 'leaf'"),
        (lambda w: prune.one_shot(MAGNITUDE, 0.5)({}), "the tree holds no weights"),
        (lambda w: prune.one_shot(MAGNITUDE, 0.5)({"w": jnp.ones((0, 3))}), "holds no weights"),
        (lambda w: prune.one_shot(MAGNITUDE, 0.5)({"n": jnp.arange(3)}), "'n' is int32"),
        (lambda w: prune.one_shot(MAGNITUDE, 0.5)(w, among={"a": jnp.ones((5, 6))}), "among.*'c'"),
        (lambda w: prune.one_shot(MAGNITUDE, 0.5)(w, among={**w, "d": jnp.ones(2)}), "among: 'd'"),
    ],
)
def test_wrong_arguments(call, words):
    with pytest.raises(InputError, match=words):
        call(draw(0))


@pytest.mark.parametrize("scope", ["layer", "global"])
def test_each_of_stacked_layers_is_counted(scope):
    scores = jnp.arange(1.0, 5.0).reshape(4, 1, 1) * jnp.arange(1.0, 26.0).reshape(1, 5, 5) ** 0.1
    stack = {"Dense_0": {"kernel": scores}, "Dense_1": {"kernel": jnp.ones((5, 5))}}
    found, report = prune.multi_shot(score.magnitude(), 0.2, 3, scope=scope, report=True)(stack)
    kept = found["Dense_0"]["kernel"].sum((1, 2)).tolist()
    if scope == "layer":
        assert kept == [5] * 4
        assert report.emptied.tolist() == [0, 0]
    else:
        assert kept[0] == 0
        assert report.emptied[0] > 0
        assert found["Dense_0"]["kernel"].any()


def test_axes_may_be_stated():
    stack = {"w": jnp.arange(24.0).reshape(4, 3, 2)}
    told = prune.one_shot(score.magnitude(), 0.5, "layer", axes=[("w", "layers in out")])(stack)
    assert told["w"].sum((1, 2)).tolist() == [3] * 4
