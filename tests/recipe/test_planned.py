"""What a recipe plans is what it then asks for: each training's place, steps and batches."""

import tempfile
from pathlib import Path

import experiments
import jax.numpy as jnp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxmask import recipe
from jaxmask.cli.run import main
from jaxmask.recipe import defaults
from jaxmask.run import plan
from jaxmask.train import loop

FEW = settings(max_examples=3)


def pretended(job):
    """A fit without training: the state as it was."""
    if job.keep is not None:
        job.keep.write(job.state._replace(step=jnp.asarray(job.keep.step)))
    return loop.Fit(
        learned=job.state.learned, batch_stats=job.state.batch_stats, epoch=1, steps=job.steps,
        validation={"loss": 1.0, "accuracy": 0.5} if job.validation else {}, seconds=0.0,
        waited=0.0, stopped_early=False, diverged=False, last=job.state,
        watched={"knn_accuracy": 0.5},
    )  # fmt: skip


def requested(begin, folder):
    """(place, steps, batch size, images evaluated, early stopping) of each training asked for."""
    found, fit, experiment = [], None, begin(folder, None)
    while True:
        try:
            job = experiment.send(fit).job
        except StopIteration:
            return found
        evaluated = (job.validation.examples if job.validation else 0) * job.settings.epochs
        steps, batch_size = job.steps - int(job.state.step), job.settings.batch_size
        early = job.settings.patience > 0
        found.append((job.folder.relative_to(folder), steps, batch_size, evaluated, early))
        fit = pretended(job)


def check(config):
    """Returns the number of trainings."""
    begin = recipe.prepare(config)
    planned = [
        (each.place, each.steps, each.batch_size, each.evaluated, each.early)
        for each in begin.planned
    ]
    with tempfile.TemporaryDirectory() as folder:
        assert requested(begin, Path(folder) / "run") == planned
    return len(planned)


# a few, whose programs the examples share
TRAINS = st.sampled_from(
    [
        {"train__epochs": 1, "train__batch_size": 16, "train__patience": 0},
        {"train__epochs": 3, "train__batch_size": 32, "train__patience": 1},
    ]
)


@FEW
@given(TRAINS, st.sampled_from([0.0, 0.2, 100.0]))
def test_dense_is_one_training(changes, held_out):
    changes = {**changes, "train__patience": min(changes["train__patience"], int(held_out))}
    assert check(experiments.config("dense", data__validation=held_out, **changes)) == 1


@FEW
@given(TRAINS, st.integers(0, 2), st.sampled_from([0.5, 1.0]))
def test_a_pruned_network_is_trained_once_or_not(changes, epochs, density):
    changes = {**changes, "train__epochs": epochs, "density": density}
    assert check(experiments.config("prune", **changes)) == min(epochs, 1)


@FEW
@given(TRAINS, st.integers(1, 3), st.integers(0, 15))
def test_a_lottery_trains_once_more_than_its_rounds_each_from_where_it_rewinds(
    changes, rounds, rewind
):
    changes = {**changes, "rounds": rounds, "rewind_step": rewind}
    assert check(experiments.config("lottery", **changes)) == rounds + 1


def test_scores_are_learned_from_a_lottery_of_each_seed():
    made = experiments.config(
        "learn_scores", rounds=1, rewind_step=3, train__epochs=1, train_seeds=(3,),
        validation_seeds=(7,), test_seeds=(5,), learners=("linear",), tuned=(),
        features=("magnitude",), data__mean=(0.3,), data__std=(0.4,),
    )  # fmt: skip
    assert check(made) == 3 * 2
    places = [each.place for each in recipe.prepare(made).planned]
    assert places[1:3] == [Path("tickets/seed_3/level_01"), Path("tickets/seed_7/level_00")]


@settings(max_examples=4)
@given(
    st.lists(st.sampled_from(["knn", "linear_probe", "full", "bias", "mask"]), min_size=1,
             max_size=3, unique=True),
    st.integers(1, 3), st.sampled_from(["random", "pretrain"]), TRAINS, TRAINS,
)  # fmt: skip
def test_an_adaptation_trains_each_choice_and_the_best_again(methods, count, start, one, other):
    made = defaults.adapt("digits", epochs=1)
    made.network.name, made.network.width, made.start = "lenet_300_100", 0.1, start
    made.data.classes, made.data.validation = (5, 6, 7), 0.2
    made.methods = tuple(methods)
    trained = [name for name in methods if name not in ("knn", "linear_probe")]
    for name in methods:
        made[name].choices = tuple(range(1, count + 1))
    made.mask.train.mask_optimizer = "sgd()"
    sections = [(made.pretrain.train, one), *((made[name].train, other) for name in trained)]
    for section, changes in sections:
        for field in ("epochs", "batch_size", "patience"):
            section[field] = changes[f"train__{field}"]
    each = count + 1 if count > 1 else 1
    assert check(made) == (start == "pretrain") + each * len(trained)


def test_few_labels_train_on_each_draw_of_each_share():
    made = defaults.self_mask("digits", epochs=1)
    made.network.name, made.network.width = "lenet_300_100", 0.1
    made.data.classes, made.data.validation = (5, 6), 0.2
    made.loss, made.views.small, made.methods = "simclr(dimension=8)", 0, ("mask",)
    few = made.few_labels
    few.shares, few.draws, few.steps = (0.5, 0.04), 2, 7
    few.methods = ("full", "linear_probe")
    few.full.choices = few.linear_probe.choices = (0.1, 0.01)
    assert check(made) == 1 + 1 + 2 * 2 * 3


@pytest.fixture
def quick(tmp_path):
    return [
        "--config=prune_digits", "--config.network.width=0.1", "--config.train.epochs=1",
        "--config.recipe=lottery", "--config.rounds=1", f"--workdir={tmp_path / 'run'}",
    ]  # fmt: skip


def test_the_command_tells_before_it_creates_anything_and_not_again(
    quick, tmp_path, monkeypatch, capsys
):
    begun, whole = [], plan.told

    def watched(planned, folder):
        begun.append(folder.exists())
        return whole(planned, folder)

    monkeypatch.setattr(plan, "told", watched)
    assert main(quick) == 0
    line = capsys.readouterr().out.split("\n")[0]
    assert line.startswith("2 trainings, ")
    assert "steps of 64 images; about a minute or less (the same command resumes" in line
    assert main(quick) == 0
    assert "training" not in capsys.readouterr().out
    assert begun == [False]
    (tmp_path / "run" / "result.json").unlink()
    (tmp_path / "run" / "level_01" / "result.json").unlink()
    assert main(quick) == 0
    assert capsys.readouterr().out.startswith("1 training left of 2, ")


def test_a_sweep_tells_what_all_its_unfinished_runs_cost(tmp_path, capsys):
    from jaxmask.cli.sweep import sweep

    def command(seeds):
        return [
            "--config=prune_digits", "--config.network.width=0.1", "--config.train.epochs=1",
            f"--workdir={tmp_path}", f"--config.grid=((('seed', {seeds}),),)",
        ]  # fmt: skip

    assert main(command((0,)), sweep) == 0
    told = capsys.readouterr().out
    assert "\n1 training, at most 16 steps of 64 images; about" in told
    assert main(command((0, 1, 2)), sweep) == 0
    told = capsys.readouterr().out
    assert "3 runs, 1 of them finished before\n2 trainings, at most 32 steps of 64" in told


def test_self_masking_trains_each_choice_once_on_its_views(shallow_resnet):
    made = defaults.self_mask("digits", epochs=2)
    made.network.name, made.network.width, made.start = "resnet20", 0.1, "random"
    made.data.validation, made.methods = 0.5, ("mask",)
    made.mask.choices = (1, 2)
    made.views.small, made.views.small_size = 6, 4
    made.knn.choices, made.linear_probe.choices = (5,), (1.0,)
    assert check(made) == 2
    assert [each.passes for each in recipe.prepare(made).planned] == [2 + 6 / 4] * 2
