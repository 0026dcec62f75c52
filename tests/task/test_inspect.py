"""What is in mask files, counted by hand, and the networks that they make."""

import chex
import numpy as np
import pytest
from tasks import base, task

from jaxmask import maskfile
from jaxmask.errors import InputError
from jaxmask.maskfile import Base
from jaxmask.task import inspect


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(file of a task, its masks, what the network is then)."""
    folder = tmp_path_factory.mktemp("inspect")
    path, variables = base(folder)
    random = np.random.default_rng(0)
    masks = {f"{name}/kernel": random.random(variables["params"][name]["kernel"].shape) < 0.6
             for name in ("fc1", "fc2")}  # fmt: skip
    network = task(folder / "some.mask", path, variables, ("a", "b"), masks=masks, epochs=3)
    return folder / "some.mask", masks, network


def test_a_summary_counts_what_is_there(made):
    file, masks, _ = made
    found = inspect.summary(file, "")
    sizes = {name: leaf.size for name, leaf in masks.items()}
    kept = {name: int(leaf.sum()) for name, leaf in masks.items()}
    assert (found["bits"], found["kept"]) == (sum(sizes.values()), sum(kept.values()))
    assert found["density"] == sum(kept.values()) / sum(sizes.values())
    assert {each["path"]: (each["shape"], each["bits"], each["kept"], each["density"])
            for each in found["masks"]} == {
        name: (leaf.shape, leaf.size, kept[name], kept[name] / leaf.size)
        for name, leaf in masks.items()
    }  # fmt: skip
    assert {each["path"]: (each["shape"], each["dtype"]) for each in found["arrays"]} == {
        "params/head/kernel": ((5, 2), "float32"), "params/head/bias": ((2,), "float32"),
    }  # fmt: skip
    size = found["bytes"]
    assert size["header"] + size["masks"] + size["arrays"] == size["file"] == file.stat().st_size
    assert found["stored_bits_a_weight"] == 8 * size["masks"] / found["bits"]
    assert found["metadata"]["epochs"] == 3
    assert (found["kind"], found["codec"]) == ("binary", "entropy")


def test_the_kept_signs_are_the_plus_and_a_file_without_masks_has_no_density(tmp_path):
    maskfile.save(tmp_path / "signs.mask", {"w": np.array([1, -1, -1, 1, 1])})
    assert inspect.summary(tmp_path / "signs.mask", "")["kept"] == 3
    maskfile.save(tmp_path / "none.mask", {}, arrays={"a": np.ones(2)})
    found = inspect.summary(tmp_path / "none.mask", "")
    assert (found["bits"], found["density"], found["stored_bits_a_weight"]) == (0, None, None)
    assert found["base"] is None


def test_the_adapted_network_is_the_one_that_was_made(made):
    file, _, network = made
    found = inspect.adapted(file, "")
    chex.assert_trees_all_close(found.variables, network, rtol=1e-6)
    assert found.inputs[0] == file
    assert found.inputs[1].name == "base0.safetensors"
    assert found.about["classes"] == ["a", "b"]


@pytest.mark.parametrize("name", ["neighbors", "neighbours"])
def test_a_knn_task_is_no_network(tmp_path, name):
    maskfile.save(tmp_path / "a.mask", {}, arrays={name: {"labels": np.zeros(3, np.int32)}})
    with pytest.raises(InputError, match=r"nearest neighbors.*jaxmask task"):
        inspect.adapted(tmp_path / "a.mask", "")


def files(folder, **changes):
    """Two files; the second with changes of its masks or base."""
    masks, named = {"w": np.array([True, False]), "v": np.array([True])}, Base("net", "1" * 64)
    maskfile.save(folder / "a.mask", masks, base=named)
    maskfile.save(folder / "b.mask", **{"masks": masks, "base": named, **changes})
    return [folder / "a.mask", folder / "b.mask"]


def test_files_of_one_network_and_the_same_leaves_are_read(tmp_path):
    found = inspect.read_alike(files(tmp_path), "")
    chex.assert_trees_all_equal(found[0].masks, found[1].masks)
    assert len(inspect.read_alike(files(tmp_path, base=None), "")) == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"base": Base("net", "2" * 64)}, r"a\.mask .*net, 1{12}\) and .*b\.mask .*net, 2{12}\)"),
        ({"masks": {"w": np.array([True, False])}}, r"'v' is \(1,\) in the first, missing in"),
        ({"masks": {"w": np.array([True]), "v": np.array([True])}}, r"'w' is \(2,\) .*, \(1,\) in"),
        ({"masks": {}}, r"b\.mask holds no mask"),
    ],
)
def test_files_that_do_not_go_together_are_named(tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        inspect.read_alike(files(tmp_path, **changes), "")


def test_one_file_is_too_few(tmp_path):
    with pytest.raises(InputError, match="give two or more"):
        inspect.read_alike(files(tmp_path)[:1], "")
