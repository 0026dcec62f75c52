"""Pruning criteria by name: the loss and the flow that they see, in numpy, and their settings."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmask import score
from jaxmask.errors import InputError
from jaxmask.run import composites
from jaxmask.run.composites import criterion
from jaxmask.run.criteria import CRITERIA, Subject

pytestmark = pytest.mark.usefixtures("quick_compilation")

RANDOM = np.random.default_rng(0)
W = {"kernel": RANDOM.normal(size=(4, 3)).astype(np.float32), "bias": None}
REST = {"kernel": None, "bias": RANDOM.normal(size=3)}
STATS = {"mean": RANDOM.normal(size=4)}
IMAGES, LABELS = RANDOM.normal(size=(6, 2, 2, 1)), np.array([0, 1, 2, 2, 1, 0])


def apply(parameters, batch_stats, images, train):
    """A linear network that subtracts a mean; in training it adds one to its logits of class 0."""
    x = images.reshape(len(images), -1) - batch_stats["mean"]
    logits = x @ parameters["kernel"] + parameters["bias"]
    return logits + jnp.array([1.0, 0, 0]) * train, batch_stats


def subject(train=False):
    return Subject(apply, REST, STATS, jax.random.key(0), (2, 2, 1), 6, train)


def logits(train=False):
    x = IMAGES.reshape(6, 4) - STATS["mean"]
    return x @ W["kernel"] + REST["bias"] + np.array([1.0, 0, 0]) * train


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("temperature", [1.0, 5.0])
def test_the_loss_is_the_mean_cross_entropy_of_cooled_logits(train, temperature):
    z = logits(train) / temperature
    wanted = np.mean(np.log(np.exp(z).sum(1)) - z[np.arange(6), LABELS])
    found = subject(train).loss(temperature)(W, jnp.asarray(IMAGES), jnp.asarray(LABELS))
    np.testing.assert_allclose(found, wanted, rtol=1e-4)


def test_the_flow_is_of_an_image_of_ones_and_all_but_the_weights_is_absolute():
    found = subject().flow("keep")(W)
    x = np.ones(4) - STATS["mean"]
    np.testing.assert_allclose(found[0], x @ W["kernel"] + np.abs(REST["bias"]), rtol=1e-4)
    found = subject().flow("absolute")(W)
    x = np.ones(4) - np.abs(STATS["mean"])
    np.testing.assert_allclose(found[0], x @ W["kernel"] + np.abs(REST["bias"]), rtol=1e-4)


@pytest.mark.parametrize("name", sorted(CRITERIA))
def test_every_criterion_scores_the_weights(name):
    made = criterion(name)
    assert made.name == name
    batch = (jnp.asarray(IMAGES), jnp.asarray(LABELS)) if made.needs_data else ()
    found = made.scorer(subject())(jax.tree.map(jnp.asarray, W), *batch)
    assert found["kernel"].shape == (4, 3)
    assert np.isfinite(found["kernel"]).all()
    assert found["bias"] is None


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_snip_is_the_weight_times_its_gradient(temperature):
    """`|w dL/dw|`, all together 1, by the gradient of a softmax regression."""
    z = logits() / temperature
    shares = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    shares[np.arange(6), LABELS] -= 1
    x = IMAGES.reshape(6, 4) - STATS["mean"]
    gradient = x.T @ shares / 6 / temperature
    found = criterion(f"snip(temperature={temperature})").scorer(subject())(
        jax.tree.map(jnp.asarray, W), jnp.asarray(IMAGES), jnp.asarray(LABELS)
    )
    wanted = np.abs(W["kernel"] * gradient)
    np.testing.assert_allclose(found["kernel"], wanted / wanted.sum(), rtol=1e-3)


def test_magnitude_and_random_need_no_data():
    weights = jax.tree.map(jnp.asarray, W)
    found = criterion("magnitude").scorer(subject())(weights)
    np.testing.assert_allclose(found["kernel"], np.abs(W["kernel"]), rtol=1e-6)
    drawn = criterion("random").scorer(subject())(weights)
    np.testing.assert_array_equal(
        drawn["kernel"], score.random(jax.random.key(0))(weights)["kernel"]
    )


def test_each_says_what_it_needs():
    told = {
        field: {name for name in CRITERIA if getattr(criterion(name), field)}
        for field in ("needs_data", "double", "sums_training", "single_examples")
    }
    assert told == {
        "needs_data": set(CRITERIA) - {"magnitude", "random", "synflow"},
        "double": {"synflow"},
        "sums_training": {"movement"},
        "single_examples": {"fisher"},
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("snap", "unknown criterion 'snap'; did you mean 'snip'"),
        ("snip(heat=2)", "heat"),
        ("snip(temperature=0)", "temperature 0"),
        ("snip(temperature=True)", "temperature True"),
        ("grasp(temperature=1e7)", "temperature 10000000"),
        ("grasp(temperature='hot')", "temperature 'hot'"),
        ("grasp(absolute=1)", "absolute 1"),
        ("synflow(statistics='no')", "statistics 'no'"),
        ("optimal_brain_damage(samples=0)", "samples 0"),
        ("optimal_brain_damage(samples=True)", "samples True"),
        ("optimal_brain_damage(samples=2.5)", "samples 2.5"),
        ("magnitude, snip", "must name one"),
    ],
)
def test_settings_that_cannot_be_used_are_refused(text, message):
    with pytest.raises(InputError, match=message):
        composites.criterion(text)
