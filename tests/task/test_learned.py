"""A learned task ready for use: found, put together, and computed as in numpy."""

import json

import jax.numpy as jnp
import numpy as np
import pytest
from tasks import SHAPE, base, task

from jaxmask import model, tree
from jaxmask.errors import InputError
from jaxmask.model import weights
from jaxmask.task import learned, library

CLASSES = ("a", "b", "c")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(file of a task of bits, what its network is)."""
    folder = tmp_path_factory.mktemp("learned")
    path, variables = base(folder)
    shape = variables["params"]["fc1"]["kernel"].shape
    masks = {"fc1/kernel": np.random.default_rng(0).random(shape) < 0.5}
    return folder / "some.mask", task(folder / "some.mask", path, variables, CLASSES, masks=masks)


def images(count=4, shape=SHAPE):
    return np.random.default_rng(1).integers(0, 256, (count, *shape)).astype(np.uint8)


def logits(variables, x):
    """Of LeNet, normalized by a mean of 0.5 and a deviation of 0.25, in numpy."""
    x = (x.reshape(len(x), -1) / 255.0 - 0.5) / 0.25
    params = variables["params"]
    for name in ("fc1", "fc2"):
        x = np.maximum(x @ np.asarray(params[name]["kernel"]) + np.asarray(params[name]["bias"]), 0)
    return x @ np.asarray(params["head"]["kernel"]) + np.asarray(params["head"]["bias"])


def test_a_loaded_task_computes_what_its_network_does(made):
    file, variables = made
    found = learned.load(file)
    np.testing.assert_allclose(
        found.logits(found.variables, images()), logits(variables, images()), rtol=1e-4, atol=1e-4
    )
    assert (found.classes, found.source) == (CLASSES, file)
    assert found.about["stored_shape"] == list(SHAPE)


def test_weights_of_a_dense_run_are_a_task_too(made, tmp_path):
    _, variables = made
    about = {"network": "lenet_300_100", "width": 0.05, "classes": list(CLASSES), "mean": [0.5],
             "std": [0.25], "image_shape": list(SHAPE)}  # fmt: skip
    weights.save(tmp_path / "weights.safetensors", variables, about)
    (tmp_path / "result.json").write_text('{"method": "dense"}')
    found = learned.load(tmp_path)
    assert found.about["method"] == "dense"
    np.testing.assert_allclose(
        found.logits(found.variables, images()), logits(variables, images()), rtol=1e-4, atol=1e-4
    )
    weights.save(tmp_path / "weights.safetensors", variables, {"network": "lenet_300_100"})
    with pytest.raises(InputError, match="does not name its network"):
        learned.load(tmp_path)


def test_a_task_of_neighbors_votes_with_its_stored_features(tmp_path):
    """One neighbor: the class of the training image that is nearest in the features."""
    path, variables = base(tmp_path)
    stored = images(9)
    x = (stored.reshape(9, -1) / 255.0 - 0.5) / 0.25
    params = variables["params"]
    for name in ("fc1", "fc2"):
        x = np.maximum(x @ params[name]["kernel"] + params[name]["bias"], 0)
    labels = np.arange(9, dtype=np.int32) % 3
    arrays = {"neighbors": {"features": x.astype(np.float32), "labels": labels}}
    task(tmp_path / "a.mask", path, variables, CLASSES, arrays=arrays, method="knn", neighbors=1,
         temperature=0.1)  # fmt: skip
    found = learned.load(tmp_path / "a.mask")
    told = np.asarray(found.logits(found.variables, stored))
    np.testing.assert_array_equal(told.argmax(1), labels)
    np.testing.assert_allclose(np.exp(told).sum(1), 1, rtol=1e-5)


ABOUT = {"network": "lenet_300_100", "width": 0.05, "mean": [0.5], "std": [0.25]}


def test_colors_become_gray_and_gray_becomes_color_as_the_network_sees():
    gray = learned.pipeline({**ABOUT, "image_shape": [8, 8, 1]}, 3).prepare
    x = images(2, (8, 8, 3))
    wanted = np.round(x.astype(np.float32) @ np.float32([0.299, 0.587, 0.114]))[..., None]
    np.testing.assert_allclose(
        np.asarray(gray(jnp.asarray(x))) * 0.25 + 0.5, wanted / 255, atol=1.01 / 255
    )
    color = learned.pipeline({**ABOUT, "image_shape": [8, 8, 3]}, 3).prepare
    found = np.asarray(color(jnp.asarray(images(2))))
    assert found.shape == (2, 8, 8, 3)
    for channel in range(3):
        np.testing.assert_allclose(
            found[..., channel], (images(2)[..., 0] / 255 - 0.5) / 0.25, atol=1e-5
        )


def test_images_are_resized_to_what_the_network_sees():
    prepare = learned.pipeline({**ABOUT, "image_shape": [4, 4, 1]}, 3).prepare
    assert prepare(jnp.asarray(images(2))).shape == (2, 4, 4, 1)


def test_the_pipeline_has_the_network_that_the_file_names():
    module = learned.pipeline({**ABOUT, "network": "resnet18", "stem": "cifar"}, 7).module
    assert module == model.create("resnet18", classes=7, width=0.05, stem="cifar")
    with pytest.raises(InputError, match=r"not imported; if you trust it"):
        learned.pipeline({**ABOUT, "network": "os:path"}, 3)
    with pytest.raises(InputError, match=r"not imported; if you trust it"):
        learned.pipeline({**ABOUT, "network": "os:path"}, 3, "os:getcwd")


def run_directory(folder, result, *files):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "result.json").write_text(json.dumps(result))
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def test_a_path_means_a_file(tmp_path):
    method = run_directory(tmp_path / "a" / "mask", {"method": "mask"}, "masks/task.mask",
                           "weights.safetensors")  # fmt: skip
    assert learned.find(method) == method / "masks" / "task.mask"
    whole = run_directory(tmp_path / "a", {"method": "mask", "methods": {}})
    assert learned.find(whole) == method / "masks" / "task.mask"
    dense = run_directory(tmp_path / "b", {"method": "dense"}, "weights.safetensors")
    assert learned.find(dense) == dense / "weights.safetensors"
    assert learned.find(dense / "weights.safetensors") == dense / "weights.safetensors"


@pytest.mark.parametrize("text", [None, "{", "3", '{"accuracy": 1}', '{"methods": {}}'])
def test_what_is_no_finished_run_is_refused(tmp_path, text):
    if text is not None:
        (tmp_path / "result.json").write_text(text)
    whole = text is not None and ":" in text
    message = "holds no learned task" if whole else "not a finished run"
    with pytest.raises(InputError, match=message):
        learned.find(tmp_path)
    with pytest.raises(InputError, match="there is no"):
        learned.find(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("params/fc1/kernel", lambda leaf: (leaf * 100).astype(np.int16), "is of int16, not of fl"),
        ("params/head/bias", lambda leaf: leaf > 0, "is of bool, not of floating"),
        ("params/fc2/bias", lambda leaf: leaf * np.nan, "is not finite"),
    ],
)
def test_weights_of_a_dense_run_are_checked_as_a_tasks_are(made, tmp_path, name, change, message):
    about = {"network": "lenet_300_100", "width": 0.05, "classes": list(CLASSES), "mean": [0.5],
             "std": [0.25], "image_shape": list(SHAPE)}  # fmt: skip
    flat = {path: np.asarray(leaf) for path, leaf in tree.named_leaves(made[1]).items()}
    changed = tree.nested({**flat, name: change(flat[name])})
    weights.save(tmp_path / "weights.safetensors", changed, about)
    with pytest.raises(InputError, match=f"weights.safetensors: the array '{name}' {message}"):
        learned.load(tmp_path / "weights.safetensors")


@pytest.mark.parametrize("kind", ["bool", "int32"])
def test_batch_statistics_of_whole_numbers_are_refused(tmp_path, kind):
    path, variables = base(tmp_path, "resnet20", 0.25)
    arrays = {"batch_stats": {"bn1": {"var": np.ones(4, kind)}}}
    with pytest.raises(InputError, match=f"a.mask: the array 'batch_stats/bn1/var' is of {kind}"):
        task(tmp_path / "a.mask", path, variables, CLASSES, arrays=arrays, network="resnet20",
             width=0.25)  # fmt: skip
    for read in (learned.load, lambda file: library.load([file])):
        with pytest.raises(InputError, match=f"'batch_stats/bn1/var' is of {kind}"):
            read(tmp_path / "a.mask")


def test_a_base_network_with_a_negative_variance_is_refused(tmp_path):
    path, variables = base(tmp_path, "resnet20", 0.25)
    variables["batch_stats"]["layer1_1"]["bn1"]["var"][2] = -0.25
    weights.save(path, variables, {"network": "resnet20"})
    task(tmp_path / "a.mask", path, variables, CLASSES, network="resnet20", width=0.25)
    told = f"{path.name}: the variance 'batch_stats/layer1_1/bn1/var' is negative"
    with pytest.raises(InputError, match=told):
        learned.load(tmp_path / "a.mask")
