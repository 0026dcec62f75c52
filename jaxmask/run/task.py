"""Builds from a config what an experiment works on: the data and a network for it."""

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from absl import logging
from jax.sharding import Mesh
from ml_collections import ConfigDict

from jaxmask import data, mask, model, signals
from jaxmask.errors import InputError, check_numbers
from jaxmask.model import outside, trial
from jaxmask.run import texts
from jaxmask.run.seeds import number
from jaxmask.task import schema
from jaxmask.train import feed
from jaxmask.train.state import labels_of

Normalization = tuple[tuple[float, ...], tuple[float, ...]]


class Task(NamedTuple):
    """A dataset and a network for it.

    Attributes:
      dataset: its splits, on the host.
      module: the Linen network, with a head for the dataset's classes.
      network: (parameters, batch_stats, images, train) -> (logits, batch_stats).
      augment: (key or None, uint8 images) -> float images; token ids stay as they are, or become
        `data.Blanks` where words are predicted.
      image_shape: (height, width, channels) of the network's input; (length,) of texts.
      normalization: (mean, std) of the channels; ((), ()) of texts.
      mesh: the devices.
      identity: text of everything that the network and its input pipeline depend on.
      feed: ("train", "validation" or "test") -> the split as the compiled scans take it; each
        split is sent to the device once for all methods.
      options: of `model.create`, for a network of texts.
      targets: as in `train.state.Problem`.
    """

    dataset: data.Dataset
    module: nn.Module
    network: Callable[..., tuple[jax.Array, Any]]
    augment: Callable[[jax.Array | None, jax.Array], Any]
    image_shape: tuple[int, ...]
    normalization: Normalization
    mesh: Mesh
    identity: str
    feed: Callable[[str], feed.Feed]
    options: Mapping[str, Any] = {}
    targets: Callable[[Any, jax.Array], tuple[jax.Array, jax.Array | None]] = labels_of


def none_held_out(needs: str, dataset: data.Dataset) -> InputError:
    """The error of a run that needs validation data, by a sentence, and has none."""
    return InputError(
        f"{needs}, and none of the {len(dataset.train.labels)} training images of "
        f"{len(dataset.classes)} classes is held out: set data.validation above 0, to at least one "
        "image, or give more images, of which every class keeps one for training"
    )


def dataset_of(config: ConfigDict, about: Mapping[str, Any]) -> data.Dataset:
    """The dataset of a config with a `start`, whose metadata are given; texts by its tokenizer."""
    if texts.are(config.data):
        check_validation(config.data)
        return texts.load(config.data, config.seed, config.start, about)
    return load_data(config.data, config.seed)


def check_validation(config: ConfigDict) -> None:
    """Raises InputError for a `data.validation` that is neither a fraction nor a number."""
    signals.obey()
    validation = config.validation
    if not (0 <= validation < 1 or (1 <= validation < 2**31 and validation == int(validation))):
        raise InputError(
            f"data.validation is {validation}; give 0, a fraction or a number of examples"
        )


def load_data(config: ConfigDict, seed: int) -> data.Dataset:
    """The dataset of images that a config's data section describes."""
    check_validation(config)
    if texts.are(config):
        raise InputError(f"{config.name} is of texts; this recipe learns from views of images")
    if config.tokenizer:
        raise InputError(f"data.tokenizer is for texts, and {config.name} is not; leave it out")
    return data.load(
        config.name,
        classes=tuple(config.classes),
        share=config.share,
        validation=int(config.validation) if config.validation >= 1 else config.validation,
        seed=number(seed, "data"),
        size=config.decode_size,
        data_dir=config.directory or None,
        cache_dir=config.cache or None,
        cache_gib=config.cache_gib,
    )


class _Inputs(NamedTuple):
    """What the network gets: the shape of one, (key or None, batch) -> a batch of them, and whether
    it predicts words of them."""

    shape: tuple[int, ...]
    augment: Callable[[jax.Array | None, jax.Array], Any]
    words: bool = False


def make_task(
    config: ConfigDict,
    network: ConfigDict,
    dataset: data.Dataset,
    normalization: Normalization,
    start_options: Mapping[str, Any] = {},
) -> Task:
    """A network and its input pipeline on the device, for a dataset.

    Args:
      config: the data section of a config.
      network: its network section.
      start_options: those of starting weights for texts; see `texts.options`.
    """
    dtype = compute_dtype(network.compute_dtype)
    options = {"stem": network.stem} if network.stem else texts.asked(network)
    if dataset.tokenizer is not None:
        options |= texts.options(config, network, dataset.tokenizer, start_options)
    elif not outside.is_outside(network.name) and model.reads_texts(network.name):
        raise InputError(f"{network.name} reads texts, and {config.name} is of images")
    module = model.create(
        network.name, classes=len(dataset.classes), width=network.width, dtype=dtype, **options
    )
    if dataset.tokenizer is None:
        inputs = _images(config, dataset, normalization, dtype)
    else:
        row = dataset.train.images.shape[1]
        texts.check_fits(module, dataset.tokenizer, row)
        words = texts.predicts_words(module)
        augment = data.blanks(dataset.tokenizer) if words else lambda key, ids: ids
        inputs = _Inputs((row,), augment, words)
    if outside.is_outside(network.name):
        trial.check(module, inputs.shape, len(dataset.classes))
    mesh = feed.make_mesh(network.devices)
    feeds, streams = _feeds(config, dataset, mesh)
    return Task(
        dataset=dataset,
        module=module,
        network=texts.network_of(module),
        augment=inputs.augment,
        image_shape=inputs.shape,
        normalization=normalization,
        mesh=mesh,
        identity=json.dumps(
            [
                network.to_dict(),
                len(dataset.classes),
                inputs.shape,
                normalization,
                config.crop_padding,
                config.flip,
                config.size,
                streams,
                options,
                dataset.tokenizer and dataset.tokenizer.fingerprint,
            ]
        ),
        feed=feeds,
        options=options,
        targets=texts.words_of if inputs.words else labels_of,
    )


def _images(
    config: ConfigDict, dataset: data.Dataset, normalization: Normalization, dtype: Any
) -> _Inputs:
    mean, std = normalization
    channels = dataset.train.images.shape[-1]
    for what, values in (("mean", mean), ("std", std)):
        check_numbers(f"data.{what}", values)
        if len(values) not in (1, channels):
            raise InputError(
                f"data.{what} has {len(values)} numbers; the images have {channels} channels"
            )
    augment = data.augmentation(
        mean=mean,
        std=std,
        crop_padding=config.crop_padding,
        flip=config.flip,
        size=config.size,
        dtype=dtype,
    )
    side = (config.size, config.size) if config.size else dataset.train.images.shape[1:3]
    schema.check_sides(dataset.train.images.shape[1:], side)
    return _Inputs((*side, channels), augment)


def _feeds(
    config: ConfigDict, dataset: data.Dataset, mesh: Mesh
) -> tuple[Callable[[str], feed.Feed], bool]:
    """(name of a split) -> how its batches reach the device; and whether they are streamed."""
    images = [split.images for split in (dataset.train, dataset.validation, dataset.test)]
    memory = config.memory_gib * 2**30
    # one way for all splits: the compiled programs take all batches alike
    too_large = sum(array.nbytes for array in images) > memory
    streams = too_large or any(isinstance(array, data.Lazy) for array in images)

    @functools.cache
    def cached_feed(name: str) -> feed.Feed:
        split = getattr(dataset, name)
        if streams:
            return feed.streamed(split, data.stream, mesh, int(min(memory / 8, 2**28)))
        return feed.resident(split.images, split.labels, mesh)

    return cached_feed, streams


def normalization_of(
    config: ConfigDict, dataset: data.Dataset, about: dict[str, Any]
) -> Normalization:
    """Mean and standard deviation: the config's, else the starting weights', else the data's.

    Texts have none: ((), ()).

    Raises:
      InputError: the starting weights need a normalization that they do not tell.
    """
    if dataset.tokenizer is not None:
        return (), ()
    if config.mean or config.std:
        if not (config.mean and config.std):
            raise InputError("give both data.mean and data.std, or neither")
        return tuple(config.mean), tuple(config.std)
    if "mean" in about and "std" in about:
        for name in ("mean", "std"):
            if not isinstance(about[name], list):
                raise InputError(
                    f"the weights' {name} is {about[name]!r}; give data.mean and data.std"
                )
        mean, std = tuple(about["mean"]), tuple(about["std"])
        if about.get("normalization") == "kind":
            _say_normalization(f"as for all weights of their kind ({about['layout']})", mean, std)
        return mean, std
    if about.get("unsettled"):
        raise InputError(
            "the starting weights do not tell how their images were normalized "
            f"({about['unsettled']}); give --config.data.mean='(0.5, 0.5, 0.5)' "
            "--config.data.std='(0.5, 0.5, 0.5)', or theirs"
        )
    if "normalization" in about:
        mean, std = data.statistics(dataset.train.images)
        _say_normalization("by the data's own, for the weights do not tell", mean, std)
        return mean, std
    return data.statistics(dataset.train.images)


def _say_normalization(how: str, mean: Sequence[float], std: Sequence[float]) -> None:
    shown = (", ".join(f"{value:.4g}" for value in values) for values in (mean, std))
    logging.warning(
        "images are normalized %s: mean (%s), std (%s); data.mean and data.std set others",
        how,
        *shown,
    )


def shapes(task: Task) -> dict[str, Any]:
    """The network's variables as shapes and dtypes; nothing is computed."""
    return model.shapes(task.module, task.image_shape)


def axes(task: Task, config: ConfigDict) -> dict[str, str]:
    """What the axes of the network's parameters mean, by path; see `mask.describe`."""
    return mask.describe(shapes(task)["params"], config.network.axes)


def about_network(network: ConfigDict, task: Task) -> dict[str, Any]:
    """The metadata of a weight file."""
    about = {
        "network": network.name,
        "width": network.width,
        "stem": network.stem,
        "classes": list(task.dataset.classes),
        "image_shape": list(task.image_shape),  # the network's input
    }
    tokenizer = task.dataset.tokenizer
    if tokenizer is not None:
        return {
            **about,
            "options": dict(task.options),
            "tokenizer": tokenizer.fingerprint,
            "tokenizer_file": tokenizer.source or str(tokenizer.path),
        }
    mean, std = task.normalization
    return {
        **about,
        "mean": [float(value) for value in mean],
        "std": [float(value) for value in std],
        "stored_shape": list(task.dataset.train.images.shape[1:]),  # as the dataset stores it
    }


def compute_dtype(name: str) -> Any:
    """The dtype of activations, by name."""
    if name not in ("float32", "bfloat16", "float16"):
        raise InputError(
            f"unknown network.compute_dtype {name!r}; give float32, bfloat16 or float16"
        )
    return jnp.dtype(name)
