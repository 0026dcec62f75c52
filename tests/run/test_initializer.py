"""Initial weights by name: their distribution, what they are computed from, and who shares them."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small
from safetensors.numpy import load_file

from jaxmask import tree
from jaxmask.errors import InputError
from jaxmask.run import initializer, scoring, seeds, starting, ticket
from jaxmask.run.starting import Start

pytestmark = pytest.mark.usefixtures("quick_compilation")

KERNELS = ("fc1/kernel", "fc2/kernel", "head/kernel")
RANDOM = Start(None, "random")


def config(initial, **changes):
    few = {"criterion": "magnitude", "scoring__examples_per_class": 4, "initial": initial}
    return small.config("prune", **{**few, **changes})


@pytest.fixture(scope="module")
def made():
    """The task, and its variables."""
    task = small.task(config("network", network__width=0.3))
    return task, starting.random_weights(task, 0)


def changed(made, initial, variables=None, **changes):
    given = config(initial, network__width=0.3, **changes)
    found = initializer.make_initializer(made[0], given).change(variables or made[1])
    return {name: np.asarray(leaf) for name, leaf in tree.named_leaves(found["params"]).items()}


def old(made):
    return {name: np.asarray(leaf) for name, leaf in tree.named_leaves(made[1]["params"]).items()}


def size(*leaves):
    return np.sqrt(np.mean(np.concatenate([leaf.ravel() for leaf in leaves]) ** 2))


def test_the_networks_own_weights_are_left_as_they_are(made):
    assert initializer.make_initializer(made[0], config("network")) is initializer.NETWORK
    chex.assert_trees_all_equal(changed(made, "network"), old(made))


@pytest.mark.parametrize("initial", ["kaiming", "bi_modal", "scores(magnitude)"])
def test_only_what_the_rules_mask_is_changed(made, initial):
    rules = (("fc1/kernel", "mask"), ("fc2/.*", "freeze"))
    before, after = old(made), changed(made, initial, rules=rules)
    assert [name for name in before if (before[name] != after[name]).any()] == ["fc1/kernel"]
    chex.assert_trees_all_equal_dtypes(before, after)
    assert all(leaf.shape == before[name].shape for name, leaf in after.items())


def test_kaiming_has_a_variance_of_two_over_the_inputs(made):
    for name in KERNELS[:2]:
        leaf = changed(made, "kaiming")[name]
        assert np.var(leaf) * leaf.shape[0] == pytest.approx(2, rel=0.2)
        assert np.abs(leaf).max() > 2.5 * leaf.std()  # no mode away from 0


@pytest.mark.parametrize("spread", [0.0, 0.1, 0.5])
def test_bi_modal_weights_are_around_two_values_and_as_large_as_the_old_ones(made, spread):
    before, after = old(made), changed(made, f"bi_modal(spread={spread})")
    for name in KERNELS:
        leaf, mode = after[name], size(before[name]) / np.sqrt(1 + spread**2)
        close = 1e-6 if spread == 0 else 0.15
        assert size(leaf) == pytest.approx(size(before[name]), rel=close)
        for side in (leaf[leaf > 0], -leaf[leaf < 0]):
            assert side.size == pytest.approx(leaf.size / 2, rel=0.3)
        if leaf.size > 500:
            near = leaf[leaf > 0]
            assert near.mean() == pytest.approx(mode, rel=0.1)
            assert near.std() == pytest.approx(spread * mode, rel=0.2, abs=1e-6)


def test_bi_modal_weights_may_be_drawn_alike_in_all_layers(made):
    after = changed(made, "bi_modal(spread=0, scope='global')")
    every = np.concatenate([np.abs(after[name]).ravel() for name in KERNELS])
    np.testing.assert_allclose(every, size(*(old(made)[name] for name in KERNELS)), rtol=1e-5)


def test_scores_are_scaled_with_the_signs_of_the_old_weights(made):
    before = old(made)
    after = changed(made, "scores(magnitude)")
    largest = max(np.abs(before[name]).max() for name in KERNELS)
    for name in KERNELS:
        np.testing.assert_allclose(after[name], before[name] / largest, rtol=1e-6)
    after = changed(made, "scores(synflow, scope='layer')")
    for name in KERNELS:
        assert np.abs(after[name]).max() == pytest.approx(1)
        np.testing.assert_array_equal(np.sign(after[name]), np.sign(before[name]))


def test_scores_of_data_are_those_of_the_loss_on_the_drawn_examples(made):
    """SNIP, by finite differences of the loss in numpy."""
    task, variables = made
    x, y = scoring.scoring_batch(task.dataset.train, 4, seeds.number(0, "initial/batch"))
    params = jax.tree.map(lambda leaf: np.asarray(leaf, float), variables["params"])

    def loss():
        z = small.logits(params, np.asarray(x))
        return np.mean(np.log(np.exp(z).sum(1)) - z[np.arange(len(y)), np.asarray(y)])

    kernel, slopes = params["head"]["kernel"], {}
    for place in np.ndindex(kernel.shape):
        was, ends = kernel[place], []
        for step in (1e-5, -1e-5):
            kernel[place] = was + step
            ends.append(loss())
        kernel[place] = was
        slopes[place] = was * (ends[0] - ends[1]) / 2e-5
    found = changed(made, "scores(snip(), scope='layer')")["head/kernel"]
    largest = max(map(abs, slopes.values()))
    for place, slope in slopes.items():
        assert found[place] == pytest.approx(
            np.sign(kernel[place]) * abs(slope) / largest, rel=1e-2, abs=1e-4
        )


def test_the_same_weights_serve_all_criteria_of_a_seed_and_others_have_their_own(tmp_path):
    def path(initial, **changes):
        given = config(initial, **changes)
        task = small.task(given)
        found = ticket.initial_weights(
            task, RANDOM, given, tmp_path / "run", tmp_path / "shared",
            initializer.make_initializer(task, given),
        )  # fmt: skip
        return found.path, found.sha256

    same = path("scores(snip())")
    stamp = same[0].stat().st_mtime_ns
    assert path("scores(snip())", criterion="synflow", density=0.01, shots=7) == same
    assert same[0].stat().st_mtime_ns == stamp
    head = (("head/kernel", "mask"),)
    others = [
        path("network"), path("bi_modal"), path("bi_modal(spread=0.3)"), path("scores(magnitude)"),
        path("scores(snip())", seed=1), path("scores(snip())", scoring__examples_per_class=3),
        path("scores(snip())", scoring__mode="train"), path("bi_modal", rules=head),
    ]  # fmt: skip
    assert len({each[0] for each in [same, *others]}) == 9
    for place, digest in [same, *others]:  # and the same again in another folder
        assert ticket.fingerprint(tree_of(place)) == digest


def tree_of(path):
    nested = {}
    for name, leaf in load_file(path).items():
        *above, last = name.split("/")
        at = nested
        for each in above:
            at = at.setdefault(each, {})
        at[last] = leaf
    return nested


def test_random_weights_are_of_the_seed(made):
    first, again = changed(made, "bi_modal"), changed(made, "bi_modal")
    chex.assert_trees_all_equal(first, again)
    assert (changed(made, "bi_modal", seed=1)["fc1/kernel"] != first["fc1/kernel"]).all()


@pytest.mark.parametrize(
    ("initial", "message"),
    [
        ("bimodal", "unknown initial 'bimodal'; did you mean 'bi_modal'"),
        ("snip()", r"is a criterion; write scores\(snip\(\)\)"),
        ("scores", "scores"),
        ("scores(0.5)", r"takes a criterion, not 0.5; write scores\(snip\(\)\)"),
        ("scores(snip, scope='tree')", "unknown scope 'tree'"),
        ("bi_modal(spread=-1)", "spread -1"),
        ("bi_modal(scope='all')", "scope 'all'"),
        ("network(1)", "network"),
        ("", "initial is empty"),
    ],
)
def test_what_cannot_be_is_told_before_anything_is_drawn(made, initial, message):
    with pytest.raises(InputError, match=message) as caught:
        initializer.make_initializer(made[0], config(initial))
    assert "\n" not in str(caught.value)


def test_scores_of_data_need_examples(made):
    given = config("scores(snip())", scoring__examples_per_class=0)
    with pytest.raises(InputError, match="'snip' scores weights on data"):
        initializer.make_initializer(made[0], given)
    initializer.make_initializer(made[0], config("bi_modal", scoring__examples_per_class=0))


@pytest.mark.parametrize(
    ("initial", "factor", "message"),
    [
        ("scores(snip())", 1e38, r"initial scores\(snip\(\)\): snip gives scores that are not"),
        ("scores(snip())", 0.0, r"snip gives scores that are all zero, in 'fc1/kernel', "),
        ("scores(stack(snip, synflow))", 0.0, "snip gives synflow scores that are all zero"),
    ],
)  # fmt: skip
def test_scores_that_are_no_weights_name_the_criterion_and_the_leaf(made, initial, factor, message):
    variables = jax.tree.map(lambda leaf: leaf * jnp.float32(factor), made[1])
    with pytest.raises(InputError, match=message):
        changed(made, initial, variables)
