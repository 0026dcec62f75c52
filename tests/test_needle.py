"""The needles of benchmarks/needle.py: which the first token can know."""

import jax
import numpy as np
import pytest

from benchmarks import needle
from jaxmask import model


@pytest.mark.parametrize(
    ("left_out", "share"),
    [("nothing", 1), ("window", 1), ("random", 1), ("global", 0.75),
     ("global and window", 0.375), ("global and random", 3 / 16)],
)  # fmt: skip
def test_parts_of_the_attention_lead_to_the_first_token(left_out, share):
    assert needle.reached(left_out).mean() == share


@pytest.mark.parametrize("left_out", ["global", "global and random"])
def test_only_what_is_reached_changes_the_first_token(left_out):
    """By the derivatives of the network itself."""
    module = needle.network(left_out)
    params = model.initialize(module, jax.random.key(0), (needle.LENGTH,))
    x = jax.random.normal(jax.random.key(1), (1, needle.LENGTH, module.size))
    gradient = jax.grad(lambda x: module.apply(params, x)[0, 0])(x)
    np.testing.assert_array_equal(np.abs(gradient[0]).max(-1) > 0, needle.reached(left_out))


def test_texts_have_one_needle_each():
    ids, needles = needle.texts(jax.random.key(0), 500)
    are = (np.asarray(ids) >= 2) & (np.asarray(ids) < 2 + needle.NEEDLES)
    assert (are.sum(axis=1) == 1).all()
    np.testing.assert_array_equal(np.asarray(ids)[are] - 2, needles)
    assert (np.asarray(ids)[:, 0] == 1).all()
