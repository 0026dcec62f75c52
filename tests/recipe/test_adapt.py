"""Two whole experiments on real digits."""

import json

import chex
import jax
import numpy as np
import pytest

from jaxmask import data, mask, recipe, task
from jaxmask.cli.run import main
from jaxmask.loss import cross_entropy
from jaxmask.model import weights
from jaxmask.recipe import defaults
from jaxmask.run import seeds
from jaxmask.train import loop
from jaxmask.train.records import read_records


def read(folder):
    return json.loads((folder / "result.json").read_text())


@pytest.fixture(scope="module")
def adapted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("adapt") / "run"
    status = main(
        ["--config=digits", f"--workdir={folder}", "--config.network.width=0.25",
         "--config.mask.choices=(5.0, 50.0)", "--config.full.choices=(0.01, 0.03)",
         "--config.linear_probe.choices=(0.001, 0.1)", "--config.pretrain.train.epochs=20",
         "--config.full.train.epochs=20", "--config.mask.train.epochs=20"]
    )  # fmt: skip
    assert status == 0
    return folder


def test_a_mask_over_a_frozen_network_learns_the_new_digits(adapted):
    result = read(adapted)
    assert result["pretraining_accuracy"] > 0.95
    assert result["methods"]["mask"]["accuracy"] > 0.9
    assert result["methods"]["full"]["accuracy"] > 0.9
    assert result["methods"]["linear_probe"]["accuracy"] > 0.7
    assert (
        result["methods"]["mask"]["storage_bytes"] < result["methods"]["full"]["storage_bytes"] / 5
    )
    assert result["runs"] == ["pretrain", "linear_probe", "full", "mask"]


def test_every_method_has_a_complete_run_directory(adapted):
    for name in read(adapted)["runs"]:
        folder = adapted / name
        result = read(folder)
        for field in ("recipe", "method", "dataset", "seed", "accuracy", "validation_accuracy",
                      "density", "density_by_leaf", "mask_bits", "storage_bytes", "steps",
                      "seconds", "versions"):  # fmt: skip
            assert field in result, (name, field)
        stored = "weights.safetensors" if name == "pretrain" else "masks/task.mask"
        for file in ("config.json", "metrics.jsonl", stored):
            assert (folder / file).exists(), (name, file)
    assert (adapted / "table.md").read_text().count("\n") == 5
    for picture in ("accuracy_against_bytes", "loss", "density_mask"):
        assert (adapted / "figures" / f"{picture}.png").stat().st_size > 5000


def test_the_test_split_is_read_once_and_not_by_choices(adapted):
    for name in ("pretrain", "linear_probe", "full", "mask"):
        assert [line["split"] for line in read_records(adapted / name)].count("test") == 1
    choices = list(adapted.glob("*/choices/*"))
    assert len(choices) == 4
    for folder in choices:
        assert read(folder)["accuracy"] is None
        assert read(folder)["storage_bytes"] > 0
        assert all(line["split"] != "test" for line in read_records(folder))


def test_the_chosen_value_is_the_best_on_validation_data(adapted):
    tuned = {"linear_probe": "regularization", "full": "learning_rate",
             "mask": "mask_learning_rate"}  # fmt: skip
    for name, field in tuned.items():
        result = read(adapted / name)
        assert len(result["choices"]) == 2
        best = max(
            result["choices"], key=lambda c: (c["validation_accuracy"], -c["validation_loss"])
        )
        assert result[field] == best["value"]


def accuracy_of(base, folder, classes, network):
    """Test accuracy, in NumPy, of the base weights with the stored mask, head and statistics."""
    import jax.numpy as jnp

    from jaxmask import data, model, tree
    from jaxmask.model import weights as weights_file
    from jaxmask.run import seeds

    weights, about = weights_file.load(base)
    task = mask.file.read(folder / "masks" / "task.mask")
    flat = {path: np.asarray(leaf) for path, leaf in tree.named_leaves(weights["params"]).items()}
    flat |= tree.named_leaves(task.arrays.get("params", {}))
    for path, on in tree.named_leaves(task.masks).items():
        flat[path] = flat[path] * on / np.sqrt(on.mean())
    nested: dict = {}
    for path, leaf in flat.items():
        layer, name = path.split("/")
        nested.setdefault(layer, {})[name] = jnp.asarray(leaf, jnp.float32)
    dataset = data.load("digits", classes=classes, validation=0.2, seed=seeds.number(0, "data"))
    images = ((dataset.test.images / 255.0 - about["mean"]) / about["std"]).astype(np.float32)
    logits = model.create("conv2", classes=5, width=network).apply({"params": nested}, images)
    return (np.asarray(logits).argmax(-1) == dataset.test.labels).mean(), task.masks


def test_the_mask_file_is_all_that_the_task_needs(adapted):
    """The stored bits and the frozen weights give the reported accuracy."""
    result = read(adapted / "mask")
    accuracy, bits = accuracy_of(adapted / "pretrain", adapted / "mask", (5, 6, 7, 8, 9), 0.25)
    assert accuracy == pytest.approx(result["accuracy"], abs=0.011)
    assert result["density"] == pytest.approx(float(mask.measure.density(bits)))
    assert result["storage_bytes"] == (adapted / "mask" / "masks" / "task.mask").stat().st_size
    assert result["mask_bits"] == sum(
        leaf.size for layer in bits.values() for leaf in layer.values()
    )


def test_masking_random_weights_with_a_masked_head_and_a_fraction_of_the_scores(tmp_path):
    status = main(
        ["--config=digits", f"--workdir={tmp_path}", "--config.network.width=0.5",
         "--config.start=random", "--config.methods=('mask',)", "--config.mask.choices=(50.0,)",
         "--config.mask.head=mask", "--config.mask.train.epochs=20",
         "--config.mask.trainable_share=0.5", "--config.mask.trainable_by=magnitude",
         "--config.data.memory_gib=0.0"]  # also streamed
    )  # fmt: skip
    assert status == 0
    result = read(tmp_path / "mask")
    assert result["accuracy"] > 0.8
    assert 0.5 <= result["density"] < 1
    assert "head/kernel" in result["density_by_leaf"]
    assert result["trained_numbers"] == pytest.approx(result["mask_bits"] / 2, abs=8)
    start = tmp_path / "start.safetensors"
    accuracy, _ = accuracy_of(start, tmp_path / "mask", (5, 6, 7, 8, 9), 0.5)
    assert accuracy == pytest.approx(result["accuracy"], abs=0.011)


def test_a_masked_new_head_is_stored_with_the_task(adapted, tmp_path):
    base = adapted / "pretrain"
    status = main(
        ["--config=digits", f"--workdir={tmp_path}", "--config.network.width=0.25",
         f"--config.start={base}", "--config.methods=('mask',)", "--config.mask.choices=(50.0,)",
         "--config.mask.head=mask", "--config.mask.train.epochs=5"]
    )  # fmt: skip
    assert status == 0
    accuracy, _ = accuracy_of(base, tmp_path / "mask", (5, 6, 7, 8, 9), 0.25)
    assert accuracy == pytest.approx(read(tmp_path / "mask")["accuracy"], abs=0.011)


def test_a_choice_that_diverged_is_not_chosen(tmp_path):
    status = main(
        ["--config=digits", f"--workdir={tmp_path}", "--config.network.width=0.125",
         "--config.start=random", "--config.methods=('full',)", "--config.full.train.epochs=3",
         "--config.full.choices=(0.001, 1e30)"]
    )  # fmt: skip
    assert status == 0
    result = read(tmp_path / "full")
    assert result["learning_rate"] == 0.001
    assert [choice["validation_accuracy"] is None for choice in result["choices"]] == [False, True]


def test_a_choice_that_diverged_after_its_best_epoch_is_not_chosen(tmp_path, monkeypatch):
    fit = loop.fit

    def spoiled(programs, job):
        found = fit(programs, job)
        if job.folder.name == "learning_rate_0.03":
            perfect = {"loss": 0.0, "accuracy": 1.0}
            found = found._replace(diverged=True, validation=perfect)
        return found

    monkeypatch.setattr(loop, "fit", spoiled)
    status = main(
        ["--config=digits", f"--workdir={tmp_path}", "--config.network.width=0.125",
         "--config.start=random", "--config.methods=('full',)", "--config.full.train.epochs=3",
         "--config.full.choices=(0.001, 0.03)"]
    )  # fmt: skip
    assert status == 0
    assert read(tmp_path / "full")["learning_rate"] == 0.001


def test_choices_that_all_diverge_are_a_one_line_error(tmp_path, capsys):
    arguments = [
        "--config=digits", f"--workdir={tmp_path}", "--config.network.width=0.125",
        "--config.start=random", "--config.methods=('full',)", "--config.full.train.epochs=3",
        "--config.full.choices=(1e29, 1e30)",
    ]  # fmt: skip
    assert main(arguments) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "not finite with any of the choices 1e+29, 1e+30" in error


def test_a_pretraining_that_names_no_dataset_learns_other_classes_of_the_tasks(tmp_path):
    made = defaults.adapt("digits", epochs=1)
    made.network.width, made.methods = 0.05, ("linear_probe",)
    made.pretrain.data.name, made.pretrain.data.classes = "", (0, 1, 2)
    training = next(recipe.prepare(made)(tmp_path / "run", None))
    pretraining = json.loads((tmp_path / "run" / "pretrain" / "config.json").read_text())
    assert (pretraining["data"]["name"], pretraining["data"]["classes"]) == ("digits", [0, 1, 2])
    assert training.job.state.learned["train"]["head"]["bias"].shape == (3,)


def test_methods_begin_at_a_probes_head(adapted, tmp_path):
    """With a rate of next to nothing they end there, too; the base network is the same."""
    given = [
        "--config=digits", "--config.network.width=0.25", f"--config.start={adapted / 'pretrain'}",
        "--config.methods=('linear_probe', 'bias')", "--config.linear_probe.choices=(0.001, 0.1)",
        "--config.bias.choices=(1e-9, 1e-8)", "--config.bias.train.epochs=1",
    ]  # fmt: skip
    assert main([*given, f"--workdir={tmp_path / 'run'}", "--config.head=probe"]) == 0
    probe, bias = (read(tmp_path / "run" / name) for name in ("linear_probe", "bias"))
    assert probe["accuracy"] > 0.7
    assert bias["accuracy"] == pytest.approx(probe["accuracy"])
    assert bias["validation_loss"] == pytest.approx(probe["validation_loss"], rel=1e-4)
    # which find the base weights by their fingerprint
    mine, other = (task.load(tmp_path / "run" / name) for name in ("bias", "linear_probe"))
    head, theirs = (each.variables["params"]["head"]["kernel"] for each in (mine, other))
    np.testing.assert_allclose(head, theirs, atol=1e-6)


def test_a_head_that_is_no_probes_is_refused(tmp_path, capsys):
    given = ["--config=digits", "--config.start=random", f"--workdir={tmp_path / 'run'}"]
    assert main([*given, "--config.head=probes"]) != 0
    assert "it must be 'new', 'probe' or 'text'" in capsys.readouterr().err


def test_statistics_that_are_kept_are_those_of_the_start_and_not_stored(shallow_resnet, tmp_path):
    given = [
        "--config=digits", "--config.network.name=resnet20", "--config.network.width=0.1",
        "--config.start=random", "--config.methods=('full',)", "--config.full.choices=(0.05,)",
        "--config.full.train.epochs=2", f"--workdir={tmp_path / 'run'}",
    ]  # fmt: skip
    assert main([*given, "--config.full.train.statistics=keep"]) == 0
    file = mask.file.read(tmp_path / "run" / "full" / "masks" / "task.mask")
    assert set(file.arrays) == {"params"}
    learned = task.load(tmp_path / "run" / "full")
    start, _ = weights.load(tmp_path / "run" / "start.safetensors")
    chex.assert_trees_all_equal(learned.variables["batch_stats"], start["batch_stats"])
    # it trained with these, too: what is stored has the loss that training told
    split = data.load(
        "digits", classes=(5, 6, 7, 8, 9), validation=0.2, seed=seeds.number(0, "data")
    ).validation
    logits = learned.logits(learned.variables, split.images)
    told = read(tmp_path / "run" / "full")["validation_loss"]
    assert float(cross_entropy(logits, split.labels).mean()) == pytest.approx(told, rel=1e-3)
    moved = jax.tree.map(
        lambda a, b: (np.asarray(a) != b).any(), learned.variables["params"], start["params"]
    )
    assert all(jax.tree.leaves(moved))
