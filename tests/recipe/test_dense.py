"""Training a network's weights: all, or those that the rules say."""

import numpy as np
import pytest
import small
from safetensors.numpy import load_file

from jaxmask.errors import InputError
from jaxmask.model import weights as weights_file
from jaxmask.recipe import dense
from jaxmask.run import driver
from jaxmask.train.records import read_records

DATA = small.dataset(validation=30)


def run(folder, **changes):
    config = small.config("dense", **{"train__learning_rate": 0.05, "train__epochs": 3, **changes})
    return driver.alone(dense.prepare(config, DATA)(folder, None))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dense") / "run"
    return folder, run(folder)


def test_the_accuracy_is_that_of_the_stored_weights_in_numpy(trained):
    folder, found = trained
    variables, about = weights_file.load(folder)
    right = small.logits(variables["params"], DATA.test.images).argmax(1) == DATA.test.labels
    assert found.accuracy == pytest.approx(right.mean(), abs=0.011)
    assert right.mean() > 0.5
    assert about["mean"] == [pytest.approx(0.3)]
    assert (about["classes"], about["dataset"]) == (["left", "middle", "right"], "made")


def test_the_kept_epoch_is_the_best_on_validation_data_and_the_test_split_is_read_once(trained):
    folder, found = trained
    lines = read_records(folder)
    validation = [line for line in lines if line["split"] == "validation"]
    best = max(validation, key=lambda line: (line["accuracy"], -line["loss"]))
    assert found.more["epoch"] == best["epoch"]
    assert found.validation_accuracy == best["accuracy"]
    assert [line["split"] for line in lines].count("test") == 1
    assert lines[-1]["accuracy"] == found.accuracy


def test_the_result_counts_what_there_is(trained):
    folder, found = trained
    flat = load_file(folder / "weights.safetensors")
    assert found.trained_numbers == sum(leaf.size for leaf in flat.values())
    assert found.storage_bytes == (folder / "weights.safetensors").stat().st_size
    assert (found.recipe, found.method, found.steps) == ("dense", "dense", 3 * (96 // 16))
    assert (found.density, found.mask_bits) == (1.0, 0)
    assert (folder / "figures" / "loss.png").exists()


def test_a_finished_run_is_not_trained_again(trained):
    folder, found = trained
    stamp = (folder / "result.json").stat().st_mtime_ns
    assert run(folder) == found
    assert (folder / "result.json").stat().st_mtime_ns == stamp
    with pytest.raises(InputError, match=r"another config.*epochs"):
        run(folder, train__epochs=5)


def test_the_rules_say_what_is_trained(trained, tmp_path):
    start, _ = trained
    found = run(tmp_path / "head", start=str(start), rules=(("head/.*", "train"),))
    before = load_file(start / "weights.safetensors")
    after = load_file(tmp_path / "head" / "weights.safetensors")
    changed = {name for name in before if not np.array_equal(before[name], after[name])}
    assert changed == {"params/head/kernel", "params/head/bias"}
    assert found.trained_numbers == 5 * 3 + 3


def test_seeds_begin_apart_and_the_same_seed_alike(tmp_path):
    begun = []
    for index, seed in enumerate((0, 0, 1)):
        config = small.config("dense", seed=seed)
        training = next(dense.prepare(config, DATA)(tmp_path / str(index), None))
        begun.append(np.asarray(training.job.state.learned["train"]["fc1"]["kernel"]))
    np.testing.assert_array_equal(begun[0], begun[1])
    assert (begun[0] != begun[2]).all()


def test_a_loss_that_was_never_finite_is_an_error(tmp_path):
    with pytest.raises(InputError, match=r"not finite after 6 steps; lower train\.learning_rate"):
        run(tmp_path / "run", train__learning_rate=1e30)
    assert not (tmp_path / "run" / "result.json").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rules": (("fc1/.*", "mask"),)}, "the recipe 'dense': .*'train' or 'freeze'"),
        ({"rules": (("nowhere", "train"),)}, "matches no path"),
        ({"start": "nowhere"}, "no weights at nowhere"),
        ({"train__epochs": 0}, r"train\.epochs has 0"),
        ({"network__name": "resnet21"}, "no network 'resnet21'"),
        ({"data__mean": (0.3, 0.3)}, r"data\.mean has 2 numbers"),
        ({"data__mean": ()}, r"both data\.mean and data\.std"),
    ],
)
def test_what_cannot_be_is_told_before_anything_is_made(tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        run(tmp_path / "run", **changes)
    assert not (tmp_path / "run").exists()


def test_weights_of_another_network_are_refused(trained, tmp_path):
    with pytest.raises(InputError, match="do not fit the network"):
        run(tmp_path / "run", start=str(trained[0]), network__width=0.1)
