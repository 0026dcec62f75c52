"""
A mask in a file
================

A task's file has the compressed mask, a head, and the fingerprint of the network that it belongs
to. Here: how many bytes it takes with each codec.
"""

import tempfile
from pathlib import Path

import digits
import jax
import matplotlib.pyplot as plt

from jaxmask import adapter, mask, tree

train, test = digits.load((5, 6, 7, 8, 9))
way = adapter.masks(mask.threshold(), [("head/.*", "train"), (".*/kernel", "mask")])
learned, frozen = digits.adapt(way, train, {"scores": 10.0, "train": 0.1})
stored = way.store(learned, frozen)
base = mask.file.Base("lenet_300_100", mask.file.fingerprint(digits.pretrained()))

sizes = {"float32 weights": 4 * tree.size(digits.pretrained())}
with tempfile.TemporaryDirectory() as folder:
    for codec in ("raw", "gzip", "lzma", "entropy"):
        path = Path(folder) / f"{codec}.mask"
        mask.file.save(path, stored.masks, codec=codec, base=base, metadata={"task": "5 to 9"})
        sizes[f"mask, {codec}"] = path.stat().st_size
    found = mask.file.read(path, fingerprint=mask.file.fingerprint(digits.pretrained()))
for name, size in sizes.items():
    print(f"{name:16} {size:>8,} bytes")

# %%
# What is read goes back onto the weights, and gives the same network:

restored = mask.restore(frozen["weights"], found.masks)
learned_weights = mask.threshold().apply(learned["scores"], frozen["weights"])
same = jax.tree.map(lambda a, b: bool((a == b).all()), restored, learned_weights)
print("the same:", all(jax.tree.leaves(same)))

figure, axes = plt.subplots(figsize=(6, 2.5), layout="constrained")
axes.barh(list(sizes), list(sizes.values()))
axes.set(xscale="log", xlabel="bytes")
axes.invert_yaxis()
plt.show()
