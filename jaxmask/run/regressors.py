"""Fitted regressors as arrays, and the file of one that scores: safetensors, never pickle."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jax.tree_util import Partial
from safetensors import SafetensorError
from safetensors.numpy import save as to_safetensors

from jaxmask import files
from jaxmask.errors import InputError
from jaxmask.model import checkpoint
from jaxmask.score import regressor
from jaxmask.score.learned import SCALES

NAME = "scores.safetensors"
FORMAT, VERSION = "jaxmask learned scores", "1"
Arrays = Mapping[str, np.ndarray]


class Regressor(NamedTuple):
    """Arrays, by the names of the arguments of a function in `KINDS`; all float32 or int32."""

    kind: str
    arrays: Arrays

    def predictor(self) -> Partial:
        """float32 [N, F] -> float32 [N]."""
        return predictor(self.kind, self.arrays)


class LearnedScores(NamedTuple):
    """What `score.learned` needs, by names.

    Attributes:
      regressor: predicts from the features.
      features: each as a config would name a criterion: "grasp(absolute=True)", or one of
        `run.features`.
      scales: of each feature; see `score.features`.
      about: JSON values for people: what it was fitted to.
    """

    regressor: Regressor
    features: tuple[str, ...]
    scales: tuple[str, ...]
    about: Mapping[str, Any] = {}

    def fingerprint(self) -> str:
        """SHA-256 of all that the scores depend on."""
        digest = hashlib.sha256(
            json.dumps([self.regressor.kind, self.features, self.scales]).encode()
        )
        for name, array in sorted(self.regressor.arrays.items()):
            digest.update(f"{name} {array.dtype.str} {array.shape} ".encode())
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()


def _linear(arrays: Arrays) -> Partial:
    return regressor.linear(**arrays)


def _trees(arrays: Arrays) -> Partial:
    return regressor.trees(**arrays)


def _mlp(arrays: Arrays) -> Partial:
    layers = range(len(arrays) // 2)
    return regressor.mlp([arrays[f"kernel_{i}"] for i in layers],
                         [arrays[f"bias_{i}"] for i in layers])  # fmt: skip


KINDS: dict[str, Callable[[Any], Partial]] = {"linear": _linear, "trees": _trees, "mlp": _mlp}
_TREES = {"feature": "i", "threshold": "f", "left": "i", "right": "i", "value": "f"}


def predictor(kind: str, arrays: Any) -> Partial:
    """A predictor of `score.regressor`, of arrays by name, which may be traced."""
    return KINDS[kind](arrays)


# scikit-learn's models


def of_linear(model: Any) -> Regressor:
    """Of a `LinearRegression` or `SGDRegressor`."""
    numbers = {"coefficients": model.coef_, "intercept": np.ravel(model.intercept_)[0]}
    return Regressor("linear", {name: np.asarray(x, np.float32) for name, x in numbers.items()})


def of_trees(models: Sequence[Any]) -> Regressor:
    """The mean of `DecisionTreeRegressor`s: one, or the `estimators_` of a forest."""
    return _stacked([
        (tree.feature, tree.threshold, tree.children_left, tree.children_right,
         tree.value[:, 0, 0] / len(models), tree.children_left < 0, tree.max_depth)
        for tree in (model.tree_ for model in models)
    ], 0.0)  # fmt: skip


def of_boosting(model: Any) -> Regressor:
    """Of a `HistGradientBoostingRegressor` of numbers that are not missing."""
    every = [trees[0].nodes for trees in model._predictors]  # there is no public way to them
    return _stacked([
        (nodes["feature_idx"], nodes["num_threshold"], nodes["left"], nodes["right"],
         nodes["value"], nodes["is_leaf"] > 0, nodes["depth"].max())
        for nodes in every
    ], float(np.ravel(model._baseline_prediction)[0]))  # fmt: skip


def _stacked(trees: Sequence[tuple[Any, ...]], base: float) -> Regressor:
    """Trees as `score.regressor.trees` takes them, filled up to the size of the largest."""
    most = max(len(tree[0]) for tree in trees)
    arrays: dict[str, Any] = {
        name: np.zeros((len(trees), most), np.int32 if kind == "i" else np.float32)
        for name, kind in _TREES.items()
    }
    for row, (feature, threshold, left, right, value, leaf, _) in enumerate(trees):
        own, here = np.arange(len(leaf)), slice(len(leaf))
        arrays["feature"][row, here] = np.where(leaf, 0, feature)
        arrays["threshold"][row, here] = np.where(leaf, 0, rounded_down(threshold))
        arrays["left"][row, here] = np.where(leaf, own, left)
        arrays["right"][row, here] = np.where(leaf, own, right)
        arrays["value"][row, here] = value
    arrays["depth"] = np.array([tree[-1] for tree in trees], np.int32)
    arrays["base"] = np.asarray(base, np.float32)
    return Regressor("trees", arrays)


def rounded_down(threshold: Any) -> np.ndarray:
    """The largest float32 that is not above: `x <= t` is then the same for every float32 x."""
    exact = np.asarray(threshold, np.float64)
    with np.errstate(over="ignore"):
        near = exact.astype(np.float32)
    return np.where(near > exact, np.nextafter(near, np.float32(-np.inf)), near)


# The file


def save(path: Path, scores: LearnedScores) -> int:
    """Writes learned scores; returns the size in bytes."""
    header = {
        "format": FORMAT,
        "version": VERSION,
        "kind": scores.regressor.kind,
        "features": json.dumps(scores.features),
        "scales": json.dumps(scores.scales),
        "about": json.dumps(files.plain(dict(scores.about))),
    }
    # `np.ascontiguousarray` would make a list of a number
    arrays = {name: np.array(each, order="C") for name, each in scores.regressor.arrays.items()}
    content = to_safetensors(dict(sorted(arrays.items())), header)
    path.parent.mkdir(parents=True, exist_ok=True)
    files.replace(path, content)
    return len(content)


def load(path: Path) -> LearnedScores:
    """Reads what `save` wrote, bit for bit.

    Args:
      path: the file, or the folder of a learner, with a `scores.safetensors`.

    Raises:
      InputError: there is no such file, it is another one, or its arrays do not fit together.
    """
    file = path / NAME if path.is_dir() else path
    if not file.is_file():
        raise InputError(
            f"there are no learned scores at {file}; give a {NAME} of the recipe 'learn_scores'"
        )
    try:
        arrays, texts = checkpoint.arrays(file)
    except (SafetensorError, ValueError, OSError, TypeError, LookupError) as error:
        raise InputError(f"{file} is not a complete safetensors file ({error})") from None
    if texts.get("format") != FORMAT:
        raise InputError(f"{file} holds no learned scores; give a {NAME} of 'learn_scores'")
    if texts.get("version") != VERSION:
        raise InputError(
            f"{file} is of version {texts.get('version')!r} of its format, this program reads "
            f"{VERSION!r}; use the version of jaxmask that wrote it"
        )
    try:
        features, scales, about = (
            json.loads(texts[each]) for each in ("features", "scales", "about")
        )
        found = LearnedScores(
            Regressor(texts["kind"], arrays), tuple(features), tuple(scales), dict(about)
        )
        fault = _fault(found)
    except (ValueError, TypeError, LookupError, RecursionError) as error:
        fault = f"its header cannot be read ({error})"
    if fault:
        raise InputError(f"{file} is damaged: {fault}; delete it, and run 'learn_scores' again")
    return found


def _fault(found: LearnedScores) -> str:
    """What is wrong with the content of a file; "" if nothing is."""
    kind, arrays = found.regressor
    if not all(isinstance(each, str) for each in found.features) or not found.features:
        return "its features are no texts"
    if len(found.scales) != len(found.features) or not set(found.scales) <= set(SCALES):
        return "its scales do not fit its features"
    if kind not in KINDS:
        return f"{kind!r} is no kind of regressor"
    for name, array in arrays.items():
        # a threshold that all rows pass is infinite
        wrong = np.isnan(array) if name == "threshold" else ~np.isfinite(array)
        if array.dtype not in (np.float32, np.int32) or wrong.any():
            return f"{name!r} is not of finite float32 or int32"
    return _FAULTS[kind](arrays, len(found.features))


def _fault_of_linear(arrays: Arrays, count: int) -> str:
    shapes = {name: each.shape for name, each in arrays.items()}
    right = {"coefficients": (count,), "intercept": ()}
    return "" if shapes == right else f"its shapes are {shapes} for {count} features"


def _fault_of_trees(arrays: Arrays, count: int) -> str:
    if set(arrays) != {*_TREES, "depth", "base"}:
        return f"its arrays are {', '.join(sorted(arrays))}"
    shape = arrays["feature"].shape
    if any(arrays[name].shape != shape or arrays[name].dtype.kind != kind
           for name, kind in _TREES.items()):  # fmt: skip
        return "the nodes of its trees have several shapes"
    if len(shape) != 2 or 0 in shape or arrays["depth"].shape != shape[:1]:
        return "it has no trees"
    ends = {"feature": count, "left": shape[1], "right": shape[1], "depth": shape[1]}
    for name, end in ends.items():
        if arrays[name].dtype != np.int32 or not ((arrays[name] >= 0) & (arrays[name] < end)).all():
            return f"an entry of {name!r} is not in [0, {end})"
    return "" if arrays["base"].shape == () else "its base is not a number"


def _fault_of_mlp(arrays: Arrays, count: int) -> str:
    layers = range(len(arrays) // 2)
    if not layers or set(arrays) != {f"{what}_{i}" for what in ("kernel", "bias") for i in layers}:
        return f"its arrays are {', '.join(sorted(arrays))}"
    width = count
    for i in layers:
        kernel, bias = arrays[f"kernel_{i}"], arrays[f"bias_{i}"]
        if kernel.ndim != 2 or kernel.shape[0] != width or bias.shape != kernel.shape[1:]:
            return f"layer {i} has shapes {kernel.shape} and {bias.shape}, for {width} inputs"
        width = kernel.shape[1]
    return "" if width == 1 else f"it has {width} outputs, not one"


_FAULTS = {"linear": _fault_of_linear, "trees": _fault_of_trees, "mlp": _fault_of_mlp}
