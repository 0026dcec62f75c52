"""Find the folder of a dataset that TFDS prepared, and say what to do when there is none.

This reads two small JSON files and imports TFDS only to suggest similar names, so a dataset that is
already decoded opens in milliseconds.
"""

import hashlib
import json
import os
import re
import shlex
import sys
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from jaxmask.data.hub import OLDEST
from jaxmask.errors import InputError, nearest

NAME = re.compile(r"(?P<name>\w+)(/(?P<config>[\w\-.]+))?(:(?P<version>\d+\.\d+\.\d+))?")
VERSION = re.compile(r"\d+\.\d+\.\d+")
FORMAT = "array_record"
NO_TENSORFLOW = (3, 14)  # the first Python that it does not support
CATALOG = "https://www.tensorflow.org/datasets/catalog/overview"


# the same images, with the same classes in the same order
ON_THE_HUB = {
    "cifar10": "uoft-cs/cifar10",
    "cifar100": "uoft-cs/cifar100#fine_label",
    "mnist": "ylecun/mnist",
}
LAUNCHER = Path(__file__).parents[2] / "launch" / "prepare"  # where jaxmask runs from a checkout


class Unprepared(InputError):  # noqa: N818 - an InputError about what `preparing` can change
    """A dataset of TFDS that is not there (`folder` is None), or there in another format.

    Args:
      elsewhere: its name on the Hugging Face hub, if it can be taken from there.
    """

    def __init__(self, message: str, folder: Path | None = None, elsewhere: str = "") -> None:
        there = f"or, without TensorFlow: {hub_command(elsewhere)}" if elsewhere else ""
        super().__init__(message, there)
        self.folder = folder


class Prepared(NamedTuple):
    """A dataset on disk."""

    name: str  # as the user gave it
    folder: Path
    splits: tuple[str, ...]
    data_dir: Path

    def __str__(self) -> str:
        return f"dataset {self.name!r} in {self.folder}"


def find(name: str, data_dir: Path) -> Prepared:
    """Look for `name[/config][:version]` in `data_dir`; the newest version if none is given.

    Raises:
      InputError: no such dataset; the message gives the folder and the commands to fix it.
      Unprepared: not prepared, or in a format without random access; likewise.
    """
    match = NAME.fullmatch(name)
    if match is None:
        raise InputError(f"dataset {name!r} is not of the form name[/config][:version]")
    root = data_dir / match["name"]
    parent = _config_folder(name, root, match["config"])
    versions = _versions(parent)
    if match["version"]:
        versions = [version for version in versions if version == match["version"]]
    if not versions:
        _check_known(match["name"], root)
        raise Unprepared(
            f"dataset {name!r} is not prepared: there is no {parent / (match['version'] or '*')}; "
            f"to prepare it: {prepare_command(name, data_dir)}",
            elsewhere=ON_THE_HUB.get(name, ""),
        )
    folder = parent / versions[-1]
    try:
        info = json.loads((folder / "dataset_info.json").read_text())
        splits = tuple(split["name"] for split in info.get("splits", ()))
        formats = {info.get("fileFormat", "tfrecord"), *info.get("alternativeFileFormats", ())}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InputError(
            f"{folder / 'dataset_info.json'} is damaged; to prepare the dataset again: "
            f"{prepare_again_command(name, folder, data_dir)}"
        ) from None
    if FORMAT not in formats:
        raise Unprepared(
            f"dataset {name!r} in {folder} is prepared as {' and '.join(sorted(formats))}, which "
            f"cannot be read here; to convert it: {prepare_command(name, data_dir)}",
            folder,
        )
    return Prepared(name, folder, splits, data_dir)


def check_split(prepared: Prepared, split: str) -> None:
    """Raises InputError unless the prepared dataset has this split."""
    if split not in prepared.splits:
        raise InputError(
            f"{prepared} has no split {split!r}, only "
            f"{', '.join(map(repr, prepared.splits)) or 'none'}; choose another dataset "
            f"or, if this copy is incomplete, prepare it again: "
            f"{prepare_again_command(prepared.name, prepared.folder, prepared.data_dir)}"
        )


def fingerprint(folder: Path, *options) -> str:
    """A hash of all that a decoded split depends on: the metadata, the data files, the options."""
    state = hashlib.sha256(repr(options).encode())
    for path in sorted(folder.iterdir()):
        status = path.stat()
        state.update(repr((path.name, status.st_size, status.st_mtime_ns)).encode())
        if path.suffix in (".json", ".txt"):
            state.update(path.read_bytes())
    return state.hexdigest()


def prepare_command(name: str, data_dir: Path) -> str:
    """The shell command to prepare or convert a dataset into the format that jaxmask reads.

    In an environment of its own, because that needs TensorFlow.
    """
    given = shlex.join([name, f"--directory={data_dir}"])
    if LAUNCHER.is_file():
        return f"{shlex.quote(str(LAUNCHER))} {given}"
    interpreter = sys.executable if sys.version_info < NO_TENSORFLOW else "python3.13"
    return (
        f"{shlex.quote(interpreter)} -m venv .venv-prepare && "
        f".venv-prepare/bin/pip install {shlex.quote(_requirement('prepare'))} && "
        f".venv-prepare/bin/python -m jaxmask.prepare {given}"
    )


def hub_command(name: str) -> str:
    """How to run the same command with a dataset of the Hugging Face hub."""
    same = f"the same command with {shlex.quote(f'--config.data.name=hf:{name}')}"
    try:
        if int(metadata.version("datasets").split(".")[0]) >= OLDEST:
            return same
    except metadata.PackageNotFoundError:
        pass
    return f"{shlex.quote(sys.executable)} -m pip install 'datasets>={OLDEST}', then {same}"


def _requirement(extra: str) -> str:
    """What pip takes to install this package with an extra: from where it was installed."""
    try:
        source = metadata.distribution("jaxmask").read_text("direct_url.json")
    except metadata.PackageNotFoundError:
        source = None
    if source is None:  # an index
        return f"jaxmask[{extra}]"
    found = json.loads(source)
    version = found.get("vcs_info")
    url = f"{version['vcs']}+{found['url']}@{version['commit_id']}" if version else found["url"]
    return f"jaxmask[{extra}] @ {url}"


def prepare_again_command(name: str, folder: Path, data_dir: Path) -> str:
    """The same if the folder has a bad copy, moved away first: TFDS would keep it."""
    away = shlex.join(["mv", str(folder), f"{folder}.old"])
    return f"{away} && {prepare_command(name, data_dir)}"


def _config_folder(name: str, root: Path, config: str | None) -> Path:
    if config:
        return root / config
    if _versions(root) or not root.is_dir():
        return root
    configs = sorted(path.name for path in root.iterdir() if _versions(path))
    try:  # a file that TFDS writes beside the configs
        metadata = json.loads((root / ".config" / "metadata.json").read_text())
        default = metadata["defaultConfigName"]
    except (OSError, ValueError, KeyError, TypeError):
        default = configs[0] if len(configs) == 1 else None
    if default in configs:
        return root / default
    if configs:
        raise InputError(
            f"dataset {name!r} in {root} is prepared in the configs {', '.join(configs)}; "
            f"name one: {root.name}/{configs[0]}"
        )
    return root


def _versions(folder: Path) -> list[str]:
    """The versions prepared in a folder, oldest first."""
    try:
        found = [entry for entry in os.listdir(folder) if VERSION.fullmatch(entry)]
    except OSError:
        return []
    found = [entry for entry in found if (folder / entry / "dataset_info.json").is_file()]
    return sorted(found, key=lambda version: [int(part) for part in version.split(".")])


def _check_known(name: str, root: Path) -> None:
    import tensorflow_datasets as tfds

    # Community datasets would be looked up on the network.
    known = [*tfds.list_builders(with_community_datasets=False), "digits"]
    if name in known:
        return
    hint = nearest(name, known)
    if "did you mean" not in hint:  # the list of all is long
        hint = f"; choose digits or one of {CATALOG}"
    raise InputError(f"dataset {name!r} is unknown to TFDS and not in {root}{hint}")
