"""One of several processes that train the problem of `problems` together, in float64.

    python many_hosts.py HOST:PORT,COUNT,INDEX FOLDER HOW EPOCHS

It prints a line of JSON: what it learned, as the first process writes it.
"""

import json
import os
import sys
import traceback
from pathlib import Path

import jax
import numpy as np


def main(how, folder, feed, epochs):
    import problems

    from jaxmask import hosts

    hosts.begin(how)
    with hosts.own_copy(Path(folder)) as place:
        found = problems.fit(
            place, how=feed, dtype="float64", epochs=int(epochs), checkpoint_seconds=0
        )
    learned = {jax.tree_util.keystr(path): np.asarray(leaf).tolist()
               for path, leaf in jax.tree_util.tree_leaves_with_path(found.learned)}  # fmt: skip
    told = {"learned": learned, "validation": found.validation, "steps": found.steps,
            "devices": jax.device_count()}  # fmt: skip
    print(json.dumps(told), flush=True)
    hosts.end()


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except Exception:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)  # JAX would wait for the others
