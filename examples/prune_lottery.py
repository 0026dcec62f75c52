"""
A lottery ticket
================

Train, prune the smallest weights, rewind what is left to its initial values, repeat (Frankle and
Carbin 2019). What remains, the ticket, is trained once more from its initial weights. With the
recipe ``lottery`` this is one command; here it is written out.
"""

import digits
import jax
import jax.numpy as jnp
import optax

from jaxmask import mask, prune, score

train, test = digits.load()
initial = digits.initialize()
kernels, _ = digits.parts(initial)


@jax.jit
def trained(masks):
    """The network with these masks, trained from its initial weights."""

    def objective(params, images, labels):
        return digits.mean_loss(mask.pruned(masks, params), images, labels)

    params, _ = digits.fit(objective, initial, optax.sgd(0.1, momentum=0.9), train)
    return mask.pruned(masks, params)


def ticket(density, rounds=5):
    masks = jax.tree.map(lambda w: jnp.ones(w.shape, bool), kernels)
    for goal in prune.densities(density, rounds):
        count = mask.allocate(kernels, goal)
        scores = score.magnitude()(digits.parts(trained(masks))[0])
        masks = mask.keep_count(scores, count, among=masks)
    return masks


each = [ticket(density) for density in digits.DENSITIES]
masks = jax.tree.map(lambda *leaves: jnp.stack(leaves), *each)
accuracies = digits.train_pruned(masks, initial, *digits.load())
digits.tell(random=digits.random_pruning(), lottery=accuracies)

# %%
digits.show("lottery", accuracies, masks)
