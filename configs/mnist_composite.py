r"""Composite pruning of LeNet-300-100 on MNIST: stacked scores, scores as initial weights, both.

    jaxmask sweep --config=mnist_composite:subset --workdir=runs/composite/subset
    jaxmask sweep --config=mnist_composite:search --workdir=runs/composite/search
    jaxmask sweep --config=mnist_composite:revive --workdir=runs/composite/revive
    jaxmask sweep --config=mnist_composite:both --workdir=runs/composite/both
    jaxmask sweep --config=mnist_composite:options --workdir=runs/composite/options
    jaxmask sweep --config=mnist_composite:unpruned --workdir=runs/composite/unpruned
    jaxmask sweep --config=mnist_composite:schedules --workdir=runs/composite/schedules
    jaxmask sweep --config=mnist_composite:finalists --workdir=runs/composite/finalists
    jaxmask report runs/composite/search --metric=validation_accuracy
    jaxmask report runs/composite/search --published=configs/mnist_composite_published.csv

Settings are those of `mnist_lenet`: 266,200 prunable weights, Kaiming-normal initialization, SGD at
rate 0.1, at most 20 epochs, early stopping on 5,000 held-out training images, scores on ten images
per class, 100 shots before training (UMS). Density 0.005, seeds 0 to 2: what is best here is
chosen by validation accuracy, and belongs on fresh seeds before it is believed.

- `search`: the criteria alone, with SNIP both ways (pruned weights stay pruned, or come back) and
  GraSP both ways (signed, absolute); the 16 stacks of two; each criterion on each of the
  initializations bi-modal (layers by their own sizes, or alike), and the scores of SNIP, GraSP and
  SynFlow as weights.
- `revive`: stacks of SNIP, and SNIP on each initialization, where pruned weights come back, as in
  the published code.
- `both`: the 16 stacks on four of these initializations.
- `options`: what the source leaves open. Scores before a second criterion, divided by their sum or
  not; weights of scores scaled by layer, with the scores' own sign, or shifted as the published
  code does.
- `unpruned`: the whole network, trained from each initialization.
- `schedules`: iterative pruning, of five fresh seeds with one shot a round (ISS), of three with a
  hundred (IMS); 11 trainings a run.
- `finalists`: the criteria alone, and the three best of each family by validation accuracy, on ten
  seeds that chose nothing: stacks, criteria on initial weights, stacks on initial weights (of
  settings that keep the same weights, one), and scores learned by `learn_scores:mnist`, whose files
  are expected in `runs/learn_scores`.
- `subset`: what a first look needs, one seed.

`search` (129 runs) took 41 minutes on two cores with much other work. Test accuracy in %, mean +-
standard deviation over seeds 0 to 2, in brackets as published (Lutz and Manai, 2022); `jaxmask
report` shows all of it. Criteria alone: magnitude 64.95 +- 6.06 (64.17), SNIP 87.00 +- 4.68
(89.83), SNIP whose pruned weights come back 92.14 +- 0.29, GraSP 89.58 +- 1.59 (76.07), its
absolute value 90.94 +- 0.64, SynFlow 87.06 +- 0.43 (88.89), random 20.24 +- 3.08. Stacks, the
first criterion down:

| | magnitude | snip | grasp | synflow |
|---|---|---|---|---|
| magnitude | 64.95 +- 6.06 | 90.99 +- 0.65 | 20.56 +- 0.24 | 87.06 +- 0.43 |
| snip | 87.00 +- 4.68 | 79.04 +- 12.78 | 38.29 +- 9.15 | 89.81 +- 0.46 |
| grasp | 90.94 +- 0.64 | 69.62 +- 12.33 | 90.78 +- 0.55 | 89.15 +- 1.36 |
| synflow | 87.06 +- 0.43 | 86.67 +- 1.47 | 20.96 +- 0.23 | 78.68 +- 0.50 |

Criteria (across) on initial weights (down):

| | magnitude | snip | grasp | synflow |
|---|---|---|---|---|
| `bi_modal` | 11.35 +- 0.00 | 76.90 +- 4.74 | 81.46 +- 1.89 | 83.91 +- 2.09 |
| `bi_modal(scope="global")` | 18.12 +- 3.83 | 90.58 +- 0.61 | 86.10 +- 5.21 | 84.47 +- 1.45 |
| `scores(snip)` | 85.53 +- 1.03 | 86.19 +- 5.11 | 90.92 +- 0.35 | 91.90 +- 0.49 |
| `scores(grasp)` | 82.52 +- 0.42 | 74.49 +- 17.45 | 84.98 +- 5.11 | 89.75 +- 0.78 |
| `scores(synflow)` | 11.35 +- 0.00 | 90.37 +- 1.48 | 80.14 +- 6.24 | 88.64 +- 0.74 |

`revive` (24 runs): SNIP whose pruned weights come back, 92.14 +- 0.29 alone; after itself 90.26 +-
1.53 (90.20), after magnitude 90.52 +- 0.83; on the scores of SNIP 89.85 +- 1.18, of SynFlow 92.21
+- 0.36, of GraSP 81.57 +- 15.12, on bi-modal weights 89.04 +- 0.58 and, all layers alike, 90.94 +-
0.33.

Not measured: `both`, `options`, `unpruned`, `schedules`.
"""

from ml_collections import ConfigDict

from jaxmask.recipe import defaults

MODES = ("search", "revive", "both", "options", "unpruned", "schedules", "finalists", "subset")
SEEDS = (0, 1, 2)
FRESH = tuple(range(10, 20))  # of what was chosen on the others
DENSITY = 0.005
SHOTS = 100
CRITERIA = ("magnitude", "snip", "grasp", "synflow")
STACKS = tuple(f"stack({first}, {second})" for first in CRITERIA for second in CRITERIA)
INITIAL = ("bi_modal", "scores(snip)", "scores(grasp)", "scores(synflow)")
LEARNED = tuple(
    f"learned('runs/learn_scores/{name}/scores.safetensors')"
    for name in ("forest", "boosting", "sgd")
)


def get_config(mode: str = "search") -> ConfigDict:
    """The experiment in one of its modes."""
    if mode not in MODES:
        raise ValueError(f"mnist_composite has no mode {mode!r}; its modes are {', '.join(MODES)}")
    make = defaults.lottery if mode == "schedules" else defaults.prune
    config = make("mnist", epochs=20)
    config.network.name = "lenet_300_100"
    config.density, config.shots = DENSITY, SHOTS
    config.data.validation = 5000
    config.data.mean, config.data.std = (0.1307,), (0.3081,)
    config.train.optimizer = "sgd"
    config.train.schedule = "constant"
    config.train.select = "loss"
    config.train.patience = 5
    config.grid = globals()[mode]()
    config.together = 0
    return config


def search() -> tuple:
    """Criteria, stacks, and criteria on other initializations."""
    alone = (*CRITERIA, "snip(revive=True)", "grasp(absolute=True)", "random")
    initial = (*INITIAL, 'bi_modal(scope="global")')
    return (
        (("criterion", (*alone, *STACKS)), ("seed", SEEDS)),
        (("initial", initial), ("criterion", CRITERIA), ("seed", SEEDS)),
    )


def revive() -> tuple:
    """SNIP whose pruned weights come back, in stacks and on other initializations."""
    snip = "snip(revive=True)"
    stacks = (f"stack({snip}, {snip})", f"stack({snip}, magnitude)", f"stack(magnitude, {snip})")
    initial = (*INITIAL, 'bi_modal(scope="global")')
    return (
        (("criterion", stacks), ("seed", SEEDS)),
        (("initial", initial), ("criterion", (snip,)), ("seed", SEEDS)),
    )


def both() -> tuple:
    """Stacks on other initializations."""
    return ((("initial", INITIAL), ("criterion", STACKS), ("seed", SEEDS)),)


def options() -> tuple:
    """The choices that the source leaves open."""
    normalized = tuple(
        f"stack({first}, {second}, normalize=True)"
        for first in ("grasp", "synflow")
        for second in ("snip", "grasp")
    )
    initial = (
        'scores(snip, scope="layer")',
        'scores(synflow, scope="layer")',
        'scores(grasp, scope="layer", shift=True)',
        'scores(grasp, sign="score")',
    )
    return (
        (("criterion", normalized), ("seed", SEEDS)),
        (("initial", initial), ("criterion", ("snip", "synflow")), ("seed", SEEDS)),
    )


def unpruned() -> tuple:
    """All weights, from each initialization."""
    initial = ("network", *INITIAL, 'bi_modal(scope="global")')
    return ((("density", (1.0,)), ("initial", initial), ("seed", SEEDS)),)


def schedules() -> tuple:
    """Ten rounds of training and pruning: one shot in each, or a hundred."""
    criteria = ("magnitude", "snip", "synflow")
    return (
        (("shots", (1,)), ("criterion", criteria), ("seed", FRESH[:5])),
        (("shots", (SHOTS,)), ("criterion", criteria), ("seed", FRESH[:3])),
    )


def finalists() -> tuple:
    """What was best on the other seeds, beside the criteria alone."""
    alone = (*CRITERIA, "snip(revive=True)", "grasp(absolute=True)")
    stacks = (
        "stack(grasp, grasp)",
        "stack(magnitude, snip)",
        "stack(magnitude, snip(revive=True))",
    )
    initial = (
        ("scores(synflow)", "snip(revive=True)"),
        ("scores(snip)", "synflow"),
        ("scores(snip)", "grasp"),
        ("scores(synflow)", "stack(snip, synflow)"),
        ("scores(synflow)", "stack(magnitude, snip)"),
        ("scores(snip)", "stack(grasp, magnitude)"),
    )
    return (
        (("criterion", (*alone, *stacks)), ("seed", FRESH)),
        (("initial,criterion", initial), ("seed", FRESH)),
        (("criterion", LEARNED), ("seed", FRESH)),
    )


def subset() -> tuple:
    """The two best criteria alone, stacked, and on each other's scores."""
    stacks = ("snip", "synflow", "stack(magnitude, synflow)", "stack(snip, snip)")
    initial = ("network", "scores(snip)")
    return ((("initial", initial), ("criterion", stacks), ("seed", (0,))),)
