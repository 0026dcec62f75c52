"""Which columns of a table hold the image and its class."""

from collections.abc import Mapping
from typing import Any

from jaxmask.errors import InputError

LABEL = "label"  # what `datasets` calls a label, by convention


def choose(name: str, features: Mapping[str, Any], given: tuple[str, str]) -> tuple[str, str]:
    """(image column, label column), given or found.

    The image is the only column of that kind; so is the label, or, if none has class names, a
    column called `label` of integers or text.

    Args:
      name: of the dataset, for messages.
      features: column -> its kind, as `datasets` writes it to JSON.
      given: either may be "".

    Raises:
      InputError: a column that does not exist or is of another kind, none, or more than one.
    """
    image, label = given
    classes = [column for column in features if kind(features[column]) == "ClassLabel"]
    plain = [column for column in features if is_plain(features[column])]
    for column, right, what in (
        (image, is_image, "images"),
        (label, is_label, "classes: class names, integers or text"),
    ):
        if column and column not in features:
            raise InputError(
                f"dataset {name!r} has no column {column!r}, only {', '.join(features)}"
            )
        if column and not right(features[column]):
            raise InputError(f"dataset {name!r}: the column {column!r} holds no {what}")
    if not label and not classes and LABEL in plain:
        label = LABEL
    label = label or _only(name, "label", classes or plain, bool(classes), "{}")
    images = [column for column in features if kind(features[column]) == "Image"]
    images = images or [column for column in features if is_image(features[column])]
    image = image or _only(name, "image", images, True, f"{{}},{label}")
    return image, label


def is_image(feature: Any) -> bool:
    """Encoded images: the feature for them, or the bytes as they are stored."""
    if not isinstance(feature, dict):
        return False
    if isinstance(feature.get("bytes"), dict):
        return is_image(feature["bytes"])
    return feature.get("_type") == "Image" or feature.get("dtype") in ("binary", "large_binary")


def is_label(feature: Any) -> bool:
    """Class names, or what can be given names."""
    return kind(feature) == "ClassLabel" or is_plain(feature)


def is_plain(feature: Any) -> bool:
    """Integers, booleans or text."""
    if kind(feature) != "Value":
        return False
    dtype = str(feature.get("dtype"))
    return dtype.startswith(("int", "uint")) or dtype in ("bool", "string", "large_string")


def kind(feature: Any) -> str:
    """The type of a feature: "Image", "ClassLabel", "Value", ...; "" for several in one."""
    return str(feature.get("_type", "")) if isinstance(feature, dict) else ""


def _only(name: str, what: str, found: list[str], enough: bool, form: str) -> str:
    """The only candidate, if one is enough to be sure of it."""
    if len(found) == 1 and enough:
        return found[0]
    if not found:
        raise InputError(
            f"dataset {name!r} has no column that could be the {what}; choose one with images and "
            "classes, or change the columns with datasets (cast_column)"
        )
    raise InputError(
        f"dataset {name!r}: the {what} could be in {', '.join(found)}; say which after the name, "
        f"such as {name}#{form.format(found[0])}"
    )
