"""Datasets saved by `datasets`, from rows of every kind to splits."""

import io
import json
import os
import shutil
import sys

import numpy as np
import pytest
from PIL import Image

from jaxmask import data
from jaxmask.data import arrow_source, decoded
from jaxmask.errors import InputError

datasets = pytest.importorskip("datasets")
NAMES = ("ant", "bee", "cow")


def png(label, number, shape=(6, 8, 3), kind="PNG"):
    """Its first pixel says which image it is."""
    image = np.random.default_rng([label, number]).integers(0, 256, shape, np.uint8)
    image.reshape(shape[0], shape[1], -1)[0, 0, 0] = 16 * label + number
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, kind)
    return buffer.getvalue()


def table(labels, kind=None, images=None, **more):
    """One split; `kind` is the feature of the label, by default class names."""
    kind = datasets.ClassLabel(names=list(NAMES)) if kind is None else kind
    images = [png(0, i) for i in range(len(labels))] if images is None else images
    rows = {"image": images, "label": labels, **{name: one for name, (one, _) in more.items()}}
    kinds = {"image": datasets.Image(), "label": kind, **{n: kind for n, (_, kind) in more.items()}}
    return datasets.Dataset.from_dict(rows, features=datasets.Features(kinds))


@pytest.fixture(autouse=True)
def quiet():
    datasets.disable_progress_bars()
    arrow_source._say_once.cache_clear()


@pytest.fixture
def root(tmp_path):
    return tmp_path / "saved"


@pytest.fixture
def save(root):
    """Saves splits, or one table, in place of what is there."""

    def save(one=None, **splits):
        shutil.rmtree(root, ignore_errors=True)
        (one or datasets.DatasetDict(splits)).save_to_disk(str(root))

    return save


@pytest.fixture
def load(root, tmp_path):
    def load(columns="", **options):
        given = {"progress": False, "cache_dir": tmp_path / "cache", "validation": 0, **options}
        return data.load(f"hf:{root}{columns}", **given)

    return load


def complaint(call, *args, **options):
    with pytest.raises(InputError) as caught:
        call(*args, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def numbers(split):
    return np.asarray(split.images)[:, 0, 0, 0].tolist()


def test_splits_arrive_whole_and_in_order_without_datasets(save, load, monkeypatch):
    save(train=table([2, 0, 1, 1]), test=table([1, 0, 2]))
    monkeypatch.setitem(sys.modules, "datasets", None)  # importing it is an error
    dataset = load()
    assert dataset.classes == NAMES
    np.testing.assert_array_equal(dataset.train.labels, [2, 0, 1, 1])
    np.testing.assert_array_equal(dataset.test.labels, [1, 0, 2])
    for split, count in ((dataset.train, 4), (dataset.test, 3)):
        expected = [np.asarray(Image.open(io.BytesIO(png(0, i)))) for i in range(count)]
        np.testing.assert_array_equal(split.images, expected)
        assert (split.images.dtype, split.labels.dtype) == (np.uint8, np.int32)
        assert isinstance(split.images, np.memmap)
    assert "tensorflow" not in sys.modules


def test_many_files_and_a_choice_of_rows(root, load):
    """Shards, and rows that were shuffled and selected before saving."""
    whole = table(list(np.arange(40) % 3)).select([7, 30, 2, 21, 9, 14, 39])
    split = datasets.DatasetDict(train=whole, test=whole)
    split.save_to_disk(str(root), num_shards={"train": 3, "test": 1})
    for cache_gib in (8, 0):
        dataset = load(cache_gib=cache_gib)
        assert numbers(dataset.train) == numbers(dataset.test) == [7, 30, 2, 21, 9, 14, 39]
        np.testing.assert_array_equal(dataset.train.labels, np.array([7, 30, 2, 21, 9, 14, 39]) % 3)


@pytest.mark.parametrize(
    ("kind", "labels", "classes"),
    [
        ("int64", [30, 4, 30, 5], ("4", "5", "30")),  # by value, not as text
        ("uint8", [0, 1, 1, 0], ("0", "1")),
        ("int32", [-1, 1, 1, -1], ("-1", "1")),  # a class, where there are others
        ("string", ["elk", "Ape", "elk", "yak"], ("Ape", "elk", "yak")),
        ("large_string", ["b", "a", "b", "c"], ("a", "b", "c")),
        ("bool", [True, False, True, True], ("False", "True")),
    ],
)
def test_labels_without_class_names(save, load, kind, labels, classes):
    """Numbered by their order in all splits; one that is only tested on is refused."""
    kind = datasets.Value(kind)
    save(train=table(labels, kind), test=table(labels[:2], kind))
    dataset = load()
    assert dataset.classes == classes
    assert [classes[i] for i in dataset.train.labels] == [str(label) for label in labels]
    assert [classes[i] for i in dataset.test.labels] == [str(label) for label in labels[:2]]
    save(train=table(labels[2:] + labels[2:], kind), test=table(labels, kind))
    if set(labels) - set(labels[2:]):
        assert "only 'test' has the classes" in complaint(load)


def test_one_class_is_refused(save, load):
    save(table(["a"] * 4, datasets.Value("string")))
    assert "all 'a'; at least two" in complaint(load)


@pytest.mark.parametrize("unlabeled", [[-1] * 3, [None] * 3])
def test_a_split_without_labels_is_left_out_and_that_is_said(save, load, caplog, root, unlabeled):
    parts = {"train": table([0, 1, 2, 1, 0]), "validation": table([1, 2])}
    save(**parts, test=table(unlabeled))
    dataset = load()
    assert [len(split.labels) for split in dataset[1:4]] == [5, 0, 2]
    np.testing.assert_array_equal(dataset.test.labels, [1, 2])
    told = [record.getMessage() for record in caplog.records]
    assert told == [
        f"dataset 'hf:{root}': no labels in 'test', left out; tested on is 'validation'"
    ]
    whole, _ = data.load_split(f"hf:{root}", "all", cache_dir=root / ".c", progress=False)
    assert len(whole.labels) == 7


def test_a_test_split_without_the_column_or_without_text(save, load, caplog):
    text = datasets.Value("string")
    for other in (table([0, 0]).remove_columns("label"), table(["", ""], text)):
        arrow_source._say_once.cache_clear()
        save(train=table(["a", "b"] * 10, text), test=other)
        assert [len(split.labels) for split in load()[1:4]] == [16, 0, 4]
        assert "tested on is a fifth of 'train'" in caplog.records[-1].getMessage()
    save(train=table([-1] * 3), test=table([1, 0]))
    assert "no labels in its split 'train', only 'test'" in complaint(load)


@pytest.mark.parametrize("missing", [-1, None])
def test_some_rows_without_labels_are_refused(save, load, missing):
    save(train=table([0, 1, missing, 2, missing]), test=table([0]))
    message = complaint(load)
    assert "2 labels of its split 'train'" in message
    assert f"row 2: {missing}" in message
    save(
        train=table(["a", "b", None], datasets.Value("string")),
        test=table(["a"], datasets.Value("string")),
    )
    assert "1 labels of its split 'train'" in complaint(load)


def test_splits_of_other_classes_are_refused(save, load):
    other = datasets.ClassLabel(names=["bee", "ant", "cow"])
    save(train=table([0, 1, 2]), test=table([0, 1, 2], other))
    assert "'label' is another thing in 'train' and 'test'" in complaint(load)


def test_columns_given_after_the_name(save, load):
    coarse = datasets.ClassLabel(names=["insect", "mammal"])
    kinds = {
        "coarse": ([1, 0, 0, 0], coarse),
        "sharp": ([png(1, i) for i in range(4)], datasets.Image()),
    }
    one = table([2, 0, 1, 1], **kinds)
    save(train=one, test=one)
    assert "#label" in complaint(load)
    assert "#image,coarse" in complaint(load, "#coarse")
    first, second = load("#image,label"), load("#sharp,coarse")
    assert (first.classes, second.classes) == (NAMES, ("insect", "mammal"))
    np.testing.assert_array_equal(second.train.labels, [1, 0, 0, 0])
    assert (numbers(first.train), numbers(second.train)) == ([0, 1, 2, 3], [16, 17, 18, 19])
    np.testing.assert_array_equal(load("#image,label").train.labels, [2, 0, 1, 1])  # both stay


@pytest.mark.parametrize("name", ["valid", "val", "Validation"])
def test_splits_by_other_names(save, load, name):
    save(**{"train": table([0, 1, 2, 0]), name: table([2, 1])})
    dataset = load()
    assert [len(split.labels) for split in dataset[1:4]] == [4, 0, 2]
    save(**{"train": table([0, 1]), "val": table([0, 1]), "validation": table([1, 0])})
    assert "the splits 'val' and 'validation'" in complaint(load)
    save(full=table([0, 1]))
    assert "no split 'train', only 'full'" in complaint(load)


def test_a_single_table_is_train_or_the_split_that_it_was(save, load, root):
    save(table(list(np.arange(30) % 3)))
    assert [len(split.labels) for split in load()[1:4]] == [24, 0, 6]
    one = table([0, 1])
    one._split = datasets.NamedSplit("test")
    save(one)
    assert "no split 'train', only 'test'" in complaint(load)
    split, _ = data.load_split(f"hf:{root}", "test", cache_dir=root / ".c", progress=False)
    np.testing.assert_array_equal(split.labels, [0, 1])


def test_gray_only_if_all_images_are(save, load):
    """A color set may begin with a gray image, as a photograph collection does."""
    gray = [png(0, i, (6, 8)) for i in range(4)]
    save(train=table([0, 1, 2, 0], images=gray), test=table([0, 1, 2, 0], images=gray))
    dataset = load()
    assert dataset.train.images.shape == (4, 6, 8, 1)
    expected = [np.asarray(Image.open(io.BytesIO(one)))[..., None] for one in gray]
    np.testing.assert_array_equal(dataset.train.images, expected)
    mixed = [*gray[:3], png(0, 3)]
    save(train=table([0, 1, 2, 0], images=gray), test=table([0, 1, 2, 0], images=mixed))
    dataset = load()  # also if the color is in the other split alone
    assert dataset.train.images.shape == dataset.test.images.shape == (4, 6, 8, 3)
    np.testing.assert_array_equal(dataset.train.images, np.repeat(expected, 3, -1))
    for mode, shape in (("L", (4, 6, 8, 1)), ("RGB", (4, 6, 8, 3))):
        one = table([0, 1, 2, 0], images=mixed).cast_column("image", datasets.Image(mode=mode))
        save(train=one, test=one)
        assert load().train.images.shape == shape
    three = np.asarray(Image.open(io.BytesIO(mixed[3])).convert(mode))
    np.testing.assert_array_equal(load().train.images[3], three)


def test_alpha_is_dropped_and_16_bits_become_8(save, load):
    clear, deep = png(0, 0, (6, 8, 4)), io.BytesIO()
    Image.fromarray(np.arange(48, dtype=np.uint16).reshape(6, 8) * 1285).save(deep, "PNG")
    save(train=table([0, 1], images=[clear, clear]), test=table([0, 1], images=[clear, clear]))
    expected = np.asarray(Image.open(io.BytesIO(clear)))[..., :3]
    np.testing.assert_array_equal(load().train.images[0], expected)
    one = table([0, 1], images=[deep.getvalue()] * 2)
    save(train=one, test=one)
    np.testing.assert_array_equal(load().train.images[0].ravel(), np.arange(48) * 5)


def test_images_of_many_sizes_need_a_size(save, load):
    images = [png(0, 0), png(0, 1, (20, 30, 3)), png(0, 2, (9, 9, 3), "WEBP")]
    save(train=table([0, 1, 2], images=images), test=table([0, 1, 2], images=images))
    assert "6x8 and 20x30" in complaint(load)
    assert load(size=5).train.images.shape == (3, 5, 5, 3)


def test_rows_that_cannot_be_read_are_named(save, load, monkeypatch, tmp_path):
    monkeypatch.setattr(decoded, "CHUNK", 2)
    whole = png(0, 0)
    images = [whole, None, b"no image", whole, whole[: len(whole) // 2], whole]
    for cache_gib in (8, 0):
        save(train=table([0, 1, 2, 0, 1, 2], images=images), test=table([0]))
        message = complaint(load, cache_gib=cache_gib)
        assert "3 images cannot be read: row 1 of 'train' (it has no image)" in message
        assert "row 2 of 'train' (not an image)" in message
        assert "row 4 of 'train' (" in message
        assert not any("train" in name for name in os.listdir(tmp_path / "cache" / "data"))


def test_bytes_without_the_image_feature(save, load):
    """As tools other than `datasets` write them to parquet."""
    stored = {"bytes": datasets.Value("binary"), "path": datasets.Value("string")}
    for kind, rows in (
        (datasets.Value("binary"), [png(0, i) for i in range(3)]),
        (stored, [{"bytes": png(0, i), "path": f"{i}.png"} for i in range(3)]),
    ):
        features = datasets.Features(png=kind, label=datasets.Value("int64"))
        one = datasets.Dataset.from_dict({"png": rows, "label": [0, 1, 0]}, features=features)
        save(train=one, test=one)
        assert numbers(load().train) == [0, 1, 2]


def test_over_the_budget_images_are_decoded_on_demand(save, load, tmp_path):
    save(train=table(list(np.arange(24) % 3)), test=table([0, 1, 2]))
    options = {"classes": (2, 0), "share": 0.8, "validation": 3, "seed": 5}
    kept, lazy = load(**options, cache_dir=tmp_path / "other"), load(**options, cache_gib=0)
    for one, other in zip(kept[1:4], lazy[1:4]):
        assert isinstance(other.images, data.Lazy)
        np.testing.assert_array_equal(one.labels, other.labels)
        np.testing.assert_array_equal(one.images, np.asarray(other.images))
    order = np.random.default_rng(0).permutation(9).reshape(3, 3)
    for images, labels in data.stream(lazy.train, order, [3]):
        np.testing.assert_array_equal(images, kept.train.images[order])
        np.testing.assert_array_equal(labels, kept.train.labels[order])


def test_the_cache_follows_the_files(save, load, monkeypatch, tmp_path):
    build, calls = decoded._build, []
    monkeypatch.setattr(decoded, "_build", lambda *a: calls.append(a[0].short) or build(*a))
    save(train=table([0, 1, 2]), test=table([0, 1]))
    load()
    with monkeypatch.context() as patch:
        patch.setattr(arrow_source, "decode_file", None)
        load()
    assert calls == ["saved train", "saved test"]
    save(train=table([0, 1, 2], images=[png(1, i) for i in range(3)]), test=table([0, 1]))
    assert numbers(load().train) == [16, 17, 18]
    assert len(os.listdir(tmp_path / "cache" / "data")) == 2  # old states are removed


def test_what_is_damaged_or_was_not_saved(save, load, root):
    good = {"train": table([0, 1, 2]), "test": table([0, 1])}
    save(**good)
    (root / "test" / "state.json").unlink()
    assert f"{root / 'test' / 'state.json'} cannot be read" in complaint(load)
    save(**good)
    (root / "train" / "dataset_info.json").write_text("{}")
    assert "names no columns" in complaint(load)
    save(**good)
    path = root / "train" / "data-00000-of-00001.arrow"
    os.truncate(path, path.stat().st_size // 2)
    assert "files of its split 'train' are damaged" in complaint(load)
    path.unlink()
    assert "files of its split 'train' are damaged (Failed to open" in complaint(load)
    for content in ("[]", '{"splits": 3}'):
        (root / "dataset_dict.json").write_text(content)
        assert "dataset_dict.json" in complaint(load)
    save(good["train"])
    state = json.loads((root / "state.json").read_text())
    (root / "state.json").write_text(json.dumps({**state, "_data_files": None}))
    assert "state.json is damaged" in complaint(load)
    shutil.rmtree(root)
    assert f"there is no folder {root}" in complaint(load)
    root.mkdir()
    (root / "train.parquet").write_bytes(b"")
    assert f"load_dataset('{root}').save_to_disk" in complaint(load)
