"""
A mask of a given density
=========================

Exactly the fraction ``density`` of each layer's weights is on: those with the highest scores
(edge-popup, Ramanujan et al. 2020).
"""

import digits
import matplotlib.pyplot as plt

from jaxmask import adapter, mask

train, test = digits.load((5, 6, 7, 8, 9))
rules = [("head/.*", "train"), (".*/kernel", "mask")]
densities = (0.9, 0.5, 0.1)
accuracies = []
for density in densities:
    way = adapter.masks(mask.top_k, rules, density=density)
    learned, frozen = digits.adapt(way, train, {"scores": 1.0, "train": 0.1})
    accuracies.append(digits.correct(way.parameters(learned, frozen), test))
    print(f"density {density}: test accuracy {accuracies[-1]:.3f}")

# %%
figure, axes = plt.subplots(figsize=(5, 3), layout="constrained")
axes.plot(densities, accuracies, "o-")
axes.set(xlabel="density", ylabel="test accuracy", ylim=(0, 1))
plt.show()
