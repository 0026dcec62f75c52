"""What networks that learned without labels do with few: the runs of `adapt` below them."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from ml_collections import ConfigDict

from jaxmask import data, recipe, task
from jaxmask.cli.run import main, parse
from jaxmask.errors import InputError
from jaxmask.recipe import defaults
from jaxmask.run import few_labels
from jaxmask.run import task as tasks

SHARES, DRAWS = (0.2, 0.05), (1, 2)
QUICK = [
    "--config=digits_self", "--config.start=random", "--config.network.name=lenet_300_100",
    "--config.network.width=0.1", "--config.methods=mask", "--config.mask.train.epochs=1",
    "--config.mask.choices=20.0", "--config.loss=simclr(dimension=8)", "--config.views.small=0",
    "--config.knn.choices=10", "--config.linear_probe.choices=0.01", "--config.seed=7",
    f"--config.few_labels.shares={SHARES}", "--config.few_labels.draws=2",
    "--config.few_labels.steps=10", "--config.few_labels.methods=('linear_probe', 'full')",
    "--config.few_labels.full.choices=0.05", "--config.few_labels.linear_probe.choices=0.01",
]  # fmt: skip


def config_with(*overrides):
    """The fixture's config with other values; a field given twice would have both."""
    given = [*QUICK]
    for each in overrides:
        field = each.partition("=")[0]
        given = [kept for kept in given if not kept.startswith(f"--config.{field}=")]
        given.append(f"--config.{each}")
    return parse(given)[0]


def read(folder, name="result.json"):
    return json.loads((folder / name).read_text())


@pytest.fixture(scope="module")
def learned(tmp_path_factory, without_figures):
    folder = tmp_path_factory.mktemp("few_labels") / "run"
    assert main([*QUICK, f"--workdir={folder}"]) == 0
    return folder


def all_digits():
    """The training images of the fixture's classes."""
    return data.load("digits", classes=(5, 6, 7, 8, 9), validation=0).train


def labeled(run):
    """(training, held out) images that a run of `adapt` takes, as bytes."""
    config = ConfigDict(read(run, "config.json"))
    found = tasks.load_data(config.data, config.seed)
    return tuple(
        [image.tobytes() for image in split.images] for split in (found.train, found.validation)
    )


def test_every_network_is_a_run_on_every_draw_of_every_share(learned):
    found = sorted(path.parent for path in (learned / "labels").glob("*/*/*/result.json"))
    expected = [
        learned / "labels" / str(share) / f"draw{draw}" / network
        for share in SHARES for draw in DRAWS for network in ("mask", "untouched")
    ]  # fmt: skip
    assert found == sorted(expected)
    for run in found:
        config = read(run, "config.json")
        assert config["recipe"] == read(run)["recipe"] == "adapt"
        own = ["linear_probe"] if run.name == "mask" else ["linear_probe", "full"]
        assert list(read(run)["methods"]) == config["methods"] == own
        start = learned / ("mask" if run.name == "mask" else "start.safetensors")
        assert config["start"] == str(start.resolve())


def test_as_many_labels_as_the_share_are_used_some_of_them_to_choose_by(learned):
    total = len(all_digits().labels)
    rows = pd.read_csv(learned / "few_labels.csv")
    assert len(rows) == len(SHARES) * len(DRAWS) * 3
    for share in SHARES:
        used = round(share * total)
        held_out = round(0.2 * used)
        own = rows[rows["share"] == share]
        assert set(own["labels"]) == {used}
        assert set(own["train_examples"]) == {used - held_out}
        for run in (learned / "labels" / str(share)).glob("*/*"):
            assert [len(part) for part in labeled(run)] == [used - held_out, held_out]


def test_a_draw_is_the_same_for_all_networks_and_differs_from_others(learned):
    at = learned / "labels"
    for share in SHARES:
        one, other = (labeled(at / str(share) / f"draw{draw}" / "mask") for draw in DRAWS)
        assert one == labeled(at / str(share) / "draw1" / "untouched")
        assert set(one[0] + one[1]) != set(other[0] + other[1])
    large, small = (labeled(at / str(share) / "draw1" / "mask") for share in SHARES)
    assert set(small[0] + small[1]) <= set(large[0] + large[1])


def test_the_masks_are_learned_on_all_images(learned):
    probe = read(learned / "mask" / "linear_probe")
    assert probe["train_examples"] == round(0.8 * len(all_digits().labels))


def test_runs_of_other_seeds_have_other_draws():
    seeds = {few_labels.draw_seed(seed, draw) for seed in range(9) for draw in range(9)}
    assert len(seeds) == 81


@pytest.mark.parametrize("place", ["mask/linear_probe", "untouched/full"])
def test_a_task_finds_its_own_network_and_has_the_accuracy_that_is_told(learned, place):
    run = learned / "labels" / "0.2" / "draw2" / place
    loaded = task.load(run)  # not the start of the run around it
    test = data.load("digits", classes=(5, 6, 7, 8, 9)).test
    found = np.asarray(loaded.logits(loaded.variables, test.images)).argmax(-1)
    assert abs((found == test.labels).mean() - read(run)["accuracy"]) <= 1.5 / len(found)


def test_the_result_has_means_and_deviations_over_the_draws(learned):
    rows = read(learned)["few_labels"]
    assert len(rows) == len(SHARES) * 3
    for row in rows:
        values = [
            read(learned / "labels" / str(row["share"]) / f"draw{draw}" / row["network"] /
                 row["method"])["accuracy"]
            for draw in DRAWS
        ]  # fmt: skip
        assert row["draws"] == 2
        np.testing.assert_allclose(row["accuracy"], np.mean(values), rtol=1e-12)
        np.testing.assert_allclose(row["deviation"], np.std(values, ddof=1), atol=1e-12)
    text = (learned / "few_labels.md").read_text()
    assert "| mask + linear_probe | 0.05 |" in text
    assert "paired t-test over draws against mask + linear_probe" in text
    assert (learned / "figures" / "low_labels.png").exists()


def test_only_what_is_missing_is_run_again_from_anywhere(learned, tmp_path, monkeypatch):
    """The run's directory is given relative to another working directory than before."""
    before = {
        path: (path.stat().st_mtime_ns, path.read_bytes())
        for path in (learned / "labels").glob("*/*/*/**/result.json")
    }
    text = (learned / "few_labels.csv").read_bytes()
    lost = learned / "labels" / "0.05" / "draw2" / "mask"
    shutil.rmtree(lost)
    (learned / "result.json").unlink()
    monkeypatch.chdir(learned.parent)
    assert main([*QUICK, "--workdir=run"]) == 0
    for path, (written, content) in before.items():
        again = lost in path.parents
        assert (path.stat().st_mtime_ns != written) == again
        found, was = json.loads(path.read_bytes()), json.loads(content)
        assert found["accuracy"] == was["accuracy"]
    assert (learned / "few_labels.csv").read_bytes() == text


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("shares=(0.005,)", r"few_labels.shares has 0.005, 3 of 672 images of 5 classes: too few"),
        ("shares=(0.5, 0.0075)", r"0.0075, 5 of 672 .* give larger shares"),
        ("shares=(0.1, 0.1)", "few_labels.shares has a value twice"),
        ("shares=(0.0,)", "fractions of the training labels above 0"),
        ("shares=(-0.1,)", "few_labels.shares has -0.1"),
        ("shares=(2,)", "has 2; .* at most 1"),
        ("shares=('a',)", "few_labels.shares has 'a'"),
        ("validation=0.0", "one more to choose by"),
        ("validation=0.99", r"few_labels, on 0.2 of the labels: cannot take"),
        ("validation=-1.0", r"few_labels, on 0.2 of the labels: data.validation is -1"),
        ("draws=0", "few_labels.draws has 0"),
        ("steps=0", "few_labels.steps has 0"),
        ("methods=('lora',)", "few_labels.methods has 'lora', which has no section"),
        ("methods=('ful',)", "did you mean 'full'"),
        ("methods=('train',)", "few_labels.methods has 'train'"),
        ("methods=()", "methods is empty"),
        ("full.choices=(0.1, 0.01)", "few_labels, .*same number of choices"),
        ("full.train.optimizer=sgdd()", "few_labels, .*full.train.optimizer|sgdd"),
        ("linear_probe.iterations=0", "few_labels, .*linear_probe.iterations"),
    ],
)
def test_what_cannot_be_run_is_refused_before_anything_trains(override, message):
    config = config_with(f"few_labels.{override}")
    with pytest.raises(InputError, match=message):
        recipe.prepare(config)


def test_the_least_share_has_one_image_of_each_class_and_one_to_choose_by():
    config = config_with(f"few_labels.shares=({6 / 672},)")
    assert recipe.prepare(config).planned[-1].steps == 10  # of all 5 images


def test_shares_are_of_the_whole_dataset_whatever_part_the_masks_learn_from():
    steps = set()
    for share in (1.0, 0.5):
        config = config_with(f"data.share={share}", "few_labels.shares=(0.6,)")
        steps.add(recipe.prepare(config).planned[-1].steps)
    assert len(steps) == 1


@pytest.mark.parametrize("shares", [(1.0,), (0.5, 0.02)])
def test_trainings_have_about_the_steps_asked_for_whatever_the_share(shares):
    config = config_with(f"few_labels.shares={shares}", "few_labels.steps=100")
    planned = [each for each in recipe.prepare(config).planned if each.place.parts[0] == "labels"]
    assert len(planned) == len(shares) * len(DRAWS)
    assert all(90 <= each.steps <= 110 for each in planned)
    assert all(each.batch_size <= 64 for each in planned)


def test_without_shares_nothing_is_added():
    config = config_with("few_labels.shares=()")
    assert [str(each.place) for each in recipe.prepare(config).planned] == ["mask"]
    assert defaults.self_mask("digits", 1).few_labels.shares == ()
