"""A small `run.task.Task` without a dataset on disk: images that a rule labels."""

import numpy as np
import problems

from jaxmask.data import Dataset, Split
from jaxmask.run import defaults
from jaxmask.run import task as tasks


def dataset(train=96, validation=30, test=40, names=("left", "middle", "right")):
    splits = (problems.images(count, seed) for seed, count in enumerate((train, validation, test)))
    return Dataset("made", *(Split(*split) for split in splits), names)


def config(recipe="adapt", epochs=2, **changes):
    """A config of LeNet-15-5; `changes` by field, with `__` for dots."""
    made = getattr(defaults, recipe)("made", epochs)
    made.network.width, made.data.mean, made.data.std = 0.05, (0.3,), (0.2,)
    for section in made.values():
        train = section if hasattr(section, "batch_size") else getattr(section, "train", None)
        if train is not None and "epochs" in train:
            train.batch_size = 16
    for name, value in changes.items():
        made.update_from_flattened_dict({name.replace("__", "."): value})
    return made


def task(config, **sizes):
    made = dataset(**sizes)
    return tasks.make_task(config.data, config.network, made, ((0.3,), (0.2,)))


def logits(params, images):
    """Of LeNet, in numpy."""
    x = (np.asarray(images).reshape(len(images), -1) / 255 - 0.3) / 0.2
    for name in ("fc1", "fc2"):
        x = np.maximum(x @ np.asarray(params[name]["kernel"]) + np.asarray(params[name]["bias"]), 0)
    return x @ np.asarray(params["head"]["kernel"]) + np.asarray(params["head"]["bias"])
