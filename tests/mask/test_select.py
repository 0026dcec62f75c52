"""Exact selection: counts, order, ties, special numbers, against a sort."""

import functools
import os
import subprocess
import sys
import textwrap

import chex
import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxmask import mask
from jaxmask.errors import InputError
from jaxmask.mask import select
from jaxmask.mask.blocks import Block

KEY = jax.random.key(9)


def flat(tree):
    return np.concatenate([np.asarray(leaf).reshape(-1) for leaf in jax.tree.leaves(tree)])


def reference(scores, count):
    """A tree: where a stable argsort puts the first `count`: NaN last, the earlier index first."""
    with np.errstate(invalid="ignore"):
        s = flat(scores).astype(np.float64)
    order = np.lexsort((np.arange(s.size), -s, np.isnan(s)))
    chosen = np.zeros(s.size, bool)
    chosen[order[:count]] = True
    leaves, structure = jax.tree.flatten(scores)
    pieces = np.split(chosen, np.cumsum([leaf.size for leaf in leaves])[:-1])
    shaped = [piece.reshape(leaf.shape) for piece, leaf in zip(pieces, leaves)]
    return jax.tree.unflatten(structure, shaped)


def equal(found, expected):
    """Bit for bit, and of one structure, shapes and dtypes."""
    chex.assert_trees_all_equal(found, expected, strict=True)


# few values, so ties abound; and all the special ones
special = [0.0, -0.0, 1.0, -1.0, 0.5, np.inf, -np.inf, np.nan, 1e-40, -1e-40, 3e38]
values = st.lists(st.sampled_from(special), min_size=12, max_size=12)


@given(values, st.integers(0, 12))
def test_by_index_equals_a_stable_sort(numbers, count):
    scores = {"a": jnp.array(numbers[:8]).reshape(2, 4), "b": jnp.array(numbers[8:]), "c": None}
    equal(mask.keep_count(scores, count, ties="index"), reference(scores, count))
    by_leaf = mask.keep_count(scores, np.minimum(count, [8, 4]), "layer", ties="index")
    equal(by_leaf, jax.tree.map(lambda s: reference(s, min(count, s.size)), scores))


@given(values, st.integers(0, 12), st.integers(0, 2**32 - 1))
def test_random_ties_keep_the_exact_count_of_the_highest(numbers, count, seed):
    scores = [jnp.array(numbers[:5]), jnp.array(numbers[5:]).reshape(7, 1)]
    chosen = mask.keep_count(scores, count, key=jax.random.key(seed))
    assert flat(chosen).sum() == count
    s = np.where(np.isnan(flat(scores)), -np.inf, flat(scores).astype(np.float64))
    # the multiset of kept scores is the reference's
    best = np.sort(s[flat(reference(scores, count))])
    np.testing.assert_array_equal(np.sort(s[flat(chosen)]), best)
    nan = np.isnan(flat(scores))
    assert (flat(chosen) & nan).sum() == max(0, count - (~nan).sum())


@given(st.integers(0, 2**32 - 1), st.integers(1, 100), st.sampled_from(["float32", "all equal"]))
@settings(max_examples=25)
def test_the_share_is_exact_in_decimal(seed, percent, kind):
    rng = np.random.default_rng(seed)
    scores = {"a": rng.normal(size=(30, 7)), "b": rng.normal(size=90)}
    scores = jax.tree.map(lambda s: jnp.asarray(s * (kind != "all equal"), jnp.float32), scores)
    for ties in ("random", "index"):
        chosen = mask.keep_top(scores, percent / 100, ties=ties)
        assert flat(chosen).sum() == 3 * percent
        chex.assert_trees_all_equal_shapes(chosen, scores)
        chex.assert_type([*chosen.values()], bool)
        layer = mask.keep_top(scores, percent / 100, scope="layer", ties=ties)
        assert layer["a"].sum() == -(-210 * percent // 100)
        assert layer["b"].sum() == -(-90 * percent // 100)
        erk = mask.keep_top(scores, percent / 100, scope="erk", ties=ties)
        assert [leaf.sum() for leaf in jax.tree.leaves(erk)] == mask.allocate(
            scores, percent / 100, "erk"
        ).tolist()


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32", "float64", "float8_e4m3fn"])
def test_every_number_of_a_dtype_is_in_order(dtype, x64):
    kind = np.dtype(getattr(ml_dtypes, dtype, dtype))
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 256, size=(400, kind.itemsize), dtype=np.uint8).view(kind).reshape(-1)
    scores = {"w": jnp.asarray(bits)}
    for count in (0, 1, 57, 200, 399, 400):
        equal(mask.keep_count(scores, count, ties="index"), reference(scores, count))


def test_float64_is_told_apart_beyond_float32(x64):
    scores = {"w": 1 + 1e-12 * jnp.arange(10.0)}
    assert mask.keep_count(scores, 3)["w"].tolist() == [False] * 7 + [True] * 3
    both = mask.keep_count(scores | {"v": jnp.ones(4), "s": jnp.float64(0)}, 11, ties="index")
    assert flat(both).tolist() == [False, True, True] + [False] * 3 + [True] * 9


def test_leaves_of_different_dtypes_compete_as_numbers():
    scores = {"a": jnp.array([1.0, 3.0], jnp.bfloat16), "b": jnp.array([2.0, 4.0])}
    chosen = mask.keep_count(scores, 2)
    assert chosen["a"].tolist() == [False, True]
    assert chosen["b"].tolist() == [False, True]


def test_random_ties_are_fair_and_follow_the_key():
    scores = {"a": jnp.zeros(30), "b": jnp.zeros((5, 4))}
    keys = jax.random.split(KEY, 400)
    often = jax.vmap(lambda key: mask.keep_count(scores, 20, key=key))(keys)
    counts = np.concatenate([leaf.reshape(400, -1) for leaf in jax.tree.leaves(often)], axis=1)
    assert (counts.sum(axis=1) == 20).all()
    # 400 draws at 0.4: mean 160, deviation 9.8; five deviations
    assert np.abs(counts.sum(axis=0) - 160).max() < 50
    pairs = (counts[:, :-1] & counts[:, 1:]).mean()
    assert abs(pairs - 0.4 * 19 / 49) < 0.02
    for index in (0, 399):
        one = jax.tree.map(lambda leaf: leaf[index], often)  # noqa: B023
        equal(mask.keep_count(scores, 20, key=keys[index]), one)
    equal(mask.keep_count(scores, 20), mask.keep_count(scores, 20))


def test_many_ties_are_cut_to_the_unit():
    scores = {"a": jnp.zeros(200_000), "b": jnp.full((10, 7), -0.0), "c": jnp.ones(5)}
    chosen = mask.keep_count(scores, 77_777)
    assert flat(chosen).sum() == 77_777
    assert chosen["c"].all()
    assert 0.3 < np.mean(chosen["a"]) < 0.5


def test_a_count_of_all_or_none():
    scores = {"a": jnp.array([jnp.nan, jnp.inf]), "b": jnp.zeros((0,))}
    assert flat(mask.keep_count(scores, 0)).tolist() == [False, False]
    assert flat(mask.keep_count(scores, 2)).tolist() == [True, True]
    assert mask.keep_count({}, 0) == {}
    assert mask.keep_top(None, 0.5) is None
    equal(mask.keep_top({"s": jnp.float32(3)}, 0.5), {"s": np.array(True)})


def test_among_restricts_whatever_the_scores():
    scores = {"a": jnp.array([5.0, 4.0, jnp.nan, 3.0]), "b": jnp.array([jnp.nan, -jnp.inf])}
    among = {"a": jnp.array([False, True, True, True]), "b": jnp.array([True, False])}
    chosen = [flat(mask.keep_count(scores, k, among=among)).astype(int).tolist() for k in (1, 2, 6)]
    assert chosen == [[0, 1, 0, 0, 0, 0], [0, 1, 0, 1, 0, 0], [0, 1, 1, 1, 1, 0]]
    three = flat(mask.keep_count(scores, 3, among=among))
    assert three[[1, 3]].all()
    assert three[[2, 4]].sum() == 1
    layer = mask.keep_count(scores, np.array([2, 1]), "layer", among=among)
    assert flat(layer).astype(int).tolist() == [0, 1, 0, 1, 1, 0]
    with pytest.raises(InputError, match="among"):
        mask.keep_count(scores, 1, among={"a": among["a"]})


def test_a_schedule_of_counts_compiles_once_and_scans():
    scores = {"a": jnp.arange(8.0), "b": jnp.arange(4.0)}

    @jax.jit
    @chex.assert_max_traces(n=1)
    def keep(count):
        return mask.keep_count(scores, count)

    assert [int(flat(keep(k)).sum()) for k in (3, 7, 12)] == [3, 7, 12]
    assert flat(keep(100)).all()
    assert not flat(keep(-1)).any()
    shots = np.stack([mask.allocate(scores, d, "layer") for d in (0.9, 0.5, 0.25)])
    _, masks = jax.lax.scan(
        lambda carry, count: (carry, mask.keep_count(scores, count, "layer")), None, shots
    )
    assert masks["a"].sum(axis=1).tolist() == [8, 4, 2]
    assert masks["b"].sum(axis=1).tolist() == [4, 2, 1]


@pytest.mark.parametrize("scope", ["global", "layer", "erk"])
def test_jit_equals_eager_and_vmap_a_loop(scope):
    rng = np.random.default_rng(1)
    # rounded: some rows tie at the cut, some do not
    scores = {"a": jnp.asarray(rng.normal(size=(4, 5, 6)).round(1), jnp.float32)}
    scores["b"] = jnp.asarray(rng.normal(size=(4, 9)), jnp.float32)
    keep = functools.partial(mask.keep_top, density=0.35, scope=scope, key=KEY)
    batched = jax.vmap(keep)(scores)
    for index in (0, 3):
        row, found = (jax.tree.map(lambda leaf: leaf[index], t) for t in (scores, batched))  # noqa: B023
        equal(found, keep(row))
        equal(jax.jit(keep)(row), keep(row))


def distinct(seed):
    """Scores of which no two are equal, exact in float32."""
    order = np.random.default_rng(seed).permutation(24).astype(np.float32) - 12
    return {"a": order[:15].reshape(3, 5), "b": [order[15:], None]}


seeds = st.integers(0, 2**32 - 1)


@pytest.mark.parametrize("scope", ["global", "layer"])
@given(seeds, st.integers(1, 100), st.integers(-100, 100), st.integers(-20, 20))
@settings(max_examples=20)
def test_only_the_order_of_the_scores_matters(scope, seed, percent, shift, exponent):
    scores = distinct(seed)
    keep = functools.partial(mask.keep_top, density=percent / 100, scope=scope)
    chosen = keep(scores)
    equal(keep(jax.tree.map(lambda s: s * np.float32(2.0**exponent), scores)), chosen)
    equal(keep(jax.tree.map(lambda s: s + np.float32(shift), scores)), chosen)
    equal(keep(jax.tree.map(lambda s: s**3, scores)), chosen)
    # and not the place that a score has
    orders = [np.random.default_rng(seed + 1).permutation(s.size) for s in jax.tree.leaves(scores)]

    def moved(values):
        leaves, structure = jax.tree.flatten(values)
        mixed = [np.ravel(leaf)[order].reshape(leaf.shape) for leaf, order in zip(leaves, orders)]
        return jax.tree.unflatten(structure, mixed)

    equal(keep(moved(scores)), moved(chosen))


@pytest.mark.parametrize("ties", ["random", "index"])
@given(st.lists(st.sampled_from([0.0, 1.0, np.nan]), min_size=12, max_size=12), st.integers(0, 11))
@settings(max_examples=20)
def test_what_is_kept_of_few_is_kept_of_more(ties, numbers, count):
    scores = {"a": jnp.array(numbers[:7]), "b": jnp.array(numbers[7:])}
    few, more = (mask.keep_count(scores, k, ties=ties, key=KEY) for k in (count, count + 1))
    assert (flat(few) <= flat(more)).all()
    # and chosen anew of those alone: what an index draws among ties does not change
    equal(mask.keep_count(scores, count, ties=ties, key=KEY, among=more), few)


def test_no_gradient_flows_and_none_is_needed():
    def loss(s):
        return jnp.sum(jnp.where(mask.keep_top({"w": s}, 0.5)["w"], s, 0))

    assert jax.grad(loss)(jnp.array([1.0, 2.0, 3.0, 4.0])).tolist() == [0, 0, 1, 1]
    assert jax.jvp(loss, (jnp.arange(4.0),), (jnp.ones(4),))[1] == 2


def test_sharded_scores_stay_where_they_are():
    program = """
        import math, re, jax, jax.numpy as jnp, numpy as np
        from jax.sharding import Mesh, NamedSharding, PartitionSpec as P
        from jaxmask import mask
        mesh = Mesh(np.array(jax.devices()), ("data",))
        rows = NamedSharding(mesh, P("data"))
        whole = {"a": jax.random.normal(jax.random.key(0), (64, 33)).round(1), "b": jnp.ones(128)}
        scores = jax.device_put(whole, rows)
        keep = jax.jit(lambda s: mask.keep_top(s, 0.3), in_shardings=rows, out_shardings=rows)
        for name, leaf in keep(scores).items():
            assert leaf.sharding.is_equivalent_to(rows, leaf.ndim), leaf.sharding
            np.testing.assert_array_equal(leaf, mask.keep_top(whole, 0.3)[name])
        # What the devices gather are counts, one of each: never scores.
        gathers = 0
        for line in keep.lower(scores).compile().as_text().splitlines():
            made, gather, _ = line.partition(" all-gather(")
            if gather:
                gathers += 1
                for lengths in re.findall(r"\\[([0-9,]*)\\]", made):
                    assert math.prod(int(n or 1) for n in lengths.split(",")) <= 4, line
        assert gathers
        print(len(jax.devices()), "devices")
    """
    flags = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=4"
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        env={**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "4 devices\n", done.stderr


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda s: mask.keep_top(s, 0), "density 0"),
        (lambda s: mask.keep_top(s, 2), "density 2"),
        (lambda s: mask.keep_top(s, 0.5, scope="leaf"), "scope 'leaf'"),
        (lambda s: mask.keep_top(s, 0.5, ties="first"), "ties 'first'"),
        (lambda s: mask.keep_top({"n": jnp.arange(3)}, 0.5), "'n' is int32"),
        (lambda s: mask.keep_count(s, 0.5), "float64 for scope 'global'"),
        (lambda s: mask.keep_count(s, [1, 2]), "give integers of shape"),
        (lambda s: mask.keep_count(s, [1], "layer"), "give integers of shape"),
        (lambda s: mask.keep_count(s, 99), "count 99 of"),
        (lambda s: mask.keep_count(s, -1), "count -1 of"),
        (lambda s: mask.keep_count(s, [4, 4], "layer"), "at most all"),
    ],
)
def test_wrong_arguments(call, words):
    with pytest.raises(InputError, match=words):
        call({"a": jnp.ones(4), "b": jnp.ones(3)})


# 7 billion weights; no leaf is near 2^31
HUGE = {f"layer{i:02}": jax.ShapeDtypeStruct((2**14, 2**15), jnp.float32) for i in range(13)}


@pytest.mark.parametrize("scope", ["layer", "erk"])
def test_leaves_that_do_not_compete_may_be_billions_together(scope):
    kept = jax.eval_shape(lambda s: mask.keep_top(s, 0.3, scope), HUGE)
    assert {leaf.shape for leaf in kept.values()} == {(2**14, 2**15)}
    jax.eval_shape(mask.top_k(0.1, scope).mask, HUGE)
    jax.eval_shape(lambda s: mask.keep_count(s, 7, scope, among=s), HUGE)


def test_more_than_can_compete():
    with pytest.raises(InputError, match=r"a tree of 6979321856 weights.*scope='layer'"):
        jax.eval_shape(lambda s: mask.keep_top(s, 0.3), HUGE)
    large = {"a": HUGE["layer00"], "table": jax.ShapeDtypeStruct((2**16, 2**15), jnp.float32)}
    with pytest.raises(InputError, match=r"'table' has 2147483648 weights.*split"):
        jax.eval_shape(lambda s: mask.keep_count(s, 1, "layer"), large)


@pytest.mark.parametrize("by_index", [True, False])
def test_ranks_are_distinct_where_an_index_passes_32_bits(by_index):
    # nine leaves of 2^29 - 1 and then one of 100, among whose indices is 2^32
    sizes = [2**29 - 1] * 8 + [100]
    blocks = tuple(Block((i,), ((size,),), False) for i, size in enumerate(sizes))
    keys = [jax.ShapeDtypeStruct((1, size), jnp.uint32) for size in sizes]
    words = jnp.zeros(2, jnp.uint32)
    ranks = jax.jit(lambda w: select._ranks(blocks, keys, w, by_index, each=True)[-1])(words)[0]
    assert len(np.unique(ranks)) == 100
    if by_index:
        assert (np.diff(np.asarray(ranks).astype(np.int64)) < 0).all()
