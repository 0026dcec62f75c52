"""A config's pruning of a network: which weights, on which examples, and what is told."""

import logging

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small

from jaxmask import prune, tree
from jaxmask.errors import InputError
from jaxmask.run import pruning, scoring, starting

pytestmark = pytest.mark.usefixtures("quick_compilation")


def config(**changes):
    return small.config("prune", **{"criterion": "magnitude", "density": 0.25, **changes})


@pytest.fixture(scope="module")
def made():
    """The task, and its variables."""
    task = small.task(config())
    return task, starting.random_weights(task, 0)


def kernels(tree_of):
    return {path: np.asarray(leaf) for path, leaf in tree.named_leaves(tree_of).items()}


@pytest.mark.parametrize("scope", ["global", "layer"])
def test_the_largest_weights_are_kept(made, scope):
    task, variables = made
    masks, report = pruning.make_pruner(task, config(scope=scope)).prune(variables, 0.25)
    found, weights = kernels(masks), kernels(variables["params"])
    assert set(found) == {"fc1/kernel", "fc2/kernel", "head/kernel"}
    every = {path: np.abs(weights[path]) for path in found}
    total = sum(leaf.size for leaf in every.values())
    if scope == "global":
        bound = np.sort(np.concatenate([leaf.ravel() for leaf in every.values()]))
        wanted = {path: leaf >= bound[total - -(-total // 4)] for path, leaf in every.items()}
    else:
        wanted = {path: leaf >= np.sort(leaf, axis=None)[leaf.size - -(-leaf.size // 4)]
                  for path, leaf in every.items()}  # fmt: skip
    chex.assert_trees_all_equal(found, wanted)
    assert not report.all_zero


def test_pruning_goes_on_within_a_mask(made):
    task, variables = made
    pruner = pruning.make_pruner(task, config())
    half, _ = pruner.prune(variables, 0.5)
    quarter, _ = pruner.prune(variables, 0.25, 0.5, half)
    whole, _ = pruner.prune(variables, 0.25)
    chex.assert_trees_all_equal(quarter, whole)  # of magnitudes, which do not change
    for path, bits in kernels(quarter).items():
        assert (bits <= kernels(half)[path]).all()


@pytest.mark.parametrize("composed", ["movement", "stack(movement(), magnitude)"])
def test_a_sum_over_training_is_taken_for_the_criterion_that_is_summed(made, composed):
    task, variables = made
    pruner = pruning.make_pruner(task, config(criterion=composed))
    among, _ = pruning.make_pruner(task, config()).prune(variables, 0.5)
    weights = tree.partition(variables["params"], pruner.labels)["mask"]
    given = jax.tree.map(lambda leaf: 1 / jnp.abs(leaf), weights)  # the smallest are the best
    masks, _ = pruner.prune(variables, 0.25, 0.5, among, summed=given)
    bits, before = (np.concatenate([leaf.ravel() for leaf in kernels(each).values()])
                    for each in (masks, among))  # fmt: skip
    size = np.abs(np.concatenate([leaf.ravel() for leaf in kernels(weights).values()]))
    assert bits.sum() == -(-size.size // 4)
    assert size[bits].max() <= size[before & ~bits].min()


def test_labels_are_the_rules_and_all_else_is_trained_whole(made):
    task, _ = made
    rules = (("fc1/kernel", "mask"), ("fc2/.*", "freeze"))
    labels = tree.named_leaves(scoring.pruned_labels(task, config(rules=rules)))
    assert labels == {
        "fc1/kernel": "mask", "fc1/bias": "train", "fc2/kernel": "freeze", "fc2/bias": "freeze",
        "head/kernel": "train", "head/bias": "train",
    }  # fmt: skip
    with pytest.raises(InputError, match="nothing to prune"):
        scoring.pruned_labels(task, config(rules=(("fc1/.*", "train"),)))


@pytest.mark.parametrize("count", [1, 5, 1000])
def test_scoring_takes_so_many_examples_of_every_class_drawn_by_the_seed(count):
    split = small.dataset().train
    images, labels = map(np.asarray, scoring.scoring_batch(split, count, seed=3))
    for label in range(3):
        assert (labels == label).sum() == min(count, (split.labels == label).sum())
    pairs = {(image.tobytes(), int(label)) for image, label in zip(split.images, split.labels)}
    assert {(image.tobytes(), int(label)) for image, label in zip(images, labels)} <= (pairs)
    again, other = (scoring.scoring_batch(split, count, seed)[0] for seed in (3, 4))
    np.testing.assert_array_equal(images, again)
    assert count == 1000 or not np.array_equal(images, other)


def test_the_scorer_is_compiled_once_for_all_seeds_and_densities(made, monkeypatch):
    from jaxmask.run import programs

    monkeypatch.setattr(programs, "_MADE", {})
    task, _ = made
    for changes in ({}, {"seed": 3}, {"density": 0.5}, {"shots": 4}):
        pruning.make_pruner(task, config(**changes)).prune(made[1], 0.5)
    assert len(programs._MADE["scorer"]) == 1
    pruning.make_pruner(task, config(criterion="random")).prune(made[1], 0.5)
    assert len(programs._MADE["scorer"]) == 2


@pytest.mark.parametrize(
    ("text", "summed", "shots", "message"),
    [
        ("stack(movement, magnitude)", np.nan, 3,
         r"stack\(movement, magnitude\), round 2: at shot 1, movement gives magnitude scores that "
         "are not finite in 'fc1/kernel'"),
        ("stack(stack(movement, random), magnitude)", 0.0, 1,
         "at shot 1, movement gives random scores that are all zero, in 'fc1/kernel'"),
    ],
)  # fmt: skip
def test_a_part_that_passes_on_nothing_is_named_with_shot_and_leaf(
    made, text, summed, shots, message
):
    task, variables = made
    pruner = pruning.make_pruner(task, config(criterion=text, shots=shots))
    weights = tree.partition(variables["params"], pruner.labels)["mask"]
    given = jax.tree.map(lambda leaf: jnp.full(leaf.shape, summed), weights)
    with pytest.raises(InputError, match=message) as caught:
        pruner.prune(variables, 0.25, where=", round 2", summed=given)
    assert "\n" not in str(caught.value)


def report(**changes):
    given = {
        "not_finite": np.zeros(2, int),
        "emptied": np.zeros(2, int),
        "all_zero": 0,
        "kept": np.ones(2, int),
    }
    return prune.Report(**{**given, **changes})


WEIGHTS = {"a": np.ones(2), "b": np.ones(3)}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"not_finite": np.array([0, 4])}, "snip in round 2: the scores of 'b' .* at shot 4"),
        ({"all_zero": 3}, "snip in round 2: every score is zero at shot 3"),
    ],
)
def test_scores_that_say_nothing_are_an_error(changes, message):
    with pytest.raises(InputError, match=message):
        pruning.check_report(WEIGHTS, report(**changes), "snip in round 2")


def test_an_emptied_layer_is_a_warning(caplog):
    with caplog.at_level(logging.WARNING):
        pruning.check_report(WEIGHTS, report(), "snip")
        assert not caplog.messages
        pruning.check_report(WEIGHTS, report(emptied=np.array([7, 0])), "snip")
    assert caplog.messages == ["snip: nothing is left of layer 'a' after shot 7"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"density": 0.0}, "density"),
        ({"shots": 0}, "shots is 0"),
        ({"scope": "everywhere"}, "scope"),
        ({"criterion": "snap"}, "unknown criterion"),
        ({"scoring__mode": "test"}, r"scoring\.mode is 'test'"),
        ({"scoring__batch_size": 0}, r"scoring\.batch_size"),
        ({"scoring__examples_per_class": -1}, r"scoring\.examples_per_class"),
        ({"criterion": "snip", "scoring__examples_per_class": 0}, "scores weights on data"),
        ({"criterion": "fisher", "scoring__mode": "train"}, "gradients of single examples"),
    ],
)
def test_what_cannot_be_is_told_before_anything_is_scored(made, changes, message):
    with pytest.raises(InputError, match=message):
        pruning.make_pruner(made[0], config(**changes))


def test_what_needs_no_data_or_prunes_nothing_needs_no_examples(made):
    for changes in ({}, {"criterion": "snip", "density": 1.0}):
        pruning.make_pruner(made[0], config(scoring__examples_per_class=0, **changes))
