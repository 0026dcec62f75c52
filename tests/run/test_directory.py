import json
import os

import pytest

from jaxmask.errors import InputError
from jaxmask.run import defaults, directory, result
from jaxmask.run.result import Result


def test_a_run_is_finished_when_its_result_is_there(tmp_path):
    config = defaults.dense("digits", 1)
    folder = tmp_path / "run"
    assert directory.begin(folder, config) is None
    assert json.loads((folder / "config.json").read_text())["train"]["epochs"] == 1
    assert directory.begin(folder, config) is None
    found = Result("dense", "dense", "x", 0, 0.5, None, 10, 3, 1.0, more={"epoch": 2})
    result.write(folder, found)
    again = directory.begin(folder, config)
    assert again._replace(more={"epoch": 2}) == found
    assert "jax" in again.more["versions"]


def test_a_directory_of_another_config_is_refused_naming_the_field(tmp_path):
    config = defaults.dense("digits", 1)
    directory.begin(tmp_path, config)
    config.train.epochs = 2
    with pytest.raises(InputError, match=r"train\.epochs: 1 there, 2 asked for"):
        directory.begin(tmp_path, config)


def test_a_torn_config_is_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"seed"')
    with pytest.raises(InputError, match="not a valid JSON"):
        directory.begin(tmp_path, defaults.dense("digits", 1))


def test_a_directory_of_an_earlier_version_is_refused_in_one_line(tmp_path):
    config = defaults.dense("digits", 1)
    earlier = config.to_json().replace("optimizer", "optimiser")
    (tmp_path / "config.json").write_text(earlier)
    with pytest.raises(InputError, match="earlier version of jaxmask") as error:
        directory.begin(tmp_path, config)
    assert "\n" not in str(error.value)


def running(folder, config):
    """A run that trains once; generators that hold a folder until they are closed."""

    def experiment():
        directory.begin(folder, config)
        yield "a training"
        return result.write(folder, Result("dense", "dense", "x", 0, 0.5, None, 10, 3, 1.0))

    return directory.alone_in(folder, config, experiment())


@pytest.fixture
def outer(tmp_path):
    return tmp_path / "run", defaults.dense("digits", 1)


@pytest.mark.parametrize("place", [".", "mask", "mask/choices/x"])
def test_a_second_run_in_above_or_below_a_directory_is_refused_naming_the_first(outer, place):
    folder, config = outer
    first = running(folder, config)
    next(first)
    with pytest.raises(InputError, match=rf"process {os.getpid()} on .* is running in .*run") as no:
        next(running(folder / place, config))
    assert "\n" not in str(no.value)
    first.close()
    second = running(folder / place, config)
    next(second)
    with pytest.raises(InputError, match=rf"process {os.getpid()} on .* is running in .*run"):
        next(running(folder, config))
    second.close()
    assert not list(folder.glob("**/.lock"))


def test_runs_beside_each_other_do_not_meet(outer):
    folder, config = outer
    runs = [running(folder / name, config) for name in "ab"]
    assert [next(run) for run in runs] == ["a training"] * 2


def test_a_run_that_fails_or_ends_gives_its_directory_free(outer):
    folder, config = outer
    failing = running(folder, config)
    next(failing)
    with pytest.raises(ZeroDivisionError):
        failing.throw(ZeroDivisionError)
    whole = running(folder, config)
    next(whole)
    with pytest.raises(StopIteration) as end:
        next(whole)
    assert not (folder / ".lock").exists()
    again = running(folder, config)
    with pytest.raises(StopIteration) as second:  # finished: it is not held, nor run again
        next(again)
    assert second.value.value == end.value.value


def test_a_start_sweeps_up_what_a_killed_run_left(outer):
    folder, config = outer
    (folder / "mask").mkdir(parents=True)
    left = folder / "mask" / ".metrics.jsonl.17.0a1b2c3d.part"
    left.write_text("half")
    (folder / ".lock").write_text("process 17 on a machine that lost its power")
    next(running(folder, config))
    assert not left.exists()


def test_another_config_is_refused_before_anything_is_locked(outer):
    folder, config = outer
    directory.begin(folder, config)
    config.seed = 9
    with pytest.raises(InputError, match="another config"):
        next(running(folder, config))
    assert [path.name for path in folder.iterdir()] == ["config.json"]
