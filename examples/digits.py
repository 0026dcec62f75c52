"""What the examples share: scikit-learn's digits, LeNet-300-100, and one training loop."""

import functools

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import optax

from jaxmask import data, loss, mask, model, prune, score, tree

NETWORK = model.create("lenet_300_100", classes=10)
SHAPE = (1, 8, 8, 1)


def load(classes=tuple(range(10))):
    """The training and the test images of these classes: two pairs (images, labels)."""
    found = data.load("digits", classes=classes, validation=0.2, seed=0)
    return [
        (jnp.asarray(split.images, jnp.float32) / 255 - 0.3, jnp.asarray(split.labels))
        for split in (found.train, found.test)
    ]


def initialize(seed=0, network=NETWORK):
    """Random weights."""
    return network.init(jax.random.key(seed), jnp.zeros(SHAPE))["params"]


def logits(params, images, network=NETWORK):
    return network.apply({"params": params}, images)


def mean_loss(params, images, labels, network=NETWORK):
    return loss.cross_entropy(logits(params, images, network), labels).mean()


def correct(params, split, network=NETWORK):
    """The fraction of the images that are classified correctly."""
    images, labels = split
    return jnp.mean(logits(params, images, network).argmax(-1) == labels)


def fit(objective, learned, optimizer, split, steps=100, batch=64, seed=0):
    """Minimizes `objective(learned, images, labels)`; one compiled scan over the steps."""
    images, labels = split

    def step(carry, key):
        learned, state = carry
        chosen = jax.random.choice(key, len(images), (batch,))
        value, gradient = jax.value_and_grad(objective)(learned, images[chosen], labels[chosen])
        updates, state = optimizer.update(gradient, state, learned)
        return (optax.apply_updates(learned, updates), state), value

    keys = jax.random.split(jax.random.key(seed), steps)
    (learned, _), losses = jax.lax.scan(step, (learned, optimizer.init(learned)), keys)
    return learned, losses


@functools.cache
def pretrained(network=NETWORK):
    """The network trained on the digits 0 to 4: what the examples of adapting start from."""
    objective = functools.partial(mean_loss, network=network)
    train, _ = load((0, 1, 2, 3, 4))
    start = initialize(network=network)
    return jax.jit(lambda: fit(objective, start, optax.sgd(0.1, momentum=0.9), train)[0])()


def adapt(way, split, rates, network=NETWORK, steps=150):
    """Trains what an adapter learns, on the pretrained network.

    `rates` has a learning rate for each group that is learned. Returns (learned, frozen).
    """
    learned, frozen = way.init(jax.random.key(1), pretrained(network))
    training = _training(way, tuple(rates.items()), network, steps)
    return training(learned, frozen, split), frozen


@functools.cache  # the same adapter on other data does not compile again
def _training(way, rates, network, steps):
    optimizers = {name: optax.sgd(rate, momentum=0.9) for name, rate in rates}
    optimizer = optax.partition(optimizers, {name: name for name in optimizers})

    @jax.jit
    def training(learned, frozen, split):
        def objective(learned, images, labels):
            return mean_loss(way.parameters(learned, frozen), images, labels, network)

        return fit(objective, learned, optimizer, split, steps)[0]

    return training


# Pruning: the kernels are scored and pruned, the biases only trained.

DENSITIES = (0.2, 0.1, 0.05, 0.02, 0.01)


def parts(params):
    """(kernels, the rest): two trees with holes."""
    found = tree.partition(params, tree.label(params, [(".*/kernel", "mask")]))
    return found["mask"], found["freeze"]


def loss_of_kernels(kernels, images, labels):
    """The loss of the random network that is to be pruned, as a function of its kernels."""
    return mean_loss(tree.combine(kernels, parts(initialize())[1]), images, labels)


def prune_and_train(scorer, *batch, shots=1):
    """Prunes random weights at each density, trains what is left; (accuracies, masks).

    Accuracies are those on the test images; the masks of all densities are stacked.
    """
    params = initialize()
    kernels, _ = parts(params)
    pruners = [prune.multi_shot(scorer, density, shots) for density in DENSITIES]
    each = [pruner(kernels, *batch) for pruner in pruners]
    masks = jax.tree.map(lambda *leaves: jnp.stack(leaves), *each)
    return train_pruned(masks, params, *load()), masks


@jax.jit
def train_pruned(masks, params, train, test):
    """Test accuracies of the networks with these masks, all trained at once under `vmap`."""

    def one(masks):
        def objective(params, images, labels):
            return mean_loss(mask.pruned(masks, params), images, labels)

        trained, _ = fit(objective, params, optax.sgd(0.1, momentum=0.9), train)
        return correct(mask.pruned(masks, trained), test)

    return jax.vmap(one)(masks)


@functools.cache
def random_pruning():
    """The accuracies of random masks, the least that a criterion should beat."""
    return prune_and_train(score.random(jax.random.key(2)))[0]


def tell(**found):
    """Prints the accuracies of pruned networks as a table."""
    print(" " * 12, *(f"{density:>6}" for density in DENSITIES))
    for name, accuracies in found.items():
        print(f"{name:12}", *(f"{100 * value:6.1f}" for value in accuracies))


def show(name, accuracies, masks):
    """Accuracy by density, beside random pruning; the inputs that are kept at the third density."""
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    axes[0].plot(DENSITIES, accuracies, "o-", label=name)
    axes[0].plot(DENSITIES, random_pruning(), "o--", color="gray", label="random")
    axes[0].set(xscale="log", xlabel="density", ylabel="test accuracy", ylim=(0, 1))
    axes[0].legend()
    kept = masks["fc1"]["kernel"][2].sum(axis=1).reshape(8, 8)
    picture = axes[1].imshow(kept, cmap="Blues", vmin=0)
    axes[1].set(title=f"weights kept by input pixel, density {DENSITIES[2]}", xticks=[], yticks=[])
    figure.colorbar(picture)
    plt.show()
