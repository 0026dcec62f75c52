"""Fitted regressors as arrays, against scikit-learn's own predictions; their file."""

import json

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestRegressor
from sklearn.linear_model import LinearRegression, SGDRegressor
from sklearn.tree import DecisionTreeRegressor

from jaxmask.errors import InputError
from jaxmask.run import regressors
from jaxmask.run.regressors import LearnedScores, Regressor

pytestmark = pytest.mark.usefixtures("quick_compilation")

RANDOM = np.random.default_rng(11)
# many values are equal, and thresholds lie between neighbors of float32
X = np.float32(RANDOM.integers(0, 40, (300, 3)) / 7)
X[:100, 0] = np.float32(1) + np.arange(100) * np.spacing(np.float32(1))
Y = np.sin(5 * X[:, 0]) + X[:, 1] * X[:, 2] + (np.arange(300) % 2) * (np.arange(300) < 100)
MODELS = {
    "linear": (LinearRegression(), regressors.of_linear),
    "sgd": (SGDRegressor(random_state=0), regressors.of_linear),
    "tree": (DecisionTreeRegressor(random_state=0), lambda m: regressors.of_trees([m])),
    "stump": (DecisionTreeRegressor(max_depth=1), lambda m: regressors.of_trees([m])),
    "forest": (
        RandomForestRegressor(7, random_state=0),
        lambda m: regressors.of_trees(m.estimators_),
    ),
    "boosting": (
        HistGradientBoostingRegressor(max_iter=20, random_state=0),
        regressors.of_boosting,
    ),
}


@pytest.fixture(scope="module")
def fitted():
    return {name: model.fit(X, Y) for name, (model, _) in MODELS.items()}


@pytest.mark.parametrize("name", MODELS)
def test_arrays_predict_what_the_model_predicts(name, fitted):
    made = MODELS[name][1](fitted[name])
    more = np.float32(RANDOM.normal(3, 3, (200, 3)))
    for x in (X, more):
        found = jax.jit(made.predictor())(x)
        np.testing.assert_allclose(found, fitted[name].predict(x), rtol=2e-5, atol=2e-5)


def test_a_tree_without_a_split_is_its_root():
    model = DecisionTreeRegressor().fit(X, np.full(300, 2.5))
    found = regressors.of_trees([model])
    assert found.arrays["depth"].tolist() == [0]
    np.testing.assert_array_equal(found.predictor()(X), 2.5)


@given(st.floats(allow_nan=False), st.floats(width=32, allow_nan=False))
@settings(max_examples=200)
def test_rows_fall_as_they_do_by_a_threshold_of_float64(threshold, x):
    rounded = regressors.rounded_down(threshold)
    assert rounded.dtype == np.float32
    for value in (np.float32(x), np.float32(threshold), np.nextafter(np.float32(threshold), x)):
        if not np.isnan(value):
            assert (value <= rounded) == (float(value) <= threshold)


def content(name, fitted=None):
    if name == "mlp":
        sizes = [(2, 4), (4, 1)]
        arrays = {f"kernel_{i}": np.float32(RANDOM.normal(size=s)) for i, s in enumerate(sizes)}
        arrays |= {f"bias_{i}": np.zeros(s[1], np.float32) for i, s in enumerate(sizes)}
        return LearnedScores(Regressor("mlp", arrays), ("snip", "weight"), ("values", "ranks"))
    features = ("snip", "grasp(temperature=200)", "stack(snip(), synflow())")
    made = MODELS[name][1](fitted[name])
    return LearnedScores(made, features, ("values",) * 3, {"rows": 300, "r2": float("nan")})


@pytest.mark.parametrize("name", [*MODELS, "mlp"])
def test_a_file_gives_back_every_bit(name, fitted, tmp_path):
    saved = content(name, fitted)
    size = regressors.save(tmp_path / "new" / regressors.NAME, saved)
    for path in (tmp_path / "new" / regressors.NAME, tmp_path / "new"):
        found = regressors.load(path)
        assert found.regressor.kind == saved.regressor.kind
        assert found[1:3] == saved[1:3]
        assert found.fingerprint() == saved.fingerprint()
        assert found.regressor.arrays.keys() == saved.regressor.arrays.keys()
        for each, array in saved.regressor.arrays.items():
            assert found.regressor.arrays[each].dtype == array.dtype
            np.testing.assert_array_equal(found.regressor.arrays[each], array)
    assert size == (tmp_path / "new" / regressors.NAME).stat().st_size
    x = np.float32(RANDOM.normal(size=(9, len(saved.features))))
    np.testing.assert_array_equal(found.regressor.predictor()(x), saved.regressor.predictor()(x))


def test_the_fingerprint_is_of_all_that_scores_depend_on():
    one = content("mlp")
    arrays = {**one.regressor.arrays, "bias_1": np.ones(1, np.float32)}
    others = [
        one._replace(regressor=Regressor("mlp", arrays)),
        one._replace(features=("snip", "grasp")),
        one._replace(scales=("values", "values")),
    ]
    assert len({each.fingerprint() for each in (one, *others)}) == 4
    assert one._replace(about={"seed": 1}).fingerprint() == one.fingerprint()


def header(**changes):
    texts = {
        "format": regressors.FORMAT, "version": "1", "kind": "linear",
        "features": json.dumps(["snip", "weight"]), "scales": json.dumps(["values", "none"]),
        "about": "{}",
    }  # fmt: skip
    return {name: text for name, text in {**texts, **changes}.items() if text is not None}


LINEAR = {"coefficients": np.ones(2, np.float32), "intercept": np.zeros((), np.float32)}
STUMP = {
    "feature": np.int32([[0, 0, 0]]), "threshold": np.float32([[0.5, 0, 0]]),
    "left": np.int32([[1, 1, 2]]), "right": np.int32([[2, 1, 2]]),
    "value": np.float32([[0, 1, 2]]), "depth": np.int32([1]), "base": np.float32(0),
}  # fmt: skip
DAMAGED = {
    "weights": (LINEAR, {"format": None}, "holds no learned scores"),
    "a later version": (LINEAR, {"version": "2"}, "is of version '2' of its format"),
    "no features": (LINEAR, {"features": None}, "header cannot be read"),
    "no text": (LINEAR, {"features": "[1, 2]"}, "its features are no texts"),
    "bad JSON": (LINEAR, {"scales": "["}, "header cannot be read"),
    "scales": (LINEAR, {"scales": '["values"]'}, "do not fit its features"),
    "kind": (LINEAR, {"kind": "forest"}, "'forest' is no kind"),
    "other arrays": (STUMP, {}, "its shapes are"),
    "fewer numbers": ({**LINEAR, "coefficients": np.ones(1, np.float32)}, {}, "for 2 features"),
    "nan": ({**LINEAR, "intercept": np.float32(np.nan)}, {}, "'intercept' is not of finite"),
    "float64": ({**LINEAR, "intercept": np.float64(1)}, {}, "'intercept' is not of finite"),
    "a feature": ({**STUMP, "feature": np.int32([[2, 0, 0]])}, {"kind": "trees"}, "'feature'"),
    "a node": ({**STUMP, "left": np.int32([[3, 1, 2]])}, {"kind": "trees"}, r"'left' is not in \["),
    "no end": ({**STUMP, "depth": np.int32([2**31 - 1])}, {"kind": "trees"}, "'depth'"),
    "before": ({**STUMP, "right": np.int32([[-1, 1, 2]])}, {"kind": "trees"}, "'right'"),
    "sizes": ({**STUMP, "value": np.ones((1, 2), np.float32)}, {"kind": "trees"}, "several shapes"),
    "no perceptron": (LINEAR, {"kind": "mlp"}, "its arrays are coefficients, intercept"),
    "a layer": (
        {"kernel_0": np.ones((3, 1), np.float32), "bias_0": np.ones(1, np.float32)},
        {"kind": "mlp"}, "layer 0 has shapes",
    ),
    "two outputs": (
        {"kernel_0": np.ones((2, 2), np.float32), "bias_0": np.ones(2, np.float32)},
        {"kind": "mlp"}, "2 outputs, not one",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGED)
def test_a_foreign_or_damaged_file_is_refused_in_one_line(name, tmp_path):
    arrays, changes, message = DAMAGED[name]
    path = tmp_path / "any.safetensors"
    save_file({key: np.asarray(each) for key, each in arrays.items()}, path, header(**changes))
    with pytest.raises(InputError, match=message) as error:
        regressors.load(path)
    assert "\n" not in str(error.value)
    assert str(path) in str(error.value)


def test_a_file_that_is_cut_short_or_not_there(tmp_path):
    path = tmp_path / regressors.NAME
    with pytest.raises(InputError, match="there are no learned scores at"):
        regressors.load(path)
    regressors.save(path, content("mlp"))
    assert set(load_file(path)) == {"kernel_0", "kernel_1", "bias_0", "bias_1"}
    whole = path.read_bytes()
    for size in (0, 5, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(InputError, match="not a complete safetensors file"):
            regressors.load(path)
