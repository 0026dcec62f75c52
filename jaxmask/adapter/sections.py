"""What the section of a method says: its mask transform, path rules, and parts."""

import functools
import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any

import jax

from jaxmask import mask, tree
from jaxmask.adapter.base import Rules, Site
from jaxmask.errors import InputError, check_numbers
from jaxmask.train.named import call, first_line


def transform(field: str, text: str, axes: Mapping[str, str] = {}) -> mask.MaskTransform:
    """The transform that a config names, tested on a small tree.

    Args:
      field: the field of the config, for errors.
      text: the call of a transform.
      axes: what the axes of the network's parameters mean, by path.

    Raises:
      InputError: it is not a call of a transform with valid arguments.
    """
    known = with_axes({**mask.TRANSFORMS, **mask.INITIALIZERS, **mask.SLOPES}, axes)
    found = call(text, known, "mask transform")
    if not isinstance(found, mask.MaskTransform):
        raise InputError(f"{field} {text!r} is not a mask transform, but a part of one; name one")
    small = {"kernel": jax.ShapeDtypeStruct((2, 2), "float32")}
    try:
        scores = jax.eval_shape(found.init, jax.random.key(0), small)
        jax.eval_shape(found.apply, scores, small)
    except InputError:
        raise
    except Exception as error:  # the arguments are the user's
        raise InputError(f"{field} {text!r}: {first_line(error)}") from None
    return found


def with_axes(
    table: Mapping[str, Callable[..., Any]], axes: Mapping[str, str]
) -> dict[str, Callable[..., Any]]:
    """The functions, those that ask what axes mean with the answer."""
    return {
        name: functools.partial(each, axes=axes)
        if "axes" in inspect.signature(each).parameters
        else each
        for name, each in table.items()
    }


def mask_rules(method: str, section: Any, site: Site) -> Rules:
    """Path rules of a mask section: the head's, then the section's or else the network's."""
    if section.head not in ("train", "mask"):
        raise InputError(f"{method}.head is {section.head!r}; it must be 'train' or 'mask'")
    if section.head == "mask" and site.head[1] == "freeze":
        raise InputError(f"{method}.head is 'mask', but a text head is frozen; use 'train'")
    head = ("head/kernel", "mask") if section.head == "mask" else site.head
    return (
        head,
        *_also(method, section, site),
        *_other_stages(method, section.stages, site),
        *(section.rules or site.rules),
    )


def _also(method: str, section: Any, site: Site) -> Rules:
    """Rules for what is trained beside the mask."""
    known = ("norm", "scale")
    if others := [each for each in section.also if each not in known]:
        raise InputError(f"{method}.also has {others[0]!r}; it may have 'norm' and 'scale'")
    return norms(site) if "norm" in section.also else ()


def _other_stages(method: str, stages: int, site: Site) -> Rules:
    """Rules that freeze all but the first stages, or all but the last if `stages` is negative."""
    if abs(stages) > len(site.stages):
        raise InputError(
            f"{method}.stages is {stages}; {site.name} has {len(site.stages)} stages, 0 is all, "
            "-1 the last"
        )
    if stages == -len(site.stages):
        return ()
    if stages < 0:
        return ((f"(?!({'|'.join(site.stages[stages:])})$).*", "freeze"),)
    return tuple((path, "freeze") for path in site.stages[stages:]) if stages else ()


def share(method: str, section: Any) -> dict[str, Any]:
    """Which fraction of the scores is learned, as arguments of `masks`."""
    if section.trainable_by not in ("random", "magnitude"):
        raise InputError(
            f"{method}.trainable_by is {section.trainable_by!r}; give 'random' or 'magnitude'"
        )
    if not 0 < section.trainable_share <= 1:
        raise InputError(
            f"{method}.trainable_share is {section.trainable_share}; it must be in (0, 1]"
        )
    return {"share": section.trainable_share, "share_by": section.trainable_by}


def check_normalized(name: str, section: Any) -> None:
    """Raises InputError for rates of plain SGD, if the gradient of scores is normalized.

    A step is then about the rate, in units of the scores.
    """
    rates = section.choices if section.tune == "mask_learning_rate" else ()
    check_numbers(f"{name}.choices", rates, 0)
    if "_by_leaf" in section.train.mask_optimizer and max(rates, default=0) > 1:
        raise InputError(
            f"{name}.choices has {max(rates)}, and the gradient of scores is normalized, so that "
            f"rates are 0.001 to 0.1; give such, or {name}.train.mask_optimizer='sgd(momentum=0.9)'"
        )
    if "polyak_by_leaf" in section.train.mask_optimizer and section.train.clip > 0:
        raise InputError(
            f"{name}.train.clip is {section.train.clip}, and polyak_by_leaf measures the gradient, "
            f"which must be whole; set it to 0, or give {name}.train.mask_optimizer="
            "'normalize_by_leaf, sgd(momentum=0.9)'"
        )


def norms(site: Site) -> Rules:
    """Rules that train all norms; every module with a scale is one."""
    paths = [path for path in tree.paths(site.parameters) if path.endswith("/scale")]
    return tuple((re.escape(path.rpartition("/")[0]) + "/.*", "train") for path in paths)
