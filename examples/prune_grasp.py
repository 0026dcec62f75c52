"""
Prune by GraSP
==============

Keep the weights whose removal would lower the gradient's norm, ``w (H g)`` (Wang et al. 2020). The
Hessian is never formed: a product with it costs about two gradients. With ``absolute=True``, the
score is its size.
"""

import digits

from jaxmask import score

train, _ = digits.load()
images, labels = (array[:100] for array in train)

accuracies, masks = digits.prune_and_train(score.grasp(digits.loss_of_kernels), images, labels)
absolute = score.grasp(digits.loss_of_kernels, absolute=True)
digits.tell(signed=accuracies, absolute=digits.prune_and_train(absolute, images, labels)[0])
digits.show("grasp", accuracies, masks)
