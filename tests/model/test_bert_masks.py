"""Masks, adapters and scores of a network of texts."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxmask import adapter, mask, model, score, tree
from jaxmask.adapter.base import Site
from jaxmask.adapter.methods import METHODS
from jaxmask.errors import InputError
from jaxmask.loss import cross_entropy
from jaxmask.run.criteria import Subject

NAME = "bert_tiny"
NET = model.create(NAME, classes=2, width=1 / 16, vocabulary=19, context=8)
RULES = model.rules(NAME)
IDS = np.array([[2, 5, 7, 3, 0, 0], [4, 1, 8, 9, 6, 2], [3, 3, 0, 0, 0, 0]], np.int32)
LABELS = np.array([0, 1, 1])


@pytest.fixture
def params(random_variables):
    return random_variables(NET, (6,))["params"]


def loss(params, ids, seen, labels):
    return cross_entropy(NET.apply({"params": params}, ids, seen), labels).mean()


def learned_by(way, params, steps=3):
    """The adapted parameters after some steps, and the loss of each."""
    learned, frozen = way.init(jax.random.key(0), params)
    optimizer = optax.sgd(0.03)

    @jax.jit
    def train(learned):
        def step(carry, _):
            learned, state = carry
            value, gradient = jax.value_and_grad(
                lambda learned: loss(way.parameters(learned, frozen), IDS, IDS != 0, LABELS)
            )(learned)
            updates, state = optimizer.update(gradient, state)
            return (optax.apply_updates(learned, updates), state), value

        return jax.lax.scan(step, (learned, optimizer.init(learned)), None, steps)

    (learned, _), losses = train(learned)
    return way.parameters(learned, frozen), way.store(learned, frozen), losses


WAYS = {
    "mask": (adapter.masks(mask.threshold(init=mask.normal()), RULES), r"block\d/\w+/kernel"),
    "lora": (adapter.lora(RULES, rank=2), r"block\d/\w+/kernel"),
}


@pytest.mark.parametrize("name", ["mask", "lora", "norm", "bias", "partial"])
def test_adapters(name, params):
    if name in WAYS:
        way, changing = WAYS[name]
    else:
        site = Site(NAME, params, RULES[1:], model.stages(NAME), RULES[0])
        way = METHODS[name].build(type("Section", (), {"stages": 1}), site)
        paths = {"norm": r".*norm\d?/\w+", "bias": "(.*/)?bias", "partial": "block1/.*"}
        changing = paths[name]
    adapted, stored, losses = learned_by(way, params)
    assert losses[-1] < losses[0] or name == "mask"  # whose few steps may turn no bit
    before, after = tree.named_leaves(params), tree.named_leaves(adapted)
    labels = tree.named_leaves(tree.label(params, [("head/.*", "train"), (changing, "train")]))
    changed = {path for path in before if np.any(before[path] != after[path])}
    allowed = {path for path, label in labels.items() if label == "train"}
    assert changed <= allowed
    # a key's bias moves all logits of a query alike
    never = {path for path in allowed if path.endswith("key/bias") or "position" in path}
    assert allowed - changed - never == set()
    restored = way.restore(params, stored)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), restored, adapted)


def test_axes_of_the_parameters(params):
    said = mask.describe(params)
    for path, leaf in tree.named_leaves(params).items():
        if path.endswith("/kernel"):
            assert said[path] == "in out"
        elif "embedding" not in path.split("/")[-1]:
            assert said[path] == "out"
        else:  # a look-up may be either, and who depends on it must say
            assert said[path] == "in out or out in", leaf.shape


def test_snip_of_texts_by_pieces(params):
    parts = tree.partition(params, tree.label(params, RULES))
    rest = tree.combine(parts["train"], parts["freeze"])

    def of_masked(w, *batch):
        return loss(tree.combine(w, rest), *batch)

    batch = (IDS, IDS != 0, LABELS)
    found = score.snip(of_masked, batch_size=2)(parts["mask"], *batch)
    gradient = jax.jit(jax.grad(of_masked))(parts["mask"], *batch)
    expected = jax.tree.map(lambda w, g: np.abs(w * g), parts["mask"], gradient)
    total = sum(leaf.sum() for leaf in jax.tree.leaves(expected))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b / total, rtol=1e-4, atol=1e-8), found, expected
    )
    assert all(leaf.max() > 0 for leaf in jax.tree.leaves(found))
    kept = mask.keep_top(found, 0.25)
    assert mask.measure.density(kept) == 0.25


def test_connected_begins_at_the_embeddings(params):
    parts = tree.partition(params, tree.label(params, RULES))
    rest = jax.tree.map(jnp.ones_like, tree.combine(parts["train"], parts["freeze"]))
    masks = jax.tree.map(lambda leaf: np.ones(leaf.shape, bool), parts["mask"])
    masks["block0"]["fc1"]["kernel"][:, 3] = False  # nothing reaches this unit
    masks["block1"]["out"]["kernel"][5] = False  # and nothing leaves that one
    forward = lambda w, x: NET.apply({"params": tree.combine(w, rest)}, x)  # noqa: E731
    found = score.connected(forward)(
        masks, jax.ShapeDtypeStruct((1, *model.real_shape(NET, (6,))), jnp.float32)
    )
    expected = jax.tree.map(np.copy, masks)
    expected["block0"]["fc2"]["kernel"][3] = False
    expected["block1"]["value"]["kernel"][:, 5] = False
    jax.tree.map(np.testing.assert_array_equal, found, expected)
    with pytest.raises(InputError, match="operation gather, at places that depend"):
        score.connected(forward)(masks, IDS[:1])


def test_synflow_of_ids_is_refused(params):
    subject = Subject(None, params, {}, jax.random.key(0), (6,), 1, False)
    with pytest.raises(InputError, match="token ids have no such input"):
        subject.flow()({})
