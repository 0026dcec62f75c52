"""Methods that fit a classifier to the features of the network as it is, against numpy."""

import json
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest
import small

from jaxmask import adapter
from jaxmask.errors import InputError
from jaxmask.run import driver, evaluator, starting
from jaxmask.task import file as task_file
from jaxmask.train.records import read_records

CHOICES = {"knn": (1, 7), "linear_probe": (10.0, 0.01)}
FIELDS = {"knn": "neighbors", "linear_probe": "regularization"}


@pytest.fixture(scope="module", params=["knn", "linear_probe"])
def at(request, tmp_path_factory):
    """A finished run of an evaluator: its task, starting weights, folder and result."""
    name = request.param
    of = small.config(start="random", methods=(name,), **{f"{name}__choices": CHOICES[name]})
    task = small.task(of)
    start = starting.Start(starting.random_weights(task, 0), "random", True, True)
    folder, drawn = tmp_path_factory.mktemp(name) / name, []
    begin = evaluator.fitted(
        name, adapter.EVALUATORS[name], task, of, lambda where, found: drawn.append(found.method)
    )
    found = driver.alone(begin(start, folder, {}))
    return SimpleNamespace(name=name, task=task, start=start, folder=folder, found=found,
                           begin=begin, drawn=drawn)  # fmt: skip


def features(at, images):
    """Of LeNet before its head, in numpy."""
    params = at.start.weights["params"]
    x = (images.reshape(len(images), -1) / 255 - 0.3) / 0.2
    for name in ("fc1", "fc2"):
        x = np.maximum(x @ np.asarray(params[name]["kernel"]) + np.asarray(params[name]["bias"]), 0)
    return x


def predicted(at, value, images):
    """By an evaluator of the package, on numpy's features."""
    train, section = at.task.dataset.train, small.config()[at.name]
    classifier = adapter.EVALUATORS[at.name].fit(
        features(at, train.images).astype(np.float32), train.labels, value, 3, section
    )
    return np.asarray(classifier.logits(features(at, images).astype(np.float32))).argmax(1)


def test_each_choice_is_measured_on_validation_data_and_the_best_is_taken(at):
    split = at.task.dataset.validation
    shares = {}
    for choice in at.found.more["choices"]:
        right = predicted(at, choice["value"], split.images) == split.labels
        shares[choice["value"]] = choice["validation_accuracy"]
        assert choice["validation_accuracy"] == pytest.approx(right.mean(), abs=1.01 / 30)
    assert tuple(shares) == CHOICES[at.name]
    chosen = at.found.more[FIELDS[at.name]]
    assert shares[chosen] == max(shares.values()) == at.found.validation_accuracy


def test_the_test_split_is_read_once(at):
    split = at.task.dataset.test
    right = predicted(at, at.found.more[FIELDS[at.name]], split.images) == split.labels
    assert at.found.accuracy == pytest.approx(right.mean(), abs=1.01 / 40)
    lines = read_records(at.folder)
    assert [line["split"] for line in lines] == ["validation", "validation", "test"]
    assert lines[-1]["accuracy"] == at.found.accuracy


def test_the_file_holds_the_classifier_and_the_result_its_size(at):
    path = at.folder / "masks" / "task.mask"
    file = task_file.read(path)
    assert at.found.storage_bytes == path.stat().st_size
    assert file.about["method"] == at.name
    assert file.about[FIELDS[at.name]] == at.found.more[FIELDS[at.name]]
    assert at.drawn == [at.name]
    if at.name == "knn":
        stored = file.stored.arrays["neighbors"]
        train = at.task.dataset.train
        np.testing.assert_allclose(
            stored["features"], features(at, train.images), rtol=1e-3, atol=1e-4
        )
        np.testing.assert_array_equal(stored["labels"], train.labels)
        assert at.found.trained_numbers == at.found.steps == 0
    else:
        head = file.stored.arrays["params"]["head"]
        split = at.task.dataset.test
        logits = features(at, split.images) @ head["kernel"] + head["bias"]
        assert at.found.accuracy == pytest.approx((logits.argmax(1) == split.labels).mean())
        assert at.found.trained_numbers == 5 * 3 + 3
        assert at.found.steps > 0


def test_a_finished_run_is_not_done_again(at):
    with pytest.raises(StopIteration) as end:
        next(at.begin(at.start, at.folder, {}))
    assert end.value.value == at.found
    assert json.loads((at.folder / "config.json").read_text())["methods"] == [at.name]


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("knn", {"knn__temperature": 0.0}, r"knn\.temperature"),
        ("linear_probe", {"linear_probe__iterations": 0}, "linear_probe.iterations has 0"),
    ],
)
def test_what_cannot_be_is_told_with_the_methods_name(name, changes, message):
    of = small.config(**changes)
    with pytest.raises(InputError, match=message):
        evaluator.fitted(name, adapter.EVALUATORS[name], small.task(of), of, lambda *_: None)


@pytest.mark.parametrize("name", ["knn", "linear_probe"])
@pytest.mark.parametrize(
    ("split", "value", "count"), [("train", np.inf, 96), ("validation", np.nan, 30)]
)
def test_features_that_are_not_finite_are_refused(name, split, value, count, tmp_path):
    """Here of all images of a split, from one bias of the last layer before the head."""
    of = small.config(start="random", methods=(name,))
    task = small.task(of)
    weights = starting.random_weights(task, 0)
    start = starting.Start(weights, "random", True, True)
    if split == "train":
        weights["params"]["fc2"]["bias"] = weights["params"]["fc2"]["bias"].at[1].set(value)
    else:  # an image the network has no finite answer to, whatever the weights
        augment = task.augment
        found = task.dataset.validation
        images = np.full_like(found.images, 255)
        task = task._replace(
            dataset=task.dataset._replace(validation=found._replace(images=images)),
            augment=lambda key, x: jnp.where(x.min() == 255, value, augment(key, x)),
            identity=f"{task.identity}, {value} for white images",
        )
    begin = evaluator.fitted(name, adapter.EVALUATORS[name], task, of, lambda *_: None)
    with pytest.raises(InputError) as refused:
        driver.alone(begin(start, tmp_path / name, {}))
    assert str(refused.value) == (
        f"{name}: the starting network gives features that are not finite, of {count} of the "
        f"{count} images of the split '{split}'; use another start or compute_dtype"
    )
    assert not (tmp_path / name / "result.json").exists()
