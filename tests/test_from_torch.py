"""A folder of images and a checkpoint from PyTorch: adapted, evaluated, and exported again."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmask import data, mask, model
from jaxmask.cli import masks, task
from jaxmask.cli import run as main
from jaxmask.model import pretrained
from jaxmask.task import learned

WIDTH = 0.25


@pytest.fixture(scope="module")
def page(tmp_path_factory, quick_compilation):
    """The result of the README's page: images, the checkpoint, and the finished run."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("page")
    split, names = data.load_split("digits", "all")
    for label in range(3):
        (folder / "images" / names[label]).mkdir(parents=True)
        for index in np.flatnonzero(split.labels == label)[:60]:
            gray = np.repeat(split.images[index], 3, axis=-1)
            Image.fromarray(gray).save(folder / "images" / names[label] / f"{index}.png")
    net = model.create("resnet20", classes=10, width=WIDTH)
    variables = model.initialize(net, jax.random.key(0), (8, 8, 3))
    state = pretrained.export(variables, "resnet20", "cifar")
    assert "layer1.0.conv1.weight" in state
    pretrained.save(folder / "checkpoint.safetensors", state)
    status = main.main(
        ["--config=folder", f"--workdir={folder}/run", f"--config.data.name=folder:{folder}/images",
         f"--config.start={folder}/checkpoint.safetensors", f"--config.network.width={WIDTH}",
         "--config.network.name=resnet20", "--config.data.decode_size=8",
         "--config.methods=('mask',)",
         "--config.mask.choices=(0.2,)", "--config.mask.train.epochs=8",
         f"--config.data.cache={folder}/cache"]
    )  # fmt: skip
    assert status == 0
    return folder


def test_the_mask_learns_the_images(page):
    result = json.loads((page / "run" / "mask" / "result.json").read_text())
    assert result["accuracy"] > 0.6
    assert result["storage_bytes"] < (page / "checkpoint.safetensors").stat().st_size / 4


def test_the_task_is_evaluated_from_its_file_alone(page, tmp_path, capsys):
    """Away from its run directory, the file still names its base and its data."""
    file = tmp_path / "alone.mask"
    file.write_bytes((page / "run" / "mask" / "masks" / "task.mask").read_bytes())
    assert task.main(["evaluate", str(file), f"--out={tmp_path}"]) == 0
    found = json.loads((tmp_path / "evaluation.json").read_text())
    result = json.loads((page / "run" / "mask" / "result.json").read_text())
    assert found["accuracy"] == pytest.approx(result["accuracy"], abs=0.011)
    capsys.readouterr()


def test_exported_pytorch_weights_give_the_same_logits(page, tmp_path, capsys):
    out = tmp_path / "adapted.safetensors"
    assert masks.main(["export", str(page / "run"), f"--out={out}"]) == 0
    capsys.readouterr()
    variables, about = pretrained.load(out, "resnet20", width=WIDTH)
    assert about["classes"] == 3
    ours = learned.load(page / "run")
    images = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3)).astype(np.uint8)
    net = model.create("resnet20", classes=3, width=WIDTH)
    found = net.apply(variables, ours.prepare(jnp.asarray(images)))
    np.testing.assert_allclose(found, ours.logits(ours.variables, images), rtol=1e-4, atol=1e-4)


def test_a_checkpoint_that_lacks_arrays_is_one_line(page, tmp_path, capsys):
    from safetensors.numpy import load_file, save_file

    state = load_file(page / "checkpoint.safetensors")
    state.pop("layer3.0.conv1.weight")
    save_file(state, tmp_path / "less.safetensors")
    given = ["--config=folder", f"--workdir={tmp_path}/run", "--config.data.decode_size=8",
             f"--config.data.name=folder:{page}/images", f"--config.network.width={WIDTH}",
             f"--config.start={tmp_path}/less.safetensors",
             "--config.network.name=resnet20"]  # fmt: skip
    assert main.main(given) == 2
    lines = capsys.readouterr().err.splitlines()
    assert "layer3.0.conv1.weight" in lines[-1]
    assert not (tmp_path / "run").exists()


def test_the_mask_over_another_checkpoint_is_refused(page, tmp_path, capsys):
    net = model.create("resnet20", classes=10, width=WIDTH)
    variables = model.initialize(net, jax.random.key(1), (8, 8, 3))
    other = tmp_path / "other.safetensors"
    pretrained.save(other, pretrained.export(variables, "resnet20", "cifar"))
    assert masks.main(["export", str(page / "run"), f"--base={other}", "--out=x.pth"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    file = page / "run" / "mask" / "masks" / "task.mask"
    assert mask.file.read(file).base.name == "resnet20"
