"""Fetching from the hub: all but the download, for which a folder laid out as on the hub stands."""

import io
import os
import socket
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from jaxmask import data
from jaxmask.errors import InputError

datasets = pytest.importorskip("datasets")
huggingface_hub = pytest.importorskip("huggingface_hub")
build = datasets.load_dataset_builder


def png(number, shape=(5, 7, 3)):
    image = np.random.default_rng(number).integers(0, 256, shape, np.uint8)
    image[0, 0, 0] = number
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


def parquet(folder, counts):
    """`data/SPLIT-00000-of-00002.parquet`, as `push_to_hub` writes them; two files a split."""
    kinds = {"img": datasets.Image(), "label": datasets.ClassLabel(names=["ant", "bee"])}
    start = 0
    for split, count in counts.items():
        for shard in range(2):
            rows = {"img": [png(start + i) for i in range(count)], "label": [0, 1] * (count // 2)}
            one = datasets.Dataset.from_dict(rows, features=datasets.Features(kinds))
            folder.joinpath("data").mkdir(parents=True, exist_ok=True)
            one.to_parquet(folder / "data" / f"{split}-0000{shard}-of-00002.parquet")
            start += count


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """What the hub is asked; `hub.kind` and `hub.folder` are what its only dataset holds."""
    datasets.disable_progress_bars()
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    hub = SimpleNamespace(kind="parquet", folder=tmp_path / "hub", files=["README.md"], asked=[])

    def info(self, *args, **options):
        hub.asked.append(("info", args))
        assert options == {"timeout": 10.0}
        return SimpleNamespace(siblings=[SimpleNamespace(rfilename=name) for name in hub.files])

    def builder(*args, **options):
        hub.asked.append(("build", args))
        assert options == {}  # above all, no trust_remote_code
        return build(hub.kind, data_dir=str(hub.folder), cache_dir=str(tmp_path / "hf"))

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", info)
    monkeypatch.setattr(datasets, "load_dataset_builder", builder)
    return hub


@pytest.fixture
def load(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def load(name="hf:some-one/in.sects", **options):
        given = {"progress": False, "cache_dir": tmp_path / "cache", "validation": 0, **options}
        return data.load(name, **given)

    return load


def complaint(call, *args, **options):
    with pytest.raises(InputError) as caught:
        call(*args, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_parquet_is_fetched_once(hub, load, tmp_path, monkeypatch):
    parquet(hub.folder, {"train": 6, "test": 2})
    dataset = load()
    name = "some-one/in.sects"
    assert hub.asked == [("info", (name,)), ("build", (name, None))]
    assert dataset.classes == ("ant", "bee")
    assert dataset.train.images[:, 0, 0, 0].tolist() == list(range(12))
    np.testing.assert_array_equal(dataset.test.labels, [0, 1, 0, 1])
    expected = np.asarray(Image.open(io.BytesIO(png(13))))
    np.testing.assert_array_equal(dataset.test.images[1], expected)
    monkeypatch.setitem(sys.modules, "datasets", None)
    for cache_gib in (8, 0):
        again = load(cache_gib=cache_gib, size=5)  # decoded anew, from the files that are there
        assert again.train.images.shape == (12, 5, 5, 3)
    assert len(hub.asked) == 2
    assert "tensorflow" not in sys.modules
    monkeypatch.undo()
    assert os.listdir(tmp_path / "cache" / "hub") == ["some-one--in.sects.json"]


def test_it_is_fetched_again_if_its_files_are_gone(hub, load, tmp_path):
    parquet(hub.folder, {"train": 6, "test": 2})
    load()
    next((tmp_path / "hf").rglob("*test*.arrow")).unlink()
    for path in (tmp_path / "hf").rglob("dataset_info.json"):
        path.unlink()
    assert len(load().test.labels) == 4
    assert [what for what, _ in hub.asked] == ["info", "build"] * 2


def test_configurations_are_apart(hub, load, tmp_path):
    parquet(hub.folder, {"train": 20})
    load("hf:some-one/in.sects:v1.0-small")
    assert hub.asked[-1] == ("build", ("some-one/in.sects", "v1.0-small"))
    load("hf:some-one/in.sects:large")
    load("hf:some-one/in.sects:large#img,label")
    assert [given for what, given in hub.asked if what == "build"][1:] == [
        ("some-one/in.sects", "large")
    ]
    assert len(os.listdir(tmp_path / "cache" / "hub")) == 2


def test_folders_of_images_on_the_hub(hub, load):
    """Their bytes stay in files; the table has only paths."""
    hub.kind = "imagefolder"
    for number in range(20):
        path = hub.folder / "train" / "ab"[number % 2] / f"{number:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(number))
    dataset = load()
    assert dataset.classes == ("a", "b")
    shown = [*dataset.train.images[:, 0, 0, 0], *dataset.test.images[:, 0, 0, 0]]
    assert sorted(shown) == list(range(20))
    np.testing.assert_array_equal(dataset.test.images[:, 0, 0, 0] % 2, dataset.test.labels)


def test_columns_are_refused_before_the_download(hub, load, monkeypatch):
    kind = datasets.ClassLabel(names=["a", "b"])
    known = datasets.Features(img=datasets.Image(), fine_label=kind, coarse_label=kind)
    stub = SimpleNamespace(info=SimpleNamespace(features=known))  # nothing else can be called
    monkeypatch.setattr(datasets, "load_dataset_builder", lambda *args: stub)
    message = complaint(load, "hf:uoft-cs/cifar100")
    assert "fine_label, coarse_label" in message
    assert "such as hf:uoft-cs/cifar100#fine_label" in message
    message = complaint(load, "hf:uoft-cs/cifar100#coarse_label")
    assert "cannot be fetched" in message  # it went on


def test_a_loading_script_is_refused(hub, load):
    hub.files += ["in.sects.py"]
    message = complaint(load)
    assert "loading script in.sects.py" in message
    assert hub.asked == [("info", ("some-one/in.sects",))]
    hub.files[-1] = "tools.py"  # others are not looked at
    parquet(hub.folder, {"train": 4, "test": 2})
    load()


@pytest.mark.parametrize(
    ("error", "named"),
    [
        ("GatedRepoError", "https://huggingface.co/datasets/some-one/in.sects"),
        ("RepositoryNotFoundError", "has no dataset 'some-one/in.sects'"),
        ("HfHubHTTPError", "the hub cannot be reached ("),
        (ConnectionError, "cannot be reached (first second)"),
        (TimeoutError, "load_dataset('some-one/in.sects').save_to_disk("),
    ],
)
def test_the_hub_refuses_or_is_away(hub, load, monkeypatch, error, named):
    kind = getattr(huggingface_hub.errors, error) if isinstance(error, str) else error

    def info(self, *args, **options):
        raise kind.__new__(kind, "first\nsecond")

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", info)
    assert named in complaint(load)
    assert hub.asked == []


def test_without_a_network_it_does_not_wait(load, monkeypatch, capfd):
    """The real clients; `datasets` alone would try for half a minute, and say so each time."""

    def nowhere(*args, **options):
        raise socket.gaierror(-2, "Name or service not known")

    def sleep(seconds):
        raise AssertionError(f"waited for {seconds} s")

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(socket, "getaddrinfo", nowhere)
    monkeypatch.setattr("time.sleep", sleep)
    message = complaint(load, "hf:some-one/in.sects:small")
    assert "the hub cannot be reached" in message
    assert "load_dataset('some-one/in.sects', 'small').save_to_disk" in message
    assert capfd.readouterr() == ("", "")


def test_other_failures_in_one_line(hub, load, monkeypatch):
    def fail(*args):
        raise ValueError("Config name is missing.\nPlease pick one of ['a', 'b']\nExample: ...")

    monkeypatch.setattr(datasets, "load_dataset_builder", fail)
    message = complaint(load)
    assert "pick one of ['a', 'b']" in message
    assert message.endswith("give one as hf:some-one/in.sects:CONFIG")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE is set" in complaint(load)
    assert len(hub.asked) == 1  # not asked when offline
    monkeypatch.setattr(datasets, "__version__", "3.6.0")
    assert "install 'datasets>=4'" in complaint(load)
    monkeypatch.setitem(sys.modules, "datasets", None)
    assert "install jaxmask[datasets]" in complaint(load)


@pytest.mark.parametrize(
    "name",
    ["hf:", "hf:mnist", "hf:a/b/c", "hf:a/..", "hf:../x:y/z:", "hf:a b/c", "hf:a/b:", "hf:a/b:c/d",
     "hf:a/b#", "hf:a/b:" + 99 * "c", "hf:a/" + 99 * "b", "hf:a/b#,x", "hf:a/b#x,y,z", "hf:-a/b"],
)  # fmt: skip
def test_other_names(hub, load, name):
    complaint(load, name)
    assert hub.asked == []


def test_a_folder_of_the_same_name_is_not_taken_by_mistake(hub, load, tmp_path):
    (tmp_path / "some-one" / "in.sects").mkdir(parents=True)
    assert "give hf:./some-one/in.sects for it" in complaint(load)
    assert hub.asked == []
    kinds = datasets.Features(img=datasets.Image(), label=datasets.ClassLabel(names=["a", "b"]))
    rows = {"img": [png(i) for i in range(20)], "label": [0, 1] * 10}
    one = datasets.Dataset.from_dict(rows, features=kinds)
    one.save_to_disk(str(tmp_path / "some-one" / "in.sects"))
    assert len(load("hf:./some-one/in.sects").train.labels) == 16
