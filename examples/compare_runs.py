"""
Compare methods over seeds
==========================

The recipe ``prune`` runs two criteria on three seeds, each in a run directory; the report
averages them and tests one against the other. On the command line this is ``python -m
jaxmask.sweep`` and ``jaxmask report``.
"""

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt

from jaxmask import recipe, report
from jaxmask.recipe import defaults

config = defaults.prune("digits", epochs=3)
config.network.name, config.network.width = "lenet_300_100", 0.5
config.density = 0.05
config.data.validation = 0.2

with tempfile.TemporaryDirectory() as folder:
    runs = Path(folder) / "runs"
    for criterion in ("snip", "random"):
        config.criterion = criterion
        for config.seed in (0, 1, 2):
            recipe.run(config, runs / f"{criterion}-{config.seed}")
    summary = report.write([runs], Path(folder) / "report", baseline="random USS")
    print((Path(folder) / "report" / "table.md").read_text())

# %%
figure, axes = plt.subplots(figsize=(5, 2.5), layout="constrained")
axes.barh(summary["method"], summary["mean"], xerr=summary["std"])
axes.set(xlabel="test accuracy")
plt.show()
