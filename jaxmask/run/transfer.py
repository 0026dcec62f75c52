"""The masks and runs of a transfer matrix: which there are, where, and with which configs."""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ml_collections import ConfigDict

from jaxmask import maskfile
from jaxmask.errors import InputError, check_numbers, is_text, nearest
from jaxmask.run import fields
from jaxmask.run.composites import criterion
from jaxmask.task import file as task_file

TICKET, DENSE = "ticket", "dense"
# folders of a run, besides those of its tasks
LOTTERIES, FOUND, INITIAL, MASKS = "lotteries", "found", "initial", "masks"
NAMED = re.compile(r"[\w-][\w.-]*")  # of tasks, which are names of folders


class Row(NamedTuple):
    """A mask of the matrix.

    Attributes:
      name: of its file, without the suffix, and of the runs that train with it.
      found_by: `TICKET`, or a criterion with its settings.
      source: the task that it was found on; "" if it does not depend on one.
    """

    name: str
    found_by: str
    source: str


def tasks_of(config: ConfigDict) -> list[str]:
    """The names of the tasks.

    Raises:
      InputError: there are none, or too few; or a name cannot be a folder's, or is taken.
    """
    names = list(config.tasks)
    if not names or (len(names) < 2 and not config.mask_from):
        raise InputError(
            "tasks has fewer than two entries; give each task a name and the fields of data in "
            "which it differs: config.tasks.even = ConfigDict({'classes': (0, 2, 4)})"
        )
    taken = {LOTTERIES, FOUND, INITIAL, MASKS, "figures", "tensorboard"}
    for name in names:
        if not NAMED.fullmatch(name) or name in taken:
            raise InputError(
                f"the task {name!r} cannot have a folder of its name; take letters, digits, _ and "
                f"-, and none of {', '.join(sorted(taken))}"
            )
    return names


def config_of(config: ConfigDict, task: str, recipe: str = "prune") -> ConfigDict:
    """The config of a run of `prune` or `lottery` on one of the tasks.

    Raises:
      InputError: the task sets what is no field of data, or to another type.
    """
    own = config.copy_and_resolve_references()
    with own.unlocked():
        for name in set(fields.TICKETS) - set(fields.LOTTERY):
            del own[name]
    own.recipe, own.mask_from = recipe, ""
    section = config.tasks[task]
    if not isinstance(section, ConfigDict):
        raise InputError(f"tasks.{task} is {section!r}; give a section with fields of data")
    for name, value in section.items():
        if name not in own.data:
            raise InputError(f"tasks.{task} has no field {name!r}{nearest(name, own.data)}")
        try:
            own.data[name] = value
        except TypeError:
            raise InputError(
                f"tasks.{task}.{name} is {value!r}; it must be like {own.data[name]!r}"
            ) from None
    return own


def rows_of(config: ConfigDict, tasks: Sequence[str]) -> list[Row]:
    """The masks that a run finds: a ticket of each task, and those of `config.one_shot`.

    Raises:
      InputError: a criterion is unknown, or two would have one name.
    """
    rows = [Row(f"{TICKET}_{task}", TICKET, task) for task in tasks]
    for text in config.one_shot:
        if not isinstance(text, str):
            raise InputError(f"one_shot has {text!r}; give criteria by name: ('random', 'snip')")
        needs_data = criterion(text).needs_data
        name = re.sub(r"\W+", "_", text).strip("_")
        if needs_data:
            rows += [Row(f"{name}_{task}", text, task) for task in tasks]
        else:
            rows.append(Row(name, text, ""))
    names = [row.name for row in rows]
    if twice := sorted({name for name in (*names, DENSE) if [*names, DENSE].count(name) > 1}):
        raise InputError(
            f"one_shot and tasks give two masks the name {twice[0]!r}; give each criterion once, "
            "or rename a task"
        )
    return rows


def stored_rows(config: ConfigDict, tasks: Sequence[str]) -> dict[Row, Path]:
    """The masks in `config.mask_from`: those that this run would find first, then by name.

    Raises:
      InputError: there are none, or a file is damaged.
    """
    if not is_text(config.mask_from):
        raise InputError(f"mask_from is {config.mask_from!r}, a path that files cannot name")
    place = Path(config.mask_from)
    folder = place / MASKS if os.path.isdir(place / MASKS) else place
    paths = sorted(folder.glob("*.mask")) if os.path.isdir(folder) else []
    files = {path.stem: path for path in paths}
    if not files:
        raise InputError(
            f"there are no masks in mask_from {folder}; give a finished run of the recipe "
            "'tickets', or a folder of mask files"
        )
    first = [row.name for row in rows_of(config, tasks)]
    order = [name for name in first if name in files]
    found = {}
    for name in [*order, *(each for each in files if each not in order)]:
        about = task_file.metadata(maskfile.read_header(files[name])["metadata"])
        known = (str(about.get(field, "")) for field in ("found_by", "task"))
        found[Row(name, *known)] = files[name]
    return found


def keep_mask(found: Path, row: Row, folder: Path) -> Path:
    """Copies a mask file to `masks/NAME.mask` of a run, with what it is."""
    read = maskfile.read(found)
    path = folder / MASKS / f"{row.name}.mask"
    path.parent.mkdir(parents=True, exist_ok=True)
    metadata = {**read.metadata, "found_by": row.found_by, "task": row.source}
    maskfile.save(path, read.masks, metadata=metadata, base=read.base)
    return path


def cell_config(config: ConfigDict, target: str, mask: Path | None) -> ConfigDict:
    """The config of the run that trains the target with a mask, or (None) whole."""
    own = config_of(config, target)
    if mask is None:
        own.density = 1.0
    else:
        own.mask_from = os.path.abspath(mask)
    return own


def check(config: ConfigDict) -> None:
    """Raises InputError for what no task has to be loaded for."""
    check_numbers("train.epochs", [config.train.epochs], 1)
    if config.head != "new":
        raise InputError(
            f"head is {config.head!r}; tasks have heads of their own, which no mask of another "
            "task fits: set it to 'new'"
        )
