"""Tickets of digits, used on other digits: the matrix, and the masks that make it again."""

import json
import shutil

import numpy as np
import pytest
from experiments import config, finished, result
from ml_collections import ConfigDict
from safetensors.numpy import load_file

from jaxmask import mask, maskfile, recipe
from jaxmask.errors import InputError
from jaxmask.train import loop

BODY = {"fc1/kernel": 64 * 30, "fc2/kernel": 30 * 10}  # of LeNet-30-10
KEPT = sum(BODY.values()) - int(0.7 * sum(BODY.values()))
TASKS = {"low": {"classes": (0, 1, 2)}, "high": {"classes": (7, 8, 9)}}
CHANGES = {
    "density": 0.3, "rounds": 1, "train__epochs": 1, "train__scan_steps": 1000,
    "one_shot": ("random", "snip"), "data__mean": (0.3,), "data__std": (0.4,),
}  # fmt: skip
ROWS = ["dense", "random", "snip_high", "snip_low", "ticket_high", "ticket_low"]


def changes(start, **more):
    return {"start": str(start), "tasks": ConfigDict(TASKS), **CHANGES, **more}


def cells(folder, *fields):
    found = result(folder)["cells"]
    return {(cell["mask"], cell["target"]): tuple(cell[name] for name in fields) for cell in found}


def kernels(path):
    return {name: np.asarray(maskfile.load(path)[name]["kernel"]) for name in ("fc1", "fc2")}


@pytest.fixture(scope="module")
def start(tmp_path_factory, without_figures):
    folder = tmp_path_factory.mktemp("start") / "run"
    settings = {name: CHANGES[name] for name in CHANGES if name[:5] in ("data_", "train")}
    finished(folder, "dense", data__classes=(3, 4, 5, 6), **settings)
    return folder


@pytest.fixture(scope="module")
def run(start, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tickets") / "run"
    finished(folder, "tickets", **changes(start))
    return folder


def test_every_mask_is_trained_on_every_task_at_one_density(run):
    found = cells(run, "density", "accuracy", "validation_accuracy")
    assert set(found) == {(row, task) for row in ROWS for task in TASKS}
    assert all(0 <= share <= 1 for row in found.values() for share in row)
    for (row, _), (density, *_) in found.items():
        assert density == (1.0 if row == "dense" else pytest.approx(KEPT / sum(BODY.values())))
    for row in ROWS[1:]:
        masks = mask.file.load(run / "masks" / f"{row}.mask")
        sizes = {f"{at}/{name}": leaf.size for at, part in masks.items()
                 for name, leaf in part.items()}  # fmt: skip
        assert sizes == BODY  # no head
        assert sum(leaf.sum() for part in masks.values() for leaf in part.values()) == KEPT
    told = result(run)
    assert (told["recipe"], told["target_density"], told["head"]) == ("tickets", 0.3, "new")
    assert {each["initial_sha256"] for each in told["cells"] if each["target"] == "low"} == {
        result(run / "lotteries" / "low")["initial"]["sha256"]
    }
    assert (run / "figures" / "transfer.png").exists()
    assert len((run / "transfer.csv").read_text().splitlines()) == 1 + len(found)


def test_a_ticket_reused_on_its_task_is_its_lottery_bit_for_bit(run, start, tmp_path):
    lottery = run / "lotteries" / "low"
    given = {name: CHANGES[name] for name in CHANGES if name not in ("rounds", "one_shot")}
    again = finished(
        tmp_path / "run", start=str(start), head="new", data__classes=(0, 1, 2),
        mask_from=str(lottery), **given,
    )  # fmt: skip
    last = load_file(lottery / "level_01" / "weights.safetensors")
    trained = load_file(tmp_path / "run" / "weights.safetensors")
    assert {name: leaf.tobytes() for name, leaf in last.items()} == {
        name: leaf.tobytes() for name, leaf in trained.items()
    }
    assert again["method"] == "magnitude of digits"
    assert cells(run, "accuracy")["ticket_low", "low"] == (again["accuracy"],)


def test_the_body_is_rewound_and_pruned_and_the_head_is_neither(run, start):
    lottery = run / "lotteries" / "high"
    before = load_file(start / "weights.safetensors")
    begun = load_file(next((run / "initial").glob("*.safetensors")))
    for name, leaf in before.items():
        if not name.startswith("params/head/"):
            np.testing.assert_array_equal(begun[name], leaf)
    assert begun["params/head/kernel"].shape == (10, 3)
    trained = load_file(lottery / "level_01" / "weights.safetensors")
    assert (trained["params/head/kernel"] != 0).all()
    for name, bits in kernels(lottery / "masks" / "ticket.mask").items():
        np.testing.assert_array_equal(trained[f"params/{name}/kernel"] != 0, bits)


def test_the_masks_alone_make_the_matrix_again(run, start, tmp_path):
    shutil.copytree(run / "masks", tmp_path / "masks")
    finished(tmp_path / "run", "tickets", **changes(start, mask_from=str(tmp_path / "masks")))
    fields = ("accuracy", "validation_accuracy", "found_by", "source", "density")
    assert cells(tmp_path / "run", *fields) == cells(run, *fields)
    for path in (run / "masks").iterdir():
        assert (tmp_path / "run" / "masks" / path.name).read_bytes() == path.read_bytes()
    assert not (tmp_path / "run" / "lotteries").exists()
    made = (tmp_path / "run" / "transfer.md").read_text()
    assert made == (run / "transfer.md").read_text()


def test_an_interrupted_run_trains_only_what_is_left(run, start, tmp_path, monkeypatch):
    shutil.copytree(run, tmp_path / "run")
    before = cells(run, "accuracy")
    for place in (".", "high/snip_low", "found/snip_high"):
        (tmp_path / "run" / place / "result.json").unlink()
    shutil.rmtree(tmp_path / "run" / "high" / "snip_low" / "checkpoints")
    for path in (tmp_path / "run").glob("*/*/config.json"):  # paths of the masks are absolute
        path.write_text(path.read_text().replace(str(run), str(tmp_path / "run")))
    trained, fit = [], loop.fit

    def counted(programs, job):
        trained.append(job.folder.name)
        return fit(programs, job)

    monkeypatch.setattr(loop, "fit", counted)
    finished(tmp_path / "run", "tickets", **changes(start))
    assert trained == ["snip_low"]
    assert cells(tmp_path / "run", "accuracy") == before


def test_its_plan_is_what_it_trains(run, start):
    begin = recipe.prepare(config("tickets", **changes(start)))
    places = sorted(str(each.place) for each in begin.planned)
    # with one round, all levels of a lottery are cells
    assert places == sorted(cell["run"] for cell in result(run)["cells"])


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"tasks": ConfigDict()}, "fewer than two entries"),
        ({"tasks": ConfigDict({"one": {"classes": (1, 2)}})}, "fewer than two entries"),
        ({"tasks": ConfigDict({"a/b": {}, "c": {}})}, "task 'a/b' cannot have a folder"),
        ({"tasks": ConfigDict({"masks": {}, "c": {}})}, "task 'masks' cannot have a folder"),
        ({"tasks": ConfigDict({"a": {"class": (1, 2)}, "c": {}})}, "did you mean 'classes'"),
        ({"tasks": ConfigDict({"a": {"share": "half"}, "c": {}})}, "tasks.a.share is 'half'"),
        ({"tasks": ConfigDict({"a": 3, "c": {}})}, "tasks.a is 3"),
        ({"tasks": ConfigDict({"a": {"classes": (0, 77)}, "c": {}})}, "^tasks.a: .*77"),
        ({"one_shot": (("snip", 3),)}, "one_shot has"),
        ({"one_shot": ("snap",)}, "unknown criterion 'snap'"),
        ({"one_shot": ("snip()", "snip")}, "two masks the name 'snip_high'"),
        ({"one_shot": ("synflow(statistics='no')",)}, "statistics 'no'"),
        ({"head": "start"}, "set it to 'new'"),
        ({"density": 1.0}, "a lottery prunes"),
        ({"density": 0.0}, "density 0.0"),
        ({"train__epochs": 0}, "train.epochs"),
        ({"mask_from": "nowhere"}, "no masks in mask_from nowhere"),
        ({"mask_from": "a" * 300}, "no masks in mask_from a"),
    ],
)
def test_invalid_input_is_refused_before_anything_is_created(start, more, message, tmp_path):
    with pytest.raises(InputError, match=message):
        finished(tmp_path / "run", "tickets", **changes(start, **more))
    assert not (tmp_path / "run").exists()


def test_masks_of_another_start_or_density_are_refused(run, start, tmp_path):
    with pytest.raises(InputError, match=r"has density 0\.3.*, and density is 0\.2"):
        finished(tmp_path / "a", "tickets", **changes(start, mask_from=str(run), density=0.2))
    with pytest.raises(InputError, match=r"found in other weights"):
        finished(tmp_path / "b", "tickets", **changes("random", mask_from=str(run)))
    assert not any((tmp_path / name).exists() for name in "ab")


def test_the_file_says_what_a_mask_is(run):
    read = maskfile.read(run / "masks" / "snip_low.mask")
    assert (read.metadata["found_by"], read.metadata["task"]) == ("snip", "low")
    assert read.base.name == "lenet_300_100"
    every = {maskfile.read(path).base for path in (run / "masks").iterdir()}
    assert len(every) == 1  # one body
    assert json.loads((run / "low" / "random" / "config.json").read_text())["mask_from"] == str(
        run / "masks" / "random.mask"
    )


def test_one_mask_of_another_network_is_a_matrix_of_its_own(start, tmp_path):
    """Random bits, found nowhere, on one task: a folder of mask files is enough."""
    random = np.random.default_rng(0)
    masks = {name: {"kernel": random.random(shape) < 0.4}
             for name, shape in (("fc1", (64, 30)), ("fc2", (30, 10)))}  # fmt: skip
    (tmp_path / "masks").mkdir()
    maskfile.save(tmp_path / "masks" / "bits.mask", masks)
    given = changes(start, mask_from=str(tmp_path / "masks"), density=0.0, one_shot=())
    given["tasks"] = ConfigDict({"low": TASKS["low"]})
    with pytest.raises(InputError, match="does not say in which weights"):
        recipe.prepare(config("tickets", **given))
    finished(tmp_path / "run", "tickets", **given, other_weights=True)
    found = cells(tmp_path / "run", "found_by", "target_density")
    kept = sum(part["kernel"].sum() for part in masks.values()) / sum(BODY.values())
    assert found == {("dense", "low"): ("dense", 1.0), ("bits", "low"): ("", kept)}
