"""The transfer matrix of runs of `tickets`, and what their masks share."""

import numpy as np
import pandas as pd
import pytest
from finished_runs import make_run

from jaxmask import mask
from jaxmask.errors import InputError
from jaxmask.report import transfer
from jaxmask.report.grid import make, save

TASKS = ("cats", "dogs")
# what found a mask, and on which task -> accuracy on each task
ROWS = {
    ("dense", ""): (0.9, 0.8), ("ticket", "cats"): (0.88, 0.6), ("ticket", "dogs"): (0.7, 0.79),
    ("random", ""): (0.5, 0.4), ("snip(t=2)", "dogs"): (0.6, 0.85),
}  # fmt: skip


def cells(seed=0, density=0.3):
    return [
        {"mask": "_".join(filter(None, row)), "found_by": row[0], "source": row[1], "target": task,
         "target_density": 1.0 if row[0] == "dense" else density, "density": density,
         "accuracy": accuracy - 0.02 * seed, "validation_accuracy": None, "run": "x",
         "initial_sha256": f"{seed}{task}"}
        for row, found in ROWS.items() for task, accuracy in zip(TASKS, found)
    ]  # fmt: skip


def matrix(folder, seed, density=0.3, **config):
    return make_run(
        folder, None, method="magnitude", schedule="", target=density, seed=seed, files=False,
        recipe="tickets", validation_accuracy=None, cells=cells(seed, density), initial="0" * 64,
        config={"tasks": {"cats": {"share": 0.1 * seed}}, **config},
    )  # fmt: skip


@pytest.fixture
def runs(tmp_path):
    for seed in (0, 1):
        matrix(tmp_path / f"runs/{seed}", seed)
    return tmp_path / "runs"


def test_a_row_for_each_mask_and_a_column_for_each_task(runs):
    made = make([runs]).transferred
    assert list(made.table.columns) == ["mask", *TASKS]
    table = made.table.set_index("mask")
    assert list(table.index) == ["dense", "ticket of cats", "ticket of dogs", "random",
                                 "snip(t=2) of dogs"]  # fmt: skip
    assert table.loc["ticket of cats"].tolist() == ["87.00 ± 1.41", "59.00 ± 1.41"]
    np.testing.assert_allclose(made.means.loc["random"], [0.49, 0.39])
    differences = made.differences
    np.testing.assert_allclose(differences.loc["snip(t=2) of dogs"], [-0.3, 0.05])
    assert (differences.loc["dense"] == 0).all()
    assert "2 seeds" in made.caption


def test_other_densities_and_settings_are_rows_of_their_own(runs):
    matrix(runs / "sparse", 0, density=0.1)
    table = make([runs]).transferred.table.set_index("mask")
    assert table["cats"]["dense"] == "89.00 ± 1.41"  # 0.9, 0.9 of one seed count as one
    assert table["cats"]["random, 0.3"] == "49.00 ± 1.41"
    assert table["cats"]["random, 0.1"] == "50.00"


def test_the_report_has_them_beside_others(runs, tmp_path):
    out = tmp_path / "report"
    save(make([runs], baseline="random"), out)
    assert (out / "figures" / "transfer.png").exists()
    assert len(pd.read_csv(out / "transfer.csv")) == 2 * len(ROWS) * len(TASKS)
    summary = pd.read_csv(out / "summary.csv").set_index(["method", "dataset"])
    assert summary["difference"]["ticket of cats", "dogs"] == pytest.approx(0.2)
    assert summary["pairs"]["ticket of cats", "dogs"] == 2
    assert "ticket of dogs" in (out / "table.md").read_text()
    with pytest.raises(InputError, match="nothing"):
        make([runs], baseline="nothing")
    for seed in (0, 1):
        make_run(tmp_path / f"pruned/{seed}", 0.9, seed=seed)
    both = make([runs, tmp_path / "pruned"], baseline="snip USS")
    assert both.table is not None
    assert both.transferred.table["mask"][0] == "dense"
    save(make([tmp_path / "pruned"]), out)
    assert not (out / "transfer.csv").exists()
    assert not (out / "figures" / "transfer.png").exists()


def test_what_masks_share_is_counted_by_layer_and_beside_chance(tmp_path):
    random = np.random.default_rng(0)
    shapes = {"first": (40, 30), "second": (7, 9)}
    masks = {
        name: {layer: random.random(shape) < 0.4 for layer, shape in shapes.items()}
        for name in ("a", "b", "c")
    }
    paths = {}
    for name, bits in masks.items():
        paths[name] = tmp_path / f"{name}.mask"
        mask.file.save(paths[name], {layer: {"kernel": leaf} for layer, leaf in bits.items()})
    found = transfer.overlaps(paths).set_index(["one", "two", "leaf"])
    assert len(found) == 3 * 3
    for one, two in (("a", "b"), ("a", "c"), ("b", "c")):
        both, chance = 0, 0.0
        for layer in shapes:
            x, y = masks[one][layer], masks[two][layer]
            row = found.loc[one, two, f"{layer}/kernel"]
            assert row["both"] == np.sum(x * y)
            assert row["by_chance"] == pytest.approx(x.size * x.mean() * y.mean())
            assert row["ratio"] == pytest.approx(np.mean(x[y]) / x.mean())
            both, chance = both + row["both"], chance + row["by_chance"]
        assert found.loc[one, two, ""]["both"] == both
        assert found.loc[one, two, ""]["ratio"] == pytest.approx(both / chance)
