"""However the examples are cut into pieces, the scores are those of all at once."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from networks import DRIVEN, EXAMPLES, agree, batch, loss, weights

from jaxmask import score
from jaxmask.errors import InputError


@pytest.mark.parametrize("name", DRIVEN)
def test_pieces_give_the_scores_of_the_whole(name, x64):
    w, data = weights(), batch()
    # fisher's default of 32 is more than there are
    whole = DRIVEN[name](loss)(w, *data)
    # one by one; 2 * 4 and 3 left; 1 * 10 and 1 left; all; more than there are
    for size in (1, 4, 10, EXAMPLES, 50):
        agree(DRIVEN[name](loss, batch_size=size)(w, *data), whole, rtol=1e-9)


def test_pieces_of_a_network_with_convolutions(x64):
    rng = np.random.default_rng(0)
    w = {"conv": jnp.asarray(rng.normal(size=(3, 3, 2, 4))), "head": jnp.ones((4, 3))}
    x, y = jnp.asarray(rng.normal(size=(7, 5, 5, 2))), jnp.asarray(rng.integers(0, 3, 7))

    def convolved(w, x, y):
        numbers = ("NHWC", "HWIO", "NHWC")
        h = jax.lax.conv_general_dilated(x, w["conv"], (2, 2), "SAME", dimension_numbers=numbers)
        logits = jax.nn.relu(h).mean(axis=(1, 2)) @ w["head"]
        return -jnp.mean(jax.nn.log_softmax(logits)[jnp.arange(len(y)), y])

    for name in ("snip", "grasp", "fisher"):
        whole = DRIVEN[name](convolved)(w, x, y)
        agree(DRIVEN[name](convolved, batch_size=3)(w, x, y), whole, rtol=1e-9)


def test_many_pieces_in_bfloat16_are_all_counted():
    scorer = score.gradient_norm(lambda w, x: jnp.mean(x @ w["w"]), batch_size=1)
    scores = scorer({"w": jnp.zeros(2, jnp.bfloat16)}, jnp.ones((600, 2), jnp.bfloat16))
    chex.assert_trees_all_equal(scores, {"w": jnp.ones(2)}, strict=True)


def test_another_batch_of_the_same_shapes_does_not_recompile():
    w, (x, y) = weights(dtype=np.float32), batch(dtype=np.float32)
    # how often one compilation traces the loss is JAX's affair; a second call must not at all
    scorer = score.movement(lambda *given: watched(*given), batch_size=4)
    watched = loss
    first = scorer(w, x, y)
    watched = chex.assert_max_traces(loss, n=0)
    flipped = scorer(w, -x, y)
    assert (flipped["first"]["kernel"] != first["first"]["kernel"]).any()
    with pytest.raises(AssertionError, match="traced > 0 times"):
        scorer(w, x[:5], y[:5])


def test_a_batch_is_any_tree_of_arrays(x64):
    def of_pairs(w, pair):
        return loss(w, pair["x"], pair["y"])

    x, y = batch()
    nested = score.movement(of_pairs, batch_size=4)(weights(), {"x": x, "y": y})
    agree(nested, score.movement(loss)(weights(), x, y))


@pytest.mark.parametrize("name", DRIVEN)
def test_wrong_batches(name):
    scorer, w, (x, y) = DRIVEN[name](loss), weights(dtype=np.float32), batch(dtype=np.float32)
    plain = name.split(",")[0]
    with pytest.raises(InputError, match=f"{plain} scores weights on data but got none"):
        scorer(w)
    with pytest.raises(InputError, match=r"shapes \(11, 4\), \(10,\)"):
        scorer(w, x, y[:10])
    with pytest.raises(InputError, match=r"\(0, 4\), \(0,\); all need .* at least 1"):
        scorer(w, x[:0], y[:0])
    with pytest.raises(InputError, match=r"shapes \(11, 4\), \(\)"):
        scorer(w, x, 3)
    for size in (0, -1):
        with pytest.raises(InputError, match=f"{plain}: batch_size is {size}"):
            DRIVEN[name](loss, batch_size=size)(w, x, y)
