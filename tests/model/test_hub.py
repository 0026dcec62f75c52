"""Weights of the hub: fetched from a stand-in, and from the cache of the real client."""

import logging
import sys
import time
from types import SimpleNamespace

import pytest

from jaxmask.errors import InputError
from jaxmask.model import hub
from jaxmask.model.checkpoint import BESIDE, TOKENS, find


class EntryNotFoundError(Exception):
    pass


class LocalEntryNotFoundError(EntryNotFoundError, FileNotFoundError):
    pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A stand-in for huggingface_hub whose files are those of a folder."""
    fetched = []

    def hf_hub_download(repository, name):
        fetched.append((repository, name))
        if repository == "a/unreachable":
            raise LocalEntryNotFoundError("no network")
        if repository == "a/private":
            raise PermissionError("403 Forbidden\nRequest id 12")
        if not (tmp_path / name).exists():
            raise EntryNotFoundError(name)
        return str(tmp_path / name)

    errors = SimpleNamespace(
        EntryNotFoundError=EntryNotFoundError, LocalEntryNotFoundError=LocalEntryNotFoundError
    )
    module = SimpleNamespace(
        hf_hub_download=hf_hub_download,
        get_session=lambda: SimpleNamespace(head=lambda url, timeout: None),
        constants=SimpleNamespace(ENDPOINT="https://hub"),
        errors=errors,
    )
    monkeypatch.setitem(sys.modules, "huggingface_hub", module)
    monkeypatch.setitem(sys.modules, "huggingface_hub.errors", errors)
    return fetched


def test_hub_fetches_the_weights_and_what_lies_beside(server, tmp_path):
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    (tmp_path / "config.json").write_text("{}")
    assert find("hub:timm/resnet18") == tmp_path / "pytorch_model.bin"
    wanted = ["model.safetensors", "pytorch_model.bin", *BESIDE, *TOKENS]
    assert server == [("timm/resnet18", name) for name in wanted]


def test_hub_fetches_a_named_file(server, tmp_path):
    (tmp_path / "other.pth").write_bytes(b"")
    assert find("hub:a/b/other.pth") == tmp_path / "other.pth"
    with pytest.raises(InputError, match=r"hub:a/b/folder/x.pth has no folder/x.pth; give its"):
        find("hub:a/b/folder/x.pth")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("hub:a/b", "has no model.safetensors and no pytorch_model.bin"),
        ("hub:a", "hub:a is not hub:owner/name"),
        ("hub:/b", "is not hub:owner/name"),
        ("hub:a/unreachable", "the hub cannot be reached and there is no copy here"),
        ("hub:a/private", r"cannot fetch model.safetensors of hub:a/private \(403 Forbidden\)"),
    ],
)
def test_hub_without_such_weights(server, source, message):
    with pytest.raises(InputError, match=message) as caught:
        find(source)
    assert "\n" not in str(caught.value)


def test_hub_needs_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(InputError, match=r"install jaxmask\[hub\]"):
        find("hub:timm/resnet18")


@pytest.fixture
def offline(tmp_path, monkeypatch):
    """The real client, whose address no name server knows; a folder of its cache."""
    client = pytest.importorskip("huggingface_hub")
    from huggingface_hub import file_download

    monkeypatch.setattr(client.constants, "ENDPOINT", "https://hub.invalid")
    monkeypatch.setattr(file_download.constants, "HF_HUB_CACHE", str(tmp_path))
    repository = tmp_path / "models--some--net"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("c" * 40)
    (repository / "snapshots" / ("c" * 40)).mkdir(parents=True)
    (repository / ".no_exist" / ("c" * 40)).mkdir(parents=True)
    return repository


def test_without_a_network_an_error_is_told_once_and_soon(offline, capfd):
    began = time.monotonic()
    with pytest.raises(InputError, match=r"^cannot fetch model.safetensors of hub:some/net: the"):
        find("hub:some/net")
    # the client alone pauses for 23 seconds
    assert time.monotonic() - began < 2 * hub.REACHED_SECONDS + 5
    assert capfd.readouterr() == ("", "")
    assert logging.getLogger("huggingface_hub").level != logging.ERROR


def test_without_a_network_copies_are_used(offline):
    copies, missing = (offline / name / ("c" * 40) for name in ("snapshots", ".no_exist"))
    (missing / "model.safetensors").touch()
    (copies / "pytorch_model.bin").write_bytes(b"x")
    (copies / "config.json").write_text("{}")
    (missing / "preprocessor_config.json").touch()
    with pytest.raises(InputError, match=r"^cannot fetch tokenizer.json of hub:some/net: the hub"):
        find("hub:some/net")
    (missing / "tokenizer.json").touch()
    assert find("hub:some/net") == copies / "pytorch_model.bin"


def test_a_name_that_no_repository_can_have_is_one_line(offline):
    with pytest.raises(InputError, match=r"cannot fetch model.safetensors of hub:a/b--c") as error:
        find("hub:a/b--c")
    assert "\n" not in str(error.value)
