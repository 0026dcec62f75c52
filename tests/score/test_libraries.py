"""Scores and pruning of networks of other libraries, and of scorers' own containers."""

import collections

import chex
import containers
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxmask import mask, prune, score, tree
from jaxmask.errors import InputError

pytestmark = pytest.mark.usefixtures("quick_compilation")


class Network(nnx.Module):
    def __init__(self, rngs):
        self.hidden = nnx.Linear(4, 8, rngs=rngs)
        self.head = nnx.Linear(8, 3, rngs=rngs)

    def __call__(self, x):
        return self.head(nnx.relu(self.hidden(x)))


def check(params, pattern, call):
    """SNIP in one shot and SynFlow in many, of the leaves that a pattern matches."""
    parts = tree.partition(params, tree.label(params, [(pattern, "mask")]))
    x, y = jax.random.normal(jax.random.key(1), (16, 4)), jnp.arange(16) % 3

    def forward(w, x):
        return call(tree.combine(w, parts["train"], parts["freeze"]), x)

    def loss(w, x, y):
        return -jax.nn.log_softmax(forward(w, x))[jnp.arange(len(y)), y].mean()

    w = parts["mask"]
    size = tree.size(w)
    one = prune.one_shot(score.snip(loss), 0.25)(w, x, y)
    many = prune.multi_shot(score.synflow(lambda w: forward(w, jnp.ones((1, 4)))), 0.25, 5)(w)
    for masks in (one, many):
        chex.assert_trees_all_equal_shapes(masks, w)
        chex.assert_type(jax.tree.leaves(masks), bool)
        assert sum(int(leaf.sum()) for leaf in jax.tree.leaves(masks)) == size - int(0.75 * size)
    left = tree.combine(mask.pruned(one, w), parts["train"], parts["freeze"])
    chex.assert_tree_all_finite(call(left, x))


def test_an_nnx_state():
    graph, state = nnx.split(Network(nnx.Rngs(0)))
    check(state, ".*/kernel", lambda params, x: nnx.merge(graph, params)(x))


def test_an_equinox_module():
    network = eqx.nn.MLP(4, 3, 8, 1, key=jax.random.key(0))
    check(network, ".*/weight", lambda params, x: jax.vmap(params)(x))


@pytest.mark.parametrize(
    "name", ["frozen dict", "partitioned", "haiku", "named tuples", "nnx state", "equinox"]
)
def test_every_container_is_scored_pruned_and_pruned_again(name, tmp_path):
    """The masks of a file are what a second pruning goes on from."""
    kind = containers.KINDS[name]
    own = kind.make()
    parts = tree.partition(own, tree.label(own, [("|".join(kind.kernels), "mask")]))
    w, rest = parts["mask"], (parts["train"], parts["freeze"])

    def loss(w, x, y):
        return jnp.mean((kind.apply(tree.combine(w, *rest), x) - y) ** 2)

    batch = containers.X, np.ones((6, 2), np.float32)
    first = prune.one_shot(score.snip(loss), 0.6)(w, *batch)
    assert jax.tree.structure(first) == jax.tree.structure(w)
    mask.file.save(tmp_path / "first.mask", first)
    stored = mask.file.load(tmp_path / "first.mask")
    second = prune.one_shot(score.magnitude(), 0.2)(w, among=stored)
    assert jax.tree.structure(second) == jax.tree.structure(w)
    assert tree.size(w) - int(0.8 * tree.size(w)) == sum(map(jnp.sum, jax.tree.leaves(second)))
    assert not any(map(jnp.any, jax.tree.leaves(jax.tree.map(lambda a, b: a & ~b, second, first))))
    # what a user's own function of two trees says, with dicts as of the file
    for measured in (mask.measure.overlap, mask.measure.hamming):
        assert measured(second, stored) == measured(second, first) == measured(stored, second)
    chosen = mask.keep_count(w, 5, among=stored)
    assert jax.tree.structure(chosen) == jax.tree.structure(w)
    transform = mask.selective(mask.threshold(0.0), stored)
    scores = jax.tree.map(lambda leaf: -jnp.ones_like(leaf), w)
    off = mask.measure.hamming(transform.mask(scores), stored)
    assert off == tree.size(w)  # what is selected is off, and all else on


def reordered(scores):
    """The leaves in another container and order."""
    names = sorted(scores, reverse=True)
    return collections.namedtuple("Reordered", names)(**{name: scores[name] for name in names})


def test_a_scorer_may_return_other_containers():
    rng = np.random.default_rng(0)
    w = {"a": jnp.asarray(rng.normal(size=(3, 4)), jnp.float32),
         "b": jnp.asarray(rng.normal(size=(3, 4)), jnp.float32)}  # fmt: skip
    scorer = score.magnitude()

    def own(w, *batch):
        return reordered(scorer(w, *batch))

    for monotone in (True, False):
        wanted, report = prune.multi_shot(scorer, 0.3, 3, monotone=monotone, report=True)(w)
        found, told = prune.multi_shot(own, 0.3, 3, monotone=monotone, report=True)(w)
        chex.assert_trees_all_equal(found, wanted, strict=True)
        chex.assert_trees_all_equal(told, report)
    chex.assert_trees_all_equal(score.as_weights(own)(w), score.as_weights(scorer)(w), strict=True)


def test_scores_of_other_leaves_are_refused():
    w = {"a": jnp.ones(3), "b": jnp.ones(4)}
    for scorer, words in (
        (lambda w: {"a": w["a"]}, "the scores: .*no 'b'"),
        (lambda w: {"a": w["b"], "b": w["a"]}, r"the scores: 'a' has shape \(4,\)"),
    ):
        for call in (prune.one_shot(scorer, 0.5), score.as_weights(scorer)):
            with pytest.raises(InputError, match=words):
                call(w)


def test_the_product_with_a_vector_in_plain_dicts():
    kind = containers.KINDS["nnx state"]
    w = kind.make()
    product = score.hessian.product(lambda w, x: (kind.apply(w, x) ** 2).sum())
    vector = jax.tree.map(jnp.ones_like, w)
    found = product(w, tree.nested(tree.named_leaves(vector)), containers.X)
    chex.assert_trees_all_equal(found, product(w, vector, containers.X))
