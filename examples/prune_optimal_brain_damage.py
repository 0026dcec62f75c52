"""
Prune by optimal brain damage
=============================

Keep the weights whose removal would raise the loss most by its curvature, ``h_ii w^2 / 2`` (LeCun
et al. 1989). With ``samples``, the diagonal of the Hessian is estimated by Hutchinson's method.
"""

import digits

from jaxmask import score

train, _ = digits.load()
images, labels = (array[:100] for array in train)

damage = score.optimal_brain_damage(digits.loss_of_kernels, samples=10)
accuracies, masks = digits.prune_and_train(damage, images, labels)
digits.tell(optimal_brain_damage=accuracies)
digits.show("optimal brain damage", accuracies, masks)
