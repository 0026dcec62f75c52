"""A cascade on real digits: its stages, what is measured, its file, and resuming at each stage."""

import json
import shutil

import chex
import jax
import numpy as np
import pytest
from safetensors.numpy import load_file

from jaxmask import adapter, data, evaluate, files, recipe, task
from jaxmask.cli.run import main, parse
from jaxmask.errors import InputError
from jaxmask.model import weights
from jaxmask.recipe import cascade as recipe_cascade
from jaxmask.run import experts as run_experts
from jaxmask.run import task as tasks
from jaxmask.task import cascade
from jaxmask.task import file as task_file
from jaxmask.train import checkpoint, loop

pytestmark = pytest.mark.usefixtures("shallow_resnet", "without_figures")
QUICK = [
    "--config=cascade:digits", "--config.network.width=0.25", "--config.pretrain.train.epochs=2",
    "--config.mask.train.epochs=2", "--config.views.small=0", "--config.watch_epochs=2",
    "--config.router=mixture(components=2, principal=4)", "--config.knn.choices=10",
    "--config.linear_probe.choices=0.01", "--config.mask.choices=20.0",
    "--config.mask.train.checkpoint_seconds=0.0", "--config.mask.train.batch_size=32",
    "--config.data.share=0.3",
]  # fmt: skip
MEASURED = ["untouched", "dispatcher", "dispatcher_whitened", "conditional", "unconditional",
            "random", "long", "long_whitened"]  # fmt: skip
CASCADES = ["dispatcher_whitened", "conditional", "unconditional", "random"]
# right after a checkpoint in the middle of a training; experts learn by a dispatcher that is read
STAGES = ["experts/1/checkpoints"]
IMAGES = 162  # of the training split, in batches of 32
STEPS = 2 * 5


def read(folder):
    return json.loads((folder / "result.json").read_text())


def members(folder):
    """The masks of a cascade's networks, by path."""
    parts = cascade.members(task_file.read(folder / "masks" / "task.mask"))
    return [part.stored.masks for part in parts]


@pytest.fixture(scope="module")
def made(tmp_path_factory, shallow_resnet, without_figures):
    """A finished run; beside it copies of its folder, as SIGKILL at a stage would have left it."""
    folder = tmp_path_factory.mktemp("cascade") / "run"
    left = set(STAGES)

    def before(path):
        if path.is_relative_to(folder) and (stage := str(path.relative_to(folder))) in left:
            left.remove(stage)
            unlocked = shutil.ignore_patterns(".lock")
            shutil.copytree(folder, folder.parent / stage.replace("/", " "), ignore=unlocked)

    write, save = files.write_json, checkpoint.Checkpoints.save

    def written(path, content):
        before(path)
        write(path, content)

    def saved(self, found):
        save(self, found)
        self._manager.wait_until_finished()
        before(self._folder)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "write_json", written)
        patch.setattr(checkpoint.Checkpoints, "save", saved)
        assert main([*QUICK, f"--workdir={folder}"]) == 0
    assert not left
    return folder


def test_every_network_is_measured_by_both_classifiers(made):
    result = read(made)
    assert list(result["methods"]) == MEASURED
    for name in MEASURED:
        own = read(made / name)
        assert own["recipe"] == "cascade"
        assert own["accuracy"] == read(made / name / "linear_probe")["accuracy"]
        assert own["knn_accuracy"] == read(made / name / "knn")["accuracy"]
        kept = load_file(made / name / "embeddings.safetensors")
        assert kept["features"].shape == (224, 16)
        assert ("clusters" in kept) == (name == "conditional")
    assert (made / "table.md").read_text().count("\n") == 2 + len(MEASURED)
    assert read(made)["steps"] == 8 * STEPS  # a dispatcher, two experts twice, the long mask


@pytest.mark.parametrize("name", ["dispatcher", "long"])
def test_a_single_mask_is_also_measured_whitened(made, name):
    plain, white = (
        load_file(made / each / "embeddings.safetensors")["features"].astype(np.float64)
        for each in (name, f"{name}_whitened")
    )
    basis = np.concatenate([plain, np.ones((len(plain), 1))], axis=1)
    there = basis @ np.linalg.lstsq(basis, white, rcond=None)[0]
    np.testing.assert_allclose(there, white, atol=0.02)  # an affine map of the plain one
    spread = np.linalg.svd(white - white.mean(0), compute_uv=False)
    assert spread[0] < 4 * spread[len(spread) // 2]
    single, whole = (read(made / each)["mask_bits"] for each in (f"{name}_whitened", name))
    assert single == whole


def test_experts_take_as_many_steps_as_the_dispatcher_and_the_long_mask_as_all(made):
    assert read(made / "dispatcher")["steps"] == STEPS
    for place in ("experts", "random_experts"):
        assert [read(made / place / each)["steps"] for each in "01"] == [STEPS, STEPS]
    assert read(made / "unconditional")["steps"] == 3 * STEPS == read(made / "long")["steps"]


def test_the_clusters_are_the_routers_and_the_random_parts_are_as_large(made):
    stored = load_file(made / "router.safetensors")
    dispatcher = task.load(made / "dispatcher", base=made / "pretrain")
    sizes = read(made / "conditional")["cluster_sizes"]
    assert np.bincount(stored["clusters"]).tolist() == sizes
    assert sum(sizes) == IMAGES == len(stored["labels"])
    assert read(made / "random")["cluster_sizes"] == sizes
    parts = run_experts.shuffled(stored["clusters"], 0)
    assert np.bincount(parts).tolist() == sizes
    assert 0.2 < (parts == stored["clusters"]).mean() < 0.95
    assert dispatcher.classes == ("5", "6", "7", "8", "9")


def features(made, member, images):
    """The embeddings of one of a cascade's networks over the run's base."""
    loaded = task.load(made / "dispatcher", base=made / "pretrain")
    part = cascade.members(task_file.read(made / "conditional" / "masks" / "task.mask"))[member]
    base, _ = weights.load(made / "pretrain")
    bare = {name: leaf for name, leaf in base["params"].items() if name != "head"}
    network = task_file.put_on({**base, "params": bare}, part, adapter.KNOWN["mask"])
    inputs = loaded.prepare(images)
    return np.asarray(loaded.module.apply(network, inputs, features=True, train=False))


def test_the_embeddings_are_those_of_plain_numpy(made):
    config, _ = parse(QUICK)
    digits = tasks.load_data(config.data, 0)
    parts = {"train": digits.train.images, "test": digits.test.images}
    clusters = {
        "train": load_file(made / "router.safetensors")["clusters"],
        "test": load_file(made / "conditional" / "embeddings.safetensors")["clusters"],
    }
    joined = {}
    for split, images in parts.items():
        own, *others = [features(made, member, images) for member in range(3)]
        chosen = [one * (clusters[split] == k)[:, None] for k, one in enumerate(others)]
        joined["unconditional", split] = np.concatenate([own, *others], axis=1)
        joined["conditional", split] = np.concatenate([own, *chosen], axis=1)
    for name in ("conditional", "unconditional"):
        train = joined[name, "train"].astype(np.float64)
        _, values, directions = np.linalg.svd(train - train.mean(0), full_matrices=False)
        wanted = (joined[name, "test"] - train.mean(0)) @ directions[:16].T
        wanted *= np.sqrt(len(train) - 1) / values[:16]
        found = load_file(made / name / "embeddings.safetensors")["features"]
        # components of nearly equal variance may turn into each other: distances do not change
        far, wanted_far = (np.linalg.norm(x[:, None] - x[None], axis=-1) for x in (found, wanted))
        np.testing.assert_allclose(far, wanted_far, rtol=0.01, atol=0.01)


@pytest.mark.parametrize("name", CASCADES)
def test_the_file_classifies_as_the_run_measured(made, name):
    loaded = task.load(made / name, base=made / "pretrain")
    digits = data.load("digits", classes=(5, 6, 7, 8, 9))
    found = np.asarray(loaded.logits(loaded.variables, digits.test.images)).argmax(-1)
    accuracy = (found == digits.test.labels).mean()
    assert abs(accuracy - read(made / name)["accuracy"]) <= 1.5 / len(found)
    size = (made / name / "masks" / "task.mask").stat().st_size
    assert read(made / name)["storage_bytes"] == size


def test_storage_counts_all_masks_and_the_router(made):
    results = {name: read(made / name) for name in MEASURED}
    assert results["unconditional"]["mask_bits"] == 3 * results["dispatcher"]["mask_bits"]
    assert results["dispatcher"]["storage_bytes"] < results["long"]["storage_bytes"] * 1.5
    bytes_of = {name: each["storage_bytes"] for name, each in results.items()}
    assert bytes_of["conditional"] > bytes_of["unconditional"] > bytes_of["dispatcher"]


def test_experts_continue_the_dispatchers_scores_and_statistics(made, tmp_path):
    """What each training begins with, where the trainings before it are only pretended."""
    config, _ = parse([*QUICK, f"--config.start={made / 'pretrain'}"])
    experiment, answer, asked = recipe.prepare(config)(tmp_path / "run", None), None, []
    while len(asked) < 3:
        wanted = experiment.send(answer)
        jobs = [each.job for each in wanted] if isinstance(wanted, list) else [wanted.job]
        fits = []
        for job in jobs:
            asked.append(job)
            learned = {**job.state.learned, "scores": moved(job.state.learned["scores"])}
            carried = job.state.carried._replace(batch_stats=moved(job.state.batch_stats))
            fits.append(pretended(job.state._replace(learned=learned, carried=carried), job))
        answer = fits if isinstance(wanted, list) else fits[0]
    experiment.close()
    dispatcher, *others = asked
    clusters = load_file(tmp_path / "run" / "router.safetensors")["clusters"]
    assert dispatcher.train.members is None
    for index, job in enumerate(others):
        begun, before = job.state, dispatcher.state
        chex.assert_trees_all_equal(begun.learned["scores"], moved(before.learned["scores"]))
        chex.assert_trees_all_equal(begun.batch_stats, moved(before.batch_stats))
        np.testing.assert_array_equal(job.train.members, np.flatnonzero(clusters == index))
        new, old = (jax.tree.leaves(each.learned["loss"]) for each in (begun, before))
        assert any((np.asarray(a) != np.asarray(b)).any() for a, b in zip(new, old))
        assert job.steps == dispatcher.steps
    assert others[0].settings.seed != others[1].settings.seed


def moved(tree):
    return jax.tree.map(lambda leaf: np.asarray(leaf) * np.float32(1.5), tree)


def pretended(state, job):
    """A fit that ended in a state without training."""
    learned = jax.tree.map(np.asarray, state.learned)
    return loop.Fit(
        learned=learned, batch_stats=jax.tree.map(np.asarray, state.batch_stats), validation={},
        epoch=2, steps=job.steps, seconds=1.0, waited=0.0, stopped_early=False, diverged=False,
        last=state, watched={"knn_accuracy": 0.5},
    )  # fmt: skip


def test_experts_differ_from_the_dispatcher_and_each_other(made):
    masks = [np.concatenate([leaf.ravel() for leaf in jax.tree.leaves(each)])
             for each in members(made / "unconditional")]  # fmt: skip
    for index in range(3):
        assert (masks[index] != masks[index - 1]).any()


def test_experts_side_by_side_are_those_of_one_after_the_other(made, tmp_path):
    folder = tmp_path / "run"
    given = [*QUICK, "--config.controls=()", "--config.experts_together=2",
             f"--config.start={made / 'pretrain'}", f"--workdir={folder}"]  # fmt: skip
    assert main(given) == 0
    pairs = zip(members(made / "unconditional"), members(folder / "unconditional"))
    for one, other in pairs:
        leaves = zip(jax.tree.leaves(one), jax.tree.leaves(other))
        assert np.mean([np.mean(a == b) for a, b in leaves]) > 0.97  # sums round otherwise


@pytest.mark.parametrize("stage", STAGES)
def test_a_run_that_is_killed_at_any_stage_ends_with_the_same_masks(made, stage):
    copy = made.parent / stage.replace("/", " ")
    assert not (copy / "result.json").exists()
    assert main([*QUICK, f"--workdir={copy}"]) == 0
    for name in CASCADES:
        mine, theirs = (each / name / "masks" / "task.mask" for each in (copy, made))
        assert mine.read_bytes() == theirs.read_bytes()
    assert read(copy)["accuracy"] == read(made)["accuracy"]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("router=gaussian()", "unknown router 'gaussian'"),
        ("router=mixture(components=0)", "components is 0"),
        ("method=full", "a cascade is of masks"),
        ("method=mask_sign", "a cascade is of masks"),
        ("mask.transform=sign(init=magnitude())", "a cascade is of masks"),
        ("method=masks", "did you mean 'mask'"),
        ("controls=('shuffled',)", "unknown control 'shuffled'"),
        ("experts_together=-1", "experts_together"),
        ("mask.choices=()", "mask.choices is empty"),
        ("data.validation=0.0", "set data.validation above 0"),
    ],
)
def test_an_invalid_config_is_refused(override, message):
    config, _ = parse(["--config=cascade:digits", f"--config.{override}"])
    with pytest.raises(InputError, match=message):
        recipe.prepare(config)


@pytest.mark.parametrize(
    ("override", "message"),
    [("falling_epochs=5.0", "does not fall"), ("density=0.0", "mask_topk.density is 0")],
)
def test_a_density_that_is_not_fixed_is_refused(override, message):
    config, _ = parse(["--config=cascade:digits", "--config.method=mask_topk",
                       "--config.mask_topk.train.select=last",
                       f"--config.mask_topk.{override}"])  # fmt: skip
    with pytest.raises(InputError, match=message):
        recipe.prepare(config)


def test_an_empty_cluster_has_no_expert(tmp_path):
    embeddings = np.random.default_rng(0).normal(size=(30, 6)).astype(np.float32)
    router = evaluate.kmeans(clusters=3, principal=4).fit(embeddings, 0)
    far = router._replace(centers=router.centers.at[1].set(1e3))
    made = evaluate.Clustering(3, lambda embeddings, seed: far)
    found = run_experts.router_of(made, embeddings, np.zeros(30), 0, tmp_path)
    assert sorted(set(found.clusters)) == [0, 1]
    assert found.router.centers.shape == (2, 4)
    np.testing.assert_array_equal(evaluate.route(found.router, embeddings), found.clusters)
    again = run_experts.router_of(None, embeddings, None, 0, tmp_path)  # read, not made
    np.testing.assert_array_equal(again.clusters, found.clusters)


def test_what_is_planned_are_the_stages():
    config, _ = parse(["--config=cascade:digits"])
    places = [str(each.place) for each in recipe.prepare(config).planned]
    assert places[0] == "pretrain"
    assert places[-1] == "long"
    assert sum(place.startswith("experts/") for place in places) == 3
    assert recipe_cascade.CONTROLS == ("random", "long")
