"""Which runs are drawn, and what their files of embeddings and clusters must hold."""

import numpy as np
import pandas as pd
import pytest
from finished_runs import add_embeddings, add_router, make_adapt
from safetensors.numpy import save_file

from jaxmask.errors import InputError
from jaxmask.report import adaptation, embedded
from jaxmask.report.collect import collect


def shown(folder, most=3):
    return embedded.settings_of(adaptation.named(collect([folder])), most)


def test_of_runs_that_differ_in_their_seed_the_first_is_drawn(tmp_path):
    for seed in (1, 2):
        for loss in ("swav()", "simclr()"):
            make_adapt(tmp_path / f"{loss}-{seed}", {"untouched": 0.5, "mask": 0.6}, seed,
                       recipe="self_mask", config={"loss": loss})  # fmt: skip
    make_adapt(tmp_path / "supervised", {"mask": 0.7}, 1)
    found, settings = shown(tmp_path)
    assert settings == 2
    assert [each.folder.name for each in found] == ["simclr()-1", "swav()-1"]
    assert [each.name for each in found] == ["digits, seed 1"] * 2
    assert [list(each.networks["method"]) for each in found] == [
        ["untouched", f"mask (recipe=self_mask, loss={loss})"] for loss in ("simclr()", "swav()")
    ]
    assert len(shown(tmp_path, 1)[0]) == 1
    assert shown(tmp_path / "supervised") == ([], 0)


def test_a_run_is_named_by_what_its_task_differs_in(tmp_path):
    for classes in ([0, 1], [2, 3]):
        make_adapt(tmp_path / str(classes[0]), {"untouched": 0.5}, 4, recipe="cascade",
                   config={"data.classes": classes})  # fmt: skip
    found, _ = shown(tmp_path)
    assert [each.name for each in found] == ["classes=[0, 1], seed 4", "classes=[2, 3], seed 4"]


def test_embeddings_are_read_with_the_names_of_their_classes(tmp_path):
    assert embedded.embeddings(tmp_path) is None
    add_embeddings(tmp_path, np.eye(3), [2, 0, 0], ["a", "b", "c"])
    found = embedded.embeddings(tmp_path)
    assert np.array_equal(found.features, np.eye(3))
    assert found.labels.tolist() == [2, 0, 0]
    assert found.classes == ("a", "b", "c")
    add_embeddings(tmp_path, np.eye(3), [2, 0, 0], ["a", "b"])  # the label 2 has no name
    assert embedded.embeddings(tmp_path).classes == ("0", "1", "2")


def test_clusters_are_read_with_names_from_the_embeddings(tmp_path):
    make_adapt(tmp_path / "run", {"untouched": 0.5, "dispatcher": 0.5}, recipe="cascade")
    ((run,), _) = shown(tmp_path)
    assert embedded.routed(run) is None
    add_router(run.folder, [1, 0], [0, 3])
    found = embedded.routed(run)
    assert (found.clusters.tolist(), found.labels.tolist()) == ([1, 0], [0, 3])
    assert found.classes == ("0", "1", "2", "3")
    add_embeddings(run.folder / "dispatcher", np.eye(2), [0, 1], "abc")  # not of label 3
    assert embedded.routed(run).classes == ("0", "1", "2", "3")
    add_embeddings(run.folder / "dispatcher", np.eye(2), [0, 1], "abcde")
    assert embedded.routed(run).classes == tuple("abcde")


GOOD = {"features": np.ones((2, 3), np.float32), "labels": np.array([0, 1], np.int32)}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"features": np.float32([[1, np.nan], [0, 0]])}, "features are no finite matrix"),
        ({"features": np.ones(2, np.float32)}, "features are no finite matrix"),
        ({"features": np.ones((3, 2), np.float32)}, "not of the same images"),
        ({"labels": np.array([0, -1], np.int32)}, "labels are no list of numbers"),
        ({"labels": np.array([0.0, 1.0])}, "labels are no list of numbers"),
        ({"labels": np.zeros(0, np.int32), "features": np.ones((0, 2), np.float32)}, "same images"),
    ],
)
def test_damaged_embeddings_are_named(tmp_path, change, said):
    save_file({**GOOD, **change}, tmp_path / embedded.EMBEDDINGS)
    with pytest.raises(InputError, match=rf"embeddings\.safetensors cannot be drawn.*{said}"):
        embedded.embeddings(tmp_path)


@pytest.mark.parametrize("clusters", [np.array([0, -1]), np.array([0.5, 1]), np.ones((2, 1), int)])
def test_damaged_clusters_are_named(tmp_path, clusters):
    run = embedded.Shown("", tmp_path, pd.DataFrame({"folder": []}))
    save_file({"clusters": clusters, "labels": np.array([0, 1])}, tmp_path / embedded.ROUTER)
    with pytest.raises(InputError, match=r"router\.safetensors .*clusters are no list of numbers"):
        embedded.routed(run)


@pytest.mark.parametrize(
    "write",
    [
        lambda path: path.write_bytes(b"nonsense"),
        lambda path: path.write_bytes(b""),
        lambda path: save_file({"labels": GOOD["labels"]}, path),
        lambda path: save_file(GOOD, path, {"classes": "[oops"}),
    ],
)
def test_files_that_are_no_embeddings_are_named(tmp_path, write):
    write(tmp_path / embedded.EMBEDDINGS)
    with pytest.raises(InputError, match=r"embeddings\.safetensors cannot be drawn"):
        embedded.embeddings(tmp_path)
