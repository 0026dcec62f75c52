"""
Many tasks over one network
===========================

Five tasks, each a mask over the same frozen weights: tell one digit from the rest. A batch may have
another task for every image; one compiled program serves it.
"""

import functools

import digits
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt

from jaxmask import adapter, mask
from jaxmask.task import library

(images, labels), test = digits.load((5, 6, 7, 8, 9))
way = adapter.masks(mask.threshold(), [("head/.*", "train"), (".*/kernel", "mask")])
found = []
for digit in range(5):
    split = images, (labels == digit).astype(int)
    learned, frozen = digits.adapt(way, split, {"scores": 10.0, "train": 0.1})
    bits = jax.tree.map(lambda m: m > 0, mask.threshold().mask(learned["scores"]))
    found.append({"bits": bits, "head": learned["train"]["head"]})
tasks = jax.tree.map(lambda *leaves: jnp.stack(leaves), *found)

# %%
# A task's tree has its bits and its head; the weights are stored once.


def logits(task, images):
    params = {**digits.pretrained(), "head": task["head"]}
    return digits.logits(mask.restore(params, task["bits"]), images)[:, :2]


serve = jax.jit(functools.partial(library.grouped, logits, tasks, group=8, classes=2))
numbers = jax.random.randint(jax.random.key(0), (len(test[1]),), 0, 5)  # a task for each image
answers = serve(test[0], numbers).argmax(-1)
print(f"right answers: {jnp.mean(answers == (test[1] == numbers)):.3f}")

# %%
# How alike the masks are: the fraction of weights, off in one of two, that are off in both.

off = [jax.tree.map(lambda m: ~m, task["bits"]) for task in found]
overlap = [[float(mask.measure.overlap(a, b)) for b in off] for a in off]
figure, axes = plt.subplots(figsize=(4, 3), layout="constrained")
picture = axes.imshow(overlap, cmap="Blues", vmin=0, vmax=1)
axes.set(xticks=range(5), xticklabels=range(5, 10), yticks=range(5), yticklabels=range(5, 10))
figure.colorbar(picture)
plt.show()
