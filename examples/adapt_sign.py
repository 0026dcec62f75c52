"""
A mask of signs
===============

Every weight is kept, times a learned sign: the binary weights of BinaryConnect (Courbariaux et
al. 2015) over frozen magnitudes. Scores start as the weights' magnitudes, so that all signs are
+1 at first and small weights turn first.
"""

import digits
import jax
import matplotlib.pyplot as plt

from jaxmask import adapter, mask

train, test = digits.load((5, 6, 7, 8, 9))
sign = mask.sign(init=mask.magnitude())
way = adapter.masks(sign, [("head/.*", "train"), (".*/kernel", "mask")])
learned, frozen = digits.adapt(way, train, {"scores": 0.1, "train": 0.1})
print(f"test accuracy {digits.correct(way.parameters(learned, frozen), test):.3f}")

turned = jax.tree.map(lambda s: s < 0, sign.mask(learned["scores"]))
print(f"fraction turned: {mask.measure.density(turned):.3f}")

# %%
# Which signs turned, by the size of the weight:

sizes = abs(frozen["weights"]["fc1"]["kernel"]).ravel()
which = turned["fc1"]["kernel"].ravel()
figure, axes = plt.subplots(figsize=(5, 3), layout="constrained")
axes.hist([sizes[~which], sizes[which]], bins=30, stacked=True, label=["kept", "turned"])
axes.set(xlabel="size of a weight (first layer)", ylabel="weights")
axes.legend()
plt.show()
