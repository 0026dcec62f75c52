"""
Fine-tune norms
===============

Only the scales and biases of norms, and the head, are trained (Frankle et al. 2021).
LeNet-300-100 has no norms, so the network here is a Flax module of our own with layer norms.
"""

import digits
import flax.linen as nn
import jax.numpy as jnp
import matplotlib.pyplot as plt

from jaxmask import adapter, tree


class Network(nn.Module):
    """Two hidden layers, each with a layer norm."""

    @nn.compact
    def __call__(self, x):
        x = x.reshape(len(x), -1)
        for i, units in enumerate((300, 100), 1):
            x = nn.relu(nn.LayerNorm(name=f"norm{i}")(nn.Dense(units, name=f"fc{i}")(x)))
        return nn.Dense(10, name="head")(x)


network = Network()
train, test = digits.load((5, 6, 7, 8, 9))
way = adapter.weights([("head/.*", "train"), ("norm./.*", "train")])
learned, frozen = digits.adapt(way, train, {"train": 0.05}, network)
accuracy = digits.correct(way.parameters(learned, frozen), test, network)
print(f"test accuracy {accuracy:.3f}, {tree.size(learned):,} numbers")

# %%
# How far each layer moved, relative to its size:

before = tree.named_leaves(digits.pretrained(network))
after = tree.named_leaves(way.parameters(learned, frozen))
moved = {
    path: float(jnp.linalg.norm(after[path] - before[path]) / jnp.linalg.norm(before[path]))
    for path in before
}
figure, axes = plt.subplots(figsize=(6, 3), layout="constrained")
axes.barh(list(moved), list(moved.values()))
axes.set(xlabel="relative change")
axes.invert_yaxis()
plt.show()
