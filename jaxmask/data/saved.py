"""Find the Arrow files of a dataset that `datasets` wrote, in a folder or fetched from the hub.

This reads small JSON files, so that what is already decoded opens in milliseconds.
"""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from jaxmask import files
from jaxmask.data import columns, hub, splits
from jaxmask.errors import InputError

NAME = re.compile(r"(?P<name>\w[\w.-]{0,95}/\w[\w.-]{0,95})(:(?P<config>[^/:]{1,50}))?")
INFO = "dataset_info.json"  # of `datasets`, beside its files: the features, and where they are from
FORMS = "hf:OWNER/NAME, hf:OWNER/NAME:CONFIG or, for a folder, hf:/PATH or hf:./PATH"


class Part(NamedTuple):
    """A split: its name in the dataset, its files, and the features of its columns, as in JSON."""

    name: str
    files: tuple[Path, ...]
    features: dict[str, Any]


class Saved(NamedTuple):
    """A dataset on disk.

    Attributes:
      name: as the user gave it, without columns.
      place: the folder, or the name on the hub.
      columns: those of the image and of the label; "" has to be found.
      parts: by our names of the splits.
    """

    name: str
    place: str
    columns: tuple[str, str]
    parts: dict[str, Part]

    def __str__(self) -> str:
        return f"dataset {self.name!r}"


def find(name: str, cache_dir: Path) -> Saved:
    """The dataset that `hf:...[#[IMAGE,]LABEL]` names; one of the hub's is fetched the first time.

    Args:
      name: with `hf:`.
      cache_dir: where the paths of what was fetched are noted, in its subfolder `hub`.

    Raises:
      InputError: a name of another form, no such folder, a folder that `datasets` did not save, a
        damaged one, or see `hub.fetch`.
    """
    whole, _, chosen = name.partition("#")
    where = whole.removeprefix("hf:")
    *image, label = chosen.split(",") if chosen else ("",)
    if len(image) > 1 or ("#" in name and not all((label, *image))):
        raise InputError(f"dataset {name!r}: after # goes LABEL or IMAGE,LABEL, names of columns")
    given = (image[0] if image else "", label)
    if where.startswith(("/", ".", "~")):
        path = Path(where).expanduser().absolute()
        return Saved(whole, str(path.resolve()), given, _by_split(whole, _folder(whole, path)))
    match = NAME.fullmatch(where)
    if match is None:
        raise InputError(f"dataset {name!r} is not of the form {FORMS}")
    if Path(match["name"]).is_dir():
        raise InputError(
            f"dataset {whole!r}: here is a folder of that name; give hf:./{match['name']} for it, "
            "or start elsewhere for the dataset of the hub"
        )
    parts = _fetched(whole, match["name"], match["config"] or "", given, cache_dir)
    return Saved(whole, where, given, _by_split(whole, parts))


def _folder(name: str, path: Path) -> list[Part]:
    if (path / "dataset_dict.json").is_file():
        listed = _read(path / "dataset_dict.json").get("splits")
        if not isinstance(listed, list):
            raise InputError(f"{path / 'dataset_dict.json'} is damaged; save the dataset again")
        return [_part(str(split), path / str(split)) for split in listed]
    if (path / "state.json").is_file():
        part = _part("train", path)
        split = str(_read(path / "state.json").get("_split") or "")
        known = [alias for aliases in splits.NAMES.values() for alias in aliases]
        return [part._replace(name=split if split.lower() in known else "train")]
    if not path.is_dir():
        raise InputError(f"dataset {name!r}: there is no folder {path}")
    raise InputError(
        f"{path} was not saved by datasets; for one of files such as parquet: "
        f"{hub.save_command(str(path))}, and give hf:/PATH (for images: folder:PATH)"
    )


def _part(name: str, folder: Path) -> Part:
    try:
        names = [file["filename"] for file in _read(folder / "state.json")["_data_files"]]
        return Part(name, tuple(folder / each for each in names), _features(folder))
    except (KeyError, TypeError):
        raise InputError(f"{folder / 'state.json'} is damaged; save the dataset again") from None


def _features(folder: Path) -> dict[str, Any]:
    """What `datasets` writes beside the files, wherever it does."""
    features = _read(folder / INFO).get("features")
    if not isinstance(features, dict):
        raise InputError(f"{folder / 'dataset_info.json'} names no columns; save the dataset again")
    return features


def _read(path: Path) -> dict[str, Any]:
    return files.read_json(path, "save the dataset again")


def _fetched(
    title: str, name: str, config: str, given: tuple[str, str], cache_dir: Path
) -> list[Part]:
    """From the note about an earlier download, while its files are there; else from the hub."""
    place = (
        cache_dir / "hub" / (name.replace("/", "--") + (f"--{config}" if config else "") + ".json")
    )
    paths = _noted(place)
    if not paths:
        found = hub.fetch(name, config, lambda features: columns.choose(title, features, given))
        place.parent.mkdir(parents=True, exist_ok=True)
        files.write_json(place, {"dataset": title, "files": found})
        paths = _noted(place)
    return [
        Part(split, listed, _features(listed[0].parent))
        for split, listed in paths.items()
        if listed
    ]


def _noted(place: Path) -> dict[str, tuple[Path, ...]]:
    """The files of each split; none if some have been deleted since."""
    if not place.is_file():
        return {}
    noted = files.read_json(place, "delete it").get("files")
    if not isinstance(noted, dict):
        raise InputError(f"{place} is damaged; delete it")
    paths = {split: tuple(map(Path, listed)) for split, listed in noted.items()}
    used = [path for listed in paths.values() for path in listed]
    beside = {path.parent / INFO for path in used}
    return paths if all(path.is_file() for path in (*used, *beside)) else {}


def _by_split(name: str, parts: Iterable[Part]) -> dict[str, Part]:
    ours = {alias: split for split, aliases in splits.NAMES.items() for alias in aliases}
    found: dict[str, Part] = {}
    for part in parts:
        split = ours.get(part.name.lower(), part.name)
        if split in found:
            raise InputError(
                f"dataset {name!r} has the splits {found[split].name!r} and {part.name!r}; save "
                "it with one of them"
            )
        found[split] = part
    if not found:
        raise InputError(f"dataset {name!r} has no splits")
    return found
