"""Which criteria empty a layer of VGG-16, and at which density? Nothing is trained.

    jaxmask sweep --config=configs/cifar100_collapse.py --workdir=runs/cifar100_collapse

CIFAR-100, VGG-16 with batch norm at initialization (14.8 million prunable weights), global scope,
eval mode, 10 training images per class, seed 0. The number of weights left in the smallest layer,
or of the 14 layers that are empty (`empty_leaves` and `density_by_leaf` of each result; the
report draws density by layer); the densities are 10^-0.5, 10^-1, 10^-2, 10^-3:

| criterion | 0.316 | 0.1 | 0.01 | 0.001 |
|---|---|---|---|---|
| `random` | 550 | 182 | 13 | 1 |
| `magnitude` | 1,617 | 1,541 | 1,403 | 3 layers empty |
| `snip` | 1,702 | 1,586 | 1,291 | 58 |
| `grasp` | 964 | 940 | 808 | 153 |
| `synflow`, 1 shot | 1,727 | 1,726 | 6 layers empty | 10 layers empty |
| `synflow`, 100 shots | 1,727 | 1,724 | 1,630 | 777 |

The central claim of SynFlow (Tanaka et al. 2020) holds: in 100 shots it empties no layer, in one
shot it is the first to do so. Magnitude empties three layers at 10^-3; SNIP and GraSP come close
(58 and 153 of 2.4 million weights in a layer) but empty none, on this seed.

On two cores that trained other networks at the same time: SynFlow in 100 shots 63 to 94 s, SNIP
67 to 93 s, GraSP 250 to 305 s, all others seconds. SNIP and GraSP in 100 shots would take about
two and seven hours per density and were not run (`--config.shots=100 --config.criterion=snip` with
`jaxmask run`).
"""

from ml_collections import ConfigDict

from jaxmask.recipe import defaults

DENSITIES = (0.316, 0.1, 0.01, 0.001)


def get_config(mode: str = "") -> ConfigDict:
    """The experiment; it has one mode."""
    if mode:
        raise ValueError(f"cifar100_collapse has no mode {mode!r}")
    config = defaults.prune("cifar100", epochs=0)
    config.network.name = "vgg16"
    config.data.validation = 5000
    config.data.mean, config.data.std = (0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)
    config.grid = (
        (
            ("criterion,shots", (("random", 1), ("magnitude", 1), ("snip", 1), ("grasp", 1),
                                 ("synflow", 1), ("synflow", 100))),
            ("density", DENSITIES),
            ("seed", (0,)),
        ),
    )  # fmt: skip
    config.together = 0  # runs under one vmap; 0: 16 on an accelerator, one on a CPU
    return config
