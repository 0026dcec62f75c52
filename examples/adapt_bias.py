"""
Fine-tune biases
================

Only biases and the head are trained (BitFit, Ben Zaken et al. 2022).
"""

import digits
import jax.numpy as jnp
import matplotlib.pyplot as plt

from jaxmask import adapter, tree

train, test = digits.load((5, 6, 7, 8, 9))

way = adapter.weights([("head/.*", "train"), (".*/bias", "train")])
learned, frozen = digits.adapt(way, train, {"train": 0.05})
accuracy = digits.correct(way.parameters(learned, frozen), test)
print(f"test accuracy {accuracy:.3f}, {tree.size(learned):,} numbers")

# %%
# How far each layer moved, relative to its size:

before = tree.named_leaves(digits.pretrained())
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
