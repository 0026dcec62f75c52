"""Experiments whose weights are split among devices find what others do."""

import json
import os
import subprocess
import sys

import experiments
import numpy as np
import processes
import pytest

from jaxmask import maskfile
from jaxmask.errors import InputError
from jaxmask.tree import named_leaves

pytestmark = pytest.mark.usefixtures("quick_compilation")

SPLIT = """
import sys
from pathlib import Path
import experiments, jax
from jaxmask.run import scoring
seen, ready = [], scoring.feed.spread
def look(tree, mesh):
    made = ready(tree, mesh)
    seen.append([leaf.addressable_shards[0].data.size / leaf.size
                 for leaf in jax.tree.leaves(made) if leaf.size >= 2**14])
    return made
scoring.feed.spread = look
experiments.finished(Path(sys.argv[1]), criterion=sys.argv[2], density=0.2, train__epochs=1,
                     network__width=1.0, network__devices=4)
assert seen and all(all(share == 0.25 for share in each) for each in seen), seen
assert seen[0]
"""


def test_weights_split_among_devices_give_the_same_ticket(tmp_path):
    criterion = "snip"
    folders = {name: tmp_path / name for name in ("one", "split")}
    flags = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
    subprocess.run(
        [sys.executable, "-c", SPLIT, folders["split"], criterion], check=True,
        env=processes.environment(os.path.dirname(experiments.__file__), XLA_FLAGS=flags),
    )  # fmt: skip
    changes = {"network__width": 1.0, "criterion": criterion, "density": 0.2, "train__epochs": 1}
    experiments.finished(folders["one"], **changes)
    one, split = (
        named_leaves(maskfile.load(folder / "masks" / "ticket.mask")) for folder in folders.values()
    )
    agree = np.mean(np.concatenate([(one[path] == split[path]).ravel() for path in one]))
    assert agree > 0.999  # rounding of gradients
    results = [json.loads((folder / "result.json").read_text()) for folder in folders.values()]
    assert results[0]["density"] == results[1]["density"]
    assert results[0]["accuracy"] == pytest.approx(results[1]["accuracy"], abs=0.03)


def test_a_number_of_devices_that_does_not_fit_is_refused(tmp_path):
    with pytest.raises(InputError, match="is 3; give a divisor of the 1 devices"):
        experiments.finished(tmp_path / "run", network__devices=3)
    assert not (tmp_path / "run").exists()
