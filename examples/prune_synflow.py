"""
Prune by SynFlow
================

Keep the weights through which the most synaptic flow goes, ``|w| dR/d|w|``, without any data
(Tanaka et al. 2020). In one shot it empties layers; in many it empties none.
"""

import digits
import jax.numpy as jnp

from jaxmask import score, tree

_, rest = digits.parts(digits.initialize())
rest = score.absolute({"params": rest})["params"]


def forward(kernels):
    return digits.logits(tree.combine(kernels, rest), jnp.ones(digits.SHAPE))


flow = score.synflow(forward)
once, _ = digits.prune_and_train(flow)
accuracies, masks = digits.prune_and_train(flow, shots=100)
digits.tell(one_shot=once, many_shots=accuracies)
digits.show("synflow", accuracies, masks)
