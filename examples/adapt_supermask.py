"""
A mask over random weights
==========================

A network that was never trained: its random weights stay as they are, and so does its random
head; only a mask is learned (Zhou et al. 2019; Ramanujan et al. 2020). To store the task, a seed
and the bits suffice.
"""

import digits
import jax
import matplotlib.pyplot as plt
import optax

from jaxmask import adapter, mask, tree

train, test = digits.load()
transform = mask.threshold(init=mask.kaiming_uniform())
way = adapter.masks(transform, [(".*/kernel", "mask")])
learned, frozen = way.init(jax.random.key(1), digits.initialize())
accuracy = digits.correct(way.parameters(learned, frozen), test)
print(f"before: test accuracy {accuracy:.3f}")


def objective(scores, images, labels):
    params = way.parameters({**learned, "scores": scores}, frozen)
    return digits.mean_loss(params, images, labels)


optimizer = optax.sgd(20.0, momentum=0.9)
fit = jax.jit(lambda scores: digits.fit(objective, scores, optimizer, train, steps=600))
scores, losses = fit(learned["scores"])
learned = {**learned, "scores": scores}
accuracy = digits.correct(way.parameters(learned, frozen), test)
print(f"after: test accuracy {accuracy:.3f}, {tree.size(scores):,} bits and a seed")

# %%
# About half of the weights start on, and training turns few of them; rescaling keeps the size of
# every layer's output.

figure, axes = plt.subplots(1, 2, figsize=(9, 3), layout="constrained")
axes[0].plot(losses)
axes[0].set(xlabel="step", ylabel="loss")
density = mask.measure.density_by_leaf(transform.mask(scores))
axes[1].bar(list(density), [float(each) for each in density.values()])
axes[1].set(ylabel="density")
plt.show()
