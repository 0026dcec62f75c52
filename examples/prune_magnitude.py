"""
Prune by magnitude
==================

Keep the largest weights, ``|w|`` (Han et al. 2015). It needs no data. Of a random network it knows
only the initialization, so it prunes better after training: see :ref:`the lottery
<sphx_glr_examples_prune_lottery.py>`.
"""

import digits

from jaxmask import score

accuracies, masks = digits.prune_and_train(score.magnitude())
digits.tell(magnitude=accuracies)
digits.show("magnitude", accuracies, masks)
