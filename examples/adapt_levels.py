"""
A mask of several values
========================

Each weight is kept, halved, or made larger by half: its score starts at 0, between two thresholds,
and moves either way.
"""

import digits
import jax
import matplotlib.pyplot as plt
import numpy as np

from jaxmask import adapter, mask

values = (0.5, 1.0, 1.5)
train, test = digits.load((5, 6, 7, 8, 9))
transform = mask.levels(values, thresholds=(-1.0, 1.0), init=mask.constant(0.0))
way = adapter.masks(transform, [("head/.*", "train"), (".*/kernel", "mask")])
learned, frozen = digits.adapt(way, train, {"scores": 10.0, "train": 0.1})
print(f"test accuracy {digits.correct(way.parameters(learned, frozen), test):.3f}")

# %%
# The fraction of each value, by layer. A file holds two bits for each weight, which the entropy
# coder makes small where most weights are kept as they are:

masks = jax.device_get(transform.mask(learned["scores"]))
shares = {
    layer: [float(np.mean(leaf["kernel"] == value)) for value in values]
    for layer, leaf in masks.items()
    if leaf["kernel"] is not None
}
print({layer: [round(share, 3) for share in each] for layer, each in shares.items()})
figure, axes = plt.subplots(figsize=(5, 3), layout="constrained")
for index, value in enumerate(values):
    axes.bar(np.arange(len(shares)) + 0.25 * index, [each[index] for each in shares.values()],
             width=0.25, label=f"{value:g}")  # fmt: skip
axes.set(xticks=np.arange(len(shares)) + 0.25, xticklabels=list(shares), ylabel="weights")
axes.legend()
plt.show()
