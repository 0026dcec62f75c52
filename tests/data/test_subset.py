"""Seeded, stratified choices of examples."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxmask.data.subset import random_keys, relabel, split_training, stratified
from jaxmask.errors import InputError

LABELS = st.lists(st.integers(0, 4), min_size=1, max_size=80).map(np.array)
SEEDS = st.integers(0, 2**40)
quick = settings(deadline=None, max_examples=60)


@quick
@given(LABELS, st.floats(0, 1), SEEDS)
def test_each_class_gets_its_proportion_to_within_one_example(labels, share, seed):
    total = round(share * len(labels))
    chosen = stratified(labels, total, random_keys(len(labels), seed, 0))
    assert chosen.sum() == total
    for label in np.unique(labels):
        exact = total * np.mean(labels == label)
        assert abs(chosen[labels == label].sum() - exact) < 1


@quick
@given(LABELS, st.floats(0.001, 1), st.floats(0, 0.999), SEEDS)
def test_training_and_validation_are_disjoint_parts_of_the_share(labels, share, validation, seed):
    used, _ = split_training(labels, share, 0, seed)
    wanted = round(validation * len(used))
    if wanted > len(used) - len(np.unique(labels)):
        with pytest.raises(InputError, match="ask for fewer"):
            split_training(labels, share, validation, seed)
        return
    train, held_out = split_training(labels, share, validation, seed)
    assert len(held_out) == wanted
    np.testing.assert_array_equal(np.union1d(train, held_out), used)
    assert not np.intersect1d(train, held_out).size
    assert (np.diff(train) > 0).all()
    assert (np.diff(held_out) > 0).all()
    np.testing.assert_array_equal(np.unique(labels[train]), np.unique(labels))  # no class is lost
    again = split_training(labels, share, validation, seed)
    np.testing.assert_array_equal(np.concatenate(again), np.concatenate([train, held_out]))


def test_the_largest_remainders_are_rounded_up():
    labels = np.array([0] * 1 + [1] * 8 + [2] * 11)  # of 7 places: 0.35, 2.8, 3.85
    chosen = stratified(labels, 7, random_keys(20, 0, 0))
    np.testing.assert_array_equal(np.bincount(labels[chosen], minlength=3), [0, 3, 4])


def test_a_share_keeps_one_of_every_class_however_rare():
    labels = np.array([0] * 1000 + [1] * 2 + [2])
    used, _ = split_training(labels, 0.01, 0, seed=3)
    # 10 examples: 9.97 + 0.02 + 0.01, and the rare classes are rounded up first.
    np.testing.assert_array_equal(np.bincount(labels[used]), [9, 1, 1])


def test_counts_are_exact_in_decimal():
    labels = np.repeat(np.arange(10), 100)  # 0.29 * 100 is 28.999... in binary
    used, _ = split_training(labels, 0.29, 0, seed=0)
    assert (np.bincount(labels[used]) == 29).all()
    train, held_out = split_training(labels, 1.0, 200, seed=0)
    assert (np.bincount(labels[held_out]) == 20).all()
    assert len(train) == 800


def test_a_full_class_passes_its_places_on():
    labels = np.array([0, 1, 1, 1, 1, 1, 1])
    train, held_out = split_training(labels, 1.0, 5, seed=0)
    np.testing.assert_array_equal(labels[train], [0, 1])
    assert len(held_out) == 5


def test_the_seed_and_nothing_else_decides():
    labels = np.repeat(np.arange(5), 40)
    by_seed = [split_training(labels, 0.5, 0.2, seed) for seed in (0, 1)]
    assert not np.array_equal(by_seed[0][0], by_seed[1][0])
    assert not np.array_equal(by_seed[0][1], by_seed[1][1])
    # The share does not correlate with the validation split: they draw from different streams.
    share, _ = split_training(labels, 0.5, 0, 0)
    _, held_out = split_training(labels, 1.0, 0.5, 0)
    assert 20 < len(np.intersect1d(share, held_out)) < 80


def test_the_choice_is_uniform_within_a_class():
    labels = np.array([0] * 10 + [1] * 30)
    hits = np.zeros(40)
    for seed in range(400):
        hits[split_training(labels, 1.0, 0.2, seed)[1]] += 1
    np.testing.assert_allclose(hits / 400, 0.2, atol=0.08)  # 4 standard deviations


def test_a_class_is_cut_the_same_way_whatever_else_was_chosen():
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(4), 50))

    def used_of_class_2(classes):
        kept, new = relabel(labels, classes, 4)
        train, held_out = split_training(new, 0.5, 0.2, 7, kept)
        train, held_out = kept[train], kept[held_out]
        return train[labels[train] == 2].tolist(), held_out[labels[held_out] == 2].tolist()

    assert used_of_class_2(()) == used_of_class_2((3, 2)) == used_of_class_2((2,))


@quick
@given(st.lists(st.integers(0, 6), max_size=60), st.permutations(range(7)), st.integers(1, 7))
def test_relabeling_follows_the_given_order(labels, permutation, count):
    labels, classes = np.array(labels, np.int32), permutation[:count]
    kept, new = relabel(labels, classes, 7)
    assert new.dtype == np.int32
    np.testing.assert_array_equal(kept, np.flatnonzero(np.isin(labels, classes)))
    np.testing.assert_array_equal(np.array(classes)[new], labels[kept])


def test_no_classes_means_all_as_they_are():
    kept, new = relabel([2, 0, 1], (), 3)
    np.testing.assert_array_equal(kept, [0, 1, 2])
    np.testing.assert_array_equal(new, [2, 0, 1])


@pytest.mark.parametrize("classes", [(0, 3), (-1,), (1, 1), ("1",), (0.5,)])
def test_classes_that_do_not_exist_are_refused(classes):
    with pytest.raises(InputError, match="classes"):
        relabel([0, 1, 2], classes, 3)


@pytest.mark.parametrize(
    ("share", "validation", "seed", "named"),
    [
        (0, 0, 0, "share"),
        (1.5, 0, 0, "share"),
        (float("nan"), 0, 0, "share"),
        (1, 1.0, 0, "validation"),
        (1, -1, 0, "validation"),
        (1, float("nan"), 0, "validation"),
        (1, True, 0, "validation"),
        (1, 19, 0, "ask for fewer"),
        (1, 0, -1, "seed"),
        (1, 0, 0.5, "seed"),
    ],
)
def test_impossible_choices_are_refused(share, validation, seed, named):
    with pytest.raises(InputError, match=named):
        split_training(np.arange(20) % 2, share, validation, seed)


def test_keys_are_raw_bits_and_prefix_stable():
    """PCG64's raw stream is NumPy's promise; a change would silently change every subset."""
    np.testing.assert_array_equal(random_keys(3, 0, 0), random_keys(9, 0, 0)[:3])
    assert random_keys(2, 0, 0).tolist() == [11749869230777074271, 4976686463289251617]


@pytest.mark.parametrize("classes", [(0, True), (False, 2), (np.True_, 0)])
def test_a_truth_value_is_no_class(classes):
    with pytest.raises(InputError, match=r"(True|False).* is not a class; they are 0 to 2"):
        relabel([0, 1, 2], classes, 3)
