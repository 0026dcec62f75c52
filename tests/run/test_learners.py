"""Learners by name: what is fitted, with which settings, and how small it stays."""

import jax
import numpy as np
import pytest
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import SGDRegressor
from sklearn.tree import DecisionTreeRegressor

from jaxmask.errors import InputError
from jaxmask.run import perceptron
from jaxmask.run.learners import LEARNERS, Rows, learner

pytestmark = pytest.mark.usefixtures("quick_compilation")

RANDOM = np.random.default_rng(6)
X = np.float32(RANDOM.uniform(size=(400, 2)))
Y = np.float32(np.where(X[:, 0] > 0.5, X[:, 1], 0.1))
TRAIN, VALIDATION = Rows(X[:300], Y[:300]), Rows(X[300:], Y[300:])


def predicted(text, seed=3):
    found = learner(text).fit(TRAIN, VALIDATION, seed)
    return np.asarray(found.regressor.predictor()(X)), found


@pytest.mark.parametrize(
    ("text", "model"),
    [
        ("sgd", SGDRegressor(random_state=3)),
        ("tree", DecisionTreeRegressor(random_state=3)),
        ("forest(trees=5, leaves=0, rows=0)", RandomForestRegressor(5, random_state=3)),
    ],
)
def test_scikit_learns_defaults(text, model):
    np.testing.assert_allclose(
        predicted(text)[0], model.fit(*TRAIN).predict(X), rtol=1e-4, atol=1e-5
    )


def test_a_forest_is_bounded():
    arrays = predicted("forest(trees=4, leaves=6)")[1].regressor.arrays
    assert arrays["feature"].shape == (4, 11)
    grown = predicted("forest(trees=4, rows=20)")[1].regressor.arrays
    assert grown["feature"].shape[1] < 40


@pytest.mark.parametrize("name", LEARNERS)
def test_the_same_seed_gives_the_same_regressor(name):
    text = {
        "mlp": "mlp(epochs=2)", "forest": "forest(trees=3)", "boosting": "boosting(iterations=3)"
    }.get(name, name)  # fmt: skip
    one, other = predicted(text)[0], predicted(text)[0]
    np.testing.assert_array_equal(one, other)
    assert np.isfinite(one).all()


def test_a_perceptron_learns_and_its_curve_is_that_of_the_rows():
    found, fitted = predicted("mlp(hidden=(16,), optimizer='adam', rate=1e-2, epochs=30)")
    assert len(fitted.curve) == 30
    assert fitted.curve[-1][1] == pytest.approx(np.mean((found[300:] - Y[300:]) ** 2), rel=1e-4)
    assert fitted.curve[-1][1] < 0.3 * np.var(Y)
    assert fitted.curve[0][0] > 2 * fitted.curve[-1][0]


def test_an_epoch_of_a_perceptron_is_steps_on_shuffled_rows():
    settings = perceptron.Settings((3,), "sgd", 0.5, 1, 100)
    regressor, _ = perceptron.fit(settings, TRAIN, VALIDATION, 5)
    programs = perceptron._programs((3,), "sgd", 100)
    params = programs.network.init(perceptron.named_key(5, "perceptron"), X[:1])["params"]
    order = jax.random.permutation(perceptron.named_key(5, "perceptron/epoch 0"), 300)
    for rows in np.asarray(order).reshape(3, 100):
        gradient = jax.grad(programs.error)(params, X[rows], Y[rows])
        params = jax.tree.map(lambda p, g: p - 0.5 * g, params, gradient)
    for i in range(2):
        layer = params[f"layer_{i}"]
        np.testing.assert_allclose(regressor.arrays[f"kernel_{i}"], layer["kernel"], rtol=1e-4)
        np.testing.assert_allclose(regressor.arrays[f"bias_{i}"], layer["bias"], rtol=1e-4)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("forests", "did you mean 'forest'"),
        ("forest(leaves=1)", "leaves 1; give a whole number of at least 2, or 0"),
        ("forest(rows=0.5)", "rows 0.5; give a whole number"),
        ("mlp(optimizer='adams')", "unknown optimizer 'adams'"),
        ("mlp(hidden=(64, -1))", "mlp: hidden has -1"),
        ("boosting(rate=0)", "boosting: rate has 0"),
        ("linear(1)", "linear"),
        ("linear, sgd", "must name one"),
    ],
)
def test_what_cannot_be_is_refused(text, message):
    with pytest.raises(InputError, match=message):
        learner(text)
