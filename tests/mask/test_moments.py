"""Moments of pruned weights: cleared, so that a stored value that is 0 stays 0."""

import chex
import containers
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from optax import contrib

from jaxmask import mask, tree
from jaxmask.errors import InputError

BITS = {"body": {"kernel": np.arange(15).reshape(3, 5) % 3 > 0},
        "head": {"kernel": np.arange(10).reshape(5, 2) % 4 > 0}}  # fmt: skip
Y = np.random.default_rng(5).normal(size=(6, 2)).astype(np.float32)
LABELS = {"body": {"bias": "b", "kernel": "a"}, "head": {"bias": "a", "kernel": "b"}}

# those that remember something which moves a weight, and those that do not
MOVING = {
    "momentum": optax.sgd(0.1, momentum=0.9),
    "Nesterov": optax.sgd(0.1, momentum=0.9, nesterov=True),
    "Adam": optax.adam(0.05),
    "Adam, moments in bfloat16": optax.adam(0.05, mu_dtype=jnp.bfloat16),
    "AMSGrad": optax.amsgrad(0.05),
    "AdamW": optax.adamw(0.05, weight_decay=0.1),
    "Lion": optax.lion(0.01),
    "LAMB": optax.lamb(0.05, weight_decay=0.1),
    "Yogi": optax.yogi(0.05),
    "RMSprop with momentum": optax.rmsprop(0.05, momentum=0.9, initial_scale=0.3),
    "a chain": optax.chain(
        optax.clip_by_global_norm(1.0),
        optax.trace(0.9),
        optax.add_decayed_weights(0.1),
        optax.scale_by_learning_rate(optax.linear_schedule(0.1, 0.05, 20)),
    ),
    "two groups": optax.multi_transform(
        {"a": optax.adam(0.05), "b": optax.chain(optax.sgd(0.1, momentum=0.9))}, LABELS
    ),
    "masked": optax.masked(
        optax.chain(optax.ema(0.9), optax.scale(-0.1)),
        jax.tree.map(lambda name: name == "a", LABELS),
    ),
    "rates in the state": optax.inject_hyperparams(optax.adamw)(learning_rate=0.05),
    "several steps in one": optax.MultiSteps(optax.adam(0.05), 3).gradient_transformation(),
    "only if finite": optax.apply_if_finite(optax.sgd(0.1, momentum=0.9), 3),
    "schedule-free": contrib.schedule_free_sgd(0.1),
    "L-BFGS": optax.lbfgs(0.05, linesearch=None),
}
STILL = {
    "SGD": optax.sgd(0.1),
    "RMSprop": optax.rmsprop(0.05),
    "AdaGrad": optax.adagrad(0.05, initial_accumulator_value=0.1),
    "AdaDelta": optax.adadelta(0.5),
    "factored second moments": optax.adafactor(0.05, min_dim_size_to_factor=2),
}  # fmt: skip


def trained(optimizer, weights, state, apply, steps, masks=None):
    """Weights, as stored, and the state after some steps."""

    def loss(weights):
        used = weights if masks is None else mask.pruned(masks, weights)
        return jnp.mean((apply(used, containers.X) - Y) ** 2)

    def step(carry, _):
        weights, state = carry
        value, gradient = jax.value_and_grad(loss, allow_int=True)(weights)
        updates, state = optimizer.update(gradient, state, weights)
        return (optax.apply_updates(weights, updates), state), value

    (weights, state), _ = jax.jit(lambda carry: jax.lax.scan(step, carry, length=steps))(
        (weights, state)
    )
    return weights, state


def stored_after(optimizer, clear, kind="dict", masks=BITS, steps=8):
    """What is stored where the masks are off, some steps after pruning in mid-training."""
    made = containers.KINDS[kind]
    start = made.make()
    weights, state = trained(optimizer, start, optimizer.init(start), made.apply, 4)
    weights = mask.pruned(masks, weights)
    if clear:
        before, state = state, mask.clear_moments(masks, state, start)
        chex.assert_trees_all_equal_shapes_and_dtypes(state, before)
        assert jax.tree.structure(state) == jax.tree.structure(before)
    weights, _ = trained(optimizer, weights, state, made.apply, steps, masks)
    found, bits = tree.named_leaves(weights), tree.named_leaves(masks)
    for path, on in bits.items():
        assert (np.asarray(found[path])[on] != 0).all()
    return np.concatenate([np.asarray(found[path])[~on] for path, on in bits.items()])


@pytest.mark.parametrize("name", [*MOVING, *STILL])
def test_a_pruned_weight_stays_zero_once_its_moments_are_cleared(name):
    optimizer = {**MOVING, **STILL}[name]
    assert (stored_after(optimizer, True) == 0).all()


@pytest.mark.parametrize("name", ["momentum", "Adam", "two groups", "L-BFGS", "schedule-free"])
def test_without_clearing_it_moves(name):
    assert (stored_after(MOVING[name], False) != 0).any()


@pytest.mark.parametrize("name", ["frozen dict", "partitioned", "haiku", "nnx state",
                                  "equinox arrays", "boxes in boxes"])  # fmt: skip
@pytest.mark.parametrize("optimizer", ["Adam", "L-BFGS"])
def test_in_the_containers_of_a_library(name, optimizer):
    kind = containers.KINDS[name]
    arrays = [BITS["body"]["kernel"], BITS["head"]["kernel"]]
    masks = tree.nested({
        path: containers.kernel(kind, each) for path, each in zip(kind.kernels, arrays)
    })  # fmt: skip
    assert (stored_after(MOVING[optimizer], True, name, masks) == 0).all()


def test_the_entries_of_momentum_by_hand():
    """Against NumPy: of each array of the state, only what is off is 0, and all else is kept."""
    weights = containers.KINDS["dict"].make()
    optimizer = optax.chain(optax.trace(0.9), optax.scale_by_adam(mu_dtype=jnp.bfloat16))
    _, state = trained(optimizer, weights, optimizer.init(weights),
                       containers.KINDS["dict"].apply, 3)  # fmt: skip
    found = mask.clear_moments(BITS, state, weights)
    assert int(found[1].count) == 3
    for entry, before in (
        (found[0].trace, state[0].trace), (found[1].mu, state[1].mu), (found[1].nu, state[1].nu)
    ):  # fmt: skip
        for layer in BITS:
            wanted = np.where(BITS[layer]["kernel"], before[layer]["kernel"], 0)
            np.testing.assert_array_equal(entry[layer]["kernel"], wanted, strict=True)
            np.testing.assert_array_equal(entry[layer]["bias"], before[layer]["bias"])


def test_weight_decay_moves_what_is_stored_only_if_it_is_not_zero():
    """It moves a hidden value towards 0 by the rate alone, and leaves 0 where it is."""
    optimizer = optax.adamw(0.1, weight_decay=0.5)
    weights, bits = {"w": jnp.array([4.0, 2.0])}, {"w": np.array([True, False])}

    def apply(weights, x):
        return weights["w"].sum() * x[:, :2]

    def run(weights):
        return trained(optimizer, weights, optimizer.init(weights), apply, 6, bits)[0]["w"][1]

    np.testing.assert_allclose(run(weights), 2 * (1 - 0.1 * 0.5) ** 6, rtol=1e-5)
    assert run(mask.pruned(bits, weights)) == 0


def test_names_of_layers_that_an_optimizer_uses_too():
    """A layer called `mu` or `trace` is not taken for an entry of the state, nor the reverse."""
    array = jnp.arange(1.0, 5.0)
    weights = {"mu": {"w": array, "nu": array}, "w": array, "trace": {"w": array}}
    bits = {"mu": {"w": np.array([True, False, True, False])}}
    only_w = optax.masked(
        optax.trace(0.9), {"mu": {"w": False, "nu": False}, "w": True, "trace": {"w": False}}
    )
    for optimizer in (optax.adam(0.1), optax.trace(0.9), only_w):
        _, state = optimizer.update(weights, optimizer.init(weights))
        found = mask.clear_moments(bits, state, weights)
        for (keys, before), after in zip(
            jax.tree_util.tree_flatten_with_path(state)[0], jax.tree.leaves(found)
        ):
            path = jax.tree_util.keystr(keys, simple=True, separator="/")
            off = path.endswith(("mu/mu/w", "nu/mu/w", "trace/mu/w"))
            expected = np.where(bits["mu"]["w"], before, 0) if off else before
            np.testing.assert_array_equal(after, expected, err_msg=path)


def test_an_optimizer_of_more_than_these_weights():
    learned = {"scores": {"w": jnp.ones(3)}, "train": (containers.haiku(), {"w": jnp.ones(3)})}
    state = optax.adam(0.1).init(learned)
    _, state = optax.adam(0.1).update(learned, state)
    weights = learned["train"][0]
    bits = {"mlp": {"~": {"linear_1": {"w": BITS["head"]["kernel"]}}}}
    found = mask.clear_moments(bits, state, weights)
    moments = found[0].mu["train"][0]["mlp/~/linear_1"]["w"]
    np.testing.assert_array_equal(moments != 0, BITS["head"]["kernel"])
    chex.assert_trees_all_equal(found[0].mu["scores"], state[0].mu["scores"])
    chex.assert_trees_all_equal(found[0].mu["train"][1], state[0].mu["train"][1])


def test_a_state_restored_as_plain_dicts_or_without_weights_like_these():
    weights = containers.KINDS["partitioned"].make()
    state = optax.sgd(0.1, momentum=0.9).init(weights)
    plain = tree.nested(tree.named_leaves(jax.tree.map(jnp.ones_like, state)))
    found = mask.clear_moments(BITS, plain, weights)["0"]["trace"]["body"]["kernel"]
    np.testing.assert_array_equal(found, BITS["body"]["kernel"])
    # nothing to clear
    empty = optax.sgd(0.1).init(weights)
    assert mask.clear_moments(BITS, empty, weights) == empty


def test_an_nnx_optimizer():
    net = containers.nnx_net()
    optimizer = nnx.Optimizer(net, optax.adam(0.05), wrt=nnx.Param)

    def step(masks=None):
        def loss(net):
            used = net if masks is None else mask.pruned(masks, net)
            return ((used(containers.X) - Y) ** 2).mean()

        optimizer.update(net, nnx.grad(loss)(net))

    step()
    nnx.update(net, mask.pruned(BITS, nnx.state(net, nnx.Param)))
    cleared = mask.clear_moments(BITS, nnx.state(optimizer), nnx.state(net, nnx.Param))
    nnx.update(optimizer, cleared)
    step(BITS)
    off = ~BITS["body"]["kernel"]
    assert (net.body.kernel[...][off] == 0).all()
    assert (net.body.kernel[...][~off] != 0).all()


@pytest.mark.parametrize(
    ("bits", "weights", "words"),
    [
        (
            {"a": {"w": np.ones(3, bool)}},
            {"a": {"w": jnp.ones(3)}},
            "no part with the paths.*'a/w'",
        ),
        ({"w": np.ones(2, bool)}, {"w": jnp.ones(3)}, r"the masks: 'w' has shape \(2,\)"),
        ({"v": np.ones(3, bool)}, {"w": jnp.ones(3)}, "the masks: there is no 'v'"),
    ],
)
def test_other_weights_than_the_optimizer_has_are_refused(bits, weights, words):
    state = optax.adam(0.1).init({"w": jnp.ones(3)})
    with pytest.raises(InputError, match=words) as error:
        mask.clear_moments(bits, state, weights)
    assert "\n" not in str(error.value)


def test_moments_without_paths_are_refused_and_none_are_not():
    weights, bits = {"a": {"w": jnp.ones(3)}}, {"a": {"w": np.ones(3, bool)}}
    with pytest.raises(InputError, match=r"no part with the paths.*flattens"):
        mask.clear_moments(bits, optax.flatten(optax.adam(0.1)).init(weights), weights)
    injected = optax.inject_hyperparams(optax.sgd)(learning_rate=0.1).init(weights)
    chex.assert_trees_all_equal(mask.clear_moments(bits, injected, weights), injected)


def test_compiled_it_is_the_same():
    weights = containers.KINDS["dict"].make()
    state = jax.tree.map(jnp.ones_like, optax.adam(0.1).init(weights))
    found = jax.jit(mask.clear_moments)(BITS, state, weights)
    chex.assert_trees_all_equal(found, mask.clear_moments(BITS, state, weights))
