"""
Prune at random
===============

Keep weights by lot: the least that every other criterion should beat. Here under the scopes
``global`` (the same odds for every weight: uniform) and ``erk`` (Erdos-Renyi-kernel: denser small
layers; Evci et al. 2020).
"""

import digits
import jax
import jax.numpy as jnp

from jaxmask import mask, score

scores = score.random(jax.random.key(0))(digits.parts(digits.initialize())[0])
each = [mask.keep_top(scores, density, "erk") for density in digits.DENSITIES]
masks = jax.tree.map(lambda *leaves: jnp.stack(leaves), *each)
accuracies = digits.train_pruned(masks, digits.initialize(), *digits.load())
digits.tell(uniform=digits.random_pruning(), erk=accuracies)
print({path: round(float(d), 3) for path, d in mask.measure.density_by_leaf(each[2]).items()})
digits.show("erk", accuracies, masks)
