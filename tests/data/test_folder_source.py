"""Folders of images, from files of every kind to splits."""

import os
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jaxmask import data
from jaxmask.data import decoded
from jaxmask.data.decode import decode_file, extensions, resize
from jaxmask.errors import InputError

# found without importing scikit-learn, which takes a second
PHOTO = Path(find_spec("sklearn").origin).parent / "datasets" / "images" / "china.jpg"


def picture(seed=0, height=10, width=14):
    """Smooth, with different colors and corners, so that a swap or a rotation shows."""
    y, x = np.mgrid[0:height, 0:width]
    waves = [127 + 120 * np.sin((x + seed) / (5 + c) + y / (9 - 2 * c)) for c in range(3)]
    return np.stack(waves, -1).astype(np.uint8)


def write(path, image, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path, **options)


def write_classes(folder, counts, **options):
    """{class: count} PNG files; the first pixel of each says which one it is."""
    for label, (name, count) in enumerate(counts.items()):
        for i in range(count):
            image = picture(i, **options)
            image[0, 0] = label, i, 7
            write(folder / name / f"{i:03}.png", image)


@pytest.fixture
def load(tmp_path):
    """`data.load` of tmp_path/images with its cache in a temporary folder."""

    def load(path=tmp_path / "images", **options):
        given = {"progress": False, "cache_dir": tmp_path / "cache", "validation": 0, **options}
        return data.load(f"folder:{path}", **given)

    return load


@pytest.fixture
def root(tmp_path):
    return tmp_path / "images"


def complaint(call, *args, **options):
    with pytest.raises(InputError) as caught:
        call(*args, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def marks(split):
    """(class, number) of each image, as `write_classes` made it."""
    return [tuple(image[0, 0, :2].tolist()) for image in np.asarray(split.images)]


def test_train_and_test_folders_arrive_whole_and_in_order(root, load):
    write_classes(root / "train", {"ant": 3, "bee": 2})
    write_classes(root / "test", {"ant": 1, "bee": 2})
    dataset = load()
    assert dataset.classes == ("ant", "bee")
    assert marks(dataset.train) == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)]
    assert marks(dataset.test) == [(0, 0), (1, 0), (1, 1)]
    for split in (dataset.train, dataset.test):
        np.testing.assert_array_equal(split.labels, [mark[0] for mark in marks(split)])
        assert (split.images.dtype, split.labels.dtype) == (np.uint8, np.int32)
        assert isinstance(split.images, np.memmap)
    np.testing.assert_array_equal(dataset.train.images[4, 1:], picture(1)[1:])
    assert len(dataset.validation.labels) == 0


@pytest.mark.parametrize("name", ["validation", "valid", "val", "Val"])
def test_a_validation_folder_is_trained_on_where_there_is_a_test_folder(root, load, name):
    for split, count in (("train", 3), (name, 2), ("Test", 1)):
        write_classes(root / split, {"a": count, "b": count})
    assert [len(part.labels) for part in load(validation=2)[1:4]] == [8, 2, 2]
    assert len(data.load_split(f"folder:{root}", "all", cache_dir=root / ".c")[0].labels) == 12
    shutil.rmtree(root / "Test")  # and tested on where there is none
    assert [len(part.labels) for part in load()[1:4]] == [6, 0, 4]


def test_a_stratified_fifth_is_the_test_split_whatever_the_seed(root, load):
    counts = {"a": 20, "b": 10, "c": 5, "d": 1}
    write_classes(root, counts)
    one, other = load(seed=0, validation=4), load(seed=1, validation=4)
    assert marks(one.test) == marks(other.test)
    assert marks(one.validation) != marks(other.validation)
    np.testing.assert_array_equal(np.bincount(one.test.labels, minlength=4), [4, 2, 1, 0])
    parts = [set(marks(part)) for part in one[1:4]]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 36
    for part in one[1:4]:
        np.testing.assert_array_equal(part.labels, [mark[0] for mark in marks(part)])
    both, names = data.load_split(f"folder:{root}", "all", cache_dir=root / ".cache")
    assert (len(both.labels), names) == (36, one.classes)


def test_the_test_split_depends_on_paths_and_not_on_what_else_is_there(root, load, tmp_path):
    write_classes(root, {"a": 30, "b": 30})
    before = set(marks(load().test))
    shutil.move(root, tmp_path / "moved")
    assert set(marks(load(tmp_path / "moved").test)) == before
    for i in range(5):  # five more images in a class mean one more test image
        write(tmp_path / "moved" / "a" / f"more{i}.png", picture(i))
    kept = before & set(marks(load(tmp_path / "moved").test))
    assert len(kept) >= len(before) - 2


def test_split_folders_are_distinguished_from_classes_of_that_name(root, load):
    write_classes(root, {"car": 5, "train": 5})
    assert load().classes == ("car", "train")


def test_nested_hidden_and_other_files(root, load, tmp_path):
    write_classes(root / "train", {"a": 1, "b": 1})
    write(root / "train" / "a" / "x" / "y" / "deep.JPEG", picture())
    write(tmp_path / "elsewhere" / "linked.png", picture())
    (root / "train" / "a" / "link").symlink_to(tmp_path / "elsewhere")
    (root / "train" / "a" / "x" / "circle").symlink_to(root / "train" / "a")
    for other in ("notes.txt", ".hidden.png", "Thumbs.db", ".cache/0.png", "paper.pdf"):
        path = root / "train" / "b" / other
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"no image")
    write_classes(root / ".git", {"c": 1})
    write_classes(root / "test", {"a": 1, "b": 1})
    np.testing.assert_array_equal(load().train.labels, [0, 0, 0, 1])


def save_every_kind(folder):
    """{file name: (what it must decode to, largest difference)}."""
    image = picture(0, 16, 24)
    gray = image[..., 0]
    three = np.repeat(gray[..., None], 3, -1)
    folder.mkdir(parents=True)
    wanted = {}

    def save(name, made, expected, tolerance=0, **options):
        made.save(folder / name, **options)
        wanted[name] = expected, tolerance

    rgb = Image.fromarray(image)
    save("plain.png", rgb, image)
    save("plain.bmp", rgb, image)
    save("plain.tiff", rgb, image)
    save("plain.webp", rgb, image, lossless=True)
    save("photo.jpg", rgb, image, 16, quality=98, subsampling=0)
    save("gray.png", Image.fromarray(gray), three)
    save("gray.jpg", Image.fromarray(gray), three, 6, quality=98)
    save("bits.png", Image.fromarray(gray > 127), np.where(three > 127, 255, 0))
    quantized = rgb.quantize(32)
    colors = np.asarray(quantized.convert("RGB"))
    save("palette.png", quantized, colors)
    save("palette.gif", quantized, colors)
    save("see_through.png", quantized, colors, transparency=bytes(range(32)))
    opacity = np.tile(np.arange(24, dtype=np.uint8), (16, 1))
    save("alpha.png", Image.fromarray(np.dstack([image, opacity])), image)
    save("gray_alpha.png", Image.fromarray(np.dstack([gray, opacity])), three)
    deep = (gray.astype(np.uint16) * 257 + np.arange(24, dtype=np.uint16)).clip(0, 65535)
    deep = deep.astype(np.uint16)
    save("deep.png", Image.fromarray(deep), np.repeat(np.round(deep / 257)[..., None], 3, -1))
    save("deep.tiff", Image.fromarray(deep), np.repeat(np.round(deep / 257)[..., None], 3, -1))
    save("ink.jpg", rgb.convert("CMYK"), image, 16, quality=98, subsampling=0)
    frames = [Image.fromarray(np.roll(image, 5 * i, 1)) for i in range(3)]
    save("moving.png", frames[0], image, save_all=True, append_images=frames[1:])
    save("moving.webp", frames[0], image, save_all=True, append_images=frames[1:], lossless=True)
    return wanted


def test_every_kind_of_image_becomes_rgb(tmp_path):
    wanted = save_every_kind(tmp_path / "kinds")
    for name, (expected, tolerance) in wanted.items():
        got = decode_file(tmp_path / "kinds" / name)
        assert (got.dtype, got.shape) == (np.uint8, (16, 24, 3)), name
        assert np.abs(got.astype(int) - expected).max() <= tolerance, name


def test_the_orientation_in_a_photograph_is_obeyed(tmp_path):
    """All eight; decoding must undo the rotation or flip, which NumPy applies here."""
    image = picture(3, 24, 40)
    stored = {
        1: image, 2: image[:, ::-1], 3: image[::-1, ::-1], 4: image[::-1],
        5: image.swapaxes(0, 1), 6: np.rot90(image), 7: np.rot90(image, 2).swapaxes(0, 1),
        8: np.rot90(image, -1),
    }  # fmt: skip
    for orientation, turned in stored.items():
        exif = Image.Exif()
        exif[0x0112] = orientation
        path = tmp_path / f"{orientation}.jpg"
        write(path, np.ascontiguousarray(turned), quality=98, subsampling=0, exif=exif)
        got = decode_file(path)
        assert got.shape == image.shape
        assert np.abs(got.astype(int) - image).mean() < 2, orientation


def test_a_photograph_is_resized_and_cut_as_pillow_does_it(tmp_path):
    photo = Image.open(PHOTO)  # 640 x 427
    photo.transpose(Image.Transpose.TRANSPOSE).save(tmp_path / "upright.bmp")
    # The two small ones are decoded at a quarter and a half.
    for size, least, most in ((32, 0.1, 1.5), (64, 0.1, 2.1), (224, 0, 0.01), (427, 0, 0)):
        width = round(640 * size / 427)
        left = (width - size) // 2
        expected = photo.resize((width, size), Image.Resampling.BILINEAR)
        expected = np.asarray(expected.crop((left, 0, left + size, size)))
        got = decode_file(PHOTO, size)
        assert got.shape == expected.shape == (size, size, 3)
        assert least <= np.abs(got.astype(int) - expected).mean() <= most
        upright = decode_file(tmp_path / "upright.bmp", size).swapaxes(0, 1)
        assert np.abs(upright.astype(int) - expected).mean() < 0.6  # it rounds in another order


def test_shrinking_matches_that_of_other_datasets():
    for size, difference in ((224, 2), (427, 0), (600, 0.3)):
        got, expected = decode_file(PHOTO, size), resize(decode_file(PHOTO), size)
        assert np.abs(got.astype(int) - expected).mean() <= difference


def test_extensions_are_of_formats_that_can_be_read():
    assert {".jpg", ".jpeg", ".png", ".gif", ".webp", ".tif", ".bmp"} <= extensions()
    assert not {".pdf", ".txt", ".csv", ".json"} & extensions()


def test_images_that_cannot_be_read_are_named(root, load, tmp_path, monkeypatch):
    monkeypatch.setattr(decoded, "CHUNK", 2)
    write_classes(root, {"a": 6, "b": 6})
    (root / "a" / "000.png").write_bytes(b"")
    whole = (root / "a" / "003.png").read_bytes()
    (root / "a" / "003.png").write_bytes(whole[: len(whole) // 2])
    (root / "b" / "gone.jpg").symlink_to(tmp_path / "nowhere")
    (root / "b" / "zz.gif").write_bytes(b"garbage")
    Image.fromarray(np.zeros((4, 4), np.float32)).save(root / "b" / "zzz.tiff")
    for cache_gib in (8, 0):
        message = complaint(load, cache_gib=cache_gib)
        assert "5 images cannot be read" in message
        for name in ("a/000.png (not an image)", "a/003.png (", "b/gone.jpg (No such file"):
            assert str(root / name.split(" ")[0]) + " " + name.split(" ", 1)[1] in message
        assert "and 2 more" in message
        assert "zz.gif" not in message
        assert os.listdir(tmp_path / "cache" / "data") == []
    for name in ("a/003.png", "b/gone.jpg", "b/zz.gif", "b/zzz.tiff"):
        (root / name).unlink()
    assert "1 image cannot be read" in complaint(load)


def test_images_of_many_sizes_need_a_size(root, load):
    write_classes(root, {"a": 3, "b": 3})
    write(root / "b" / "other.png", picture(0, 20, 30))
    for cache_gib in (8, 0):
        message = complaint(load, cache_gib=cache_gib)
        assert "10x14 and 20x30" in message
        assert "size=" in message
    assert load(size=8).train.images.shape == (6, 8, 8, 3)


def test_the_cache_follows_the_files(root, load, monkeypatch):
    build, calls = decoded._build, []
    monkeypatch.setattr(decoded, "_build", lambda *a: calls.append(a[0].short) or build(*a))
    write_classes(root / "train", {"a": 2, "b": 2})
    write_classes(root / "test", {"a": 1, "b": 1})
    load()
    monkeypatch.setitem(sys.modules, "cv2", None)
    load()
    assert calls == ["images train", "images test"]
    monkeypatch.delitem(sys.modules, "cv2")
    path = root / "test" / "a" / "000.png"
    status = path.stat()
    image = picture(9)
    write(path, image)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1000))
    np.testing.assert_array_equal(load().test.images[0], image)
    path.rename(path.with_name("renamed.png"))
    load()
    write(root / "train" / "a" / "new.png", image)
    assert len(load().train.labels) == 5
    assert calls[2:] == ["images test", "images test", "images train"]
    assert len(os.listdir(root.parent / "cache" / "data")) == 2  # old states are removed


@pytest.mark.parametrize(
    ("made", "named"),
    [
        ({}, "there is no folder"),
        ({"empty": None}, "at least two classes"),
        ({"a/0.png": 1}, "at least two classes"),
        ({"0.png": 1}, "no folders in it"),
        ({"a/0.png": 1, "b": None, "c/notes.txt": 0}, "no images in"),
        ({"train/a/0.png": 1, "train/b/0.png": 1, "test/a/0.png": 1}, "has the classes 'b'"),
        (
            {f"{split}/{name}/0.png": 1 for split, name in
             (("train", "a"), ("train", "b"), ("test", "a"), ("test", "c"))},
            "only one of 'train' and 'test' has the classes 'b', 'c'",
        ),
        ({"test/a/0.png": 1, "test/b/0.png": 1}, "no split 'train', only 'test'"),
        ({f"{split}/{name}/0.png": 1 for split in ("train", "val", "valid") for name in "ab"},
         "keep one"),
    ],
)  # fmt: skip
def test_folders_that_are_not_a_dataset(root, load, made, named):
    for name, kind in made.items():
        path = root / name
        if kind:
            write(path, picture())
        elif kind is None:
            path.mkdir(parents=True)
        else:
            path.parent.mkdir(parents=True)
            path.write_text("")
    assert named in complaint(load)
    assert str(root) in complaint(load)


def test_a_folder_with_only_a_test_split(root, tmp_path):
    write_classes(root / "test", {"a": 2, "b": 1})
    split, classes = data.load_split(f"folder:{root}", "test", cache_dir=tmp_path / "cache")
    assert (marks(split), classes) == ([(0, 0), (0, 1), (1, 0)], ("a", "b"))


def test_over_the_budget_images_are_decoded_on_demand(root, load, tmp_path):
    write_classes(root, {"a": 12, "b": 9, "c": 6})
    options = {"classes": (2, 0), "share": 0.8, "validation": 3, "seed": 5}
    kept, lazy = load(**options, cache_dir=tmp_path / "other"), load(**options, cache_gib=1e-6)
    assert kept.classes == lazy.classes
    for one, other in zip(kept[1:4], lazy[1:4]):
        assert isinstance(other.images, data.Lazy)
        np.testing.assert_array_equal(one.labels, other.labels)
        np.testing.assert_array_equal(one.images, np.asarray(other.images))
    size = sum(path.stat().st_size for path in (tmp_path / "cache" / "data").rglob("*"))
    assert size < 20_000  # the labels, not 11 kB of images per split
    order = np.random.default_rng(0).permutation(9).reshape(3, 3)
    for images, labels in data.stream(lazy.train, order, [3]):
        np.testing.assert_array_equal(images, kept.train.images[order])
        np.testing.assert_array_equal(labels, kept.train.labels[order])
    np.testing.assert_allclose(
        data.statistics(lazy.train.images), data.statistics(kept.train.images)
    )
    assert isinstance(load(**options).train.images, np.ndarray)  # a budget may grow
    assert isinstance(load(**options, cache_gib=0).train.images, np.ndarray)  # what is there


def test_an_image_that_is_damaged_later_stops_the_stream(root, load):
    write_classes(root, {"a": 5, "b": 5})
    train = load(cache_gib=0).train
    for path in (root / "a").iterdir():
        path.write_bytes(b"no image")
    order = np.arange(len(train.labels))[None]
    with pytest.raises(InputError, match=r"cannot be read: .*/a/00"):
        list(data.stream(train, order, [1]))


@pytest.mark.parametrize("name", [" ", "a\nb", "\x1b[1m", "\udcff"])
def test_class_folders_that_files_cannot_name_are_refused(load, root, name):
    try:
        write_classes(root, {"fine": 2, name: 2})
    except OSError:
        pytest.skip("this file system has no such names")
    assert "rename it" in complaint(load)


LATIN = b"caf\xe9"  # not UTF-8


@pytest.fixture
def any_names(tmp_path):
    """Skips where the file system takes text alone."""
    try:
        os.mkdir(os.path.join(os.fsencode(tmp_path), LATIN))
    except OSError:
        pytest.skip("names must be UTF-8 here")


@pytest.mark.usefixtures("any_names")
@pytest.mark.parametrize("part", ["", "train"])
def test_a_class_folder_with_a_name_that_is_no_text_is_refused(root, load, part):
    write_classes(root / part, {"a": 3, os.fsdecode(LATIN): 3})
    told = complaint(load)
    assert "class folder 'caf\\udce9' in " in told
    assert told.endswith("is not UTF-8; rename it")
    told.encode()


@pytest.mark.usefixtures("any_names")
def test_images_may_have_any_name(tmp_path, root, load):
    write_classes(root, {"a": 10, "b": 10})
    before = load()
    odd = tmp_path / "other" / "images"
    shutil.copytree(root, odd)
    after = load(odd)  # without a `test`, a hash of the paths chooses it
    np.testing.assert_array_equal(after.test.images, before.test.images)
    (odd / "a" / "003.png").rename(odd / "a" / os.fsdecode(b"003\xff.png"))
    for _ in range(2):  # decoded, then from the cache
        named = load(odd)
        pixels = np.concatenate([named.train.images, named.test.images])[:, 0, 0]
        assert sorted(pixels.tolist()) == [[c, i, 7] for c in (0, 1) for i in range(10)]
    broken = odd / "b" / os.fsdecode(b"\xfe.png")
    broken.write_bytes(b"no image")
    assert "udcfe.png" in ascii(complaint(load, odd))
