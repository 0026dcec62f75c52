"""Networks from outside this package, by the name `package.module:Class`."""

import dataclasses
import importlib
from typing import Any

import flax.linen as nn

from jaxmask.errors import InputError


def is_outside(name: str) -> bool:
    """Whether a name is that of a class outside this package."""
    return ":" in str(name)


def create(name: str, classes: int, width: float, dtype: Any, options: dict[str, Any]) -> nn.Module:
    """An instance of the user's own Linen module.

    It must have a field `classes`, and call its last layer, which gives the logits, `head`. The
    fields `width` and `dtype` are set if it has them; `train` and `features` are passed if its
    `__call__` takes them.

    Raises:
      InputError: it cannot be imported, is not a Linen module, or lacks a required field.
    """
    module = _class(name)
    fields = {field.name for field in dataclasses.fields(module)}
    given = {"classes": classes, **options}
    if "dtype" in fields:
        given["dtype"] = dtype
    if "width" in fields or width != 1.0:
        given["width"] = width
    for field in given:
        if field not in fields:
            raise InputError(f"network {name!r} has no field {field!r}; add it to the class")
    try:
        return module(**given)
    except Exception as error:
        raise InputError(f"network {name!r} cannot be created: {error}") from None


def _class(name: str) -> type[nn.Module]:
    package, _, attribute = name.partition(":")
    try:
        found = getattr(importlib.import_module(package), attribute)
    except Exception as error:  # it is the user's module that is run
        raise InputError(
            f"network {name!r} cannot be imported ({error}); give package.module:Class, with its "
            "folder on PYTHONPATH"
        ) from None
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise InputError(f"network {name!r} is not a flax.linen.Module; give one")
    return found
