"""The effective density of a ticket, in its result."""

import logging

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small
from experiments import finished, result

from jaxmask import maskfile, tree
from jaxmask.run import connections, programs, scoring
from jaxmask.run.task import shapes

pytestmark = pytest.mark.usefixtures("quick_compilation")


def random_masks(task, config, density):
    random = np.random.default_rng(0)
    labels = scoring.pruned_labels(task, config)
    like = tree.partition(shapes(task)["params"], labels)["mask"]
    return jax.tree.map(lambda leaf: jnp.asarray(random.random(leaf.shape) < density), like)


def by_units(kernels):
    """The kept weights of dense layers between units that are reached and reach the output."""
    leaves = list(kernels.values())
    reached, reaching = [np.ones(leaves[0].shape[0], bool)], [np.ones(leaves[-1].shape[1], bool)]
    for leaf in leaves:
        reached.append((leaf & reached[-1][:, None]).any(0))
    for leaf in reversed(leaves):
        reaching.append((leaf & reaching[-1]).any(1))
    sides = zip(reached, reaching[-2::-1])
    return {name: kernels[name] & a[:, None] & b for name, (a, b) in zip(kernels, sides)}


def share(kernels):
    return sum(map(np.sum, kernels.values())) / sum(leaf.size for leaf in kernels.values())


def test_every_weight_on_a_path_counts_and_no_other():
    config = small.config("prune", criterion="magnitude", density=0.25)
    task = small.task(config)
    masks = random_masks(task, config, 0.15)
    found = connections.effective(task, config, masks)
    kernels = {path: np.asarray(leaf) for path, leaf in tree.named_leaves(masks).items()}
    wanted = by_units(kernels)
    assert found["effective_density"] == share(wanted)
    assert found["effective_density_by_leaf"] == {
        path: leaf.mean() for path, leaf in wanted.items()
    }
    assert 0 < share(wanted) < share(kernels)


def test_biases_that_are_masked_count_with_their_units():
    config = small.config("prune", rules=((".*", "mask"),))
    task = small.task(config)
    masks = random_masks(task, config, 1.0)
    masks["fc1"]["kernel"] = masks["fc1"]["kernel"].at[:, 0].set(False)
    found = connections.effective(task, config, masks)["effective_density_by_leaf"]
    units = masks["fc1"]["bias"].size
    assert found["fc1/bias"] == found["fc2/kernel"] == pytest.approx(1 - 1 / units)
    assert found["head/kernel"] == found["head/bias"] == 1


def test_masks_of_one_network_share_a_program():
    config = small.config("prune")
    task = small.task(config)
    programs.forget()
    for density in (0.5, 0.1):
        connections.effective(task, config, random_masks(task, config, density))
        connections.effective(small.task(config), config, random_masks(task, config, density))
    assert len(programs._MADE["connections"]) == 1


def test_a_network_that_is_not_understood_is_said_and_has_none(caplog):
    config = small.config("prune")
    task = small.task(config)
    network = task.network

    def sorting(*arguments):
        logits, stats = network(*arguments)
        return jnp.sort(logits), stats

    changed = task._replace(network=sorting, identity="sorting")
    with caplog.at_level(logging.WARNING):
        found = connections.effective(changed, config, random_masks(task, config, 0.5))
    assert found == {"effective_density": None, "effective_density_by_leaf": {}}
    assert "the operation sort" in caplog.text


def test_results_of_pruning_and_of_every_level_of_a_lottery_have_it(tmp_path):
    one = finished(tmp_path / "one", criterion="random", density=0.02, train__epochs=0)
    assert 0 <= one["effective_density"] < one["density"]
    assert one["effective_density_by_leaf"].keys() == one["density_by_leaf"].keys()
    whole = finished(tmp_path / "lottery", "lottery", criterion="random", density=0.05,
                     train__epochs=1)  # fmt: skip
    levels = [result(tmp_path / "lottery" / name) for name in whole["runs"]]
    assert levels[0]["effective_density"] == 1
    assert levels[1]["effective_density"] > levels[2]["effective_density"]
    for folder, told in (("lottery", whole), ("lottery/level_02", levels[2])):
        masks = tree.named_leaves(maskfile.load(tmp_path / folder / "masks" / "ticket.mask"))
        kernels = {path: np.asarray(masks[f"{path}/kernel"]) for path in ("fc1", "fc2", "head")}
        assert told["effective_density"] == share(by_units(kernels))
