"""Lottery tickets on real digits."""

import flax.linen as nn
import numpy as np
import pytest
from boards import events, histogram, hyperparameters, tags
from experiments import config, finished, result
from safetensors.numpy import load_file

from jaxmask import mask
from jaxmask.errors import InputError
from jaxmask.recipe import lottery
from jaxmask.run.pruning import make_pruner
from jaxmask.train import loop
from jaxmask.train.records import read_records
from jaxmask.tree import named_leaves

KERNELS = ("fc1", "fc2", "head")


def bits(folder):
    masks = mask.file.load(folder / "masks" / "ticket.mask")
    return {name: np.asarray(masks[name]["kernel"]) for name in KERNELS}


def kernels(file):
    weights = load_file(file)
    return {name: weights[f"params/{name}/kernel"] for name in KERNELS}


@pytest.fixture(scope="module")
def magnitude(tmp_path_factory, without_figures):
    folder = tmp_path_factory.mktemp("lottery") / "run"
    finished(folder, "lottery", criterion="magnitude", density=0.09, train__epochs=3)
    return folder


def test_each_round_removes_the_same_fraction_of_the_rest(magnitude):
    densities = [result(magnitude / f"level_{level:02d}")["density"] for level in range(3)]
    assert densities == pytest.approx([1.0, 0.3, 0.09], abs=1e-3)
    whole = result(magnitude)
    assert whole["runs"] == ["level_00", "level_01", "level_02"]
    assert (whole["schedule"], whole["rounds"]) == ("ISS", 2)
    assert whole["accuracy"] == result(magnitude / "level_02")["accuracy"]
    assert result(magnitude / "level_00")["method"] == "dense"


def test_a_round_keeps_the_largest_of_the_remaining_trained_weights(magnitude):
    for level in (1, 2):
        before, after = magnitude / f"level_{level - 1:02d}", magnitude / f"level_{level:02d}"
        trained = kernels(before / "weights.safetensors")
        was, now = bits(before), bits(after)
        left = np.concatenate([np.abs(trained[name][now[name]]) for name in KERNELS])
        gone = np.concatenate([np.abs(trained[name][was[name] & ~now[name]]) for name in KERNELS])
        assert left.min() >= gone.max()
        assert all((now[name] <= was[name]).all() for name in KERNELS)


def test_tensorboard_shows_the_levels_and_the_weights_of_each(magnitude):
    levels = [result(magnitude / f"level_{level:02d}") for level in range(3)]
    board = events(magnitude)
    for name, field in (("ticket/density", "density"), ("test/accuracy", "accuracy")):
        shown = [(each.step, each.value) for each in board.Scalars(name)]
        assert shown == [(level, pytest.approx(found[field])) for level, found in enumerate(levels)]
    assert hyperparameters(magnitude)[0]["rounds"] == 2
    place = magnitude / "level_02"
    kept = kernels(place / "weights.safetensors")["fc1"][bits(place)["fc1"]]
    step, found = histogram(place, "weights/fc1/kernel")
    assert (step, found.num) == (levels[2]["steps"], kept.size)
    assert found.min == pytest.approx(kept.min())
    assert "seconds/epoch" in tags(place)


def started(folder, monkeypatch, **changes):
    """The learned weights that each level's training started from."""
    seen = []
    fit = loop.fit

    def watched(programs, job):
        train, step = job.state.learned["train"], int(job.state.step)
        seen.append((step, {name: np.array(train[name]["kernel"]) for name in KERNELS}))
        return fit(programs, job)

    monkeypatch.setattr(loop, "fit", watched)
    finished(folder, "lottery", **changes)
    return seen


def test_rewinding_restores_the_initial_weights_bit_for_bit(tmp_path, monkeypatch):
    seen = started(tmp_path, monkeypatch, density=0.1, train__epochs=1)
    initial = kernels(tmp_path / "initial.safetensors")
    assert len(seen) > 1
    for level, (step, weights) in enumerate(seen):
        left = bits(tmp_path / f"level_{level:02d}")
        assert step == 0
        for name in KERNELS:
            expected = np.where(left[name], initial[name], 0)
            assert weights[name].tobytes() == expected.astype(np.float32).tobytes()


def test_rewinding_to_a_step_restores_the_weights_of_that_step(tmp_path, monkeypatch):
    step = 20
    seen = started(tmp_path, monkeypatch, density=0.1, train__epochs=2, rewind_step=step)
    assert [at for at, _ in seen] == [0, step, step]
    initial = kernels(tmp_path / "initial.safetensors")
    for level in (1, 2):
        left, weights = bits(tmp_path / f"level_{level:02d}"), seen[level][1]
        for name in KERNELS:
            assert (weights[name][~left[name]] == 0).all()
            assert (weights[name][left[name]] != initial[name][left[name]]).any()
    both = bits(tmp_path / "level_02")
    for name in KERNELS:  # both levels use the same kept state
        np.testing.assert_array_equal(seen[1][1][name][both[name]], seen[2][1][name][both[name]])
    steps = [line["step"] for line in read_records(tmp_path / "level_01")]
    assert min(steps) > step


def test_movement_is_summed_over_training(tmp_path, monkeypatch):
    """Against a sum over the steps of plain SGD, computed from the visited weights."""
    scores = []

    def watched(task, made):
        pruner = make_pruner(task, made)

        def prune(*given):
            scores.append(given[-1])
            return pruner.prune(*given)

        return pruner._replace(prune=prune)

    monkeypatch.setattr(lottery, "make_pruner", watched)
    # 2 steps of SGD at rate 0.1: w1 = w0 - 0.1 g0, w2 = w1 - 0.1 g1
    finished(
        tmp_path, "lottery", criterion="movement", rounds=1, train__epochs=1,
        train__batch_size=539, train__optimizer="sgd", train__schedule="constant",
        train__learning_rate=0.1, rewind_step=1,
    )  # fmt: skip
    initial = kernels(tmp_path / "initial.safetensors")
    trained = kernels(tmp_path / "level_00" / "weights.safetensors")
    from jaxmask.train.checkpoint import Checkpoints

    with Checkpoints(tmp_path / "level_00" / "rewind") as checkpoints:
        step = checkpoints._manager.latest_step()
        assert step == 1
        import orbax.checkpoint as ocp

        state = checkpoints._manager.restore(step, args=ocp.args.Composite(
            last=ocp.args.StandardRestore()))["last"]  # fmt: skip
    for name in KERNELS:
        w0, w1, w2 = initial[name], state["learned"]["train"][name]["kernel"], trained[name]
        g0, g1 = (w0 - w1) / 0.1, (w1 - w2) / 0.1
        np.testing.assert_allclose(
            scores[0][name]["kernel"], -w0 * g0 - w1 * g1, rtol=1e-3, atol=1e-5
        )


def test_many_shots_in_each_round(tmp_path):
    whole = finished(tmp_path, "lottery", criterion="synflow", shots=5, rounds=1, train__epochs=1)
    assert whole["schedule"] == "IMS"
    assert whole["density"] == pytest.approx(0.1, abs=1e-3)


def test_weights_pruned_in_earlier_rounds_come_back_with_their_initial_values(
    tmp_path, monkeypatch
):
    seen = []

    def watched(task, made):
        pruner = make_pruner(task, made)

        def prune(variables, *rest):
            seen.append(variables["params"])
            return pruner.prune(variables, *rest)

        return pruner._replace(prune=prune)

    monkeypatch.setattr(lottery, "make_pruner", watched)
    finished(
        tmp_path, "lottery", criterion="stack(snip(revive=True), magnitude)", shots=2,
        density=0.2, train__epochs=1,
    )  # fmt: skip
    initial, left = kernels(tmp_path / "initial.safetensors"), bits(tmp_path / "level_01")
    trained = kernels(tmp_path / "level_01" / "weights.safetensors")
    for name in KERNELS:
        wanted = np.where(left[name], trained[name], initial[name])
        np.testing.assert_array_equal(seen[1][name]["kernel"], wanted)
    last = bits(tmp_path / "level_02")
    assert sum((last[name] & ~left[name]).sum() for name in KERNELS) > 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rounds": 0}, "rounds has 0"),
        ({"round_schedule": "cubic"}, "unknown schedule 'cubic'"),
        ({"rewind_step": -1}, "rewind_step has -1"),
        ({"rewind_step": 99}, "rewind_step 99 leaves nothing to train: training has 99 steps"),
        ({"criterion": "movement", "shots": 5}, "set shots to 1"),
        ({"density": 1.0}, "a lottery prunes"),
        ({"train__epochs": 0}, "train.epochs has 0"),
    ],
)
def test_invalid_input_is_reported_before_anything_is_created(changes, message, tmp_path):
    with pytest.raises(InputError, match=message):
        finished(tmp_path / "run", "lottery", **changes)
    assert not (tmp_path / "run").exists()


def test_a_rewind_step_after_early_stopping_is_an_error(tmp_path):
    with pytest.raises(InputError, match="nothing was kept at rewind_step 300: training stopped"):
        finished(
            tmp_path, "lottery", rewind_step=300, train__epochs=10, train__patience=1,
            train__learning_rate=3.0, train__optimizer="sgd",
        )  # fmt: skip


def test_movement_with_frozen_layers_prunes_the_others(tmp_path):
    rules = (("fc2/.*", "freeze"), (".*/kernel", "mask"))
    whole = finished(
        tmp_path, "lottery", criterion="movement", rules=rules, rounds=1, train__epochs=1
    )
    assert set(whole["density_by_leaf"]) == {"fc1/kernel", "head/kernel"}
    initial = kernels(tmp_path / "initial.safetensors")
    np.testing.assert_array_equal(kernels(tmp_path / "weights.safetensors")["fc2"], initial["fc2"])


def test_movement_of_a_diverged_training_is_an_error(tmp_path):
    with pytest.raises(InputError, match=r"movement, round 1: the loss became infinite"):
        finished(
            tmp_path, "lottery", criterion="movement", rounds=1, train__epochs=8,
            train__optimizer="add_decayed_weights(-5.0), sgd",
        )  # fmt: skip


def test_an_optimizer_state_of_other_shapes_can_be_rewound(tmp_path):
    whole = finished(
        tmp_path, "lottery", rounds=1, rewind_step=5, train__epochs=1, train__optimizer="adafactor"
    )
    assert whole["steps"] == 33 + 33 - 5


class Normed(nn.Module):
    classes: int
    width: float = 1.0

    @nn.compact
    def __call__(self, x, train=False, features=False):
        x = nn.Conv(4, (3, 3), strides=2, name="conv")(x)
        x = nn.BatchNorm(use_running_average=not train, momentum=0.9, name="norm")(x)
        x = nn.relu(x).reshape(len(x), -1)
        return x if features else nn.Dense(self.classes, name="head")(x)


def test_a_pretrained_body_gets_a_new_head_and_is_rewound_with_its_statistics(
    tmp_path, monkeypatch
):
    """With a batch norm, whose statistics each level learns anew from the start's."""
    classes = {"network__name": f"{__name__}:Normed", "network__width": 1.0}
    finished(tmp_path / "start", "dense", data__classes=(0, 1, 2), train__epochs=1, **classes)
    before = load_file(tmp_path / "start" / "weights.safetensors")
    seen, fit = [], loop.fit

    def watched(programs, job):
        leaves = {"params": job.state.learned["train"], "batch_stats": job.state.batch_stats}
        seen.append({name: np.array(leaf) for name, leaf in named_leaves(leaves).items()})
        return fit(programs, job)

    monkeypatch.setattr(loop, "fit", watched)
    told = finished(
        tmp_path / "run", "lottery", start=str(tmp_path / "start"), head="new", density=0.25,
        data__classes=(7, 8, 9), train__epochs=1, **classes,
    )  # fmt: skip
    masks = mask.file.load(tmp_path / "run" / "masks" / "ticket.mask")
    assert "head" not in masks
    assert told["head"] == "new"
    assert [(level["params/conv/kernel"] != 0).sum() for level in seen] == [36, 18, 9]
    for name, leaf in before.items():
        for level in seen:
            if name.startswith("params/head/"):
                np.testing.assert_array_equal(level[name], seen[0][name])
            else:  # the mask is on the kernel
                left = level[name] != 0 if name == "params/conv/kernel" else True
                np.testing.assert_array_equal(level[name], np.where(left, leaf, 0))
    assert (seen[0]["params/head/kernel"] != before["params/head/kernel"]).any()


def test_a_step_to_rewind_to_is_refused_on_many_hosts(monkeypatch):
    made = config("lottery", rewind_step=5)
    lottery.prepare(made)
    monkeypatch.setattr(lottery.hosts, "count", lambda: 2)
    with pytest.raises(InputError, match="set it to 0, or run without --distributed"):
        lottery.prepare(made)
