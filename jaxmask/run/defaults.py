"""Every field that a config can have, with its default. A config sets what differs."""

from typing import Any

from ml_collections import ConfigDict

from jaxmask.adapter import EVALUATORS, METHODS
from jaxmask.adapter.lora import MOST_RANK
from jaxmask.errors import InputError, check_numbers
from jaxmask.model.registry import WIDEST
from jaxmask.prune.schedule import MOST_SHOTS

# old field names and their new names
RENAMED = {"optimiser": "optimizer", "mask_optimiser": "mask_optimizer"}


# the largest numbers that fields of these names may have, and those of all others
LARGEST = {
    "width": WIDEST, "epochs": 10**6, "rounds": 1000, "shots": MOST_SHOTS, "rank": MOST_RANK,
    "iterations": 10**6, "decode_size": 2**14, "size": 2**14, "crop_padding": 2**12,
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
    return ConfigDict(
        {
            "recipe": recipe,
            "seed": 0,  # of all randomness; the same seed gives the same result
            "network": {
                "name": "lenet_300_100",
                "width": 1.0,  # a factor for the width of every layer
                "stem": "",  # "imagenet" or "cifar", of the ImageNet ResNets
                "compute_dtype": "float32",  # of activations; "bfloat16" on accelerators
                # what axes of weights mean, where names do not tell: (path regex, "layers in out")
                "axes": (),
            },
            "compilation_cache": "",  # a folder; "" is ~/.cache/jaxmask/xla, "off" disables it
        }
    )


def data(name: str) -> ConfigDict:
    """Which images, how they are split, and how they are changed on the device."""
    return ConfigDict(
        {
            "name": name,  # of TFDS, or folder:PATH, or hf:OWNER/NAME; see jaxmask.data.load
            "classes": (),  # the classes kept, relabeled in this order; () is all
            "share": 1.0,  # fraction of labels: of the training set, stratified
            "validation": 0.1,  # fraction (from 1 on: number) of training examples held out
            "decode_size": 0,  # side in pixels that images are cut to when decoded; 0 is off
            "size": 0,  # side in pixels that the device resizes to; 0 is off
            "crop_padding": 0,  # pixels around a random crop
            "flip": False,  # flip half of the images left to right
            "mean": (),  # per channel, in [0, 1]; () is the starting network's, or the data's
            "std": (),
            "directory": "",  # of TFDS; "" is $TFDS_DATA_DIR or ~/tensorflow_datasets
            "cache": "",  # decoded images; "" is $JAXMASK_CACHE or ~/.cache/jaxmask
            "cache_gib": 8.0,  # a split that is larger decoded is decoded in every epoch
            "memory_gib": 4.0,  # a larger dataset is streamed to the device
        }
    )


def train(epochs: int, learning_rate: float = 0.1) -> ConfigDict:
    """How weights and scores are learned."""
    return ConfigDict(
        {
            "epochs": epochs,
            "batch_size": 64,
            "evaluation_batch": 512,
            "optimizer": "sgd(momentum=0.9)",  # for weights: any optax chain
            "learning_rate": learning_rate,
            "mask_optimizer": "sgd(momentum=0.9)",  # for scores
            "mask_learning_rate": 50.0,
            "schedule": "cosine",  # constant, cosine(warmup_epochs=5), steps(epochs=(80, 120))
            "clip": 0.0,  # largest gradient norm, of weights and of scores; 0 is off
            "label_smoothing": 0.0,
            "patience": 0,  # early stopping: epochs without a lower validation loss; 0 is off
            "select": "accuracy",  # the epoch to keep: by validation "accuracy", "loss"; or "last"
            "checkpoint_seconds": 60.0,
            "scan_steps": 0,  # steps per compiled scan; 0 makes scans of about two seconds
        }
    )


def dense(dataset: str, epochs: int, learning_rate: float = 0.1) -> ConfigDict:
    """Train a network's weights: all, or those that the rules select."""
    config = experiment("dense")
    config.data = data(dataset)
    config.train = train(epochs, learning_rate)
    config.start = "random"  # or a run directory, or a safetensors file
    config.rules = ((".*", "train"),)  # (path regex, "train" or "freeze"); the first match wins
    return config


def prune(dataset: str, epochs: int, learning_rate: float = 0.1) -> ConfigDict:
    """Score and prune a network, untrained or not, then train what is left."""
    config = experiment("prune")
    config.data = data(dataset)
    config.train = train(epochs, learning_rate)  # 0 epochs: only make the mask
    config.start = "random"  # or a run directory, or a safetensors file
    config.rules = ((".*/kernel", "mask"),)  # "mask" (prune), "freeze"; all others "train"
    config.criterion = "snip"  # with its settings: "grasp(temperature=200, absolute=True)"
    config.density = 0.1  # fraction of the "mask" weights to keep, in (0, 1]
    config.scope = "global"  # or "layer", "erk"
    config.shots = 1  # rounds of scoring and pruning until the density is reached
    config.shot_schedule = "exponential"  # or "linear"
    config.scoring = ConfigDict(
        {
            "examples_per_class": 10,  # training images for criteria that need data, drawn once
            "batch_size": 256,  # images at a time; does not change scores in eval mode
            "mode": "eval",  # or "train": batch norms use batch statistics
        }
    )
    return config


def lottery(dataset: str, epochs: int, learning_rate: float = 0.1) -> ConfigDict:
    """Train, prune, rewind, repeat; the fields of `prune` and three more."""
    config = prune(dataset, epochs, learning_rate)
    config.recipe = "lottery"
    config.criterion = "magnitude"
    config.rounds = 10
    config.round_schedule = "exponential"  # removes the same fraction each time; "linear": number
    config.rewind_step = 0  # the step of the first training to rewind to
    return config


def adapt(dataset: str, epochs: int) -> ConfigDict:
    """Compare methods that adapt a trained network to a new task.

    Each method's `choices` are compared on validation data, one training run each; the best is
    retrained from a fresh seed and evaluated once on the test split. `jaxmask.adapter.methods`
    has the fields of each method's section.
    """
    config = experiment("adapt")
    config.data = data(dataset)
    config.start = "pretrain"  # or "random", a run directory, a file of weights, "hub:owner/name"
    config.pretrain = ConfigDict({"data": data(dataset), "train": train(epochs)})
    config.head = "new"  # a new head for the task; or "text": CLIP's embeddings of the class names
    config.prompt = "a photo of a {}."  # for a text head; {} is the class name
    config.methods = ("linear_probe", "full", "mask")
    for name, evaluator in EVALUATORS.items():
        config[name] = ConfigDict(dict(evaluator.defaults))
    for name, method in METHODS.items():
        config[name] = ConfigDict({"train": train(epochs), **method.defaults})
    return config
