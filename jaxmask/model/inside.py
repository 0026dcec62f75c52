"""The network inside a checkpoint: past nested dicts, prefixes and wrappers; pruned weights."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

from jaxmask.errors import InputError

# What PyTorch puts around a module, anywhere: compilation, several devices, checkpointing.
_WRAPPERS = r"(?<![^.])(_orig_mod|module|_fsdp_wrapped_module|_checkpoint_wrapped_module)\."
# Copies that a training keeps beside the network that it is about.
_COPIES = r"student|encoder_k|.*(momentum|target).*|(.*_)?(ema|swa|avg)(_.*)?"

_LISTED = 4  # names of other parts in a message

_ORIG, _MASK = "_orig", "_mask"  # of torch.nn.utils.prune


class Place(NamedTuple):
    """Where in a file the network is.

    Attributes:
        state: the dict that holds it: the keys that lead there, joined with dots; "" is the file.
        prefix: of its names there, without wrappers.
        others: such networks that were not taken, with the dict that holds them.
    """

    state: str
    prefix: str
    others: tuple[tuple[str, str], ...] = ()


def find(states: Mapping[str, Iterable[str]], body: str, source: str) -> Place:
    """The place of a network in a checkpoint.

    It is where most names end in `body`. A network is taken before its copies (a student, a
    momentum encoder, a moving average).

    Args:
        states: {place of a dict: the names of its arrays}; at least one.
        body: regex of names that the network has.
        source: of the file, for messages.

    Raises:
        InputError: there are several that differ in nothing but their names.
    """
    name = re.compile(rf"(|.*?\.)(?:{body})(?:{_ORIG})?")
    counts = Counter(
        (state, match[1])
        for state, keys in states.items()
        for key in keys
        if (match := name.fullmatch(unwrapped(key)))
    )
    if not counts:  # not such a network: what it lacks is told later
        return Place(max(states, key=lambda state: len(list(states[state]))), "")
    most = max(counts.values())
    whole = [place for place, count in counts.items() if count == most]
    best = [place for place in whole if not _is_copy(place)] or whole
    if len(best) > 1:
        listed = ", ".join(map(_shown, best[:4]))
        raise InputError(
            f"{source} holds {len(best)} such networks ({listed}); save the state_dict() of one"
        )
    return Place(*best[0], tuple((_shown(other), other[0]) for other in counts if other != best[0]))


def _is_copy(place: tuple[str, str]) -> bool:
    return any(re.fullmatch(_COPIES, part) for part in ".".join(place).split("."))


def _shown(place: tuple[str, str]) -> str:
    return ".".join(part.strip(".") for part in place if part) or "plain names"


def unwrapped(name: str) -> str:
    """A name without the components that wrappers add.

    Example:
        >>> unwrapped("module.layer1._orig_mod.0.conv1.weight")
        'layer1.0.conv1.weight'
    """
    return re.sub(_WRAPPERS, "", name)


def bare(
    keys: Iterable[str], prefix: str, renamed: Iterable[tuple[str, str]] = ()
) -> dict[str, str]:
    """{name without wrappers and prefix: key} of the keys with the prefix.

    In names, what a regex of `renamed` matches is replaced.

    Raises:
        InputError: two keys are one name.
    """
    names: dict[str, str] = {}
    for key in keys:
        name = unwrapped(key)
        if not name.startswith(prefix):
            continue
        name = name.removeprefix(prefix)
        for pattern, replacement in renamed:
            name = re.sub(pattern, replacement, name)
        if name in names:
            raise InputError(
                f"the checkpoint holds {names[name]} and {key}, both for {name}; keep one"
            )
        names[name] = key
    return names


def apart(keys: Iterable[str], taken: Iterable[str], prefix: str) -> list[str]:
    """The keys that are not among those taken, without wrappers and prefix."""
    taken = set(taken)
    return [unwrapped(key).removeprefix(prefix) for key in keys if key not in taken]


def merged(state: Mapping[str, np.ndarray], source: str) -> dict[str, np.ndarray]:
    """Pruned weights as one array: `w_orig` times `w_mask` is `w`, as in torch.nn.utils.prune.

    Raises:
        InputError: a pair is not whole, or `w` is there as well.
    """
    whole = dict(state)
    for name in [key for key in state if key.endswith(_ORIG)]:
        plain = name.removesuffix(_ORIG)
        weight, mask = whole.pop(name), whole.pop(plain + _MASK, None)
        if mask is None or mask.shape != weight.shape or plain in whole:
            what = "without" if mask is None else f"{weight.shape} with"
            also = f" and {plain}" if plain in whole else ""
            raise InputError(
                f"{source} has {name} {what} {plain}{_MASK}{also}; make its pruning permanent "
                "with torch.nn.utils.prune.remove"
            )
        whole[plain] = weight * mask.astype(weight.dtype)
    return whole


def keys_of(plain: Iterable[str], names: Mapping[str, str]) -> dict[str, str]:
    """{name: key in the file} of arrays; a pruned weight has the key that it would have whole."""
    return {
        name: names[name] if name in names else names[name + _ORIG].removesuffix(_ORIG)
        for name in plain
    }


def as_there(state: Mapping[str, np.ndarray], names: Mapping[str, str]) -> dict[str, np.ndarray]:
    """Arrays by plain names -> by a checkpoint's; new ones, such as a head, get its prefix."""
    prefixes = Counter(key.removesuffix(name) for name, key in names.items() if key.endswith(name))
    prefix = prefixes.most_common(1)[0][0] if prefixes else ""
    return {names.get(name, prefix + name): array for name, array in state.items()}


def described(place: Place, names: Mapping[str, str], apart: Iterable[str]) -> str:
    """What is taken from a file and what is left out, in a few words; "" if nothing is to tell.

    Args:
        place: of the network.
        names: {name: key in the file} of its arrays.
        apart: what is left out, as `apart` gives it.
    """
    ends = {key: key.removesuffix(name) for name, key in names.items() if key != name}
    prefixes = {prefix for key, prefix in ends.items() if prefix != key}
    prefixes = prefixes or {place.prefix} - {""}
    elsewhere = {other for other, state in place.others if state != place.state}
    taken = [f"reads {place.state}"] if elsewhere else []
    taken += [f"takes {prefix!r} off the names" for prefix in sorted(prefixes)]
    if any(prefix == key != unwrapped(key) for key, prefix in ends.items()):
        taken.append("takes wrappers out of the names")
    left_out = sorted(elsewhere | {_group(name, place.prefix) for name in apart})
    if left_out:
        rest = f" and {len(left_out) - _LISTED} more" if len(left_out) > _LISTED else ""
        taken.append(f"leaves out {', '.join(left_out[:_LISTED])}{rest}")
    return ", ".join(taken)


def _group(name: str, prefix: str) -> str:
    """The shortest start of a name that tells it from the network: its first component or more."""
    parts, parents, depth = name.split("."), prefix.split("."), 0
    while depth < len(parts) - 1 and parts[depth : depth + 1] == parents[depth : depth + 1]:
        depth += 1
    return ".".join(parts[: depth + 1])
