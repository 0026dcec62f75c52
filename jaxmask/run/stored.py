"""Stores a trained method: the task file, checked to restore what was trained."""

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from jaxmask import maskfile, tree
from jaxmask.adapter import Adapter, Stored
from jaxmask.errors import InputError
from jaxmask.run.programs import shared
from jaxmask.run.result import Result
from jaxmask.run.starting import Start
from jaxmask.run.task import Task, about_network
from jaxmask.task import file as task_file

FILE = Path("masks") / "task.mask"


def write_task(
    folder: Path,
    task: Task,
    config: ConfigDict,
    start: Start,
    content: Stored,
    variables: Any,
    found: Result,
    tuned: Mapping[str, Any],
) -> int:
    """Writes the file of a learned task into a run directory; returns its size in bytes.

    Args:
      start: the base network's weights; their fingerprint goes into the header.
      content: what the adapter stores.
      variables: {"params": as given to the adapter, "batch_stats": after training}.
      tuned: the values chosen on validation data, by field.
    """
    about = {
        **about_network(config.network, task),
        "start": config.start,
        "dataset": task.dataset.name,
        "method": found.method,
        "metrics": {
            "accuracy": found.accuracy,
            "validation_accuracy": found.validation_accuracy,
        },
        **tuned,
    }
    head = variables["params"].get("head", {})
    return task_file.save(
        folder / FILE,
        content,
        batch_stats=variables["batch_stats"],
        new={} if start.head_in_base else {"head": head},
        base=maskfile.Base(config.network.name, start.fingerprint()),
        about=about,
    )


def check_law(
    name: str,
    identity: Hashable,
    adapter: Adapter,
    params: Any,
    learned: Any,
    frozen: Any,
    content: Stored,
) -> None:
    """Raises InputError if the stored content does not restore the network that was trained.

    The two sides are compiled separately, so they may differ by rounding.
    """
    given = shared("parameters", identity, lambda: jax.jit(adapter.parameters))
    back = shared("restore", (identity, repr(content.settings)), lambda: jax.jit(
        lambda params, masks, arrays: adapter.restore(
            params, Stored(masks, arrays, content.settings)
        )
    ))  # fmt: skip
    trained = tree.named_leaves(given(learned, frozen))
    restored = tree.named_leaves(back(params, content.masks, content.arrays))
    for path, leaf in trained.items():
        other = restored.get(path)
        if other is None or not np.allclose(leaf, other, rtol=1e-5, atol=0, equal_nan=True):
            raise InputError(
                f"{name}: the adapter's restore does not give back {path!r} as it was trained; "
                "store everything that its parameters depend on"
            )


def head_of(folder: Path) -> dict[str, Any]:
    """The head in the task file of a run directory."""
    found = task_file.read(folder / FILE)
    return dict(found.stored.arrays["params"]["head"])
