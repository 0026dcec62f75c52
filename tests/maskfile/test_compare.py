"""Several mask files: found, named, and counted, against sets."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from jaxmask.errors import InputError
from jaxmask.maskfile import compare


def touched(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def test_a_file_is_itself_and_a_folder_means_its_files_in_order(tmp_path):
    touched(tmp_path, "b.mask", "a.mask", "c.txt", "deep/d.mask")
    assert compare.find([tmp_path / "c.txt"]) == [tmp_path / "c.txt"]  # its reader tells it
    assert compare.find([tmp_path]) == [tmp_path / "a.mask", tmp_path / "b.mask"]
    assert compare.find([tmp_path / "b.mask", tmp_path / "deep"]) == [
        tmp_path / "b.mask", tmp_path / "deep" / "d.mask"
    ]  # fmt: skip


def test_run_directories_mean_what_lies_at_the_nearest_place(tmp_path):
    method = touched(tmp_path / "mask", "masks/task.mask", "choices/x/masks/task.mask")
    assert compare.find([method]) == [method / "masks" / "task.mask"]
    touched(tmp_path / "full", "masks/task.mask")
    assert compare.find([tmp_path]) == [
        tmp_path / name / "masks" / "task.mask" for name in ("full", "mask")
    ]
    touched(tmp_path, "own.mask")
    assert compare.find([tmp_path]) == [tmp_path / "own.mask"]


def test_a_folder_without_any_is_refused(tmp_path):
    with pytest.raises(InputError, match="no mask file in"):
        compare.find([touched(tmp_path, "a/b/c/masks/task.mask")])


PARTS = st.lists(st.sampled_from(["a", "b", "masks"]), max_size=3)


@given(st.lists(PARTS, min_size=1, max_size=4, unique_by=tuple))
def test_labels_tell_files_apart_and_begin_with_nothing_in_common(tmp_path_factory, folders):
    root = tmp_path_factory.getbasetemp()
    paths = [root.joinpath("runs", *parts, "task.mask") for parts in folders]
    found = compare.labels(paths)
    assert len(set(found)) == len(paths)
    for label, path in zip(found, paths):
        assert f"/{label}" in str(path.with_suffix(""))


@pytest.mark.parametrize(
    ("paths", "labels"),
    [
        (["x/a/masks/task.mask", "x/b/masks/task.mask"], ["a", "b"]),
        (["x/one.mask", "x/two.mask"], ["one", "two"]),
        (["x/one.mask"], ["one"]),
        (["x/task.mask", "x/a/task.mask"], ["task", "a/task"]),
        (["x/a/one.mask", "x/b/two.mask"], ["a/one", "b/two"]),
    ],
)
def test_labels_are_short(tmp_path, paths, labels):
    assert compare.labels([tmp_path / path for path in paths]) == labels


MASKS = npst.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=5).flatmap(
    lambda shape: st.lists(npst.arrays(bool, shape), min_size=1, max_size=3)
)


@given(MASKS, st.booleans())
def test_counts_are_those_of_sets(masks, signs):
    """Of masks of signs, the positive are on."""
    given_masks = [np.where(leaf, 1, -1).astype(np.int8) for leaf in masks] if signs else masks
    found = compare.counted(given_masks)
    size = masks[0].size
    on = [set(np.flatnonzero(leaf)) for leaf in masks]
    jaccard, by_chance, equal = found.shares()
    for i, a in enumerate(on):
        for j, b in enumerate(on):
            assert found.both[i, j] == len(a & b)
            assert found.either[i, j] == len(a | b)
            assert found.equal[i, j] == size - len(a ^ b)
            assert found.all[i, j] == size
            assert jaccard[i, j] == (len(a & b) / len(a | b) if a | b else 1)
            assert equal[i, j] == ((size - len(a ^ b)) / size if size else 1)
            chance = len(a) * len(b) / size if size else 0
            assert found.both_by_chance[i, j] == pytest.approx(chance)
            either = len(a) + len(b) - chance
            assert by_chance[i, j] == pytest.approx(chance / either if either else 1)


def test_by_chance_is_what_independent_masks_have():
    random = np.random.default_rng(0)
    masks = [random.random(200_000) < share for share in (0.3, 0.6)]
    found = compare.counted(masks)
    assert found.both_by_chance[0, 1] == pytest.approx(found.both[0, 1], rel=0.02)
