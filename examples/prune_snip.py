"""
Prune by SNIP
=============

Keep the connections to which the loss is most sensitive, ``|w dL/dw|``, before training (Lee et al.
2019). One gradient of a few images suffices: 100 here.
"""

import digits

from jaxmask import score

train, _ = digits.load()
images, labels = (array[:100] for array in train)

snip = score.snip(digits.loss_of_kernels)
accuracies, masks = digits.prune_and_train(snip, images, labels)
digits.tell(snip=accuracies)
digits.show("snip", accuracies, masks)

# %%
# In many shots, each scores what the last one left:

accuracies, masks = digits.prune_and_train(snip, images, labels, shots=20)
digits.tell(many_shots=accuracies)
