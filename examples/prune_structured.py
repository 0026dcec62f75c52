"""
Prune with a structure
======================

Hardware and memory gain by structure: two of every four weights along the inputs, whole blocks,
whole output channels. The same scores, four ways.
"""

import digits
import matplotlib.pyplot as plt

from jaxmask import mask, score

kernels, _ = digits.parts(digits.initialize())
train, _ = digits.load()
images, labels = (array[:100] for array in train)
scores = score.snip(digits.loss_of_kernels)(kernels, images, labels)
hidden = {"fc2": scores["fc2"]}
found = {
    "any weight": mask.keep_top(hidden, 0.5),
    "2 of 4": mask.keep_n_of_m(hidden, n=2, m=4),
    "blocks of 10 x 10": mask.keep_blocks(hidden, density=0.5, block=(10, 10)),
    "channels": mask.keep_channels(hidden, density=0.5),
}

figure, axes = plt.subplots(1, 4, figsize=(10, 3), layout="constrained")
for axis, (name, masks) in zip(axes, found.items()):
    axis.imshow(masks["fc2"]["kernel"][:60, :60], cmap="Blues")
    axis.set(title=name, xticks=[], yticks=[], xlabel="outputs", ylabel="inputs")
    print(f"{name}: density {mask.measure.density(masks):.3f}")
plt.show()
