"""Finding prepared datasets, and the one-line error for each way to fail."""

import json
import os
import re
import shlex
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from jaxmask.data import prepared
from jaxmask.data.prepared import check_split, find, fingerprint, prepare_command
from jaxmask.errors import InputError


def prepare(folder, file_format="array_record", splits=("train", "test"), **extra):
    folder.mkdir(parents=True)
    info = {"fileFormat": file_format, "splits": [{"name": s} for s in splits], **extra}
    (folder / "dataset_info.json").write_text(json.dumps(info))
    return folder


def complaint(*args):
    with pytest.raises(InputError) as caught:
        find(*args)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_the_newest_version_unless_one_is_named(tmp_path):
    for version in ("3.0.1", "3.0.10", "3.0.2", "10.0.0.incompleteABC"):
        prepare(tmp_path / "mnist" / version)
    (tmp_path / "mnist" / "9.0.0").mkdir()  # nothing in it
    assert find("mnist", tmp_path).folder == tmp_path / "mnist" / "3.0.10"
    assert find("mnist:3.0.1", tmp_path).folder == tmp_path / "mnist" / "3.0.1"
    assert find("mnist", tmp_path).splits == ("train", "test")
    assert f"there is no {tmp_path / 'mnist' / '9.9.9'}" in complaint("mnist:9.9.9", tmp_path)


def test_configs(tmp_path):
    root = tmp_path / "cifar10_corrupted"
    one = prepare(root / "fog_1" / "1.0.0")
    assert find("cifar10_corrupted", tmp_path).folder == one  # the only one
    assert find("cifar10_corrupted/fog_1:1.0.0", tmp_path).folder == one
    two = prepare(root / "snow_2" / "1.0.0")
    message = complaint("cifar10_corrupted", tmp_path)
    assert "fog_1, snow_2" in message
    assert "cifar10_corrupted/fog_1" in message
    (root / ".config").mkdir()
    (root / ".config" / "metadata.json").write_text('{"defaultConfigName": "snow_2"}')
    assert find("cifar10_corrupted", tmp_path).folder == two
    (root / ".config" / "metadata.json").write_text('{"defaultConfigName": "brightness_1"}')
    assert "fog_1, snow_2" in complaint("cifar10_corrupted", tmp_path)  # no other than requested


def test_not_prepared_names_the_folder_and_the_command(tmp_path):
    message = complaint("fashion_mnist", tmp_path)
    assert str(tmp_path / "fashion_mnist") in message
    assert message.endswith(prepare_command("fashion_mnist", tmp_path))


def test_an_unknown_name_gets_the_nearest(tmp_path):
    message = complaint("fashionmnist", tmp_path)
    assert "did you mean 'fashion_mnist'" in message
    assert str(tmp_path / "fashionmnist") in message
    assert "did you mean 'digits'" in complaint("digit", tmp_path)
    assert len(complaint("qqqqzzzz", tmp_path)) < 400  # not the list of all


def test_a_name_that_tfds_does_not_know_may_be_prepared(tmp_path):
    folder = prepare(tmp_path / "our_own_set" / "1.0.0")
    assert find("our_own_set", tmp_path).folder == folder


@pytest.mark.parametrize("name", ["", "mnist/", "mnist:3", "../mnist", "mnist/a/b", "a b"])
def test_a_malformed_name(tmp_path, name):
    assert "name[/config][:version]" in complaint(name, tmp_path)


def test_tfrecord_gets_the_command_that_converts(tmp_path):
    folder = prepare(tmp_path / "mnist" / "3.0.1", "tfrecord")
    message = complaint("mnist", tmp_path)
    assert str(folder) in message
    assert "tfrecord" in message
    assert message.endswith(prepare_command("mnist", tmp_path))


def test_a_converted_dataset_is_found(tmp_path):
    """`tfds convert_format` leaves the first format and adds the other one."""
    prepare(tmp_path / "mnist" / "3.0.1", "tfrecord", alternativeFileFormats=["array_record"])
    find("mnist", tmp_path)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"splits": 3}', '{"splits": [{}]}'])
def test_damaged_metadata(tmp_path, content):
    folder = prepare(tmp_path / "mnist" / "3.0.1")
    (folder / "dataset_info.json").write_text(content)
    message = complaint("mnist", tmp_path)
    assert str(folder / "dataset_info.json") in message
    assert f"mv {folder} {folder}.old && " in message


def test_a_missing_split_lists_the_existing_ones(tmp_path):
    folder = prepare(tmp_path / "mnist" / "3.0.1", splits=("test", "extra"))
    found = find("mnist", tmp_path)
    check_split(found, "test")
    with pytest.raises(InputError) as caught:
        check_split(found, "train")
    message = str(caught.value)
    assert str(folder) in message
    assert "'train', only 'test', 'extra'" in message
    assert prepare_command("mnist", tmp_path) in message


@pytest.mark.parametrize("folder", ["/data/tfds", "/a b/c", "/it's", '/say "hi"', "/$HOME/`x`!"])
def test_commands_survive_the_shell(folder, monkeypatch):
    """From a checkout its script; else the same in two steps, apart from the user's environment."""
    arguments = ["mnist", f"--directory={folder}"]
    assert shlex.split(prepare_command("mnist", Path(folder))) == [
        str(Path(__file__).parents[2] / "launch" / "prepare"), *arguments
    ]  # fmt: skip
    monkeypatch.setattr(prepared, "LAUNCHER", Path("/nowhere"))
    words = shlex.split(prepare_command("mnist", Path(folder)))
    assert words[-3:] == ["jaxmask.prepare", *arguments]
    assert [words[0], *(word for word in words if word.startswith(".venv-prepare/"))] == [
        sys.executable, ".venv-prepare/bin/pip", ".venv-prepare/bin/python"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        (None, "jaxmask[prepare]"),
        ({"url": "file:///a%20b/jaxmask-0.2.0-py3-none-any.whl", "archive_info": {}},
         "jaxmask[prepare] @ file:///a%20b/jaxmask-0.2.0-py3-none-any.whl"),
        ({"url": "https://git.example/mask.git", "vcs_info": {"vcs": "git", "commit_id": "0a1b"}},
         "jaxmask[prepare] @ git+https://git.example/mask.git@0a1b"),
    ],
)  # fmt: skip
def test_without_a_checkout_it_is_installed_from_where_this_one_was(source, wanted, monkeypatch):
    told = SimpleNamespace(read_text=lambda name: source and json.dumps(source))
    monkeypatch.setattr(prepared.metadata, "distribution", lambda name: told)
    monkeypatch.setattr(prepared, "LAUNCHER", Path("/nowhere"))
    words = shlex.split(prepare_command("mnist", Path("/data")))
    assert words[words.index("install") + 1] == wanted


@pytest.mark.parametrize(
    ("version", "start"),
    [("4.1.0", "the same"), ("3.9.9", sys.executable), (None, sys.executable)],
)
@pytest.mark.parametrize("name", ["mnist", "cifar10", "cifar100"])
def test_a_set_that_is_on_the_hub_too_can_be_had_from_there(
    name, version, start, tmp_path, monkeypatch
):
    def found(package):
        if version is None:
            raise prepared.metadata.PackageNotFoundError(package)
        return version

    monkeypatch.setattr(prepared.metadata, "version", found)
    with pytest.raises(InputError) as caught:
        find(name, tmp_path)
    words = shlex.split(caught.value.otherwise.removeprefix("or, without TensorFlow: "))
    assert " ".join(words).startswith(start)
    given = words[-1].removeprefix("--config.data.name=hf:")
    assert re.fullmatch(rf"[\w-]+/{name}(#\w+)?", given)


@pytest.mark.parametrize("name", ["fashion_mnist", "cifar100:3.0.2", "cifar10_corrupted/fog_1"])
def test_nothing_is_suggested_that_may_be_something_else(name, tmp_path):
    with pytest.raises(InputError) as caught:
        find(name, tmp_path)
    assert caught.value.otherwise == ""


def test_the_fingerprint_follows_every_change(tmp_path):
    folder = prepare(tmp_path / "mnist" / "3.0.1")
    data = folder / "mnist-train.array_record-00000-of-00001"
    data.write_bytes(b"records")
    seen = [fingerprint(folder, 1, "train", 0)]
    assert fingerprint(folder, 1, "train", 0) == seen[0]
    seen.append(fingerprint(folder, 1, "train", 32))
    seen.append(fingerprint(folder, 1, "test", 0))
    status = data.stat()
    os.utime(data, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    seen.append(fingerprint(folder, 1, "train", 0))
    data.write_bytes(b"records+")
    os.utime(data, ns=(status.st_atime_ns, status.st_mtime_ns))
    seen.append(fingerprint(folder, 1, "train", 0))
    names = folder / "label.labels.txt"
    for content in ("cat\n", "dog\n"):  # small files by content too: size and time agree here
        names.write_text(content)
        os.utime(names, ns=(status.st_atime_ns, status.st_mtime_ns))
        seen.append(fingerprint(folder, 1, "train", 0))
    (folder / "features.json").write_text("{}")
    seen.append(fingerprint(folder, 1, "train", 0))
    assert len(set(seen)) == len(seen)
