"""Which datasets are on this machine."""

import json

from jaxmask.data import prepared
from jaxmask.data.dataset import caches_folder, tfds_folder
from jaxmask.errors import InputError


def available(data_dir: str = "", cache_dir: str = "") -> dict[str, str]:
    """Datasets that can be loaded without a download: name -> a line about it.

    Args:
      data_dir, cache_dir: as for `data.load`.
    """
    found = {"digits": "scikit-learn's, 8 x 8 pixels: 1,348 images to train, 449 to test"}
    root = tfds_folder(data_dir)
    for info in sorted(
        (*root.glob("*/*/dataset_info.json"), *root.glob("*/*/*/dataset_info.json"))
    ):
        name = "/".join(info.parent.parent.relative_to(root).parts)
        try:
            there = prepared.find(name, root)
            found[name] = f"prepared by TFDS in {there.folder}: {', '.join(there.splits)}"
        except prepared.Unprepared:
            found[name] = (
                f"in {info.parent}, in a format that must be converted: jaxmask prepare {name}"
            )
        except InputError as error:
            found[name] = str(error)
    for note in sorted((caches_folder(cache_dir) / "hub").glob("*.json")):
        try:
            name = str(json.loads(note.read_text())["dataset"])
        except (OSError, ValueError, KeyError, TypeError):
            continue  # `load` says what is wrong with it
        found[name] = "fetched from the Hugging Face hub"
    return found
