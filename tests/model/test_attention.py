import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmask.errors import InputError
from jaxmask.model import attention

SPARSE = {"window": 3, "random": 2, "global_": 1, "block": 4}


def heads(length, texts=2, seed=0):
    """Queries, keys and values [B, T, 2, 3]."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(3, texts, length, 2, 3)).astype(np.float32)


def real(lengths, total):
    return np.arange(total) < np.array(lengths)[:, None]


def mask_of(seen, **settings):
    """The mask of the first text."""
    return np.asarray(jax.jit(functools.partial(attention.bigbird_mask, **settings))(seen))[0]


def expected(q, k, v, mask):
    """softmax(q k^T / sqrt(S)) v in numpy, for tokens that see some; mask [B, T, T]."""
    logits = np.einsum("bqhs,bkhs->bhqk", q, k).astype(np.float64) / np.sqrt(q.shape[-1])
    share = np.where(mask[:, None], np.exp(logits), 1e-30)
    return np.einsum("bhqk,bkhs->bqhs", share / share.sum(-1, keepdims=True), v)


def test_dense():
    q, k, v = heads(5)
    seen = real([5, 3], 5)
    whole = np.ones((2, 5, 5), bool)
    np.testing.assert_allclose(attention.dense(q, k, v), expected(q, k, v, whole), atol=1e-6)
    found = attention.dense(q, k, v, seen)
    np.testing.assert_allclose(found, expected(q, k, v, whole & seen[:, None]), atol=1e-6)
    found = attention.dense(q, k, v, seen, causal=True)
    mask = np.tri(5, dtype=bool) & seen[:, None]
    np.testing.assert_allclose(found, expected(q, k, v, mask), atol=1e-6)


@pytest.mark.parametrize(
    ("lengths", "total", "settings"),
    [
        ((41, 30), 41, {}),  # not a multiple of the block; a shorter text
        ((48, 5), 48, {"random": 0, "global_": 0}),
        ((48, 48), 48, {"window": 1, "random": 5, "global_": 2}),
        ((6, 3), 6, {"global_": 4}),  # fewer blocks than global ones
        ((13, 9), 13, {"random": 5, "window": 5}),  # fewer blocks than are asked for
    ],
)
def test_bigbird_is_dense_attention_with_its_mask(lengths, total, settings):
    q, k, v = heads(total)
    seen = real(lengths, total)
    settings = {**SPARSE, **settings}

    @jax.jit
    def both(q, k, v):
        mask = attention.bigbird_mask(seen, **settings)
        return attention.bigbird(q, k, v, seen, **settings), mask

    found, mask = map(np.asarray, both(q, k, v))
    assert found.shape == q.shape
    assert np.isfinite(found).all()  # where there is padding, too
    np.testing.assert_allclose(found[seen], expected(q, k, v, mask)[seen], atol=1e-6)


def test_gradients_of_bigbird_are_those_of_dense_attention():
    q, k, v = heads(22)
    seen = real([22, 9], 22)
    weight = np.random.default_rng(1).normal(size=q.shape) * seen[..., None, None]
    mask = jax.jit(functools.partial(attention.bigbird_mask, **SPARSE))(seen)

    def dense(q, k, v):
        logits = jnp.einsum("bqhs,bkhs->bhqk", q, k) / np.sqrt(3)
        share = jax.nn.softmax(jnp.where(mask[:, None], logits, -1e30))
        return (weight * jnp.einsum("bhqk,bkhs->bqhs", share, v)).sum()

    def sparse(q, k, v):
        return (weight * attention.bigbird(q, k, v, seen, **SPARSE)).sum()

    gradients = [jax.jit(jax.grad(each, (0, 1, 2)))(q, k, v) for each in (dense, sparse)]
    for a, b in zip(*gradients):
        np.testing.assert_allclose(a, b, atol=1e-5)


@pytest.mark.parametrize(
    ("count", "window", "random", "global_"),
    [(9, 3, 2, 1), (8, 1, 4, 0), (9, 5, 3, 2), (3, 1, 2, 3), (1, 3, 0, 0)],
)
def test_who_sees_whom(count, window, random, global_):
    given = dict(window=window, random=random, global_=global_, seed=count)
    seen = mask_of(np.ones((1, 2 * count), bool), block=2, **given).reshape(count, 2, count, 2)
    assert (seen.any((1, 3)) == seen.all((1, 3))).all()  # whole blocks
    seen, first = seen.any((1, 3)), min(global_, count)
    assert seen[:first].all()
    assert seen[:, :first].all()
    for i in range(first, count):
        near = set(range(max(first, i - window // 2), min(count, i + window // 2 + 1)))
        others = set(np.flatnonzero(seen[i])) - set(range(first)) - near
        assert near <= set(np.flatnonzero(seen[i]))
        assert len(others) == min(random, count - first - len(near))


def test_random_blocks_are_of_the_text_and_not_of_its_padding():
    first, more, long = (mask_of(real([37], total), **SPARSE)[:37, :37] for total in (37, 60, 120))
    np.testing.assert_array_equal(more, first)
    np.testing.assert_array_equal(long, first)
    longer = mask_of(real([120], 120), **SPARSE)[:36, :36]  # a longer text draws others
    assert (longer != first[:36, :36]).any()


def test_random_blocks_follow_from_the_seed_and_the_layer():
    def mask(text, layer=0):
        return mask_of(np.ones((1, 160), bool), **attention.named(text, layer).keywords)

    text = "bigbird(block=4, seed=3)"
    found = mask(text)
    np.testing.assert_array_equal(found, mask(text))
    assert (found != mask("bigbird(block=4, seed=4)")).any()
    assert (found != mask(text, 1)).any()


def test_all_blocks_are_drawn_equally_often():
    seen = np.ones((1, 64), bool)
    given = dict(window=1, random=4, global_=0, block=1)
    masks = [mask_of(seen, seed=seed, **given) for seed in range(5)]
    counts = np.sum(masks, (0, 1)) - 5  # without itself
    deviation = np.sqrt(5 * 63 * 4 / 63 * 59 / 63)
    assert np.abs(counts - 5 * 4).max() < 5 * deviation


def longest_path(mask):
    """Steps between the two tokens that are furthest apart."""
    reached, steps = np.eye(len(mask), dtype=bool), 0
    while not reached.all():
        reached, steps = reached @ mask, steps + 1
        assert steps <= len(mask)
    return steps


def test_lengths_of_paths():
    """Two steps through a global block; without one, random blocks shorten the way."""

    def longest(**settings):
        return longest_path(mask_of(np.ones((1, 128), bool), block=2, **settings))

    assert longest(global_=1) == 2
    assert longest(global_=1, random=0, window=1) == 2
    assert longest(global_=0, random=0) == 63  # a window of one block on each side, 64 blocks
    assert longest(global_=0, random=3) <= 5


def memory(attend, length):
    x = jax.ShapeDtypeStruct((1, length, 2, 8), jnp.float32)
    compiled = jax.jit(attend).lower(x, x, x).compile()
    return compiled.memory_analysis().temp_size_in_bytes


def test_memory_is_linear_in_the_length():
    found = [memory(attention.bigbird, length) for length in (2048, 4096)]
    dense = [memory(attention.dense, length) for length in (2048, 4096)]
    assert found[1] / found[0] < 2.3
    assert dense[1] / dense[0] > 3.5
    assert found[1] < dense[1] / 4


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("flash", "there is no attention 'flash'; give 'dense' or"),
        ("dense(window=3)", "there is no attention"),
        ("bigbird(3)", "cannot be read"),
        ("bigbird(window=", "cannot be read"),
        ("bigbird(window=f(3))", "cannot be read"),
        (None, "cannot be read"),
        ("bigbird(window=4)", "give an odd number"),
        ("bigbird(globals=4)", "has no 'globals'; did you mean 'global_'"),
        ("bigbird(block=0)", "block of bigbird is 0; give a whole number from 1"),
        ("bigbird(random=1.0)", "random of bigbird is 1.0; give a whole number from 0"),
        ("bigbird(random=True)", "random of bigbird is True"),
        ("bigbird(seed=-1)", "seed of bigbird is -1"),
    ],
)
def test_no_such_attention(text, message):
    with pytest.raises(InputError, match=message):
        attention.named(text)
