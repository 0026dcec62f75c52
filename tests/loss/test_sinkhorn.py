from decimal import Decimal, localcontext

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxmask.errors import InputError
from jaxmask.loss import sinkhorn


def reference(scores, epsilon, rounds):
    """Sums and quotients of decimals, whose exponents have no end."""
    with localcontext() as context:
        context.prec, context.Emin, context.Emax = 40, -(10**12), 10**12
        q = [[(Decimal(float(s)) / Decimal(epsilon)).exp() for s in row] for row in scores]
        samples, prototypes = len(q), len(q[0])
        for _ in range(rounds):
            sums = [sum(row[k] for row in q) * prototypes for k in range(prototypes)]
            q = [[value / sums[k] for k, value in enumerate(row)] for row in q]
            q = [[value / sum(row) / samples for value in row] for row in q]
        return np.array([[float(value * samples) for value in row] for row in q])


def scores(seed, samples=7, prototypes=4, scale=1.0):
    return np.random.default_rng(seed).uniform(-scale, scale, (samples, prototypes))


@pytest.mark.parametrize(("epsilon", "rounds"), [(0.05, 3), (0.05, 1), (0.3, 2), (0.01, 10)])
@pytest.mark.parametrize("scale", [0.2, 1.0, 30.0])
def test_it_is_the_formula(x64, variant, epsilon, rounds, scale):
    found = variant(lambda s: sinkhorn(s, epsilon, rounds))(scores(3, scale=scale))
    wanted = reference(scores(3, scale=scale), epsilon, rounds)
    np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-300)


@pytest.mark.parametrize("epsilon", [0.05, 1e-3])
def test_scores_of_ten_thousand(x64, epsilon):
    large = np.round(scores(1, 5, 3, 1e4))  # bfloat16's steps are 64 there
    wanted = reference(large, epsilon, 3)
    np.testing.assert_allclose(sinkhorn(large, epsilon), wanted, rtol=1e-6, atol=1e-300)
    for dtype in (jnp.float32, jnp.bfloat16):
        given_ = jnp.asarray(large, dtype)
        found = sinkhorn(given_, epsilon)
        assert found.dtype == jnp.float32
        rounded = np.asarray(given_.astype(jnp.float64))
        np.testing.assert_allclose(found, reference(rounded, epsilon, 3), atol=1e-5)


@given(st.integers(0, 10**6), st.sampled_from([1e-45, 1e-30, 1e-3, 0.05, 1e10, 1e38]),
       st.sampled_from([1e-40, 1.0, 1e4, 1e20, 3.4e38]))  # fmt: skip
@settings(max_examples=60)
def test_it_is_finite_and_rows_sum_to_one(seed, epsilon, scale):
    rng = np.random.default_rng(seed)
    drawn = rng.choice([-1, 0, 1, 0.3], (6, 5)) * np.float32(scale)
    codes = np.asarray(sinkhorn(jnp.asarray(drawn, jnp.float32), epsilon))
    assert np.isfinite(codes).all()
    assert (codes >= 0).all()
    np.testing.assert_allclose(codes.sum(1), 1, rtol=1e-5)


def test_more_rounds_meet_both_sums(x64):
    codes = sinkhorn(scores(5, 12, 4), 0.05, 200)
    np.testing.assert_allclose(codes.sum(1), 1, rtol=1e-12)
    np.testing.assert_allclose(codes.sum(0), 12 / 4, rtol=1e-6)
    few = sinkhorn(scores(5, 12, 4), 0.05, 3)
    assert np.abs(few.sum(0) - 3).max() > 1e-3


def test_what_changes_codes_and_what_does_not(x64):
    s, rng = scores(8), np.random.default_rng(0)
    codes = sinkhorn(s)
    same = {"rtol": 1e-9, "atol": 1e-14}
    np.testing.assert_allclose(sinkhorn(s + rng.normal(size=(1, 4))), codes, **same)
    rows, columns = rng.permutation(7), rng.permutation(4)
    np.testing.assert_allclose(sinkhorn(s[rows][:, columns]), codes[rows][:, columns], **same)
    # the first sums are over samples, so a sample with larger scores counts for more at first ...
    of_samples = s + rng.normal(size=(7, 1))
    assert np.abs(sinkhorn(of_samples) - codes).max() > 1e-3
    # ... but not in the end
    many = [sinkhorn(each, 0.05, 3000) for each in (s, of_samples)]
    np.testing.assert_allclose(*many, atol=1e-6)


def test_leading_axes_are_problems_of_their_own(variant):
    stacked = np.stack([scores(seed) for seed in range(6)]).reshape(2, 3, 7, 4)
    each = jax.vmap(jax.vmap(sinkhorn))(stacked)
    np.testing.assert_allclose(variant(sinkhorn)(stacked), each, rtol=1e-5)
    np.testing.assert_allclose(each[1, 2], sinkhorn(stacked[1, 2]), rtol=1e-5)


def test_epsilon_may_be_traced():
    traced = jax.jit(sinkhorn)(scores(2), 0.2)
    np.testing.assert_allclose(traced, sinkhorn(scores(2), 0.2), rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "value"),
    [("epsilon", 0.0), ("epsilon", -1), ("epsilon", float("nan")), ("rounds", 0), ("rounds", 2.0),
     ("rounds", True)],
)  # fmt: skip
def test_settings_out_of_range_are_refused(name, value):
    with pytest.raises(InputError, match=f"^{name} is .*; give a [^\n]*$"):
        sinkhorn(jnp.ones((2, 2)), **{name: value})


@pytest.mark.parity
def test_it_equals_torch(x64):
    torch = pytest.importorskip("torch")
    s = torch.tensor(scores(4, 9, 5))
    q = torch.exp(s / 0.05).T
    for _ in range(3):
        q = q / (q.sum(1, keepdim=True) * 5)
        q = q / (q.sum(0, keepdim=True) * 9)
    np.testing.assert_allclose(sinkhorn(s.numpy()), (q * 9).T, rtol=1e-9)
