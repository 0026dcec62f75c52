"""
Prune by Fisher information
===========================

Keep the weights with the largest ``w^2 mean (dL_n/dw)^2``, the mean over examples n (Theis et al.
2018): one gradient per example.
"""

import digits

from jaxmask import score

train, _ = digits.load()
images, labels = (array[:100] for array in train)

fisher = score.fisher(digits.loss_of_kernels, batch_size=10)
accuracies, masks = digits.prune_and_train(fisher, images, labels)
digits.tell(fisher=accuracies)
digits.show("fisher", accuracies, masks)
