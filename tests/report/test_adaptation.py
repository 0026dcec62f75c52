import numpy as np
import pandas as pd
import pytest
from finished_runs import (
    BYTES,
    add_embeddings,
    add_losses,
    add_router,
    make_adapt,
    make_run,
)
from scipy import stats

from jaxmask import report
from jaxmask.errors import InputError
from jaxmask.report import adaptation, adaptation_figures, canvas, grid, mask_figures, summary
from jaxmask.report.__main__ import main
from jaxmask.report.collect import collect
from jaxmask.report.grid import make

MASK, FULL, KNN = [0.76, 0.74, 0.75], [0.70, 0.73, 0.71], [0.51, 0.50, 0.53]
FOUND = {0.1: 0.5, 1.0: 0.8, 10.0: 0.6}


@pytest.fixture
def sweep(tmp_path):
    """Three seeds; masks and full fine-tuning in separate runs; one seed chose among 3 rates."""
    folder = tmp_path / "sweep"
    for seed, (mask, full, knn) in enumerate(zip(MASK, FULL, KNN)):
        rates = {"config": {"mask.choices": [1.0], "full.choices": [0.3]}} if seed else {}
        tried = {"mask": FOUND, "full": {0.3: 0.5, 3.0: 0.4}} if not seed else {}
        make_adapt(folder / f"m{seed}", {"mask": mask, "knn": knn}, seed, tried=tried, **rates)
        make_adapt(folder / f"f{seed}", {"full": full}, seed, tried=tried, **rates)
    return folder


@pytest.fixture
def grid_of_both(tmp_path):
    folder = tmp_path / "both"
    for seed in range(2):
        make_run(folder / f"p{seed}", 0.9, seed=seed, files=False, chosen_step=None)
        make_adapt(folder / f"a{seed}", {"mask": 0.6 + 0.1 * seed, "full": 0.5}, seed)
    return folder


def named(folder):
    return adaptation.named(collect([folder]))


def methods_in(folder):
    table = adaptation.compare(named(folder), None, "accuracy")
    return dict(zip(table["method"], table["count"]))


def pictures(out):
    return {path.stem for path in (out / "figures").iterdir()}


def test_the_table_is_means_over_seeds_with_tests_against_full(sweep):
    found = make([sweep], baseline="full").adapted
    table = found.groups.set_index("method")
    assert list(table.index) == ["mask", "knn", "full"]  # fewest bytes first
    assert table["count"].tolist() == [3, 3, 3]
    for method, values in (("mask", MASK), ("full", FULL), ("knn", KNN)):
        assert table.loc[method, "mean"] == pytest.approx(np.mean(values))
        assert table.loc[method, "std"] == pytest.approx(np.std(values, ddof=1), abs=1e-12)
        assert table.loc[method, "storage_bytes"] == BYTES[method] + 1
    welch = stats.ttest_ind(MASK, FULL, equal_var=False).pvalue
    paired = stats.ttest_rel(MASK, FULL).pvalue
    # two comparisons, with k-NN and with masks
    others = stats.ttest_ind(KNN, FULL, equal_var=False).pvalue
    corrected = 2 * welch if welch < others else max(welch, 2 * others)
    assert table.loc["mask", "welch_p"] == pytest.approx(welch)
    assert table.loc["mask", "paired_p"] == pytest.approx(paired)
    assert table.loc["mask", "pairs"] == 3
    line = found.table.set_index("method").loc["mask"]
    assert line["test accuracy in %"] == "75.00 ± 1.00*"
    assert line["times smaller than full"] == f"{70001 / 5901:.2f}"
    assert line["bytes to store"] == "5,901"
    assert line["against full in points"] == "+3.67"
    assert line["p (Welch)"] == f"{corrected:.2g}"
    assert "t-test against full of the same task" in found.caption
    other = make([sweep], metric="storage_bytes").adapted
    assert other.table.iloc[0, :3].tolist() == ["mask", "5901 ± 1", "3"]
    assert "bytes to store" not in other.table
    assert other.best == set()


def test_methods_are_runs_but_tried_values_are_not(sweep, tmp_path):
    frame = collect([sweep, sweep / "m0", sweep / "m0" / "mask"])
    assert sorted(frame["method"]) == ["full"] * 3 + ["knn"] * 3 + ["mask"] * 3
    assert frame["accuracy"].max() < 0.9
    assert "config.methods" not in frame
    with pytest.raises(InputError, match="no finished run"):
        collect([sweep / "m0" / "mask" / "choices"])


def test_finished_methods_of_an_unfinished_run_count_and_it_is_reported(tmp_path, capsys):
    run = make_adapt(tmp_path / "run", {"full": 0.5, "knn": 0.6, "mask": None}, finished=False)
    make_adapt(tmp_path / "begun", {"mask": None}, finished=False)
    assert sorted(collect([tmp_path])["method"]) == ["full", "knn"]
    said = capsys.readouterr().err
    assert "2 unfinished runs are left out" in said
    assert f"{run} (except its finished methods: full, knn)" in said
    assert f"{tmp_path / 'begun'}," in said


def test_settings_of_other_methods_make_no_setting(tmp_path):
    for seed in range(2):
        for stages in (0, 2):
            make_adapt(tmp_path / f"{stages}-{seed}", {"full": 0.5, "mask": 0.6, "mask_topk": 0.7},
                       seed, config={"mask.stages": stages})  # fmt: skip
    assert methods_in(tmp_path) == {"full": 2, "mask (stages=0)": 2, "mask (stages=2)": 2,
                                    "mask_topk": 2}  # fmt: skip


def test_a_density_taken_from_another_method_depends_on_its_settings(tmp_path):
    for stages in (0, 2):
        config = {"mask.stages": stages, "mask_topk.density": 0.0}
        make_adapt(tmp_path / str(stages), {"mask": 0.6, "mask_topk": 0.7}, config=config)
    assert {"mask_topk (mask.stages=0)", "mask_topk (mask.stages=2)"} < methods_in(tmp_path).keys()


def test_choices_make_a_setting_only_if_one_seed_ended_with_two_values(tmp_path, capsys):
    make_adapt(tmp_path / "0", {"mask": 0.6, "full": 0.5}, 0, tried={"mask": FOUND})
    make_adapt(tmp_path / "1", {"mask": 0.7, "full": 0.5}, 1, config={"mask.choices": [5.0]})
    assert methods_in(tmp_path) == {"mask": 2, "full": 2}
    # the same value for the same seed is a repetition, from whatever choices
    make_adapt(tmp_path / "2", {"mask": 0.8}, 1, tried={"mask": {1.0: 0.1, 5.0: 0.9}})
    found = make([tmp_path]).adapted.groups.set_index("method")
    assert found.loc["mask", ["count", "mean"]].tolist() == [2, pytest.approx(0.675)]
    assert "1 of 5 runs repeat another run's setting and seed" in capsys.readouterr().err
    make_adapt(tmp_path / "3", {"mask": 0.1}, 1, config={"mask.choices": [50.0]})
    rates = ["mask (mask_learning_rate=1)", "mask (mask_learning_rate=5)",
             "mask (mask_learning_rate=50)"]  # fmt: skip
    assert sorted(methods_in(tmp_path)) == ["full", *rates]


def test_a_share_of_the_labels_is_a_task_of_its_own(tmp_path):
    accuracy = {}
    for share, epochs in ((1.0, 4), (0.1, 40)):
        for seed in range(2):
            accuracy[share, seed] = share / 2 + 0.1 * seed
            methods = {"mask": accuracy[share, seed], "full": 0.2 + 0.01 * seed}
            config = {"data.share": share, "mask.epochs": epochs, "full.epochs": epochs}
            make_adapt(tmp_path / f"{share}-{seed}", methods, seed, config=config)
    found = make([tmp_path], baseline="full").adapted
    shown = found.table
    assert shown["share"].tolist() == ["1", "1", "0.1", "0.1"]
    assert shown["method"].tolist() == ["mask", "full"] * 2
    for share, row in ((1.0, 0), (0.1, 2)):
        values = [accuracy[share, seed] for seed in range(2)]
        assert found.groups["mean"][row] == pytest.approx(np.mean(values))
        assert found.groups["welch_p"][row] == pytest.approx(
            stats.ttest_ind(values, [0.2, 0.21], equal_var=False).pvalue
        )
    assert found.best == {(0, 2), (3, 2)}  # mask of all labels, full of a tenth
    lines = summary.markdown(found.table, bold=found.best).splitlines()
    assert ["**" in line for line in lines[2:]] == [True, False, False, True]
    drawn = adaptation_figures.drawings(found)["accuracy_against_labels"]
    assert drawn(tmp_path / "labels.png")
    assert (tmp_path / "labels.png").read_bytes()[:4] == b"\x89PNG"
    alone = make([tmp_path / "1.0-0"]).adapted
    assert not adaptation_figures.drawings(alone)["accuracy_against_labels"](tmp_path / "none.png")


def test_fields_besides_methods_are_named_and_starts_are_not_paired(tmp_path):
    for seed in range(2):
        make_adapt(tmp_path / f"a{seed}", {"full": 0.5 + 0.1 * seed, "mask": 0.6}, seed,
                   config={"start": f"runs/a-{seed}"})  # fmt: skip
        make_adapt(tmp_path / f"b{seed}", {"mask": 0.7}, seed, config={"start": f"runs/b-{seed}"})
    table = adaptation.compare(named(tmp_path), "full", "accuracy").set_index("method")
    assert set(table.index) == {"full", "mask (start=runs/a-{seed})", "mask (start=runs/b-{seed})"}
    assert table.loc["mask (start=runs/a-{seed})", "pairs"] == 2
    assert table.loc["mask (start=runs/b-{seed})", "pairs"] == 0


def test_several_settings_of_full_give_no_reference_for_bytes(tmp_path):
    for epochs in (4, 8):
        make_adapt(tmp_path / str(epochs), {"full": 0.5}, config={"full.epochs": epochs})
    make_adapt(tmp_path / "m", {"mask": 0.5})
    found = make([tmp_path]).adapted
    assert found.groups["times_smaller"].isna().all()
    assert "times smaller than full" not in found.table
    assert found.best == {(0, 1), (1, 1), (2, 1)}  # all are equal
    with pytest.raises(InputError, match=r"'full'; known: .*'full \(epochs=4\)'"):
        make([tmp_path], baseline="full")


def test_the_command_writes_a_whole_report(sweep, tmp_path, capsys):
    out = tmp_path / "out"
    assert main([str(sweep), f"--out={out}", "--baseline=full"]) == 0
    said = capsys.readouterr().out
    assert "75.00 ± 1.00*" in said
    assert f"9 runs; tables and figures: {out}" in said
    assert pictures(out) == {"accuracy_against_bytes", "density_by_layer", "rates"}
    assert "| mask | **75.00 ± 1.00\\*** | 3 | 0.500 |" in (out / "table.md").read_text()
    assert len(pd.read_parquet(out / "results.parquet")) == 9
    summary = pd.read_csv(out / "summary.csv").set_index("method")
    assert summary.loc["mask", "times_smaller"] == pytest.approx(70001 / 5901)


def test_plots_of_earlier_reports_are_removed(sweep, tmp_path):
    out = tmp_path / "out"
    (out / "figures").mkdir(parents=True)
    for name in adaptation_figures.NAMES:
        (out / "figures" / f"{name}.png").touch()
    report.write([sweep / "f0"], out)
    assert pictures(out) == {"accuracy_against_bytes"}


def test_rates_are_those_that_were_tried_on_validation_data(sweep, tmp_path):
    table = adaptation_figures.tried(named(sweep))
    found = table[table["method"] == "mask"]
    assert dict(zip(found["value"], found["validation"])) == FOUND
    assert set(found["series"]) == {"mask: mask_learning_rate"}
    assert found["found_density"].tolist() == [0.5] * 3
    # it has a number from before it diverged
    file = sweep / "m0" / "mask" / "choices" / "rate_10.0" / "result.json"
    file.write_text(file.read_text().replace('"diverged": false', '"diverged": true'))
    assert 10.0 not in adaptation_figures.tried(named(sweep))["value"].tolist()
    other = table[table["method"] == "full"]
    assert other["value"].tolist() == [0.3, 3.0]
    assert other["found_density"].isna().all()
    few = named(sweep).query("method == 'full'")
    assert not adaptation_figures.rates(tmp_path / "few.png", few, {})


def test_pruned_and_adapted_runs_have_a_table_each(grid_of_both, tmp_path):
    found = make([grid_of_both], baseline="full")
    assert found.table["method"].tolist() == ["snip USS"]
    assert found.groups["method"].tolist() == ["snip", "mask", "full"]
    assert found.groups["welch_p"].notna().tolist() == [False, True, False]
    grid.save(found, tmp_path / "out")
    text = (tmp_path / "out" / "table.md").read_text()
    assert text.index("| snip USS |") < text.index("| mask |")
    assert {"density_by_layer", "density_by_layer_adapt", "against_density"} < pictures(
        tmp_path / "out"
    )
    assert make([grid_of_both], baseline="snip USS").adapted.groups["welch_p"].isna().all()
    with pytest.raises(InputError, match=r"'none'; known: 'snip USS', .*'full'"):
        make([grid_of_both], baseline="none")


def test_published_figures_need_pruned_networks(sweep, tmp_path):
    with pytest.raises(InputError, match="need pruned networks"):
        make([sweep], published_file=tmp_path / "any.csv")


def test_names_beside_near_points_do_not_overlap():
    figure, axes = canvas.new(5.0, 3.6)
    points = [(1000 + 3 * place, 50 + 0.01 * place, f"method {place}") for place in range(6)]
    points += [(1e5, 90, "a name at the right edge"), (10, 10, "x")]
    axes.scatter(*zip(*[point[:2] for point in points]))
    axes.set_xscale("log")
    figure.draw_without_rendering()
    adaptation_figures._name(axes, points)
    boxes = [note.get_window_extent() for note in axes.texts]
    assert len(boxes) == len(points)
    for place, box in enumerate(boxes):
        assert box.count_overlaps(boxes[:place]) == 0
        assert axes.bbox.x0 <= box.x0
        assert box.x1 <= axes.bbox.x1


def test_differences_that_go_with_a_setting_are_still_of_the_task(tmp_path):
    for loss, classes in (("swav()", [0, 1]), ("simclr()", [0, 1]), ("dino()", [2, 3])):
        make_adapt(tmp_path / loss, {"untouched": 0.5, "mask": 0.6}, recipe="self_mask",
                   config={"loss": loss, "data.classes": classes, "data.size": 8})  # fmt: skip
    runs = named(tmp_path)
    found = dict(zip(runs["method"], adaptation.tasks_of(runs)))
    assert found["mask (loss=swav())"] == found["mask (loss=simclr())"] == "classes=[0, 1]"
    assert found["mask (loss=dino())"] == "classes=[2, 3]"
    assert adaptation.tasks_of(runs.iloc[:2]) == ["", ""]


def test_a_report_on_runs_without_labels_has_their_pictures(tmp_path):
    run = make_adapt(tmp_path / "a", {"untouched": 0.4, "dispatcher": 0.5}, recipe="cascade")
    add_router(run, [0, 1] * 30, [0, 1, 2] * 20)
    features = np.random.default_rng(0).normal(size=(60, 4))
    for place, name in enumerate(("untouched", "dispatcher")):
        add_embeddings(run / name, features, [0, 1, 2] * 20)
        add_losses(run / name, [3.0 - place, 1.0])
    own = {"embeddings_pca", "embeddings_tsne", "clusters", "loss_by_epoch"}
    report.write([tmp_path / "a"], tmp_path / "out")
    assert own == pictures(tmp_path / "out")
    (run / "untouched" / "embeddings.safetensors").write_bytes(b"nonsense")
    with pytest.raises(InputError, match=r"a/untouched/embeddings\.safetensors cannot be drawn"):
        report.write([tmp_path / "a"], tmp_path / "other")
    assert not (tmp_path / "other").exists()
    other = make_adapt(tmp_path / "b", {"mask": 0.5})
    report.write([other], tmp_path / "out")
    assert not own & pictures(tmp_path / "out")


def test_networks_that_combine_masks_have_no_density_by_layer_of_their_own(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(mask_figures, "layers", lambda path, runs, *_, **__: drawn.append(runs))
    methods = {"untouched": 0.4, "dispatcher": 0.5, "conditional": 0.6, "long": 0.7}
    make_adapt(tmp_path / "a", methods, recipe="cascade", density_by_leaf={"conv": 0.5})
    adaptation_figures.layers(tmp_path / "a.png", named(tmp_path), {name: {} for name in methods})
    assert drawn[0]["method"].tolist() == ["dispatcher", "long"]
