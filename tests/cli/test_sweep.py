"""Grids of runs, through the command line, on real digits."""

import fcntl
import json
import signal
import subprocess
import sys
import time

import experiments
import processes
import pytest
from ml_collections import ConfigDict

from jaxmask import files
from jaxmask.cli import sweep
from jaxmask.cli.run import main, parse
from jaxmask.errors import InputError
from jaxmask.report import canvas

COMMON = (
    "--config=prune_digits", "--config.network.width=0.1", "--config.train.epochs=2",
    "--config.train.batch_size=64",
)  # fmt: skip
STACKED = "stack(magnitude, snip)"
GRID = f"((('criterion',('{STACKED}','magnitude')),('density',(0.5,0.1)),('seed',(0,1))),)"
# `python -m jaxmask.sweep`, undrawn as below
PROGRAM = (
    sys.executable, "-c",
    "from jaxmask.cli import sweep; from jaxmask.report import canvas, figures; "
    "canvas.save = lambda figure, path: path.write_bytes(b'a picture'); "
    "figures.comparison = figures.method = lambda *given: None; sweep.run()",
)  # fmt: skip


def command(folder, grid=GRID, *more):
    return [*COMMON, f"--config.grid={grid}", f"--workdir={folder}", *more]


def config(grid):
    made, _ = parse(COMMON)
    with made.unlocked():
        made.grid = grid
    return made


def results(folder):
    return {path.parent.name: json.loads(path.read_text()) for path in folder.glob("*/result.json")}


def comparable(result):
    return {name: value for name, value in result.items()
            if not name.startswith(("seconds", "waited"))}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def undrawn(quick_compilation):
    """Figures are half of the time; tests/report are about them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(canvas, "save", lambda figure, path: path.write_bytes(b"a picture"))
        experiments.without_figures(patch)
        yield


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    folder = tmp_path_factory.mktemp("swept")
    assert main(command(folder), sweep.sweep) == 0
    return folder


def test_a_grid_is_the_product_of_its_axes():
    grid = (
        (("criterion", ("snip", "random")), ("density", (0.1, 1)), ("seed", (0, 1, 2))),
        (("recipe,shots", (("prune", 100), ("lottery", 1))), ("train.epochs", (5,))),
    )
    runs = sweep.expand(config(grid))
    assert len(runs) == 2 * 2 * 3 + 2
    assert "criterion=snip,density=0.1,seed=2" in runs
    last = runs["recipe=lottery,shots=1,train.epochs=5"]
    assert (last.recipe, last.shots, last.train.epochs, last.criterion) == ("lottery", 1, 5, "snip")
    assert "grid" not in last
    assert runs["criterion=snip,density=1.0,seed=0"].density == 1.0


def test_settings_within_a_criterion_give_names_of_their_own():
    grid = ((("criterion", ("grasp(temperature=2)", "grasp(temperature=2.)", "grasp")),),)
    names = list(sweep.expand(config(grid)))
    assert len(set(names)) == 3
    assert all("/" not in name and "(" not in name for name in names)


def test_every_point_has_a_run_and_all_start_from_shared_weights(swept):
    found = results(swept)
    assert len(found) == 8
    digests = {(run["seed"], run["initial"]["sha256"]) for run in found.values()}
    assert len(digests) == 2
    assert len(list((swept / "initial").iterdir())) == 2
    assert (swept / "report" / "table.md").read_text().startswith("|")


def test_repeating_the_command_does_nothing(swept, capsys):
    before = {path: path.stat().st_mtime_ns for path in swept.glob("*/result.json")}
    assert main(command(swept), sweep.sweep) == 0
    said = capsys.readouterr().out
    assert "8 runs, 8 of them finished before" in said
    assert said.endswith(f"tables and figures: {swept / 'report'}\n")
    assert before == {path: path.stat().st_mtime_ns for path in swept.glob("*/result.json")}


def test_runs_under_vmap_give_what_the_loop_gives(swept, tmp_path):
    assert main(command(tmp_path, GRID, "--config.together=4"), sweep.sweep) == 0
    alone, together = results(swept), results(tmp_path)
    assert alone.keys() == together.keys()
    for name, run in alone.items():
        other = together[name]
        # same scores, so same masks; training sums in another order
        assert other["density_by_leaf"] == run["density_by_leaf"]
        assert other["initial"]["sha256"] == run["initial"]["sha256"]
        assert other["loss"] == pytest.approx(run["loss"], rel=1e-2)
        assert other["accuracy"] == pytest.approx(run["accuracy"], abs=0.02)


def test_tickets_of_a_lottery_are_trained_together_level_by_level(tmp_path):
    grid = "((('recipe',('lottery',)),('rounds',(1,)),('seed',(0,1))),)"
    assert main(command(tmp_path / "one", grid), sweep.sweep) == 0
    assert main(command(tmp_path / "all", grid, "--config.together=2"), sweep.sweep) == 0
    one, both = results(tmp_path / "one"), results(tmp_path / "all")
    assert len(both) == 2
    for name, run in one.items():
        assert both[name]["runs"] == ["level_00", "level_01"]
        assert both[name]["accuracy"] == pytest.approx(run["accuracy"], abs=0.03)


def test_a_killed_grid_resumes(swept, tmp_path):
    process = subprocess.Popen(
        [*PROGRAM, *command(tmp_path)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=processes.environment(),
    )  # fmt: skip
    end = time.monotonic() + 120
    while len(results(tmp_path)) < 3 and time.monotonic() < end:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert 3 <= len(results(tmp_path)) < 8
    assert main(command(tmp_path), sweep.sweep) == 0
    whole, resumed = results(swept), results(tmp_path)
    assert {name: comparable(run) for name, run in whole.items()} == {
        name: comparable(run) for name, run in resumed.items()
    }
    for name in whole:
        masks = [folder / name / "masks" / "ticket.mask" for folder in (swept, tmp_path)]
        assert masks[0].read_bytes() == masks[1].read_bytes()


def test_two_processes_never_do_the_same_run(tmp_path, capsys):
    grid = "((('density',(0.5,0.4,0.2,0.1)),('seed',(0,))),)"
    other = subprocess.Popen(
        [*PROGRAM, *command(tmp_path, grid)],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        env=processes.environment(),
    )  # fmt: skip
    while other.poll() is None and not list(tmp_path.glob("density=*")):
        time.sleep(0.002)
    assert main(command(tmp_path, grid), sweep.sweep) == 0
    told = [capsys.readouterr().out, other.communicate(timeout=200)[0]]
    assert other.returncode == 0
    done = [line.split("] ")[1].split(":")[0] for text in told for line in text.splitlines()
            if line.startswith("[")]  # fmt: skip
    assert sorted(done) == sorted(set(done))
    assert len(done) == len(results(tmp_path)) == 4


def test_a_run_of_another_process_is_left_to_it(tmp_path):
    with files.locked(tmp_path / ".locks" / "a") as mine:
        assert mine
        with (tmp_path / ".locks" / "a").open("w") as file, pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with (
            files.locked(tmp_path / ".locks" / "a") as again,
            files.locked(tmp_path / ".locks" / "b") as other,
        ):
            assert (again, other) == (False, True)
    with files.locked(tmp_path / ".locks" / "a") as mine:
        assert mine


def test_a_run_that_fails_does_not_stop_the_others(tmp_path, capsys):
    grid = "((('train.learning_rate',(1e30,0.1)),),)"
    assert main(command(tmp_path, grid), sweep.sweep) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "1 of 2 runs failed, the first is train.learning_rate=1e+30" in error
    assert list(results(tmp_path)) == ["train.learning_rate=0.1"]
    assert (tmp_path / "report" / "table.md").exists()


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ((), "the config has no grid"),
        (((("criterium", ("snip",)),),), "no field 'criterium'; did you mean 'criterion'"),
        (((("grid", ((),)),),), "no field 'grid'"),
        (((("density", ()),),), "the axis 'density' has no values"),
        (((("density", ("low",)),),), "density is 'low'; it must be float"),
        (((("shots", (1.5,)),),), "shots is 1.5; it must be int"),
        (((("recipe,shots", (("prune",),)),),), "does not give a value to each"),
        ((("density",),), "is not an axis"),
        ((3,), "3 is not a grid"),
        (((),), "() is not a grid"),
        (((("density", (0.1,)), ("shots,density", ((1, 0.2),))),), "two axes set 'density'"),
    ],
)
def test_an_invalid_grid_is_refused(grid, message):
    with pytest.raises(InputError) as error:
        sweep.expand(config(grid))
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ("((('density',(0.5,2.0)),),)", "density=2.0: density 2.0; give the share"),
        ("((('criterion',('snap',)),),)", "criterion=snap: unknown criterion 'snap'"),
        ("((('recipe',('prune_all',)),),)", "unknown recipe 'prune_all'"),
    ],
)
def test_an_invalid_run_is_refused_before_anything_is_created(grid, message, tmp_path, capsys):
    folder = tmp_path / "grid"
    assert main(command(folder, grid), sweep.sweep) == 2
    assert message in capsys.readouterr().err
    assert not folder.exists()


def test_a_run_directory_of_another_config_is_refused_before_training(swept, capsys):
    assert main([*command(swept), "--config.rounds=7"], sweep.sweep) == 2
    error = capsys.readouterr().err
    assert "holds a run of another config (it differs in rounds" in error


def test_a_negative_number_of_runs_at_once_is_refused(tmp_path, capsys):
    assert main(command(tmp_path / "x", GRID, "--config.together=-1"), sweep.sweep) == 2
    assert "together is -1" in capsys.readouterr().err


def test_runs_that_prune_other_layers_are_not_stacked(tmp_path):
    grid = "((('rules',((('fc1/kernel','mask'),),(('fc2/kernel','mask'),))),),)"
    assert main(command(tmp_path, grid, "--config.together=2"), sweep.sweep) == 0
    layers = sorted(tuple(run["density_by_leaf"]) for run in results(tmp_path).values())
    assert layers == [("fc1/kernel",), ("fc2/kernel",)]


def test_a_config_without_a_grid_is_for_main(tmp_path, capsys):
    assert main(["--config=digits", f"--workdir={tmp_path / 'x'}"], sweep.sweep) == 2
    assert "run it with jaxmask run" in capsys.readouterr().err


def test_the_grid_is_not_part_of_a_single_run():
    made = config(((("seed", (0,)),),))
    assert isinstance(made, ConfigDict)
    assert "grid" not in sweep.expand(made)["seed=0"]


def test_a_sweep_in_the_directory_of_a_run_is_refused(tmp_path, capsys):
    (tmp_path / "config.json").write_text('{"recipe": "prune"}')
    assert main(command(tmp_path), sweep.sweep) == 2
    told = capsys.readouterr().err
    assert f"{tmp_path} is the directory of a run, whose parts" in told
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]
