"""
A mask by a threshold
=====================

A network trained on the digits 0 to 4 learns the digits 5 to 9 without changing a weight: one bit
per weight says whether it is used. Each weight has a score ``s``, and is on where ``s > 0``; scores
start at 1, so that training starts from the whole network (Piggyback, Mallya et al. 2018).

What all examples share, the data, the network and a training loop, is in ``digits.py`` beside
this script (:ref:`shown here <shared>`).
"""

import digits
import jax
import matplotlib.pyplot as plt

from jaxmask import adapter, mask, tree

train, test = digits.load((5, 6, 7, 8, 9))
way = adapter.masks(mask.threshold(), [("head/.*", "train"), (".*/kernel", "mask")])
learned, frozen = digits.adapt(way, train, {"scores": 10.0, "train": 0.1})

params = way.parameters(learned, frozen)
print(f"test accuracy {digits.correct(params, test):.3f}")

# %%
# What was learned is a bit per weight, and a new head:

masks = mask.threshold().mask(learned["scores"])
print(f"{tree.size(masks):,} bits, density {mask.measure.density(masks):.3f}")
print("numbers of the head:", f"{tree.size(learned['train']):,}")

# %%
# Scores that fell below 0 switch weights off:

figure, axes = plt.subplots(1, 2, figsize=(9, 3), layout="constrained")
for path, scores in tree.named_leaves(learned["scores"]).items():
    axes[0].hist(scores.ravel(), bins=60, histtype="step", label=path)
axes[0].axvline(0, color="gray", linewidth=1)
axes[0].set(yscale="log", xlabel="score", ylabel="weights")
axes[0].legend()

first = jax.tree.leaves(masks)[0]
off = 1 - first.mean(axis=1).reshape(8, 8)
picture = axes[1].imshow(off, cmap="Blues")
axes[1].set(title="fraction off, by input pixel", xticks=[], yticks=[])
figure.colorbar(picture)
plt.show()
