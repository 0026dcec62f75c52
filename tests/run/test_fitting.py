"""How learners are chosen and measured."""

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.metrics import mean_squared_error, r2_score

from jaxmask.errors import InputError
from jaxmask.run import defaults, fitting, score_table
from jaxmask.run.regressors import Regressor
from jaxmask.run.score_table import Table

pytestmark = pytest.mark.usefixtures("quick_compilation")

RANDOM = np.random.default_rng(8)


def table(count=200, noise=0.1, seed=0):
    """The first feature decides."""
    rng = np.random.default_rng(seed)
    x = np.float32(rng.uniform(size=(count, 2)))
    y = np.float32(x[:, 0] + noise * rng.normal(size=count))
    return Table(x, y, y > np.sort(y)[-21])


def test_measures_are_those_of_the_libraries():
    tables = [table(seed=1), table(150, seed=2)]
    arrays = {"coefficients": np.float32([0.5, 0.25]), "intercept": np.float32(0.1)}
    found = fitting.measured(Regressor("linear", arrays), {"test": tables})["test"]
    rows = fitting.joined(tables)
    s = rows.x @ [0.5, 0.25] + 0.1
    assert found["r2"] == pytest.approx(r2_score(rows.y, s), rel=1e-4)
    assert found["mse"] == pytest.approx(mean_squared_error(rows.y, s), rel=1e-4)
    assert found["rank_correlation"] == pytest.approx(spearmanr(rows.y, s)[0], rel=1e-4)
    shares = []
    for each in tables:
        s = each.x @ [0.5, 0.25]
        shares.append(np.mean(each.kept[np.argsort(-s)[: each.kept.sum()]]))
    assert found["found"] == pytest.approx(np.mean(shares))


def test_what_is_the_same_everywhere_says_nothing():
    kept = np.arange(1000) < 100
    found = fitting.metrics([Table(np.zeros((1000, 1)), np.ones(1000), kept)], [np.zeros(1000)])
    assert np.isnan(found["r2"])
    assert np.isnan(found["rank_correlation"])
    assert found["found"] < 0.25  # not the first hundred


def config(**changes):
    made = defaults.learn_scores("digits", 1)
    made.features, made.learners, made.tuned = ("magnitude", "snip"), ("linear",), ()
    for name, value in changes.items():
        made[name] = value
    return made


def test_the_best_settings_on_validation_tickets_are_kept_and_fitted_once(tmp_path, monkeypatch):
    tables = {"train": [table(seed=1)], "validation": [table(seed=2)], "test": [table(seed=3)]}
    constant = "forest(trees=1, leaves=2, rows=1)"
    made = config(tuned=(constant, "forest(trees=9)"), learners=("sgd", "forest(trees=2)"))
    found = fitting.fitted(made, tables, tmp_path)
    assert list(found) == ["sgd", "forest", "forest_tuned"]
    assert found["forest_tuned"].text == "forest(trees=9)"
    assert found["forest_tuned"].regressor.arrays["depth"].shape == (9,)
    monkeypatch.setattr(fitting, "_fit", None)
    again = fitting.fitted(made, tables, tmp_path)
    assert {name: each.metrics for name, each in again.items()} == {
        name: each.metrics for name, each in found.items()
    }


def test_scores_of_a_ticket_are_0_where_it_is_pruned():
    kept = np.array([True, False, True, True])
    np.testing.assert_allclose(score_table.scaled(np.array([1.0, 0, 4, 3]), kept),
                               [0.25, 0, 1, 0.75])  # fmt: skip
    np.testing.assert_allclose(score_table.scaled(np.array([-1.0, 0, 3, 1]), kept), [0, 0, 1, 0.5])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"test_seeds": (1, 7)}, "seed 1 is in train_seeds and test_seeds"),
        ({"validation_seeds": ()}, "validation_seeds is empty"),
        ({"train_seeds": (-1,)}, "train_seeds has -1"),
        ({"train_seeds": (0.5,)}, "train_seeds has 0.5"),
        ({"levels": (11,)}, "levels has 11; give rounds from 1 to 10"),
        ({"target": "best"}, "target is 'best'"),
        ({"scale": "none"}, "scale is 'none'"),
        ({"learners": ("mlp", "mlp(epochs=2)")}, "learners has 'mlp' twice"),
        ({"learners": ()}, "learners and tuned are empty"),
        ({"learners": (1,)}, "are texts"),
    ],
)
def test_what_cannot_be_is_refused(changes, message):
    with pytest.raises(InputError, match=message):
        fitting.check(config(**changes))
