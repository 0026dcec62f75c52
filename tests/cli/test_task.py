"""The command line for learned tasks: evaluate and predict."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from tasks import base, task

from jaxmask import data, model
from jaxmask.cli.task import main

CLASSES = ("0", "1", "2")


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    """(file of a task, folder of images by class, logits of those images by file name)."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("task")
    path, variables = base(folder)
    random = np.random.default_rng(0)
    masks = {"fc1/kernel": random.random(variables["params"]["fc1"]["kernel"].shape) < 0.7}
    network = task(folder / "some.mask", path, variables, CLASSES, masks=masks)
    split, _ = data.load_split("digits", "test")
    net, logits = model.create("lenet_300_100", classes=3, width=0.05), {}
    for label in range(3):
        (folder / "images" / str(label)).mkdir(parents=True)
        for index in np.flatnonzero(split.labels == label)[:4]:
            name = folder / "images" / str(label) / f"{index}.png"
            Image.fromarray(split.images[index][..., 0]).save(name)
            x = ((split.images[index][None] / 255.0 - 0.5) / 0.25).astype(np.float32)
            logits[str(name)] = np.asarray(net.apply(network, x)[0])
    return folder / "some.mask", folder / "images", logits


def test_predictions_are_those_of_the_masked_network(learned, tmp_path, capsys):
    file, images, logits = learned
    assert main(["predict", str(file), str(images), "--top=2", f"--out={tmp_path}/p.json"]) == 0
    found = json.loads((tmp_path / "p.json").read_text())
    assert sorted(each["file"] for each in found) == sorted(logits)
    for each in found:
        shares = np.exp(logits[each["file"]]) / np.exp(logits[each["file"]]).sum()
        order = np.argsort(-shares)[:2]
        assert each["classes"] == [CLASSES[label] for label in order]
        np.testing.assert_allclose(each["probabilities"], shares[order], rtol=1e-3)
    capsys.readouterr()
    one = sorted(logits)[0]
    assert main(["predict", str(file), one]) == 0
    rows = list(csv.reader(capsys.readouterr().out.splitlines()))
    assert rows[0] == ["file", "class", "probability"]
    assert rows[1][1] == CLASSES[int(logits[one].argmax())]


def test_evaluation_counts_correct_predictions(learned, tmp_path, capsys):
    file, images, logits = learned
    given = ["evaluate", str(file), f"folder:{images}", "--split=all", f"--out={tmp_path}"]
    assert main(given) == 0
    result = json.loads((tmp_path / "evaluation.json").read_text())
    truth = {name: int(Path(name).parent.name) for name in logits}
    right = {name: int(logits[name].argmax()) == truth[name] for name in logits}
    assert result["accuracy"] == pytest.approx(np.mean(list(right.values())))
    for label in range(3):
        own = [right[name] for name in logits if truth[name] == label]
        assert result["accuracy_by_class"][CLASSES[label]] == pytest.approx(np.mean(own))
    rows = list(csv.reader((tmp_path / "confusion.csv").read_text().splitlines()))
    counts = np.array([row[1:] for row in rows[1:]], int)
    assert counts.sum() == 12
    assert counts.trace() == sum(right.values())
    assert (tmp_path / "confusion.png").stat().st_size > 3000
    by_class = sorted((share, label) for label, share in result["accuracy_by_class"].items())
    shown = ", ".join(f"{label} {share:.1%}" for share, label in by_class)
    assert capsys.readouterr().out.splitlines()[1:] == [f"by class: {shown}"]


def test_classes_are_matched_by_name_and_others_left_out(learned, capsys):
    file, _, _ = learned
    assert main(["evaluate", str(file), "digits"]) == 0
    shown = capsys.readouterr()
    split, _ = data.load_split("digits", "test")
    assert f"of {(split.labels < 3).sum()} images" in shown.out
    assert "other classes are left out" in shown.err


def test_statistics_of_new_images(learned, tmp_path, capsys):
    """They change the predictions of a network with batch norms, but not of one without."""
    file, images, _ = learned
    path, variables = base(tmp_path, "resnet20", 0.25)
    with_norms = tmp_path / "norms.mask"
    task(with_norms, path, variables, CLASSES, network="resnet20", width=0.25)
    for each, same in ((file, True), (with_norms, False)):
        shown = []
        for more in ([], ["--statistics"]):
            assert main(["predict", str(each), str(images), *more]) == 0
            shown.append(capsys.readouterr().out)
        assert (shown[0] == shown[1]) is same


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["evaluate", "nowhere.mask"], "there is no nowhere.mask"),
        (["predict", "FILE", "nowhere.png"], "there is no nowhere.png"),
        (["predict", "FILE", "DAMAGED"], "cannot read as images"),
        (["predict", "FILE", "IMAGES", "--out=x.txt"], "must end in .csv or .json"),
        (["predict", "FILE", "IMAGES", "--top=0"], "--top is 0"),
        (["predict", "FILE"], "see --help"),
        (["guess"], "see --help"),
        (["evaluate", "FILE", "folder:nowhere"], "there is no folder"),
        (["evaluate", "FILE", "digits", "--base=OTHER"], "another network than"),
        (["evaluate", "EMPTY"], "not a finished run directory"),
    ],
)
def test_errors_are_one_line(learned, tmp_path, capsys, arguments, message):
    file, images, _ = learned
    (tmp_path / "damaged.png").write_bytes(b"not a picture")
    (tmp_path / "empty").mkdir()
    other, _ = base(tmp_path, seed=7)
    names = {"FILE": file, "IMAGES": images, "DAMAGED": tmp_path / "damaged.png",
             "EMPTY": tmp_path / "empty", "OTHER": other}  # fmt: skip
    given = []
    for argument in arguments:
        for name, value in names.items():
            argument = argument.replace(name, str(value)) if argument.endswith(name) else argument
        given.append(argument)
    assert main(given) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert message in lines[0]
