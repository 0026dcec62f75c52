"""A call of every public function of the core, with its options: `(w, batch) -> result`."""

import functools
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import PartitionSpec as P

from jaxmask import mask, prune, score, tree
from jaxmask.loss import cross_entropy

EXAMPLES, INPUTS, HIDDEN, CLASSES = 24, 8, 16, 8
# of the mesh with the axes "data" and "model": by rows, by columns, by both, on every device whole
LAYOUT = {
    "first": {"bias": P("model"), "kernel": P(None, "model")},
    "second": {"bias": P(), "kernel": P("data", "model")},
    "third": {"bias": P("data"), "kernel": P("data")},
}
KEY = jax.random.key(5)


def weights(dtype=np.float32):
    rng = np.random.default_rng(0)

    def layer(inputs, outputs):
        kernel = rng.normal(size=(inputs, outputs)) / np.sqrt(inputs)
        return {"bias": 0.3 * rng.normal(size=outputs), "kernel": kernel}

    w = {
        "first": layer(INPUTS, HIDDEN),
        "second": layer(HIDDEN, HIDDEN),
        "third": layer(HIDDEN, CLASSES),
    }
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), w)


def batch(dtype=np.float32):
    rng = np.random.default_rng(1)
    x = jnp.asarray(rng.normal(size=(EXAMPLES, INPUTS)), dtype)
    return x, jnp.asarray(rng.integers(0, CLASSES, EXAMPLES), jnp.int32)


@functools.partial(jax.sharding.auto_axes, out_sharding=P())
def loss(w, x, y):
    """Strict itself; its matrices may be split in any way."""
    for name in ("first", "second", "third"):
        kernel, bias = (w[name][part].astype(x.dtype) for part in ("kernel", "bias"))
        x = x @ kernel + bias[None]
        x = x if name == "third" else jax.nn.softplus(x)
    return jnp.mean(cross_entropy(x, y))


@functools.partial(jax.sharding.auto_axes, out_sharding=P())
def flow(w):
    x = jnp.ones((1, INPUTS))
    for name in ("first", "second", "third"):
        x = x @ w[name]["kernel"].astype(x.dtype)
    return x


def on(w):
    return jax.tree.map(lambda leaf: leaf > 0, w)


def kernels(w):
    return {name: {"kernel": layer["kernel"]} for name, layer in w.items()}


STACKED = [(".*", "layers in out")]


def stacked(w):
    """Two layers in one leaf, split over devices as one of them is."""
    return jax.tree.map(lambda leaf: jnp.stack([leaf, 2 * leaf]), kernels(w))


def squared(tx):
    """The gradient, by scores and weights, of a loss of the masked weights."""

    def total(s, w):
        leaves = jax.tree.leaves(tx.apply(s, w))
        return sum(jnp.sum(jnp.square(leaf.astype(jnp.float32))) for leaf in leaves)

    return lambda w, b: jax.grad(total, argnums=(0, 1))(w, w)


TRANSFORMS = {
    "threshold": mask.threshold(),
    "threshold constant": mask.threshold(rescale="constant"),
    "threshold plain": mask.threshold(0.1, mask.normal(), rescale=False),
    "top_k": mask.top_k(0.3),
    "top_k global": mask.top_k(0.3, "global"),
    "top_k erk": mask.top_k(0.3, "erk", mask.shuffled(mask.magnitude())),
    "sign": mask.sign(),
    "selective": None,
}


def transform(name, w):
    return TRANSFORMS[name] or mask.selective(mask.threshold(), on(w))


SCORERS = {
    "fisher": score.fisher(loss),
    "fisher pieces": score.fisher(loss, batch_size=5),
    "gradient_norm": score.gradient_norm(loss),
    "gradient_norm pieces": score.gradient_norm(loss, batch_size=7),
    "grasp": score.grasp(loss),
    "grasp pieces": score.grasp(loss, batch_size=8, absolute=True),
    "magnitude": score.magnitude(),
    "movement": score.movement(loss),
    "movement pieces": score.movement(loss, batch_size=8),
    "optimal_brain_damage": score.optimal_brain_damage(loss),
    "optimal_brain_damage pieces": score.optimal_brain_damage(loss, samples=2, batch_size=9),
    "random": score.random(KEY),
    "snip": score.snip(loss),
    "snip pieces": score.snip(loss, batch_size=4),
    "synflow": score.synflow(flow),
    "stack": score.stack(score.magnitude(), score.snip(loss)),
    "as_weights": score.as_weights(score.snip(loss)),
    "learned": score.learned(
        score.regressor.mlp([jnp.ones((2, 3)), jnp.ones((3, 1))], [jnp.zeros(3), jnp.zeros(1)]),
        [score.magnitude(), score.snip(loss)], ["values", "ranks"],
    ),
    "learned trees": score.learned(
        score.regressor.trees([[0, 0, 0]], [[0.3, 0, 0]], [[1, 1, 2]], [[2, 1, 2]],
                              [[0, 1, 2]], [1]),
        [score.magnitude()],
    ),
    "hessian": lambda w, *b: score.hessian.product(loss)(w, w, *b),
}  # fmt: skip


def calls():
    """{name: function of (w, batch)}; what it returns under a weight's path is made like it."""
    found = {}

    def add(name, function):
        assert name not in found, name
        found[name] = function

    inits = {
        "constant": mask.constant(2.0),
        "normal": mask.normal(0.1),
        "magnitude": mask.magnitude(),
        "kaiming_uniform": mask.kaiming_uniform(),
        "kaiming_uniform first": mask.kaiming_uniform(0),
        "shuffled": mask.shuffled(mask.magnitude()),
        "shuffled normal": mask.shuffled(mask.normal()),
    }
    for name, init in inits.items():
        add(f"init {name}", lambda w, b, init=init: init(KEY, w))
    for scope in ("global", "layer", "erk"):
        add(f"keep_top {scope}", lambda w, b, scope=scope: mask.keep_top(w, 0.3, scope))
        add(
            f"keep_top {scope}, traced",
            lambda w, b, scope=scope: mask.keep_top(w, jnp.mean(jnp.abs(b[0])) / 4, scope),
        )
        add(f"allocate {scope}", lambda w, b, scope=scope: mask.allocate(w, 0.3, scope))
        add(
            f"allocate {scope}, traced",
            lambda w, b, scope=scope: jax.jit(lambda d: mask.allocate(w, d, scope))(0.3),
        )
        add(f"largest_share {scope}", lambda w, b, s=scope: mask.largest_share(w, 0.4, s))
        add(f"random_share {scope}", lambda w, b, s=scope: mask.random_share(KEY, w, 0.4, s))
        add(
            f"one_shot {scope}",
            lambda w, b, s=scope: prune.one_shot(SCORERS["snip"], 0.3, s, KEY)(w, *b),
        )
    for name, call in {
        "keep_top": lambda s: mask.keep_top(s, 0.3, "layer", axes=STACKED),
        "keep_n_of_m": lambda s: mask.keep_n_of_m(s, axes=STACKED),
        "keep_blocks": lambda s: mask.keep_blocks(s, 0.5, (2, 2), "layer", axes=STACKED),
        "keep_channels": lambda s: mask.keep_channels(s, 0.5, scope="layer", axes=STACKED),
        "shuffled": lambda s: mask.shuffled(mask.magnitude(), STACKED)(KEY, s),
        "kaiming_uniform": lambda s: mask.kaiming_uniform(axes=STACKED)(KEY, s),
        "rescaled": lambda s: mask.rescaled(on(s), s, axes=STACKED),
    }.items():
        add(f"{name} of stacked layers", lambda w, b, call=call: call(stacked(w)))
    rounded = functools.partial(jax.tree.map, jnp.round)
    add("keep_top, ties by index", lambda w, b: mask.keep_top(rounded(w), 0.3, ties="index"))
    add("keep_top, ties at random", lambda w, b: mask.keep_top(rounded(w), 0.3, key=KEY))
    add(
        "keep_top, ties in a layer",
        lambda w, b: mask.keep_top(rounded(w), Fraction("0.3"), "layer", key=KEY),
    )
    add("keep_count", lambda w, b: mask.keep_count(w, 7))
    add("keep_count layer", lambda w, b: mask.keep_count(w, 3, "layer"))
    add("keep_count among", lambda w, b: mask.keep_count(w, 7, among=on(w)))
    add("keep_count traced", lambda w, b: mask.keep_count(w, jnp.sum(b[1] > 3)))
    for reduce in ("sum", "mean", "max"):
        add(
            f"keep_blocks {reduce}",
            lambda w, b, r=reduce: mask.keep_blocks(kernels(w), 0.25, (2, 4), reduce=r),
        )
        add(
            f"keep_channels {reduce}",
            lambda w, b, r=reduce: mask.keep_channels(kernels(w), 0.25, reduce=r),
        )
    add("keep_blocks layer", lambda w, b: mask.keep_blocks(w, 0.5, (4,), "layer", ties="index"))
    add("keep_blocks whole rows", lambda w, b: mask.keep_blocks(kernels(w), 0.5, (1, 8)))
    add("keep_channels rows", lambda w, b: mask.keep_channels(kernels(w), 0.25, 0, "layer"))
    for axis in (-1, -2):
        add(f"keep_n_of_m {axis}", lambda w, b, a=axis: mask.keep_n_of_m(kernels(w), 2, 4, a))
    add("keep_n_of_m, whole axis", lambda w, b: mask.keep_n_of_m(w, 3, 8, 0))
    for name in TRANSFORMS:
        add(f"{name}: init", lambda w, b, n=name: transform(n, w).init(KEY, w))
        add(f"{name}: mask", lambda w, b, n=name: transform(n, w).mask(w))
        add(f"{name}: apply", lambda w, b, n=name: transform(n, w).apply(w, w))
        add(f"{name}: put", lambda w, b, n=name: transform(n, w).put(on(w), w))
        add(f"{name}: gradient", lambda w, b, n=name: squared(transform(n, w))(w, b))
    for rescale in (True, "constant", False):
        add(
            f"masked {rescale}",
            lambda w, b, r=rescale: jax.tree.map(lambda w: mask.masked(w > 0, w, r), w),
        )
    add("rescaled", lambda w, b: mask.rescaled(on(w), w))
    add("unscaled", lambda w, b: mask.unscaled(on(w), w))
    add("pruned", lambda w, b: mask.pruned(on(w), w))
    add("restore", lambda w, b: mask.restore(w, {"second": on(w["second"])}))
    add("restore unscaled", lambda w, b: mask.restore(w, on(w), mask.unscaled))
    add(
        "straight_through",
        lambda w, b: jax.tree.map(lambda s: mask.straight_through(s, s > 0), w),
    )
    add("density", lambda w, b: mask.measure.density(on(w)))
    add("density_by_leaf", lambda w, b: list(mask.measure.density_by_leaf(w).values()))
    add("overlap", lambda w, b: mask.measure.overlap(w, rounded(w)))
    add("hamming", lambda w, b: mask.measure.hamming(w, rounded(w)))
    for name, scorer in SCORERS.items():
        add(f"score {name}", lambda w, b, scorer=scorer: scorer(w, *b))
    add("score absolute", lambda w, b: score.absolute({"params": w})["params"])
    add(
        "score absolute neutral",
        lambda w, b: score.absolute(
            {"params": w, "batch_stats": {"mean": w["first"]["bias"]}}, "neutral"
        )["params"],
    )
    for name in ("fisher", "grasp pieces", "magnitude", "random", "synflow", "as_weights"):
        add(f"one_shot {name}", lambda w, b, n=name: prune.one_shot(SCORERS[n], 0.3)(w, *b))
    add(
        "multi_shot",
        lambda w, b: prune.multi_shot(SCORERS["snip pieces"], 0.2, 3, report=True)(w, *b),
    )
    add(
        "multi_shot linear",
        lambda w, b: prune.multi_shot(score.magnitude(), 0.2, 3, "linear", "layer")(w),
    )
    add(
        "multi_shot, weights that return",
        lambda w, b: prune.multi_shot(SCORERS["grasp"], 0.2, 3, scope="erk", monotone=False)(w, *b),
    )
    add(
        "multi_shot among",
        lambda w, b: prune.multi_shot(score.magnitude(), 0.1, 2, begin=0.5, report=True)(
            w, among=on(w)
        ),
    )
    add(
        "partition, combine",
        lambda w, b: tree.combine(
            *tree.partition(w, tree.label(w, [(".*/kernel", "mask")])).values()
        ),
    )
    add("optimizer", lambda w, b: optax.adam(0.1).init(w))
    add("clear_moments", lambda w, b: mask.clear_moments(on(w), optax.adam(0.1).init(w), w))
    add("replaced", lambda w, b: tree.replaced(w, kernels(w)))
    add("matched", lambda w, b: tree.matched(w, kernels(w)))
    return found


def check_layout(w, made):
    """Every array under a weight's path, and of its shape, is laid out as the weight."""
    weights = tree.named_leaves(w)
    for path, leaf in tree.named_leaves(made).items():
        for name, weight in weights.items():
            if path.endswith(name) and leaf.shape == weight.shape:
                alike = leaf.sharding.is_equivalent_to(weight.sharding, leaf.ndim)
                assert alike, (path, leaf.sharding, weight.sharding)
