"""
A linear probe
==============

A new head on the features of the frozen network, found by L-BFGS: a convex problem, without a
learning rate. The least to compare with when a network takes on a task.
"""

import digits
import jax.numpy as jnp
import matplotlib.pyplot as plt

from jaxmask import evaluate

train, test = digits.load((5, 6, 7, 8, 9))
params = {"params": digits.pretrained()}
features, queries = (digits.NETWORK.apply(params, x, features=True) for x, _ in (train, test))

strengths, accuracies = (1e-4, 1e-3, 1e-2, 1e-1, 1.0), []
for strength in strengths:
    probe = evaluate.linear_probe(features, train[1], strength, classes=5)
    predicted = (queries @ probe.kernel + probe.bias).argmax(-1)
    accuracies.append(jnp.mean(predicted == test[1]))
    print(f"regularization {strength:g}: test accuracy {accuracies[-1]:.3f}")

# %%
# In an experiment the strength is chosen on validation images, never on these. Digits that the last
# probe confuses:

counts = evaluate.confusion_matrix(test[1], predicted, 5)
figure, axes = plt.subplots(1, 2, figsize=(8, 3), layout="constrained")
axes[0].plot(strengths, accuracies, "o-")
axes[0].set(xscale="log", xlabel="regularization", ylabel="test accuracy")
axes[1].imshow(counts, cmap="Blues")
axes[1].set(xlabel="predicted", ylabel="digit")
axes[1].set(xticks=range(5), xticklabels=range(5, 10), yticks=range(5), yticklabels=range(5, 10))
plt.show()
