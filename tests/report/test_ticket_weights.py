import json

import numpy as np
import pytest
from finished_runs import initial_weights, make_dense, make_run
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file
from scipy import stats

from jaxmask.errors import InputError
from jaxmask.report import collect, grid, ticket_weights, tickets, weight_figures
from jaxmask.report.ticket_weights import bimodality, measures, start


def sarle(x):
    """From the central moments, with the corrections of g1 and g2 for small samples."""
    n, d = len(x), x - x.mean()
    m2, m3, m4 = (np.mean(d**power) for power in (2, 3, 4))
    skew = m3 / m2**1.5 * np.sqrt(n * (n - 1)) / (n - 2)
    excess = (n - 1) / ((n - 2) * (n - 3)) * ((n + 1) * (m4 / m2**2 - 3) + 6)
    return (skew**2 + 1) / (excess + 3 * (n - 1) ** 2 / ((n - 2) * (n - 3)))


@given(st.integers(0, 10**6), st.integers(5, 200), st.floats(1e-3, 1e3))
def test_bimodality_is_the_formula_in_any_unit(seed, count, unit):
    x = unit * np.random.default_rng(seed).normal(size=count) ** 3
    assert bimodality(x) == pytest.approx(sarle(x), rel=1e-6)
    assert bimodality(-7 * x) == pytest.approx(bimodality(x), rel=1e-6)


def test_bimodality_of_known_distributions():
    at = (np.arange(20000) + 0.5) / 20000
    normal = stats.norm.ppf(at)
    assert bimodality(normal) == pytest.approx(1 / 3, abs=0.01)
    assert bimodality(at) == pytest.approx(5 / 9, abs=1e-3)
    assert bimodality(np.sign(at - 0.5)) == pytest.approx(1, abs=1e-3)
    assert bimodality(normal[np.abs(normal) > 1.5]) > 0.8  # what magnitude keeps


@pytest.mark.parametrize("values", [[], [1.0, 2, 3], [2.0] * 9, [0.0] * 9, [1, 2, 3, 4, np.nan]])
def test_bimodality_of_too_little_is_not_a_number(values):
    assert np.isnan(bimodality(np.array(values, np.float64)))


def case():
    random = np.random.default_rng(2)
    shapes = {"fc1/kernel": (40, 30), "head/kernel": (30, 5)}
    scales = {"fc1/kernel": 0.01, "head/kernel": 3.0}
    initial = {path: scales[path] * random.normal(size=shape) for path, shape in shapes.items()}
    masks = {path: random.random(shape) < 0.3 for path, shape in shapes.items()}
    trained = {
        path: masks[path] * (leaf + scales[path] * random.normal(size=leaf.shape))
        for path, leaf in initial.items()
    }
    extra = {"fc1/bias": np.ones(30)}
    return masks, {**initial, **extra}, {**trained, **extra}


def test_measures_leaf_by_leaf():
    masks, initial, trained = case()
    found = measures(masks, start(initial, masks), trained)
    before, after, scaled, scaled_after, whole, small, small_after = ([] for _ in range(7))
    for path, bits in masks.items():
        rms = np.sqrt((initial[path] ** 2).mean())
        for row, column in np.argwhere(bits):
            one, two = initial[path][row, column], trained[path][row, column]
            before.append(one)
            after.append(two)
            scaled.append(one / rms)
            scaled_after.append(two / rms)
            median = np.median(np.abs(initial[path]))
            small.append(abs(one) < median)
            small_after.append(abs(two) < median)
        whole += list(initial[path].ravel() / rms)
    before, after = np.array(before), np.array(after)
    assert found == pytest.approx({
        "initial_bimodality": sarle(np.array(whole)),
        "kept_bimodality": sarle(np.array(scaled)),
        "kept_small": np.mean(small),
        "trained_bimodality": sarle(np.array(scaled_after)),
        "trained_small": np.mean(small_after),
        "drift": np.sqrt(((after - before) ** 2).sum() / (before**2).sum()),
        "sign_changes": np.mean(np.sign(after) != np.sign(before)),
    })  # fmt: skip
    assert list(found) == list(ticket_weights.COLUMNS)


def test_the_bimodality_of_a_large_network_is_estimated(monkeypatch):
    masks, initial, _ = case()
    whole = start(initial, masks).bimodality
    monkeypatch.setattr(ticket_weights, "DRAWN", 400)
    assert start(initial, masks).bimodality == pytest.approx(whole, abs=0.05)


def test_kept_tails_are_bimodal_and_a_random_ticket_is_not():
    _, initial, _ = case()
    leaves = {path: leaf for path, leaf in initial.items() if path.endswith("kernel")}
    tails = {path: np.abs(leaf) > 1.5 * leaf.std() for path, leaf in leaves.items()}
    found = measures(tails, start(initial, tails), {})
    assert found["kept_bimodality"] > 5 / 9 > 0.4 > found["initial_bimodality"]
    assert found["kept_small"] == 0
    lot = {path: np.random.default_rng(1).random(leaf.shape) < 0.4 for path, leaf in leaves.items()}
    found = measures(lot, start(initial, lot), {})
    assert found["kept_bimodality"] < 0.4
    assert found["kept_small"] == pytest.approx(0.5, abs=0.06)
    assert np.isnan([found["drift"], found["trained_small"], found["sign_changes"]]).all()


def test_what_cannot_be_measured_is_not_a_number():
    masks, initial, trained = case()
    nothing = {path: np.zeros_like(bits) for path, bits in masks.items()}
    found = measures(nothing, start(initial, masks), trained)
    assert np.isnan([value for name, value in found.items() if name != "initial_bimodality"]).all()
    trained["head/kernel"] = np.full_like(trained["head/kernel"], np.nan)  # diverged
    found = measures(masks, start(initial, masks), trained)
    names = ("trained_bimodality", "trained_small", "drift", "sign_changes")
    assert np.isnan([found[name] for name in names]).all()
    assert np.isfinite(found["kept_bimodality"])
    zero = {**initial, "head/kernel": np.zeros((30, 5))}  # a layer that begins at zero
    assert np.isfinite(measures(masks, start(zero, masks), zero)["kept_bimodality"])


def test_runs_have_the_columns_and_the_report_a_table(tmp_path):
    runs = tmp_path / "runs"
    for seed in range(2):
        for method in ("snip", "grasp"):
            for target in (0.5, 0.2):
                make_run(runs / f"{method}{target}-{seed}", 0.9, method, target=target, seed=seed)
    make_dense(runs / "dense", 0.99)
    made = grid.make([runs], density=0.2)
    grid.save(made, tmp_path / "out")
    place = runs / "snip0.2-1"
    arrays = load_file(place / "weights.safetensors")
    before = initial_weights(1)
    kept = {name: leaf != 0 for name, leaf in arrays.items()}
    moved = np.concatenate([(arrays[name] - before[name])[kept[name]] for name in arrays])
    first = np.concatenate([before[name][kept[name]] for name in arrays])
    table = made.runs.set_index("folder")
    drift = np.linalg.norm(moved) / np.linalg.norm(first)
    assert table["drift"][str(place)] == pytest.approx(drift, rel=1e-5)
    assert np.isnan(table["drift"][str(runs / "dense")])  # nothing is left of it
    (shown,) = [each for each in grid.tables(made) if "Sarle" in each[1]]
    assert shown[0]["method"].tolist() == ["grasp USS", "snip USS"]
    mean = table[["drift"]].loc[[str(runs / f"snip0.2-{seed}") for seed in range(2)]].mean().iloc[0]
    assert shown[0]["drift"][1].startswith(f"{mean:.3f} ± ")
    assert shown[1].startswith("Target density 0.2.")
    assert "over 2 seeds" in shown[1]
    pictures = {path.stem for path in (tmp_path / "out" / "figures").iterdir()}
    assert {"kept_initial_weights", "weights_against_density", "ticket_clusters"} - pictures == {
        "ticket_clusters"  # of two tickets
    }
    by_drift = grid.make([runs], "snip USS", metric="drift")
    assert "drift by target density" in by_drift.caption


def test_a_ticket_that_nobody_trained_has_no_drift(tmp_path):
    for seed in range(2):
        run = make_run(tmp_path / "runs" / str(seed), None, seed=seed, chosen_step=None)
        (run / "weights.safetensors").unlink()
    made = grid.make([tmp_path / "runs"])
    ((shown, _),) = [each[:2] for each in grid.tables(made) if "Sarle" in each[1]]
    assert list(shown.columns) == [
        "method", "all initial: bimodality", "kept initial: bimodality", "kept initial: small"
    ]  # fmt: skip
    assert "drift" not in made.runs
    grid.save(made, tmp_path / "out")
    assert (tmp_path / "out" / "figures" / "kept_initial_weights.png").exists()


def test_the_figure_shows_initial_weights_by_their_layer(tmp_path):
    run = make_run(tmp_path / "run", 0.9)
    before = initial_weights(0)
    bits = {name: leaf != 0 for name, leaf in load_file(run / "weights.safetensors").items()}
    known = {}
    kept, whole = weight_figures.scaled_initial(run, known)
    other = make_run(tmp_path / "other", 0.9, "grasp")
    assert weight_figures.scaled_initial(other, known)[1] is whole
    scaled = {name: leaf / np.sqrt((leaf**2).mean()) for name, leaf in before.items()}
    expected = np.concatenate([scaled[name][bits[name]] for name in scaled])
    assert np.sort(kept) == pytest.approx(np.sort(expected), rel=1e-5)
    assert whole.size == sum(leaf.size for leaf in before.values())
    (run / "initial.safetensors").unlink()
    assert weight_figures.scaled_initial(run, {}) is None


def test_initial_weights_that_are_missing_are_told(tmp_path, capsys):
    run = make_run(tmp_path / "run", 0.9)
    (run / "initial.safetensors").unlink()
    made = tickets.read(collect.collect([tmp_path]))
    assert "drift" not in made.runs
    told = capsys.readouterr().err
    assert f"the initial weights of {run} are missing" in told
    told = json.loads((run / "result.json").read_text())
    (run / "result.json").write_text(json.dumps({**told, "initial": None}))
    tickets.read(collect.collect([tmp_path]))  # of an earlier version, which had none
    assert capsys.readouterr().err == ""


def test_other_weights_than_the_run_started_from_are_refused(tmp_path):
    run = make_run(tmp_path / "run", 0.9)
    save_file(initial_weights(7), run / "initial.safetensors")
    with pytest.raises(InputError, match=r"initial\.safetensors has other weights"):
        tickets.read(collect.collect([tmp_path]))


@pytest.mark.parametrize("name", ["initial", "weights"])
def test_weights_of_another_network_are_refused(tmp_path, name):
    run = make_run(tmp_path / "run", 0.9)
    other = initial_weights(0, {"fc1/kernel": (3, 3)})
    save_file(other, run / f"{name}.safetensors")
    told = json.loads((run / "result.json").read_text())
    told["initial"]["sha256"] = tickets.ticket_weights.fingerprint(
        load_file(run / "initial.safetensors")
    )
    (run / "result.json").write_text(json.dumps(told))
    with pytest.raises(InputError, match=f"{name}.safetensors has no weights for the mask's"):
        tickets.read(collect.collect([tmp_path]))
