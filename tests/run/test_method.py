"""A method of a comparison: its choices are tried on validation data, the best is trained anew."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import small

from jaxmask import adapter
from jaxmask.adapter import Method
from jaxmask.errors import InputError
from jaxmask.run import driver, method, starting
from jaxmask.task import file as task_file
from jaxmask.train.records import read_records

CHOICES = (0.0, 0.05)  # with a rate of 0 nothing is learned


def config(**changes):
    given = {"start": "random", "bias__choices": CHOICES, "methods": ("bias",), **changes}
    return small.config(**given)


@pytest.fixture(scope="module")
def at(tmp_path_factory):
    """A finished run of `bias`: its task, starting weights, folder, result, what was drawn."""
    of, folder, drawn = config(), tmp_path_factory.mktemp("method") / "bias", []
    task = small.task(of)
    start = starting.Start(starting.random_weights(task, 0), "random", True, True)
    begin = method.trained(
        "bias", adapter.METHODS["bias"], (), task, of,
        lambda where, found: drawn.append((where.name, found.accuracy)),
    )  # fmt: skip
    found = driver.alone(begin(start, folder, {}))
    return SimpleNamespace(task=task, start=start, folder=folder, found=found, drawn=drawn,
                           begin=begin)  # fmt: skip


def told(folder):
    return json.loads((folder / "result.json").read_text())


def places(at):
    return [at.folder / "choices" / f"learning_rate_{value!r}" for value in CHOICES]


def test_every_choice_has_a_run_directory_and_the_best_on_validation_data_is_chosen(at):
    tried = [told(place) for place in places(at)]
    assert [each["learning_rate"] for each in tried] == list(CHOICES)
    best = max(tried, key=lambda each: (each["validation_accuracy"], -each["validation_loss"]))
    assert at.found.more["learning_rate"] == best["learning_rate"] == 0.05
    assert [(c["value"], c["validation_accuracy"]) for c in at.found.more["choices"]] == [
        (each["learning_rate"], each["validation_accuracy"]) for each in tried
    ]
    assert at.found.more["runs"] == [f"choices/learning_rate_{value!r}" for value in CHOICES]
    for value, place in zip(CHOICES, places(at)):
        assert json.loads((place / "config.json").read_text())["bias"]["choices"] == [value]


def test_the_test_split_is_read_once_and_with_the_final_network_alone(at):
    splits = [line["split"] for line in read_records(at.folder)]
    assert splits.count("test") == 1
    for place in places(at):
        assert "test" not in {line["split"] for line in read_records(place)}
        assert told(place)["accuracy"] is None
    assert [name for name, _ in at.drawn] == [place.name for place in places(at)] + ["bias"]


def test_the_accuracy_is_that_of_the_stored_file_in_numpy(at):
    file = task_file.read(at.folder / "masks" / "task.mask")
    params = task_file.restored(at.start.weights, file)["params"]
    split = at.task.dataset.test
    right = small.logits(params, split.images).argmax(1) == split.labels
    assert at.found.accuracy == pytest.approx(right.mean())
    assert at.found.storage_bytes == (at.folder / "masks" / "task.mask").stat().st_size
    kernel = at.start.weights["params"]["fc1"]["kernel"]
    np.testing.assert_array_equal(params["fc1"]["kernel"], kernel)  # biases alone were learned


def test_the_final_training_sees_another_order_of_examples_than_the_choices_did(at):
    """Its first epoch has another loss than that of the same rate among the choices."""
    first = [read_records(folder)[0]["loss"] for folder in (places(at)[1], at.folder)]
    assert first[0] != first[1]


def test_the_numbers_are_those_of_the_biases_and_the_head(at):
    shapes = {path: leaf.shape for path, leaf in at.start.weights["params"]["head"].items()}
    assert shapes == {"kernel": (5, 3), "bias": (3,)}
    assert at.found.trained_numbers == 15 + 5 + 5 * 3 + 3
    assert (at.found.mask_bits, at.found.density, at.found.density_by_leaf) == (0, 1.0, {})
    assert at.found.steps == 2 * (96 // 16)
    assert at.found.more["train_examples"] == 96


def test_a_finished_method_asks_for_no_training_again(at):
    with pytest.raises(StopIteration) as end:
        next(at.begin(at.start, at.folder, {}))
    assert end.value.value == at.found


def test_a_single_choice_is_not_tried_first(tmp_path):
    of = config(bias__choices=(0.05,))
    task = small.task(of)
    start = starting.Start(starting.random_weights(task, 0), "random", True, True)
    begin = method.trained("bias", adapter.METHODS["bias"], (), task, of, lambda *_: None)
    found = driver.alone(begin(start, tmp_path / "bias", {}))
    assert (found.more["choices"], found.more["runs"]) == ([], [])
    assert found.more["seconds_of_choices"] == 0
    assert not (tmp_path / "bias" / "choices").exists()


def test_a_choice_that_diverges_is_not_chosen_and_all_that_diverge_are_an_error(tmp_path):
    rates = (0.05, 1e30)
    of = config(bias__choices=rates)
    task = small.task(of)
    start = starting.Start(starting.random_weights(task, 0), "random", True, True)

    def run(of, folder):
        begin = method.trained("bias", adapter.METHODS["bias"], (), task, of, lambda *_: None)
        return driver.alone(begin(start, folder, {}))

    found = run(of, tmp_path / "one")
    assert found.more["learning_rate"] == 0.05
    assert found.more["choices"][1]["validation_accuracy"] is None
    of = config(bias__choices=(1e29, 1e30))
    with pytest.raises(InputError, match=r"not finite with any of the choices 1e\+29, 1e\+30"):
        run(of, tmp_path / "none")
    of = config(bias__choices=(1e30,))
    with pytest.raises(InputError, match="bias: the loss is not finite after 6 steps"):
        run(of, tmp_path / "single")


def test_what_cannot_be_is_told_before_anything_is_made():
    of = config()
    task = small.task(of)

    def made(name="bias", **changes):
        of = config(**changes)
        return method.trained(name, adapter.METHODS[name], (), task, of, lambda *_: None)

    with pytest.raises(InputError, match=r"bias\.tune is 'momentum'"):
        made(bias__tune="momentum")
    with pytest.raises(InputError, match=r"mask: rule 1 .*nowhere"):
        made("mask", mask__rules=(("nowhere", "mask"),))
    with pytest.raises(InputError, match="name 'mask' before it"):
        made("mask_topk", mask_topk__density=0.0)
    with pytest.raises(InputError, match=r"bias\.train\.epochs"):
        made(bias__train__epochs=0)


def test_a_builder_sees_the_network():
    seen = []

    def build(section, site):
        seen.append(site)
        return adapter.METHODS["bias"].build(section, site)

    of = config()
    of.head = "text"
    method.trained("bias", Method(build, {}), (), small.task(of), of, lambda *_: None)
    site = seen[0]
    assert site.name == "lenet_300_100"
    assert site.rules == ((".*/kernel", "mask"),)  # without the head's
    assert site.stages == ("fc1/.*", "fc2/.*")
    assert site.head == ("head/.*", "freeze")
    assert site.parameters["fc1"]["kernel"].shape == (36, 15)
