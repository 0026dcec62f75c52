"""Scores learned from tickets of real digits, and runs that are pruned by them."""

import numpy as np
import pytest
from experiments import config, finished, result
from safetensors.numpy import load_file

from jaxmask import mask, recipe
from jaxmask.errors import InputError
from jaxmask.recipe import learn_scores
from jaxmask.run import regressors, score_table

CHANGES = {
    "criterion": "synflow", "density": 0.1, "shots": 4, "rounds": 2, "train__epochs": 1,
    "data__mean": (0.3,), "data__std": (0.4,),  # one network for all seeds, compiled once
    "features": ("magnitude", "snip", "weight", "density", "norm", "input_largest", "output_mean"),
    "levels": (1, 2),
    "train_seeds": (11,), "validation_seeds": (13,), "test_seeds": (14,),
    "learners": ("linear", "forest(trees=3)"), "tuned": ("mlp(epochs=2)",),
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory, without_figures):  # those of its lotteries
    folder = tmp_path_factory.mktemp("learn_scores") / "run"
    finished(folder, "learn_scores", **CHANGES)
    return folder


def test_each_learner_is_measured_stored_and_shown(folder):
    told = result(folder)
    assert set(told["learners"]) == {"linear", "forest", "mlp_tuned"}
    assert told["scores"] == f"{told['method']}/scores.safetensors"
    shares = {name: each["validation"]["found"] for name, each in told["learners"].items()}
    assert shares[told["method"]] == max(shares.values())
    for name in told["learners"]:
        stored = regressors.load(folder / name)
        assert stored.features == CHANGES["features"]
        assert stored.scales == ("values", "values", "values", "none", "values", "values", "values")
        assert stored.about["train_seeds"] == [11]
    weights = 64 * 30 + 30 * 10 + 10 * 10
    assert told["rows"] == {"train": 2 * weights, "validation": 2 * weights, "test": 2 * weights}
    assert len((folder / "table.md").read_text().splitlines()) == 2 + 3
    figures = {path.name for path in (folder / "figures").iterdir()}
    assert figures == {"correlations.png", "histograms.png", "learning_curve.png"}
    assert np.shape(told["correlations"]) == (8, 8)


def test_a_table_is_of_initial_weights_and_of_tickets(folder):
    made = config("learn_scores", **CHANGES)
    at = folder / learn_scores.place(made, 11)
    tables = score_table.tables(made, learn_scores.lottery_of(made, 11), at, None)
    initial = load_file(at / "initial.safetensors")
    w = np.concatenate(
        [initial[f"params/{name}/kernel"].ravel() for name in ("fc1", "fc2", "head")]
    )
    for level, table in zip((1, 2), tables):
        masks = mask.file.load(at / f"level_{level:02d}" / "masks" / "ticket.mask")
        kept = np.concatenate([np.ravel(masks[name]["kernel"]) for name in ("fc1", "fc2", "head")])
        np.testing.assert_array_equal(table.kept, kept.astype(bool))
        size = np.abs(w)
        np.testing.assert_allclose(
            table.x[:, 0], (size - size.min()) / (size.max() - size.min()), rtol=1e-5, atol=1e-6
        )
        np.testing.assert_allclose(
            table.x[:, 2], (w - w.min()) / (w.max() - w.min()), rtol=1e-5, atol=1e-6
        )
        np.testing.assert_allclose(table.x[:, 3], 0.1 ** (level / 2), rtol=1e-6)
        assert not table.y[~table.kept].any()
        # the last shot may cut some of what is kept off from the rest
        assert (table.y[table.kept] > 0).mean() > 0.9
        assert table.y.max() == 1


def synflow(weights, bits):
    """By numpy: of kernels alone, of a network with absolute biases."""
    names = ("fc1", "fc2", "head")
    w = [np.abs(weights[f"params/{n}/kernel"].astype(float)) * bits[n]["kernel"] for n in names]
    b = [np.abs(weights[f"params/{n}/bias"].astype(float)) for n in names]
    h = [np.ones(len(w[0]))]
    for kernel, bias in zip(w[:2], b[:2]):
        h.append(h[-1] @ kernel + bias)
    back = [np.ones(10)]
    for kernel in (w[2], w[1]):
        back.append(kernel @ back[-1])
    return [kernel * np.outer(x, g) for kernel, x, g in zip(w, h, back[::-1])]


def test_targets_are_the_last_scores_of_what_the_ticket_keeps(folder):
    made = config("learn_scores", **CHANGES)
    at = folder / learn_scores.place(made, 11)
    table = score_table.tables(made, learn_scores.lottery_of(made, 11), at, None)[1]
    trained = load_file(at / "level_01" / "weights.safetensors")
    bits = mask.file.load(at / "level_02" / "masks" / "ticket.mask")
    s = np.concatenate([each.ravel() for each in synflow(trained, bits)])
    np.testing.assert_allclose(table.y, s / s.max(), rtol=1e-4, atol=1e-7)
    made.target = "kept"
    table = score_table.tables(made, learn_scores.lottery_of(made, 11), at, None)[1]
    np.testing.assert_array_equal(table.y, table.kept)


def test_an_interrupted_run_trains_and_fits_nothing_again(folder, monkeypatch):
    from jaxmask.run import fitting
    from jaxmask.train import loop

    before = result(folder)
    (folder / "result.json").unlink()
    monkeypatch.setattr(loop, "fit", None)
    monkeypatch.setattr(fitting, "_fit", None)
    again = finished(folder, "learn_scores", **CHANGES)
    assert again == before


def test_runs_with_other_features_share_tickets(folder, tmp_path, monkeypatch):
    from jaxmask.train import loop

    monkeypatch.setattr(loop, "fit", None)
    changes = {
        **CHANGES, "features": ("snip", "magnitude"), "scale": "ranks", "target": "kept",
        "levels": (), "learners": ("linear",), "tuned": (), "tickets": str(folder / "tickets"),
    }  # fmt: skip
    told = finished(tmp_path / "run", "learn_scores", **changes)
    assert told["rows"]["train"] == 2320
    assert not (tmp_path / "run" / "tickets").exists()
    assert regressors.load(tmp_path / "run" / "linear").scales == ("ranks", "ranks")
    with pytest.raises(InputError, match="holds a run of another config"):
        finished(tmp_path / "other", "learn_scores", **{**changes, "density": 0.2})


def test_a_network_is_pruned_by_each(folder, tmp_path):
    kept = {}
    for name, shots in (("linear", 2), ("forest", 2), ("mlp_tuned", 1)):
        path = folder / name / regressors.NAME
        told = finished(tmp_path / name, criterion=f"learned('{path}')", density=0.1, shots=shots,
                        train__epochs=1, seed=20)  # fmt: skip
        assert told["density"] == pytest.approx(0.1, abs=1e-3)
        assert 0 <= told["accuracy"] <= 1
        bits = mask.file.load(tmp_path / name / "masks" / "ticket.mask")
        kept[name] = np.concatenate([np.ravel(bits[n]["kernel"]) for n in ("fc1", "fc2", "head")])
    assert any((kept["linear"] != kept[name]).any() for name in ("forest", "mlp_tuned"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"density": 1.0}, "a lottery prunes"),
        ({"features": ()}, "no scorers to learn from"),
        ({"features": ("snipp",)}, "unknown feature 'snipp'"),
        ({"criterion": "movement", "shots": 1}, "set target to 'kept'"),
        ({"test_seeds": (11,)}, "seed 11 is in train_seeds and test_seeds"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_trained(changes, message):
    with pytest.raises(InputError, match=message):
        recipe.prepare(config("learn_scores", **{**CHANGES, **changes}))
