"""The base network of a task: where it is looked for, and that it must be the one."""

import shutil

import checkpoints
import chex
import pytest
from tasks import base, task

from jaxmask import maskfile
from jaxmask.errors import InputError
from jaxmask.model import pretrained, transformer, weights
from jaxmask.task import base as bases

ABOUT = {"network": "lenet_300_100", "width": 0.05, "stem": ""}


@pytest.fixture
def made(tmp_path):
    """(file of base weights, their variables, what a file says of the base)."""
    path, variables = base(tmp_path)
    return path, variables, wanted(variables)


def wanted(variables, head=False):
    params = {name: leaf for name, leaf in variables["params"].items() if head or name != "head"}
    print_of = maskfile.fingerprint({"params": params, "batch_stats": variables["batch_stats"]})
    return maskfile.Base("lenet_300_100", print_of)


def test_the_given_weights_are_read_without_a_head_that_is_the_tasks(made, tmp_path):
    path, variables, of = made
    found = bases.find(tmp_path / "a.mask", ABOUT, of, str(path))
    assert (found.place, found.layout) == (path, "")
    assert set(found.variables["params"]) == {"fc1", "fc2"}
    body = {name: variables["params"][name] for name in ("fc1", "fc2")}
    chex.assert_trees_all_equal(found.variables["params"], body)
    assert found.variables["batch_stats"] == {}


def test_a_head_that_is_part_of_the_base_is_kept(made, tmp_path):
    path, variables, _ = made
    found = bases.find(tmp_path / "a.mask", ABOUT, wanted(variables, head=True), str(path))
    assert set(found.variables["params"]) == {"fc1", "fc2", "head"}


def test_a_run_directory_means_its_weights(made, tmp_path):
    path, _, of = made
    (tmp_path / "run").mkdir()
    shutil.copy(path, tmp_path / "run" / "weights.safetensors")
    found = bases.find(tmp_path / "a.mask", ABOUT, of, str(tmp_path / "run"))
    assert found.place == tmp_path / "run" / "weights.safetensors"


@pytest.mark.parametrize("place", ["start.safetensors", "pretrain/weights.safetensors"])
def test_weights_of_the_run_that_a_file_lies_in_go_before_those_that_it_names(
    made, tmp_path, place
):
    path, _, of = made
    run = tmp_path / "run"
    (run / place).parent.mkdir(parents=True)
    shutil.copy(path, run / place)
    (run / "mask" / "masks").mkdir(parents=True)
    about = {**ABOUT, "start": str(tmp_path / "gone")}
    with pytest.raises(InputError, match=r"no weights at .*gone"):  # no run: it has no config
        bases.find(run / "mask" / "masks" / "task.mask", about, of, "")
    (run / "config.json").write_text("{}")
    found = bases.find(run / "mask" / "masks" / "task.mask", about, of, "")
    assert found.place.samefile(run / place)


def test_a_run_inside_another_finds_the_weights_that_its_file_names(made, tmp_path):
    """As on few labels: the run around it holds another network than the one it started from."""
    path, variables, of = made
    run = tmp_path / "run"
    (run / "labels" / "mask" / "masks").mkdir(parents=True)
    (run / "config.json").write_text("{}")
    other = {**variables["params"], "fc1": {**variables["params"]["fc1"]}}
    other["fc1"]["kernel"] = other["fc1"]["kernel"] + 1
    weights.save(run / "start.safetensors", {**variables, "params": other}, {})
    task_file, about = run / "labels" / "mask" / "masks" / "task.mask", {**ABOUT}
    with pytest.raises(InputError, match=r"another network than .*start\.safetensors"):
        bases.find(task_file, about, of, "")
    assert bases.find(task_file, {**about, "start": str(path)}, of, "").place == path
    given = str(run / "start.safetensors")
    with pytest.raises(InputError, match="another network than"):  # as it was asked for
        bases.find(task_file, {**about, "start": str(path)}, of, given)


def test_weights_that_the_file_names_are_the_last_resort(made, tmp_path):
    path, _, of = made
    found = bases.find(tmp_path / "a.mask", {**ABOUT, "start": str(path)}, of, "")
    assert found.place == path


@pytest.mark.parametrize("start", ["", "random", "pretrain", None, 3, ["x"]])
def test_a_file_far_from_its_run_needs_to_be_told(made, tmp_path, start):
    about = {**ABOUT, **({} if start is None else {"start": start})}
    with pytest.raises(InputError, match=r"not with it; give them: --base=PATH"):
        bases.find(tmp_path / "a.mask", about, made[2], "")


def test_weights_of_another_network_are_refused(made, tmp_path):
    other, _ = base(tmp_path, seed=1)
    with pytest.raises(InputError, match="fingerprints"):
        bases.find(tmp_path / "a.mask", ABOUT, made[2], str(other))


@pytest.mark.parametrize(
    ("about", "known"),
    [
        ({**ABOUT, "network": 5}, True),
        ({**ABOUT, "width": "wide"}, True),
        ({**ABOUT, "stem": None}, True),
        ({}, True),
        (ABOUT, False),
    ],
)
def test_a_file_that_names_no_network_is_no_task(made, tmp_path, about, known):
    with pytest.raises(InputError, match="has a mask but no task"):
        bases.find(tmp_path / "a.mask", about, made[2] if known else None, str(made[0]))


@pytest.mark.parametrize("ours", [True, False])
def test_positions_are_those_for_the_images_of_the_task(tmp_path, ours):
    made = checkpoints.transformer(64)
    path = tmp_path / "base.safetensors"
    if ours:
        weights.save(path, made, {"network": "vit_ti16"})
    else:
        state = pretrained.export(made, "vit_ti16", "timm")
        pretrained.save(path, {f"net.{name}": leaf for name, leaf in state.items()})
    params = {**made["params"], "position": transformer.resized(made["params"]["position"], 48, 16)}
    about = {"network": "vit_ti16", "width": 0.0625, "stem": "", "image_shape": [48, 48, 3]}
    of = wanted({"params": params, "batch_stats": {}})
    found = bases.find(tmp_path / "a.mask", about, of, str(path))
    assert found.variables["params"]["position"].shape == (10, 12)
    assert found.names.get("norm.bias") == (None if ours else "net.norm.bias")
    of = wanted(made)
    with pytest.raises(InputError, match="fingerprints"):
        bases.find(tmp_path / "a.mask", about, of, str(path))


def test_the_base_of_a_task_file_is_found_by_what_it_says(made, tmp_path):
    path, variables, _ = made
    task(tmp_path / "a.mask", path, variables, ("a", "b"))
    header = maskfile.read_header(tmp_path / "a.mask")
    found = bases.find(tmp_path / "a.mask", {**ABOUT, "start": str(path)}, header["base"], "")
    assert found.place == path
