"""
Nearest neighbors
=================

Nothing is learned: an image gets the class of the training images whose features are most similar
(Wu et al. 2018). It stores the features of all training images.
"""

import digits
import jax.numpy as jnp
import matplotlib.pyplot as plt

from jaxmask import evaluate

train, test = digits.load((5, 6, 7, 8, 9))
params = {"params": digits.pretrained()}
features, queries = (digits.NETWORK.apply(params, x, features=True) for x, _ in (train, test))

counts, accuracies = (1, 5, 20, 100), []
for neighbors in counts:
    votes = evaluate.knn(features, train[1], queries, classes=5, neighbors=neighbors)
    accuracies.append(jnp.mean(votes.argmax(-1) == test[1]))
    print(f"{neighbors} neighbors: test accuracy {accuracies[-1]:.3f}")

# %%
figure, axes = plt.subplots(figsize=(5, 3), layout="constrained")
axes.plot(counts, accuracies, "o-")
axes.set(xscale="log", xlabel="neighbors", ylabel="test accuracy")
plt.show()
