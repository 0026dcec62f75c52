"""Atomic writes, errors of JSON files, locks."""

import errno
import multiprocessing
import os
import socket
import subprocess
import sys
from pathlib import Path

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


def test_a_lock_says_who_holds_it_and_is_gone_after_its_holder(tmp_path):
    path = tmp_path / ".lock"
    assert files.holder(path) == ""
    with files.locked(path) as mine:
        assert mine
        assert files.holder(path).startswith(f"process {os.getpid()} on ")
        with files.locked(path) as twice:  # of the same process, too
            assert not twice
        assert files.holder(path).startswith("process ")
    assert list(tmp_path.iterdir()) == []


HOLDING = """
import sys, time
from pathlib import Path
from jaxmask import files
with files.locked(Path(sys.argv[1])), files.replacing(sys.argv[2]) as part:
    part.write_bytes(b"half")
    print("now", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def neighbor(tmp_path):
    """A process that holds `.lock` and writes `metrics.jsonl`."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDING, str(tmp_path / ".lock"), str(tmp_path / "metrics.jsonl")],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout.readline() == "now\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def parts(folder):
    return sorted(path.name for path in folder.glob("**/.*.part"))


def test_what_a_neighbor_is_writing_stays_until_it_is_killed(neighbor, tmp_path):
    assert f"process {neighbor.pid} on " in files.holder(tmp_path / ".lock")
    written = parts(tmp_path)
    assert len(written) == 1
    files.replace(tmp_path / "metrics.jsonl", "mine")
    files.sweep(tmp_path)
    assert parts(tmp_path) == written
    neighbor.kill()
    neighbor.wait()
    assert files.holder(tmp_path / ".lock") == ""
    with files.locked(tmp_path / ".lock") as mine:
        assert mine
    files.sweep(tmp_path)
    assert parts(tmp_path) == []
    assert (tmp_path / "metrics.jsonl").read_text() == "mine"


def test_writing_a_file_sweeps_up_earlier_attempts_at_it_alone(tmp_path):
    mine = [".a[1].json.123.0123abcd.part", ".a[1].json.9.ffffffff.part"]
    others = [".a1.json.9.ffffffff.part", ".a[1].json.part", ".b.9.ffffffff.part", "notes.part"]
    for name in (*mine, *others):
        (tmp_path / name).write_text("half")
    files.replace(tmp_path / "a[1].json", "{}")
    assert {path.name for path in tmp_path.iterdir()} == {"a[1].json", *others}


def test_leftovers_are_swept_up_at_any_depth_and_nothing_else(tmp_path):
    deep = tmp_path / "mask" / "choices" / "x"
    deep.mkdir(parents=True)
    kept = [tmp_path / "my.part", deep / ".part", deep / ".hidden"]
    for path in (*kept, tmp_path / ".result.json.7.00000000.part", deep / ".a.7.00000000.part"):
        path.write_text("half")
    files.sweep(tmp_path)
    assert {path for path in tmp_path.glob("**/*") if path.is_file()} == set(kept)


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_can_be_written_and_nothing_is_removed(
    tmp_path, monkeypatch, number
):
    def refused(*_):
        raise OSError(number, os.strerror(number))

    (tmp_path / ".a.1.00000000.part").write_text("perhaps a neighbor's")
    monkeypatch.setattr("fcntl.flock", refused)
    files.replace(tmp_path / "a", "new")
    files.sweep(tmp_path)
    with files.locked(tmp_path / ".lock") as mine:
        assert mine
        assert files.holder(tmp_path / ".lock") == ""
    assert {path.name for path in tmp_path.iterdir()} == {"a", ".a.1.00000000.part"}


def test_of_many_processes_one_at_a_time_holds_a_lock_that_is_removed_each_time(tmp_path):
    """A lock file that is removed must not be held by two, each by its own file."""
    code = (
        "import sys\nfrom pathlib import Path\nfrom jaxmask import files\n"
        "folder, done = Path(sys.argv[1]), 0\n"
        "while done < 100:\n"
        "    with files.locked(folder / 'lock') as mine:\n"
        "        if mine:\n"
        "            count = int((folder / 'count').read_text())\n"
        "            (folder / 'count').write_text(str(count + 1))\n"
        "            done += 1\n"
    )
    (tmp_path / "count").write_text("0")
    processes = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path)]) for _ in range(3)]
    assert [process.wait() for process in processes] == [0, 0, 0]
    assert (tmp_path / "count").read_text() == "300"


@pytest.fixture
def networked(monkeypatch):
    monkeypatch.setattr(files, "file_system", lambda path: "nfs4")


def test_over_a_network_a_lock_of_another_machine_is_refused(tmp_path, networked, monkeypatch):
    path = tmp_path / "lock"
    with files.locked(path) as mine:
        assert mine
        with files.locked(path) as again:
            assert not again
        monkeypatch.setattr(files.socket, "gethostname", lambda: "elsewhere")
        with pytest.raises(InputError) as error, files.locked(path):
            pass
    assert f"{path} is the lock of process {os.getpid()} on" in str(error.value)
    assert "delete the file" in str(error.value)
    assert not path.exists()


def test_over_a_network_what_this_machine_left_is_taken_over(tmp_path, networked, monkeypatch):
    path = tmp_path / "lock"
    path.write_text(f"process 1 on {socket.gethostname()} since 2020-01-01 00:00:00")
    with files.locked(path) as mine:
        assert mine
    path.write_text("process 1 on elsewhere since 2020-01-01 00:00:00")
    with pytest.raises(InputError), files.locked(path):
        pass
    assert path.exists()
    monkeypatch.setattr(files, "_assigned", [True])  # a cluster has decided
    with files.locked(path) as mine:
        assert mine


def test_over_a_network_a_lock_that_is_being_written_is_waited_for(tmp_path, networked):
    path = tmp_path / "lock"
    path.touch()
    with pytest.raises(InputError, match="the lock of another process"), files.locked(path):
        pass


def test_the_file_system_is_that_of_the_innermost_mount(tmp_path, monkeypatch):
    mounts = tmp_path / "mounts"
    monkeypatch.setattr(files, "MOUNTS", mounts)
    mounts.write_text(
        "/dev/sda1 / ext4 rw 0 0\nserver:/home /home nfs4 rw 0 0\n"
        "tmpfs /home/a\\040b tmpfs rw 0 0\n"
        "server:/scratch /scratch lustre rw 0 0\n"
    )
    paths = ("/x/y", "/home", "/home/a/b", "/home/a b/c", "/homes", "/scratch/1")
    found = [files.file_system(Path(path)) for path in paths]
    assert found == ["ext4", "nfs4", "nfs4", "tmpfs", "ext4", "lustre"]
    mounts.unlink()
    assert files.file_system(Path("/home")) == ""


def test_over_a_network_another_machine_counts_as_the_holder(tmp_path, networked, monkeypatch):
    path = tmp_path / "lock"
    path.write_text("process 1 on elsewhere since 2020-01-01 00:00:00")
    assert files.holder(path).startswith("process 1 on elsewhere")
    monkeypatch.setattr(files, "_assigned", [True])
    assert files.holder(path) == ""


def test_a_worker_waits_for_a_lock_that_a_lost_machine_still_has(tmp_path, monkeypatch):
    path = tmp_path / "lock"
    monkeypatch.setattr(files, "_assigned", [True])
    with files.locked(path) as mine:
        assert mine
        slept = []
        monkeypatch.setattr(files.time, "sleep", slept.append)
        monkeypatch.setattr(files, "LEASE", 0.2)
        with files.locked(path) as again:
            assert not again
        assert 1.0 in slept
