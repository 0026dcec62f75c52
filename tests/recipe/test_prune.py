"""Pruning before training, on real digits."""

import jax
import numpy as np
import pytest
from experiments import config, finished, without_figures
from safetensors.numpy import load_file, save_file

from jaxmask import mask
from jaxmask.errors import InputError
from jaxmask.model import weights as weights_file
from jaxmask.recipe import prepare
from jaxmask.run import task as tasks
from jaxmask.train.records import read_records

WEIGHTS = 64 * 30 + 30 * 10 + 10 * 10  # kernels of LeNet-30-10
CRITERIA = (
    "magnitude", "random", "snip", "snip(temperature=2)", "grasp", "grasp(absolute=True)",
    "synflow", "synflow(statistics='absolute')", "gradient_norm", "fisher",
    "optimal_brain_damage(samples=3)", "movement", "snip(revive=True)", "stack(snip(), synflow())",
    "stack(as_weights(snip()), magnitude)", "stack(grasp, snip, normalize=True)",
)  # fmt: skip


@pytest.fixture
def undrawn(monkeypatch):
    without_figures(monkeypatch)


def ticket(folder):
    masks = mask.file.load(folder / "masks" / "ticket.mask")
    return {f"{name}/kernel": np.asarray(layer["kernel"]) for name, layer in masks.items()}


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("criterion", CRITERIA)
def test_every_criterion_keeps_exactly_the_density(criterion, tmp_path):
    result = finished(tmp_path, criterion=criterion, density=0.05, train__epochs=0)
    kept = sum(leaf.sum() for leaf in ticket(tmp_path).values())
    assert kept == WEIGHTS - int(0.95 * WEIGHTS)
    assert result["density"] == pytest.approx(kept / WEIGHTS)
    assert (result["method"], result["schedule"], result["accuracy"]) == (criterion, "USS", None)
    assert result["mask_bits"] == WEIGHTS


@pytest.mark.parametrize(
    "optimizer", ["sgd(momentum=0.9)", "adamw(weight_decay=0.1)", "lion", "noisy_sgd"]
)
def test_pruned_weights_stay_exactly_zero_with_any_optimizer(optimizer, tmp_path):
    result = finished(
        tmp_path, density=0.1, train__optimizer=optimizer, train__learning_rate=0.01,
        train__epochs=2,
    )  # fmt: skip
    weights = load_file(tmp_path / "weights.safetensors")
    for name, bits in ticket(tmp_path).items():
        assert (weights[f"params/{name}"][~bits] == 0).all()
        assert (weights[f"params/{name}"][bits] != 0).all()
    assert result["steps"] == 2 * (1078 // 32)
    # and the trained and tested network has these zeros
    assert accuracy_of(tmp_path / "weights.safetensors") == pytest.approx(
        result["accuracy"], abs=0.011
    )


def accuracy_of(file):
    """Test accuracy of a LeNet weight file on digits, in NumPy."""
    variables, about = weights_file.load(file)
    test = tasks.load_data(config().data, 0).test
    x = test.images.reshape(len(test.labels), -1) / 255
    x = (x - about["mean"][0]) / about["std"][0]
    layers = variables["params"]
    for name in ("fc1", "fc2"):
        x = np.maximum(x @ layers[name]["kernel"] + layers[name]["bias"], 0)
    logits = x @ layers["head"]["kernel"] + layers["head"]["bias"]
    return (logits.argmax(axis=1) == test.labels).mean()


def test_remaining_weights_learn_and_the_run_directory_is_complete(tmp_path):
    result = finished(
        tmp_path,
        criterion="snip",
        density=0.2,
        train__epochs=8,
        train__patience=3,
        network__width=0.5,
    )
    assert result["accuracy"] > 0.9
    for field in ("recipe", "dataset", "seed", "validation_accuracy", "density_by_leaf", "steps",
                  "storage_bytes", "seconds", "versions", "empty_leaves", "target_density",
                  "chosen_step", "stopped_early", "shots", "network"):  # fmt: skip
        assert field in result, field
    assert result["chosen_step"] == result["epoch"] * (1078 // 32)
    assert [line["split"] for line in read_records(tmp_path)].count("test") == 1
    assert (tmp_path / "figures" / "loss.png").exists()
    assert list((tmp_path / "checkpoints").glob("[0-9]*"))


def test_every_criterion_of_a_seed_starts_from_the_same_weights_stored_once(tmp_path):
    shared = tmp_path / "initial"
    digests = set()
    for criterion in ("snip", "magnitude"):
        begin = prepare(config(criterion=criterion, train__epochs=0))
        with pytest.raises(StopIteration) as end:
            next(begin(tmp_path / criterion, shared))
        digests.add(end.value.value.more["initial"]["sha256"])
        stored = tmp_path / criterion / end.value.value.more["initial"]["file"]
        assert stored.resolve() == next(shared.iterdir()).resolve()
    assert len(digests) == 1
    other = finished(tmp_path / "other", seed=1, train__epochs=0)
    assert other["initial"]["sha256"] not in digests


def test_many_shots_keep_a_layer_alive_that_one_shot_empties(tmp_path, caplog):
    """The central claim of SynFlow, for a wide layer next to small ones."""
    one = finished(tmp_path / "one", criterion="magnitude", density=0.004, train__epochs=0)
    many = finished(
        tmp_path / "many", criterion="synflow", shots=100, density=0.004, train__epochs=0
    )
    assert many["empty_leaves"] == []
    assert many["schedule"] == "UMS"
    assert len(one["density_by_leaf"]) == 3


@pytest.mark.parametrize(
    ("criterion", "initial"),
    [("stack(synflow(), magnitude)", "scores(snip())"), ("snip(revive=True)", "bi_modal")],
)
def test_composites_and_other_initial_weights_in_many_shots(criterion, initial, tmp_path):
    result = finished(
        tmp_path, criterion=criterion, initial=initial, shots=10, density=0.2, train__epochs=1
    )
    assert (result["method"], result["schedule"]) == (criterion, "UMS")
    assert result["density"] == pytest.approx(0.2, abs=1e-3)
    begun, trained = (
        load_file(tmp_path / f"{name}.safetensors") for name in ("initial", "weights")
    )
    for name, bits in ticket(tmp_path).items():
        assert (trained[f"params/{name}"][~bits] == 0).all()
        assert (begun[f"params/{name}"] != 0).any()
    if initial == "scores(snip())":
        largest = max(np.abs(begun[f"params/{name}"]).max() for name in ticket(tmp_path))
        assert largest == pytest.approx(1)


def test_a_whole_network_is_trained_from_scores(tmp_path):
    changes = {"density": 1.0, "train__epochs": 1, "train__select": "last"}
    whole = finished(tmp_path / "a", initial="scores(snip())", **changes)
    assert whole["method"] == "dense"
    begun, _ = weights_file.load(tmp_path / "a" / "initial.safetensors")
    kernels = [each["kernel"] for each in begun["params"].values()]
    assert max(abs(leaf).max() for leaf in kernels) == pytest.approx(1)
    plain = finished(tmp_path / "b", **changes)
    assert plain["initial"]["sha256"] != whole["initial"]["sha256"]


def test_an_empty_layer_is_reported(tmp_path, caplog):
    result = finished(
        tmp_path, criterion="magnitude", density=0.0005, train__epochs=0, network__width=0.5
    )
    assert result["empty_leaves"]
    for leaf in result["empty_leaves"]:
        assert any(leaf in message for message in caplog.messages)


def test_density_one_trains_the_whole_network(tmp_path):
    result = finished(tmp_path, density=1.0, train__epochs=1)
    assert (result["method"], result["schedule"], result["density"]) == ("dense", "", 1.0)


def test_a_trained_network_can_be_pruned(tmp_path):
    dense = finished(tmp_path / "dense", density=1.0)
    again = finished(
        tmp_path / "pruned", start=str(tmp_path / "dense"), criterion="magnitude", density=0.5
    )
    before = load_file(tmp_path / "dense" / "weights.safetensors")
    started = load_file(tmp_path / "pruned" / "initial.safetensors")
    jax.tree.map(np.testing.assert_array_equal, before, started)
    assert again["accuracy"] > dense["accuracy"] - 0.05


def test_a_finished_run_is_not_repeated_and_another_config_is_refused(tmp_path):
    finished(tmp_path, train__epochs=0)
    stamp = (tmp_path / "result.json").stat().st_mtime_ns
    finished(tmp_path, train__epochs=0)
    assert (tmp_path / "result.json").stat().st_mtime_ns == stamp
    with pytest.raises(InputError, match=r"another config.*density"):
        finished(tmp_path, train__epochs=0, density=0.3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"density": 0.0}, r"density 0\.0; give the share"),
        ({"density": 1.5}, r"density 1\.5; give the share"),
        ({"shots": 0}, "shots is 0"),
        ({"shot_schedule": "cubic"}, "unknown schedule 'cubic'"),
        ({"scope": "everywhere"}, "scope 'everywhere'"),
        ({"criterion": "snap"}, "unknown criterion 'snap'; did you mean 'snip'"),
        ({"criterion": "grasp(heat=3)"}, "heat"),
        ({"criterion": "grasp(temperature=0)"}, "temperature 0"),
        ({"criterion": "grasp(temperature=1e400)"}, "temperature inf"),
        ({"criterion": "fisher", "scoring__mode": "train"}, "gradients of single examples"),
        ({"criterion": "grasp(absolute=1)"}, "absolute 1"),
        ({"criterion": "as_weights(snip())"}, "gives weights"),
        ({"criterion": "stack(fisher, snip)", "scoring__mode": "train"}, "single examples"),
        (
            {"initial": "kaiming_uniform"},
            "unknown initial 'kaiming_uniform'; did you mean 'kaiming'",
        ),
        ({"initial": "scores(snip())", "scoring__examples_per_class": 0}, "on data"),
        ({"criterion": "synflow(statistics='no')"}, "statistics 'no'"),
        ({"criterion": "optimal_brain_damage(samples=0)"}, "samples 0"),
        ({"scoring__examples_per_class": 0}, "scores weights on data"),
        ({"scoring__mode": "test"}, "scoring.mode is 'test'"),
        ({"scoring__batch_size": 0}, "scoring.batch_size"),
        ({"rules": ((".*/bias", "train"),)}, "nothing to prune"),
        ({"rules": (("nothing", "mask"),)}, "matches no path"),
        ({"start": "nowhere"}, "there are no weights at nowhere"),
    ],
)
def test_invalid_input_is_reported_before_anything_is_created(changes, message, tmp_path):
    with pytest.raises(InputError, match=message):
        finished(tmp_path / "run", **changes)
    assert not (tmp_path / "run").exists()


def changed_start(folder, change):
    """A run directory whose weights are changed before another run starts from them."""
    finished(folder, density=1.0, train__epochs=1)
    path = folder / "weights.safetensors"
    weights = load_file(path)
    change(weights)
    save_file(weights, path, {"mean": "[0.3]", "std": "[0.4]"})
    return str(folder)


def test_starting_weights_that_are_not_finite_are_refused_at_once(tmp_path):
    def spoil(weights):
        weights["params/fc2/kernel"][0, 0] = np.nan

    start = changed_start(tmp_path / "dense", spoil)
    with pytest.raises(InputError, match=r"not finite in params/fc2/kernel"):
        finished(tmp_path / "run", criterion="magnitude", start=start)
    assert not (tmp_path / "run").exists()


def test_scores_that_are_not_finite_name_the_layer(tmp_path):
    def enlarge(weights):
        weights["params/fc2/kernel"] *= 1e38

    start = changed_start(tmp_path / "dense", enlarge)
    with pytest.raises(InputError, match=r"snip: the scores of .* are not finite at shot 1"):
        finished(tmp_path / "run", criterion="snip", start=start)


def test_starting_weights_without_a_head_are_refused_at_once(tmp_path):
    start = changed_start(tmp_path / "dense", lambda weights: weights.pop("params/head/kernel"))
    with pytest.raises(InputError, match=r"they lack params/head/kernel"):
        finished(tmp_path / "run", start=start)
    assert not (tmp_path / "run").exists()


def test_a_damaged_mask_or_initial_file_says_what_to_do(tmp_path):
    finished(tmp_path, train__epochs=0)
    (tmp_path / "result.json").unlink()
    for name in ("masks/ticket.mask", "initial.safetensors"):
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(content[:100])
        with pytest.raises(InputError, match=r"delete it"):
            finished(tmp_path, train__epochs=0)
        (tmp_path / name).write_bytes(content)
    assert finished(tmp_path, train__epochs=0)["seconds_of_pruning"] is None
