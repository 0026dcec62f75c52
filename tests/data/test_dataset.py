"""`load`, from prepared records to splits."""

import os
import sys

import numpy as np
import pytest

from jaxmask import data
from jaxmask.data import decoded
from jaxmask.errors import InputError


@pytest.fixture
def load(tmp_path, monkeypatch):
    """`data.load` with its cache in a temporary folder."""
    monkeypatch.setenv("JAXMASK_CACHE", str(tmp_path / "cache"))

    def load(name="mnist", **options):
        return data.load(name, **{"progress": False, "data_dir": tmp_path / "tfds", **options})

    return load


@pytest.fixture
def decodings(monkeypatch):
    """How many times a split was decoded."""
    build, calls = decoded._build, []

    def counted(described, *args):
        calls.append(described.short.split()[-1])
        return build(described, *args)

    monkeypatch.setattr(decoded, "_build", counted)
    return calls


def complaint(call, *args, **options):
    with pytest.raises(InputError) as caught:
        call(*args, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_records_arrive_whole_and_in_order(load, mnist):
    _, content = mnist
    dataset = load(validation=0)
    for split, (images, labels) in content.items():
        got = getattr(dataset, split)
        np.testing.assert_array_equal(got.images, images)
        np.testing.assert_array_equal(got.labels, labels)
        assert (got.images.dtype, got.labels.dtype) == (np.uint8, np.int32)
        assert isinstance(got.images, np.memmap)  # nothing was cut, so nothing was copied
    assert dataset.validation.images.shape == (0, 28, 28, 1)
    assert dataset.validation.labels.shape == (0,)
    assert dataset.classes == ("0", "1")
    assert dataset.name == "mnist"
    assert "tensorflow" not in sys.modules


def test_a_later_load_maps_the_cache_and_imports_no_tfds(load, mnist, decodings, monkeypatch):
    first = load(validation=0.2, share=0.5, seed=3)
    assert decodings == ["train", "test"]
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)  # importing it is an error
    monkeypatch.setitem(sys.modules, "cv2", None)
    second = load(validation=0.2, share=0.5, seed=3)
    assert decodings == ["train", "test"]
    for one, other in zip(first[1:4], second[1:4]):
        np.testing.assert_array_equal(one.images, other.images)
        np.testing.assert_array_equal(one.labels, other.labels)
    assert first.classes == second.classes


def test_a_dataset_that_changed_is_decoded_again(load, mnist, tiny, decodings):
    load()
    images, labels = tiny.examples(12, 2, seed=9)
    mnist_dir, content = mnist
    records = {"train": tiny.records(images, labels), "test": tiny.records(*content["test"])}
    tiny.write(mnist_dir, records)
    np.testing.assert_array_equal(load(validation=0).train.images, images)
    assert decodings == ["train", "test"] * 2


def test_a_damaged_cache_is_decoded_again(load, mnist, decodings, tmp_path):
    load()
    for path in (tmp_path / "cache" / "data").glob("*train*/images.npy"):
        os.truncate(path, 1000)
    np.testing.assert_array_equal(load(validation=0).train.images, mnist[1]["train"][0])
    assert decodings == ["train", "test", "train"]


def test_folders_from_the_environment(mnist, tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(mnist[0]))
    monkeypatch.setenv("JAXMASK_CACHE", str(tmp_path / "elsewhere"))
    data.load("mnist", progress=False)
    assert len(os.listdir(tmp_path / "elsewhere" / "data")) == 2
    data.load("mnist", progress=False, cache_dir=tmp_path / "argument")
    assert len(os.listdir(tmp_path / "argument" / "data")) == 2


def test_the_bar_is_shown_once_and_on_request(load, mnist, capfd):
    load(progress=False)
    assert capfd.readouterr() == ("", "")
    load(progress=True, cache_dir=mnist[0].parent / "other")
    out, err = capfd.readouterr()
    assert out == ""
    assert "decoding mnist train" in err
    load(progress=True, cache_dir=mnist[0].parent / "other")
    assert capfd.readouterr() == ("", "")


def test_images_keep_their_labels_through_every_cut(load, tiny, tmp_path):
    """The first pixel of each image is its label in the full dataset."""
    images, labels = tiny.examples(60, 5)
    images[:, 0, 0, 0] = labels = np.random.default_rng(0).permutation(labels)
    records = tiny.records(images, labels)
    tiny.write(tmp_path / "tfds", dict(train=records, test=records), classes=5)
    dataset = load(classes=(4, 1, 2), share=0.5, validation=6, seed=1)
    assert [len(split.labels) for split in dataset[1:4]] == [12, 6, 36]
    for split in dataset[1:4]:
        np.testing.assert_array_equal(np.array([4, 1, 2])[split.labels], split.images[:, 0, 0, 0])
    pixels = [split.images.reshape(-1, 784) for split in dataset[1:3]]
    assert len(np.unique(np.concatenate(pixels), axis=0)) == 18  # none is in both


def test_images_of_many_sizes_need_a_size(load, tiny, tmp_path, decodings):
    shapes = [(10, 14), (14, 10), (12, 12), (30, 20)]
    records = [
        (tiny.encode(np.full([*s, 3], 9 * i, np.uint8)), i % 2) for i, s in enumerate(shapes)
    ]
    tiny.write(tmp_path / "tfds", dict(train=records, test=records), shape=(None, None, 3))
    message = complaint(load)
    assert "10x14 and 14x10" in message
    assert "size=" in message
    assert os.listdir(tmp_path / "cache" / "data") == []
    for size in (8, 12):
        images = load(validation=0, size=size).train.images
        assert images.shape == (4, size, size, 3)
        assert (images == 9 * np.arange(4)[:, None, None, None]).all()
    del decodings[:]
    load(size=8)  # both sizes stay in the cache
    load(size=12)
    assert decodings == []


def test_a_dataset_without_a_split(load, tiny, tmp_path):
    records = tiny.records(*tiny.examples(4, 2))
    tiny.write(tmp_path / "tfds", dict(test=records))
    assert "no split 'train', only 'test'" in complaint(load)
    options = dict(data_dir=tmp_path / "tfds", progress=False)
    split, classes = data.load_split("mnist", "test", **options)
    assert (len(split.labels), classes) == (4, ("0", "1"))


def test_tfrecord_and_absent_datasets(load, tiny, tmp_path):
    records = tiny.records(*tiny.examples(4, 2))
    content = dict(train=records, test=records)
    tiny.write(tmp_path / "tfds", content, file_format="tfrecord")
    assert "to convert it: " in complaint(load)
    tiny.write(tmp_path / "tfds", content, file_format="tfrecord", alternatives=["array_record"])
    assert len(load().test.labels) == 4  # converted in place
    assert "launch/prepare cifar10 --directory=" in complaint(load, "cifar10")


def test_digits_takes_classes_share_and_size():
    dataset = data.load("digits", classes=(7, 1), share=0.5, validation=0, size=16)
    assert dataset.train.images.shape[1:] == (16, 16, 1)
    assert dataset.classes == ("7", "1")
    assert len(dataset.train.labels) == round(
        0.5 * len(data.load("digits", classes=(7, 1), validation=0).train.labels)
    )
    assert "no split 'extra'" in complaint(data.load_split, "digits", "extra")


def test_what_is_loaded_cannot_be_changed_by_accident():
    with pytest.raises(ValueError, match="read-only"):
        data.load("digits", validation=0).train.images[0] = 0


@pytest.mark.parametrize(
    "options",
    [dict(share=0), dict(validation=1.0), dict(seed=-1), dict(classes=(99,)), dict(size=-1)],
)
def test_invalid_settings(options):
    complaint(data.load, "digits", **options)


def prepared(tiny, tmp_path, counts, shape=(6, 6, 3), name="mnist"):
    """{split: number of images}; the first pixel of each is its label, the second its number."""
    content, start = {}, 0
    for split, count in counts.items():
        images, labels = tiny.examples(count, 2, shape, seed=len(content))
        images[:, 0, 0, 0], images[:, 0, 1, 0] = labels, start + np.arange(count)
        content[split] = tiny.records(images, labels)
        start += count
    tiny.write(tmp_path / "tfds", content, shape=shape, name=name)


def numbers(split):
    images = np.asarray(split.images)
    np.testing.assert_array_equal(split.labels, images[:, 0, 0, 0])
    return images[:, 0, 1, 0].tolist()


def test_without_a_test_split_a_fifth_of_train_is_tested_on(load, tiny, tmp_path):
    prepared(tiny, tmp_path, {"train": 60}, name="eurosat")
    one, other = (load("eurosat", seed=seed, validation=0.1) for seed in (0, 1))
    assert numbers(one.test) == numbers(other.test)
    np.testing.assert_array_equal(np.bincount(one.test.labels), [6, 6])
    assert sorted(n for part in one[1:4] for n in numbers(part)) == list(range(60))
    assert numbers(one.validation) != numbers(other.validation)
    # A result is comparable only while this holds.
    assert numbers(one.test) == [8, 9, 20, 26, 27, 34, 39, 44, 51, 54, 55, 57]


def test_a_validation_split_is_trained_on_or_else_tested_on(load, tiny, tmp_path, decodings):
    prepared(tiny, tmp_path, {"test": 8, "train": 10, "validation": 6}, name="dtd")
    dataset = load("dtd", validation=4)
    assert numbers(dataset.test) == list(range(8))
    assert sorted(numbers(dataset.train) + numbers(dataset.validation)) == list(range(8, 24))
    assert decodings == ["train+validation", "test"]
    prepared(tiny, tmp_path, {"train": 10, "validation": 6}, name="imagenet2012")
    dataset = load("imagenet2012", validation=4)
    assert numbers(dataset.test) == list(range(10, 16))
    assert sorted(numbers(dataset.train) + numbers(dataset.validation)) == list(range(10))
    split = data.load_split("dtd", "validation", data_dir=tmp_path / "tfds", progress=False)[0]
    assert numbers(split) == list(range(18, 24))
    split = data.load_split("dtd", "all", data_dir=tmp_path / "tfds", progress=False)[0]
    assert numbers(split) == [*range(8, 24), *range(8)]


def test_over_the_budget_records_are_decoded_on_demand(load, tiny, tmp_path):
    """Across the boundary of the two training splits, and in any order."""
    prepared(tiny, tmp_path, {"test": 8, "train": 10, "validation": 6}, name="dtd")
    lazy = load("dtd", size=4, cache_gib=0, validation=0)
    kept = load("dtd", size=4, validation=0)
    assert isinstance(kept.train.images, np.memmap)
    for one, other in zip(kept[1:4], lazy[1:4]):
        np.testing.assert_array_equal(one.labels, other.labels)
        np.testing.assert_array_equal(one.images, np.asarray(other.images))
    order = np.array([15, 3, 9, 10, 0, 15])
    np.testing.assert_array_equal(lazy.train.images.read(order), kept.train.images[order])


def test_a_damaged_record_over_the_budget_is_reported_at_once(load, tiny, mnist):
    data_dir, content = mnist
    records = tiny.records(*content["train"])
    records[17] = (b"no image", 0)
    tiny.write(data_dir, dict(train=records, test=records))
    assert "record 17 of split 'train' is damaged" in complaint(load, cache_gib=0)


def test_an_invalid_budget():
    assert "cache_gib" in complaint(data.load, "digits", cache_gib=-1)
