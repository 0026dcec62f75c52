"""The configs that a user's starts from, and checks of what it became."""

from typing import Any

from ml_collections import ConfigDict

from jaxmask.adapter import EVALUATORS, METHODS
from jaxmask.adapter.lora import MOST_RANK
from jaxmask.errors import InputError, check_numbers
from jaxmask.model.registry import WIDEST
from jaxmask.prune.schedule import MOST_SHOTS
from jaxmask.run import fields

# how masks are learned in the publications, as fields of `train`; ours is in `adapter.METHODS`
PUBLISHED_SCORES = {"mask_optimizer": "sgd(momentum=0.9)", "mask_learning_rate": 50.0}

# old field names and their new names
RENAMED = {"optimiser": "optimizer", "mask_optimiser": "mask_optimizer"}


# the largest numbers that fields of these names may have, and those of all others
LARGEST = {
    "width": WIDEST, "epochs": 10**6, "rounds": 1000, "shots": MOST_SHOTS, "rank": MOST_RANK,
    "iterations": 10**6, "decode_size": 2**14, "size": 2**14, "crop_padding": 2**12,
    "tokens": 2**16,
    "memory_gib": 2.0**20, "cache_gib": 2.0**20, "seed": 2**32 - 1,
}  # fmt: skip
LARGEST_WHOLE, LARGEST_FLOAT = 2**31 - 1, 1e30


def check(config: ConfigDict, known: ConfigDict, at: str = "") -> None:
    """Raises InputError for a field that is missing, of another type, or absurdly large.

    Args:
      config: with at least the fields of `known`; a field that is not among them is not checked.
      known: the recipe's fields with their defaults.
    """
    missing = sorted(at + name for name in known if name not in config)
    if missing:
        raise InputError(
            f"the config lacks fields of its recipe: {', '.join(missing)}; start it from a "
            "function of jaxmask.recipe.defaults"
        )
    for name, default in known.items():
        value, field = config[name], f"{at}{name}"
        if isinstance(default, ConfigDict) and isinstance(value, ConfigDict):
            check(value, default, f"{field}.")
        elif not _is_alike(value, default):
            wanted = type(default).__name__
            raise InputError(f"{field} is {value!r}; it must be of type {wanted}, like {default!r}")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            whole = isinstance(default, int)
            most = LARGEST.get(name, LARGEST_WHOLE if whole else LARGEST_FLOAT)
            check_numbers(field, [value], most=most)


def _is_alike(value: Any, default: Any) -> bool:
    if isinstance(default, tuple):
        return isinstance(value, tuple | list)
    if isinstance(default, float):
        return isinstance(value, int | float) and not isinstance(value, bool)
    return type(value) is type(default)


def check_renamed(config: ConfigDict, at: str = "") -> None:
    """Raises InputError for a field of an earlier version, which would do nothing now."""
    for name, value in config.items():
        if name in RENAMED:
            raise InputError(f"config.{at}{name} is called config.{at}{RENAMED[name]} now")
        if isinstance(value, ConfigDict):
            check_renamed(value, f"{at}{name}.")


def experiment(recipe: str) -> ConfigDict:
    """The fields that every recipe has."""
    return fields.filled(fields.EXPERIMENT, recipe=recipe)


def data(name: str) -> ConfigDict:
    """Which images, how they are split, and how they are changed on the device."""
    return fields.filled(fields.DATA, name=name)


def train(epochs: int, learning_rate: float = 0.1) -> ConfigDict:
    """How weights and scores are learned."""
    return fields.filled(fields.TRAIN, epochs=epochs, learning_rate=learning_rate)


def dense(dataset: str, epochs: int, learning_rate: float = 0.1) -> ConfigDict:
    """Train a network's weights: all, or those that the rules select."""
    return _training("dense", fields.DENSE, dataset, epochs, learning_rate)


def prune(dataset: str, epochs: int, learning_rate: float = 0.1) -> ConfigDict:
    """Score and prune a network, untrained or not, then train what is left.

    With 0 epochs, it only makes the mask.
    """
    return _training("prune", fields.PRUNE, dataset, epochs, learning_rate)


def lottery(dataset: str, epochs: int, learning_rate: float = 0.1) -> ConfigDict:
    """Train, prune, rewind, repeat; the fields of `prune` and three more."""
    return _training("lottery", fields.LOTTERY, dataset, epochs, learning_rate)


def learn_scores(dataset: str, epochs: int, learning_rate: float = 0.1) -> ConfigDict:
    """Learn scores from the tickets of lotteries; the fields of `lottery` and more."""
    return _training("learn_scores", fields.LEARN_SCORES, dataset, epochs, learning_rate)


def tickets(dataset: str, epochs: int, learning_rate: float = 0.1) -> ConfigDict:
    """Tickets of several tasks, each used on all; the fields of `lottery` and three more."""
    return _training("tickets", fields.TICKETS, dataset, epochs, learning_rate)


def _training(
    recipe: str, table: fields.Table, dataset: str, epochs: int, learning_rate: float
) -> ConfigDict:
    config = experiment(recipe)
    config.data = data(dataset)
    config.train = train(epochs, learning_rate)
    config.update(fields.filled(table))
    return config


def adapt(dataset: str, epochs: int) -> ConfigDict:
    """Compare methods that adapt a trained network to a new task.

    Each method's `choices` are compared on validation data, one training run each; the best is
    retrained from a fresh seed and evaluated once on the test split. Every method of
    `adapter.METHODS` and `EVALUATORS` has a section.
    """
    config = experiment("adapt")
    config.data = data(dataset)
    config.pretrain = ConfigDict({"data": data(dataset), "train": train(epochs)})
    config.update(fields.filled(fields.ADAPT))
    for name, evaluator in EVALUATORS.items():
        config[name] = ConfigDict(dict(evaluator.defaults))
    for name, method in METHODS.items():
        config[name] = ConfigDict({"train": train(epochs), **method.defaults})
        config[name].train.update(method.train)
    return config


def self_mask(dataset: str, epochs: int) -> ConfigDict:
    """Learn masks (or weights) without labels, and measure the features by k-NN and a probe.

    A method has the value of its tuned field in `choices`; of several, the one with the best k-NN
    accuracy on the held-out images is taken. `optimizer` and `learning_rate` of its training are
    also those of the loss's projection and prototypes.

    With `few_labels.shares`, all networks are also measured with few labels; the methods that learn
    on these have sections in `few_labels`, like those of `adapt`.
    """
    config = adapt(dataset, epochs)
    config.recipe = "self_mask"
    del config.head, config.prompt
    config.update(fields.filled(fields.SELF_MASK))
    for name in METHODS:
        config[name].choices = (0.05,) if config[name].tune == "learning_rate" else (50.0,)
        config[name].train.update(
            optimizer="add_decayed_weights(1e-6), sgd(momentum=0.9)",
            learning_rate=0.15,
            **PUBLISHED_SCORES,
        )
    config.knn.choices = (10, 50, 200)
    config.linear_probe.choices = (1e-4, 1e-3, 1e-2)
    labeled = adapt(dataset, epochs)
    for name in config.few_labels.methods:
        config.few_labels[name] = labeled[name]
        if "train" in labeled[name]:
            del labeled[name].train.epochs  # by `few_labels.steps`
    return config


def cascade(dataset: str, epochs: int) -> ConfigDict:
    """Learn a mask without labels, then masks that continue it on clusters of the images.

    The fields of `self_mask`, with one method in place of several and without few labels.
    """
    config = self_mask(dataset, epochs)
    config.recipe = "cascade"
    del config.methods, config.few_labels
    config.update(fields.filled(fields.CASCADE))
    return config
