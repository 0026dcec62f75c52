"""
Prune by movement
=================

Keep the weights that training moves away from zero, ``-w dL/dw`` (Sanh et al. 2020). The paper
sums it over training, as the recipe ``lottery`` does; here it is that of one batch.
"""

import digits

from jaxmask import score

train, _ = digits.load()
images, labels = (array[:100] for array in train)

movement = score.movement(digits.loss_of_kernels)
accuracies, masks = digits.prune_and_train(movement, images, labels)
digits.tell(movement=accuracies)
digits.show("movement", accuracies, masks)
