"""The encoded images of a prepared TFDS dataset."""

import os

import numpy as np
import pytest

from jaxmask import data
from jaxmask.data import prepared, tfds_source
from jaxmask.errors import InputError


@pytest.fixture
def load(tmp_path, monkeypatch):
    """`data.load` with its cache in a temporary folder."""
    monkeypatch.setenv("JAXMASK_CACHE", str(tmp_path / "cache"))

    def load(name="mnist", **options):
        return data.load(name, **{"progress": False, "data_dir": tmp_path / "tfds", **options})

    return load


def complaint(call, *args, **options):
    with pytest.raises(InputError) as caught:
        call(*args, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_colors_stay_in_order(load, tiny, tmp_path):
    images, labels = tiny.examples(4, 2, (8, 8, 3))
    records = tiny.records(images, labels)
    tiny.write(tmp_path / "tfds", dict(train=records, test=records), shape=(8, 8, 3))
    np.testing.assert_array_equal(load(validation=0).train.images, images)


def test_supervised_keys_and_class_names(load, tiny, tmp_path):
    images, labels = tiny.examples(6, 3)
    records = tiny.records(images, labels)
    names = ["ant", "bee", "cat"]
    tiny.write(
        tmp_path / "tfds",
        dict(train=records, test=records),
        name="omniglot",
        keys=("picture", "alphabet"),
        classes=3,
        names=names,
    )
    dataset = load("omniglot", validation=0, classes=(2, 0))
    assert dataset.classes == ("cat", "ant")
    np.testing.assert_array_equal(dataset.train.labels, [1, 0, 1, 0])
    np.testing.assert_array_equal(dataset.train.images, images[[0, 2, 3, 5]])
    np.testing.assert_array_equal(dataset.test.labels, [1, 0, 1, 0])


def test_a_damaged_record_names_itself(load, tiny, mnist, tmp_path):
    data_dir, content = mnist
    records = tiny.records(*content["train"])
    records[17] = (b"no image", 0)
    tiny.write(data_dir, dict(train=records, test=records))
    message = complaint(load)
    assert "record 17 of split 'train' is damaged" in message
    assert str(data_dir / "mnist" / "3.0.1") in message
    assert os.listdir(tmp_path / "cache" / "data") == []


def test_a_damaged_file_names_the_record(load, mnist):
    path = mnist[0] / "mnist" / "3.0.1" / "mnist-train.array_record-00000-of-00001"
    content = bytearray(path.read_bytes())
    content[5000] ^= 255
    path.write_bytes(content)
    assert "of split 'train' is damaged (" in complaint(load)
    path.unlink()
    assert "No such file" in complaint(load)


def test_labels_outside_the_classes_are_refused(load, tiny, tmp_path):
    images, _ = tiny.examples(3, 2)
    records = tiny.records(images, [0, -1, 1])
    tiny.write(tmp_path / "tfds", dict(train=records, test=records))
    assert "record 1 of split 'train' has label -1" in complaint(load)


def test_other_than_image_classification_is_refused(load, tiny, tmp_path):
    records = tiny.records(*tiny.examples(2, 2))
    folder = tiny.write(tmp_path / "tfds", dict(train=records, test=records))
    features = (folder / "features.json").read_text()
    (folder / "features.json").write_text(features.replace('"label"', '"kind"'))
    assert "image classification" in complaint(load)
    tiny.write(tmp_path / "tfds", dict(train=records, test=records), dtype="uint16")
    assert "uint16" in complaint(load)


def described(folder, *splits, size=0):
    return tfds_source.describe(prepared.find("mnist", folder), splits, size)


def test_several_splits_are_one_source_in_their_order(mnist):
    folder, content = mnist
    source = described(folder, "test", "train").open()
    images, labels = (np.concatenate([content["test"][i], content["train"][i]]) for i in (0, 1))
    assert (source.examples, source.classes) == (40, ("0", "1"))
    chosen = np.array([39, 0, 9, 10, 10, 25])  # over the border of the two, one twice
    found = source.decode(chosen)
    np.testing.assert_array_equal(found[0], images[chosen])
    np.testing.assert_array_equal(found[1], labels[chosen])


def test_a_fingerprint_depends_on_splits_size_and_files(mnist, tiny):
    folder, content = mnist
    prints = [described(folder, *given, size=size).fingerprint()
              for given, size in ((["train"], 0), (["test"], 0), (["train", "test"], 0),
                                  (["test", "train"], 0), (["train"], 8))]  # fmt: skip
    assert len(set(prints)) == 5
    assert described(folder, "train").fingerprint("labels") != prints[0]
    assert described(folder, "train").fingerprint() == prints[0]
    tiny.write(folder, {name: tiny.records(*arrays) for name, arrays in content.items()}
               | {"train": tiny.records(*tiny.examples(31, 2))})  # fmt: skip
    assert described(folder, "train").fingerprint() != prints[0]


def test_random_keys_belong_to_places_in_the_dataset(mnist):
    keys = described(mnist[0], "train").keys
    np.testing.assert_array_equal(keys(10), keys(30)[:10])
    assert len(set(keys(30))) == 30
    assert keys(30).dtype == np.uint64


def test_a_split_that_is_not_there_is_told_before_anything_is_opened(mnist):
    assert "no split 'extra'" in complaint(described, mnist[0], "train", "extra")
