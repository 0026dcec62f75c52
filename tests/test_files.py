"""Atomic writes, errors of JSON files, locks."""

import multiprocessing
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxmask import files
from jaxmask.errors import InputError


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "result.json"
    files.replace(path, "old")
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError(28, "full")))
    with pytest.raises(OSError, match="full"):
        files.replace(path, "new")
    assert path.read_text() == "old"
    assert [each.name for each in tmp_path.iterdir()] == ["result.json"]


def test_an_interrupted_write_leaves_nothing(tmp_path):
    def write():
        with files.replacing(tmp_path / "a") as part:
            part.write_bytes(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write()
    assert list(tmp_path.iterdir()) == []


def test_the_content_is_on_the_disk_before_it_is_renamed(tmp_path, monkeypatch):
    done = []
    flush, rename = os.fsync, os.replace
    monkeypatch.setattr("os.fsync", lambda handle: done.append("flush") or flush(handle))
    monkeypatch.setattr("os.replace", lambda *paths: done.append("rename") or rename(*paths))
    files.replace(tmp_path / "a", b"content")
    assert done == ["flush", "rename", "flush"]
    assert (tmp_path / "a").read_bytes() == b"content"


@pytest.mark.parametrize("content", ["", "[1]", "{", "nan", "[" * 10**5])
def test_what_is_not_a_json_object_is_refused_with_the_remedy(tmp_path, content):
    path = tmp_path / "x.json"
    path.write_text(content)
    with pytest.raises(InputError, match=r"x\.json is not a valid JSON object; delete it"):
        files.read_json(path, "delete it")


def test_bytes_that_are_not_text_and_a_missing_file_are_refused(tmp_path):
    (tmp_path / "x.json").write_bytes(b"\xff\xfe{")
    with pytest.raises(InputError, match="not a valid JSON object"):
        files.read_json(tmp_path / "x.json", "delete it")
    with pytest.raises(InputError, match="cannot be read"):
        files.read_json(tmp_path / "missing.json", "delete it")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), VALUES, max_size=3))
def test_json_comes_back_except_for_numbers_that_it_lacks(tmp_path_factory, value):
    path = tmp_path_factory.mktemp("json") / "x.json"
    files.write_json(path, value)
    assert files.read_json(path, "") == files.plain(value)
    assert files.plain({"a": float("nan"), "b": (1, float("inf"))}) == {"a": None, "b": [1, None]}


def _hold(path, held, release):
    with files.locked(path) as mine:
        held.put(mine)
        release.wait(60)


def test_one_process_at_a_time_holds_a_lock(tmp_path):
    context = multiprocessing.get_context("spawn")
    held, release = context.Queue(), context.Event()
    other = context.Process(target=_hold, args=(tmp_path / "locks" / "a", held, release))
    other.start()
    assert held.get(timeout=60)
    with files.locked(tmp_path / "locks" / "a") as mine:
        assert not mine
    with files.locked(tmp_path / "locks" / "b") as mine:
        assert mine
    release.set()
    other.join(60)
    with files.locked(tmp_path / "locks" / "a") as mine:
        assert mine
