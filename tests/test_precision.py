"""Weights of all dtypes in one tree: ordered by value, summed in float32 or wider."""

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxmask import mask
from jaxmask.precision import common, total, wide, widened

pytestmark = pytest.mark.usefixtures("quick_compilation")

KINDS = ["float8_e4m3fn", "float8_e5m2", "float16", "bfloat16", "float32", "float64"]
seeds = st.integers(0, 2**32 - 1)


def mixed(seed, kinds=KINDS, size=12):
    rng = np.random.default_rng(seed)
    numbers = [rng.normal(size=size) * 10.0 ** rng.integers(-3, 2, size) for _ in kinds]
    return {kind: jnp.asarray(each, kind) for kind, each in zip(kinds, numbers)}


def exact(tree):
    return {kind: np.asarray(leaf).astype(np.float64) for kind, leaf in tree.items()}


@pytest.mark.parametrize("kind", [*KINDS, "float8_e4m3b11fnuz", "float4_e2m1fn"])
def test_wide(kind, x64):
    dtype = np.dtype(getattr(ml_dtypes, kind, kind))
    assert wide(dtype) == wide(kind) == ("float64" if kind == "float64" else "float32")
    assert common([jnp.ones(1, dtype), jnp.zeros((), dtype)]) == dtype
    assert common([jnp.ones(1, dtype), jnp.ones(1, "int8")]) == wide(dtype)
    assert widened(jnp.ones(2, dtype)).dtype == wide(dtype)


@given(seeds)
@settings(max_examples=10)
def test_totals(seed):
    with jax.enable_x64(True):
        for kinds in (KINDS, KINDS[:3]):
            tree = mixed(seed, kinds)
            found, expected = total(list(tree.values())), exact(tree)
            assert found.dtype == ("float64" if "float64" in kinds else "float32")
            scale = sum(np.abs(leaf).sum() for leaf in expected.values())
            np.testing.assert_allclose(
                found, sum(leaf.sum() for leaf in expected.values()), atol=1e-5 * scale
            )
    assert total([]) == 0


@given(seeds, st.integers(0, 60))
@settings(max_examples=10)
def test_scores_of_all_dtypes_are_ordered_by_value(seed, count):
    with jax.enable_x64(True):
        for kinds in (KINDS, KINDS[:5]):
            tree = mixed(seed, kinds)
            found = mask.keep_count(tree, count, ties="index")
            values = np.concatenate(list(exact(tree).values()))
            expected = np.zeros(values.size, bool)
            # leaves come in the order of their names
            order = sorted(kinds)
            values = np.concatenate([exact(tree)[kind] for kind in order])
            expected[np.argsort(-values, kind="stable")[:count]] = True
            np.testing.assert_array_equal(np.concatenate([found[kind] for kind in order]), expected)


def test_structured_selection_of_all_dtypes(x64):
    tree = {kind: leaf.reshape(3, 4) for kind, leaf in mixed(3).items()}
    for keep in (
        lambda s: mask.keep_channels(s, 0.25, axis=1),
        lambda s: mask.keep_blocks(s, 0.5, (1, 2), ties="index"),
        lambda s: mask.keep_n_of_m(s, 1, 2, axis=1),
    ):
        found = keep(tree)
        expected = keep(jax.tree.map(lambda leaf: leaf.astype("float64"), tree))
        for kind in KINDS:
            np.testing.assert_array_equal(found[kind], expected[kind])


@pytest.mark.parametrize("kind", KINDS)
def test_masked_weights_are_rounded_once(kind, x64):
    """70,000 of 80,000 weights are on: beyond what float16 can count to."""
    weights = jnp.tile(mixed(1)[kind], 8000)[:80_000]
    on = jnp.arange(80_000) < 70_000
    scores = jnp.where(on, 1, -1).astype(wide(kind))
    alpha = np.sqrt(7 / 8)
    expected = (np.asarray(weights).astype(np.float64) * np.asarray(on) / alpha).astype(np.float64)
    for found in (
        mask.threshold().apply({"w": scores}, {"w": weights})["w"],
        mask.rescaled({"w": on}, {"w": weights})["w"],
        mask.rescaled({"w": on.astype(kind)}, {"w": weights})["w"],
    ):
        assert found.dtype == weights.dtype
        eps = float(jnp.finfo(kind).eps)
        tiny = float(jnp.finfo(kind).smallest_subnormal)
        np.testing.assert_allclose(
            np.asarray(found).astype(np.float64), expected, rtol=eps, atol=max(tiny, 1e-12)
        )
    assert mask.measure.density({"w": on.astype(kind)}) == 0.875


def test_initial_scores_and_shares_of_all_dtypes(x64):
    tree = mixed(2)
    magnitudes = exact(mask.magnitude()(None, tree))
    for kind, leaf in exact(tree).items():
        np.testing.assert_array_equal(magnitudes[kind], np.abs(leaf))
    for init in (mask.constant(), mask.normal(), mask.kaiming_uniform()):
        drawn = init(jax.random.key(0), tree)
        assert [drawn[kind].dtype for kind in KINDS] == [wide(kind) for kind in KINDS]
    kept = mask.largest_share(tree, 0.5, "global")
    assert sum(int(leaf.sum()) for leaf in kept.values()) == 36


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield
