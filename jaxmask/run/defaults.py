"""Every field that a config can have, with its default. A config sets what differs."""

from ml_collections import ConfigDict

from jaxmask.adapter import EVALUATORS, METHODS
from jaxmask.errors import InputError

# fields that earlier versions had, and what they are called now
RENAMED = {"optimiser": "optimizer", "mask_optimiser": "mask_optimizer"}


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
            "seed": 0,  # of everything random; the same seed gives the same result
            "network": {
                "name": "lenet_300_100",
                "width": 1.0,  # of every layer, as a factor
                "stem": "",  # "imagenet" or "cifar", of the ImageNet ResNets
                "compute_dtype": "float32",  # of activations; "bfloat16" on accelerators
            },
            "compilation_cache": "",  # a folder; "" is ~/.cache/jaxmask/xla, "off" is none
        }
    )


def data(name: str) -> ConfigDict:
    """Which images, how they are split, and how they are changed on the device."""
    return ConfigDict(
        {
            "name": name,
            "classes": (),  # the classes kept, relabeled in this order; () is all
            "share": 1.0,  # of the training labels, stratified
            "validation": 0.1,  # share (or, from 1 on, number) of the training labels held out
            "decode_size": 0,  # side in pixels that images are cut to when decoded; 0 leaves them
            "size": 0,  # side in pixels that the device resizes to; 0 does not
            "crop_padding": 0,  # pixels around a random crop
            "flip": False,  # half of the images, left to right
            "mean": (),  # of the channels, in [0, 1]; () is the starting network's, or the data's
            "std": (),
            "directory": "",  # TFDS data; "" is $TFDS_DATA_DIR or ~/tensorflow_datasets
            "cache": "",  # decoded images; "" is $JAXMASK_CACHE or ~/.cache/jaxmask
            "cache_gib": 8.0,  # a split that is larger decoded is decoded anew for every epoch
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
            "optimizer": "sgd(momentum=0.9)",  # of weights: any optax chain
            "learning_rate": learning_rate,
            "mask_optimizer": "sgd(momentum=0.9)",  # of scores
            "mask_learning_rate": 50.0,
            "schedule": "cosine",  # constant, cosine(warmup_epochs=5), steps(epochs=(80, 120))
            "clip": 0.0,  # largest gradient norm, of weights and of scores; 0 does not clip
            "label_smoothing": 0.0,
            "patience": 0,  # epochs without a lower validation loss before stopping; 0 is never
            "select": "accuracy",  # or "loss", by the validation split: which epoch is kept; "last"
            "checkpoint_seconds": 60.0,
            "scan_steps": 0,  # steps in one compiled scan; 0 makes scans of about two seconds
        }
    )


def dense(dataset: str, epochs: int, learning_rate: float = 0.1) -> ConfigDict:
    """Train a network's weights: all, or those that the rules say."""
    config = experiment("dense")
    config.data = data(dataset)
    config.train = train(epochs, learning_rate)
    config.start = "random"  # or a run directory, or a safetensors file
    config.rules = ((".*", "train"),)  # (path regex, "train" or "freeze"); the first match wins
    return config


def prune(dataset: str, epochs: int, learning_rate: float = 0.1) -> ConfigDict:
    """Score and prune an untrained network (or any other), then train what is left."""
    config = experiment("prune")
    config.data = data(dataset)
    config.train = train(epochs, learning_rate)  # 0 epochs: only the mask is made
    config.start = "random"  # or a run directory, or a safetensors file
    config.rules = ((".*/kernel", "mask"),)  # "mask": pruned; "train" (all others); "freeze"
    config.criterion = "snip"  # with its settings: "grasp(temperature=200, absolute=True)"
    config.density = 0.1  # the share of the "mask" weights that is kept, in (0, 1]
    config.scope = "global"  # or "layer", "erk"
    config.shots = 1  # how often weights are scored, and pruned, until the density is reached
    config.shot_schedule = "exponential"  # or "linear"
    config.scoring = ConfigDict(
        {
            "examples_per_class": 10,  # training images, drawn once, for criteria that need data
            "batch_size": 256,  # of them at a time; in eval mode it changes no score
            "mode": "eval",  # or "train": batch norms use the batch's own statistics
        }
    )
    return config


def lottery(dataset: str, epochs: int, learning_rate: float = 0.1) -> ConfigDict:
    """Train, prune, rewind, and again; the fields of `prune` and two more."""
    config = prune(dataset, epochs, learning_rate)
    config.recipe = "lottery"
    config.criterion = "magnitude"
    config.rounds = 10
    config.round_schedule = "exponential"  # the same share of what is left; "linear": same number
    config.rewind_step = 0  # the step of the first training whose weights are put back
    return config


def adapt(dataset: str, epochs: int) -> ConfigDict:
    """Compare methods that take a trained network to a new task.

    Each method's `choices` are tried on validation data, one training run each; the best one is
    trained anew from a fresh seed and read once on the test split. `jaxmask.adapter.methods` has
    the fields of each method's section.
    """
    config = experiment("adapt")
    config.data = data(dataset)
    config.start = "pretrain"  # or "random", a run directory, a file of weights, "hub:owner/name"
    config.pretrain = ConfigDict({"data": data(dataset), "train": train(epochs)})
    config.head = "new"  # a head for the task; or CLIP's own, "text": the classes' names embedded
    config.prompt = "a photo of a {}."  # in which a class's name stands, of a head of text
    config.methods = ("linear_probe", "full", "mask")
    for name, evaluator in EVALUATORS.items():
        config[name] = ConfigDict(dict(evaluator.defaults))
    for name, method in METHODS.items():
        config[name] = ConfigDict({"train": train(epochs), **method.defaults})
    return config
