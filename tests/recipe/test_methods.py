"""Every method of `adapt`: what it learns, and that its file is all it needs."""

import json

import numpy as np
import pytest
from flax import traverse_util

from jaxmask import data, mask, model, tree
from jaxmask.cli.run import main
from jaxmask.model import weights
from jaxmask.run import seeds
from jaxmask.task import file as task_file
from jaxmask.task import learned

CLASSES = (5, 6, 7)
TRAINED = ("full", "partial", "bias", "lora", "mask", "mask_topk", "mask_sign")


@pytest.fixture(scope="module")
def adapted(tmp_path_factory, without_figures):
    """A run of all methods that work for a network without norms."""
    folder = tmp_path_factory.mktemp("methods") / "run"
    status = main(
        ["--config=digits", f"--workdir={folder}", "--config.network.width=0.25",
         "--config.start=random", f"--config.data.classes={CLASSES}",
         f"--config.methods={('knn', 'linear_probe', *TRAINED)}", "--config.mask_topk.density=0",
         "--config.mask_topk.falling_epochs=1.5", "--config.mask_topk.train.select=last",
         "--config.knn.choices=(5,)", "--config.linear_probe.choices=(0.01,)",
         *(f"--config.{name}.train.epochs=2" for name in TRAINED),
         *(f"--config.{name}.choices=(0.05,)" for name in TRAINED if not name.startswith("mask")),
         *(f"--config.{name}.choices=(5.0,)" for name in TRAINED if name.startswith("mask"))]
    )  # fmt: skip
    assert status == 0
    return folder


def read(folder):
    return json.loads((folder / "result.json").read_text())


def restored(folder, method):
    """The task's file, and the network's variables with it applied."""
    base, _ = weights.load(folder / "start.safetensors")
    path = folder / method / "masks" / "task.mask"
    return base, mask.file.read(path), task_file.restored(base, task_file.read(path))


def changed(base, now):
    """Paths of parameters that changed."""
    before = traverse_util.flatten_dict(base["params"], sep="/")
    after = traverse_util.flatten_dict(now["params"], sep="/")
    assert before.keys() == after.keys()
    return {path for path in before if not np.array_equal(before[path], after[path])}


@pytest.mark.parametrize("method", ["linear_probe", *TRAINED])
def test_the_stored_task_gives_the_accuracy_that_was_reported(adapted, method):
    _, file, variables = restored(adapted, method)
    about = json.loads(file.metadata["mean"]), json.loads(file.metadata["std"])
    dataset = data.load("digits", classes=CLASSES, validation=0.2, seed=seeds.number(0, "data"))
    images = ((dataset.test.images / 255.0 - about[0]) / about[1]).astype(np.float32)
    logits = model.create("conv2", classes=3, width=0.25).apply(variables, images)
    accuracy = (np.asarray(logits).argmax(-1) == dataset.test.labels).mean()
    assert accuracy == pytest.approx(read(adapted / method)["accuracy"], abs=0.011)
    assert json.loads(file.metadata["metrics"])["accuracy"] == pytest.approx(accuracy, abs=0.011)


@pytest.mark.parametrize(
    ("method", "paths"),
    [
        ("linear_probe", {"head/kernel", "head/bias"}),
        ("bias", {"conv1/bias", "conv2/bias", "fc1/bias", "fc2/bias", "head/kernel",
                  "head/bias"}),
        ("lora", {"conv1/kernel", "conv2/kernel", "fc1/kernel", "fc2/kernel", "head/kernel",
                  "head/bias"}),
    ],
)  # fmt: skip
def test_a_method_changes_only_its_own_parameters(adapted, method, paths):
    base, file, variables = restored(adapted, method)
    assert changed(base, variables) <= paths
    assert {path for path in paths if path.endswith("kernel")} <= changed(base, variables)
    assert not file.masks


def test_full_changes_everything_and_partial_the_last_stage(adapted):
    base, _, variables = restored(adapted, "full")
    assert changed(base, variables) == set(tree.paths(base["params"]))
    base, _, variables = restored(adapted, "partial")
    last = model.stages("conv2")[-1]
    labels = tree.label(base["params"], [("head/.*", "train"), (last, "train")])
    trained = {path for path, label in tree.named_leaves(labels).items() if label == "train"}
    assert changed(base, variables) == trained < set(tree.paths(base["params"]))


def test_masks_leave_the_frozen_weights_unchanged(adapted):
    for method in ("mask", "mask_topk", "mask_sign"):
        base, file, variables = restored(adapted, method)
        now = traverse_util.flatten_dict(variables["params"], sep="/")
        for path, bits in tree.named_leaves(file.masks).items():
            before = traverse_util.flatten_dict(base["params"], sep="/")[path]
            kept = np.asarray(now[path])[bits > 0]
            ratio = kept / before[bits > 0]
            np.testing.assert_allclose(ratio, ratio[0], rtol=1e-5)
            expected = -1 if method == "mask_sign" else 0
            off = np.asarray(now[path])[bits <= 0]
            np.testing.assert_allclose(off, expected * before[bits <= 0], rtol=1e-6)


def test_top_k_ends_at_the_density_that_the_mask_found(adapted):
    found, ended = read(adapted / "mask"), read(adapted / "mask_topk")
    assert found["density"] < 0.999
    for path, share in ended["density_by_leaf"].items():
        size = mask.file.read_header(adapted / "mask_topk" / "masks" / "task.mask")["leaves"][path]
        assert abs(share - found["density"]) <= 1 / np.prod(size), path
    densities = [
        json.loads(line)["density"]
        for line in (adapted / "mask_topk" / "metrics.jsonl").read_text().splitlines()
        if json.loads(line)["split"] == "train"
    ]
    steps = read(adapted / "mask_topk")["steps"]
    assert densities[0] == pytest.approx(1 - (1 - found["density"]) * (steps / 2) / (0.75 * steps),
                                         abs=0.01)  # fmt: skip
    assert densities[1] == pytest.approx(found["density"], abs=0.01)


def test_knn_stores_the_features_that_it_votes_with(adapted):
    file = mask.file.read(adapted / "knn" / "masks" / "task.mask")
    stored = file.arrays["neighbors"]
    assert (
        len(stored["features"]) == len(stored["labels"]) == read(adapted / "knn")["train_examples"]
    )
    assert read(adapted / "knn")["accuracy"] > 0.7


@pytest.mark.parametrize("method", ["knn", "linear_probe", *TRAINED])
def test_a_learned_task_is_loaded_from_its_run_directory(adapted, method):
    task = learned.load(adapted / method)
    dataset = data.load("digits", classes=CLASSES, validation=0.2, seed=seeds.number(0, "data"))
    predicted = task.logits(task.variables, dataset.test.images).argmax(axis=-1)
    accuracy = float((predicted == dataset.test.labels).mean())
    assert accuracy == pytest.approx(read(adapted / method)["accuracy"], abs=0.011)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("--config.partial.stages=9", "partial.stages is 9"),
        ("--config.mask.stages=9", "mask.stages is 9"),
        ("--config.lora.rank=0", "lora.rank"),
        ("--config.mask_topk.density=1.5", "mask_topk.density is 1.5"),
        ("--config.mask_topk.density=0", "name 'mask' before it"),
        ("--config.mask_topk.falling_epochs=1", "mask_topk.train.select='last'"),
        ("--config.mask_topk.falling_epochs=100", "falling_epochs is 100"),
        ("--config.head=txt", "head is 'txt'"),
        ("--config.head=text", "takes a CLIP checkpoint"),
        ("--config.methods=('norm',)", "no batch or layer norm"),
        ("--config.mask_topk.scope=all", "scope"),
    ],
)
def test_invalid_settings_are_one_line_errors(tmp_path, capsys, change, message):
    given = ["--config=digits", f"--workdir={tmp_path}/run", "--config.start=random",
             "--config.methods=('partial', 'lora', 'mask_topk', 'mask')", change]  # fmt: skip
    assert main(given) == 2
    assert message in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "run").exists()
