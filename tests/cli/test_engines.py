"""What carries out the runs of a grid, as the command line names it."""

import sys
from types import SimpleNamespace

import pytest

from jaxmask.cli import sweep
from jaxmask.cli.engines import Engine, parse
from jaxmask.errors import InputError


def test_an_engine_is_taken_from_the_arguments():
    rest = ["--config=digits", "--config.seed=1", "--workdir=x"]
    assert parse(rest) == (None, rest)
    assert parse([*rest, "--engine=ray"]) == (Engine(), rest)
    assert parse(["--engine", "ray", *rest, "--worker_cpus=4"]) == (Engine("", 4), rest)
    shared = parse([*rest, "--engine=ray://head:10001", "--worker_gpus=0.5"])
    assert shared == (Engine("ray://head:10001", None, 0.5), rest)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--engine=slurm"], "--engine=slurm is none; give ray, or ray://HOST:PORT"),
        (["--engine=ray://"], "--engine=ray:// is none"),
        (["--engine=ray", "--worker_cpus=0"], "worker_cpus"),
        (["--engine=ray", "--worker_gpus=-1"], "worker_gpus"),
        (["--worker_gpus=0.5"], "are of --engine=ray"),
    ],
)
def test_an_invalid_engine_is_refused_in_one_line(arguments, message, capsys):
    with pytest.raises(InputError) as error:
        parse(arguments)
    assert message in str(error.value)
    assert sweep.main([*arguments, "--config=prune_digits"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("jaxmask: ")


def test_the_help_names_the_engines(capsys):
    assert sweep.main(["--help"]) == 0
    said = capsys.readouterr().out
    assert "--engine=ray[://HOST:PORT]" in said
    assert "--worker_gpus" in said


def test_without_ray_the_command_says_what_to_install(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    grid = "--config.grid=((('seed',(0,)),),)"
    arguments = ["--config=prune_digits", grid, "--engine=ray", f"--workdir={tmp_path}"]
    assert sweep.main(arguments) == 2
    assert "pip install 'jaxmask[ray]'" in capsys.readouterr().err


def test_a_cluster_that_does_not_answer_is_named(tmp_path, capsys, monkeypatch):
    def init(*given, **named):
        raise ConnectionError("timed out\nand more")

    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(init=init))
    grid = "--config.grid=((('seed',(0,)),),)"
    arguments = ["--config=prune_digits", grid, f"--workdir={tmp_path}"]
    assert sweep.main([*arguments, "--engine=ray://localhost:1"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "no Ray cluster answers at ray://localhost:1 (timed out);" in line
