"""
Prune by the gradient
=====================

Keep the weights with the largest gradient, ``|dL/dw|``, whatever their size: the criterion by which
RigL (Evci et al. 2020) brings weights back.
"""

import digits

from jaxmask import score

train, _ = digits.load()
images, labels = (array[:100] for array in train)

gradient = score.gradient_norm(digits.loss_of_kernels)
accuracies, masks = digits.prune_and_train(gradient, images, labels)
digits.tell(gradient_norm=accuracies)
digits.show("gradient norm", accuracies, masks)
