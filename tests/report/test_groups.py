import numpy as np
import pandas as pd
import pytest

from jaxmask.errors import InputError
from jaxmask.report import groups


def frame_of(rows):
    base = {"recipe": "prune", "dataset": "digits", "network": "lenet", "schedule": "USS",
            "target_density": 0.1, "shots": 1, "rounds": 0, "initial_sha256": "x"}  # fmt: skip
    return pd.DataFrame([{**base, **row} for row in rows])


def run(method, seed, accuracy, **changes):
    return {"method": method, "seed": seed, "accuracy": accuracy, **changes}


def test_mean_and_sample_deviation_over_seeds():
    values = [0.5, 0.7, 0.9]
    summary = groups.summarize(frame_of([run("snip", seed, v) for seed, v in enumerate(values)]))
    assert summary.loc[0, ["method", "schedule", "target_density"]].tolist() == ["snip", "USS", 0.1]
    assert summary["count"][0] == 3
    assert summary["mean"][0] == pytest.approx(0.7)
    assert summary["std"][0] == pytest.approx(np.sqrt(0.08 / 2))


def test_what_differs_besides_the_seed_makes_a_setting():
    rows = [
        run("snip", seed, 0.5, **{"config.train.epochs": epochs, "dataset": data})
        for seed in range(2)
        for epochs in (1, 2)
        for data in ("digits", "mnist")
    ]
    summary = groups.summarize(frame_of(rows))
    assert groups.further(summary) == ["dataset", "config.train.epochs"]
    assert summary["count"].tolist() == [2, 2, 2, 2]
    assert groups.series(summary, groups.further(summary))[0] == "snip USS, digits, epochs=1"


def test_what_follows_from_method_and_density_makes_no_setting():
    rows = [
        run(m, seed, 0.5, target_density=d, **{"config.prune.method": m, "config.share": d})
        for seed in range(2)
        for m in ("snip", "grasp")
        for d in (0.1, 0.5)
    ]
    assert groups.further(groups.summarize(frame_of(rows))) == []


def test_fields_of_pruning_are_idle_in_dense_runs():
    rows = [run(m, seed, 0.5, **{"config.m": m}) for seed in range(2) for m in ("snip", "grasp")]
    rows += [
        run("dense", seed, value, schedule=None, target_density=None, **{"config.m": m})
        for seed in range(2)
        for m, value in (("snip", 0.9), ("grasp", 0.7))
    ]
    frame = frame_of(rows)
    summary = groups.summarize(frame)
    assert groups.labels(summary) == ["dense", "grasp USS", "snip USS"]
    assert summary["target_density"].tolist() == [1.0, 0.1, 0.1]
    assert summary["count"].tolist() == [2, 2, 2]
    assert summary["mean"][0] == pytest.approx(0.8)
    assert groups.repeated(frame) == 2


def test_a_field_with_the_seed_in_it_makes_no_setting():
    rows = [run("snip", s, 0.5, **{"config.start": f"runs/d1-{s}"}) for s in range(3)]
    assert groups.further(groups.summarize(frame_of(rows))) == []
    rows += [run("snip", s, 0.5, **{"config.start": f"runs/e1-{s}"}) for s in range(3)]
    summary = groups.summarize(frame_of(rows))
    assert summary["config.start"].tolist() == ["runs/d1-{seed}", "runs/e1-{seed}"]
    assert summary["count"].tolist() == [3, 3]


def test_file_locations_make_no_setting():
    rows = [run("snip", s, 0.5, **{"config.data.directory": f"/{s + 7}"}) for s in range(3)]
    assert groups.further(groups.summarize(frame_of(rows))) == []


def test_a_field_that_the_seed_only_happens_to_fix_does():
    rows = [run("snip", s, 0.5, **{"config.rate": rate}) for s, rate in enumerate((0.1, 0.2))]
    assert groups.further(groups.summarize(frame_of(rows))) == ["config.rate"]


def test_missing_values_are_one_setting_and_missing_accuracies_no_runs():
    rows = [run("best", s, 0.5, target_density=None, schedule=None) for s in range(3)]
    rows[0]["accuracy"] = None
    summary = groups.summarize(frame_of(rows))
    assert summary["count"].tolist() == [2]
    assert np.isnan(summary["target_density"][0])


def test_order_of_rows():
    rows = [
        run(m, 0, 0.5, schedule=s, target_density=d)
        for m in ("snip", "dense", "grasp")
        for s in ("IMS", "USS", "UMS", "ISS")
        for d in (0.01, 0.1000000000001, 0.1)
    ]
    summary = groups.summarize(frame_of(rows))
    assert list(dict.fromkeys(summary["method"])) == ["dense", "grasp", "snip"]
    assert list(dict.fromkeys(summary["schedule"])) == ["USS", "UMS", "ISS", "IMS"]
    assert summary["target_density"][:2].tolist() == [0.1, 0.01]


def test_an_unknown_metric_is_named():
    frame = frame_of([run("snip", 0, 0.5)])
    with pytest.raises(InputError, match=r"no metric 'acuracy'.*did you mean 'accuracy'"):
        groups.summarize(frame, "acuracy")
    with pytest.raises(InputError, match="no metric 'method'"):
        groups.summarize(frame, "method")
    with pytest.raises(InputError, match="none of these runs has a value of 'accuracy'"):
        groups.summarize(frame.assign(accuracy=np.nan))
