"""
Low-rank updates (LoRA)
=======================

Each kernel gets a learned update of low rank, ``w + scale * a b`` (Hu et al. 2022). It costs
``rank * (inputs + outputs)`` numbers a kernel.
"""

import digits
import matplotlib.pyplot as plt

from jaxmask import adapter, tree

train, test = digits.load((5, 6, 7, 8, 9))
ranks, accuracies, numbers = (1, 4), [], []
for rank in ranks:
    way = adapter.lora([("head/.*", "train"), (".*/kernel", "mask")], rank)
    learned, frozen = digits.adapt(way, train, {"low_rank": 0.05, "train": 0.05})
    accuracies.append(digits.correct(way.parameters(learned, frozen), test))
    numbers.append(tree.size(learned))
    print(f"rank {rank}: test accuracy {accuracies[-1]:.3f}, {numbers[-1]:,} numbers")

# %%
figure, axes = plt.subplots(figsize=(5, 3), layout="constrained")
axes.plot(numbers, accuracies, "o-")
for rank, x, y in zip(ranks, numbers, accuracies):
    axes.annotate(f"rank {rank}", (x, y), textcoords="offset points", xytext=(4, -12))
axes.set(xlabel="numbers learned", ylabel="test accuracy", ylim=(0.8, 1))
plt.show()
