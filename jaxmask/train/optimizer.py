"""Optimizers and learning-rate schedules: any optax chain, by name and arguments."""

import functools
import inspect
import math
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxmask.errors import InputError, check_numbers
from jaxmask.train import scores
from jaxmask.train.named import Call, call, calls, first_line

Schedule = Callable[[Any], Any]  # step -> factor
Group = str  # a learned group: "train" (weights), "scores", or another of an adapter
MOST_COPIES = 1000  # of the weights, in the state of an optimizer
RATES = ("learning_rate", "mask_learning_rate")  # fields of a training section


class Section(NamedTuple):
    """A config's training section, from which an adapter gets the optimizers of its groups.

    Attributes:
      config: the section, see `run.defaults.train`.
      steps: all training steps.
      steps_per_epoch: training steps per epoch.
      first: transformations applied to the gradient of weights before all others.
    """

    config: Any
    steps: int
    steps_per_epoch: int
    first: tuple[optax.GradientTransformation, ...] = ()

    def weights(self) -> optax.GradientTransformation:
        """The optimizer of weights: the fields `optimizer` and `learning_rate`."""
        return self._named("optimizer", "learning_rate", self.first)

    def scores(self) -> optax.GradientTransformation:
        """The optimizer of scores: the fields `mask_optimizer` and `mask_learning_rate`."""
        return self._named("mask_optimizer", "mask_learning_rate")

    def _named(
        self, field: str, rate: str, first: tuple[optax.GradientTransformation, ...] = ()
    ) -> optax.GradientTransformation:
        course = schedule(self.config.schedule, self.steps, self.steps_per_epoch)
        return optimizer(
            self.config[field], course, self.config.clip, first, rate, self.steps_per_epoch
        )


def schedule(text: str, steps: int, steps_per_epoch: int) -> Schedule:
    """A learning-rate schedule over `steps`, as a factor of the peak: step -> [0, 1].

    Known: `constant`, `cosine(warmup_epochs=0)`, which rises linearly from 0 in the warm-up and
    then falls along half a cosine to 0, and `steps(epochs=(80, 120), factor=0.1)`, which
    multiplies by `factor` at each of the epochs.

    Raises:
      InputError: the schedule is unknown, its warm-up leaves no further steps, or its epochs do
        not follow each other within training.
    """

    def cosine(warmup_epochs: float = 0) -> Schedule:
        check_numbers("warmup_epochs", [warmup_epochs], 0)
        warmup = round(warmup_epochs * steps_per_epoch)
        if warmup >= steps:
            raise InputError(
                f"schedule {text!r}: a warm-up of {warmup} steps leaves none of the {steps}; "
                "train longer or warm up for fewer epochs"
            )
        fall = optax.cosine_decay_schedule(1.0, steps - warmup)
        rise = optax.linear_schedule(0.0, 1.0, warmup) if warmup else fall
        return optax.join_schedules([rise, fall], [warmup])

    def stairs(epochs: tuple[float, ...], factor: float = 0.1) -> Schedule:
        check_numbers("epochs", epochs, 0)
        check_numbers("factor", [factor], 0, 1)
        at = [round(epoch * steps_per_epoch) for epoch in epochs]
        if any(a >= b for a, b in pairwise([0, *at, steps])):
            raise InputError(
                f"schedule {text!r}: give epochs that grow, above 0 and below the "
                f"{steps / steps_per_epoch:g} of training, at least one step apart"
            )
        return optax.piecewise_constant_schedule(1.0, dict.fromkeys(at, factor))

    table: dict[str, Callable[..., Schedule]] = {
        "constant": lambda: optax.constant_schedule(1.0),
        "cosine": cosine,
        "steps": stairs,
    }
    return call(text, table, "schedule")


def optimizer(
    text: str,
    course: Schedule,
    clip: float = 0.0,
    first: tuple[optax.GradientTransformation, ...] = (),
    rate: str = "learning_rate",
    steps_per_epoch: int = 1,
) -> optax.GradientTransformation:
    """The optax chain that `text` describes, with the peak learning rate in its state.

    Beside optax's functions it may name those of `train.scores`.

    The learning rate at a step is `peak * course(step)`. It goes to the function of the chain
    that takes one (`sgd`, `adamw`, ...), or is applied last (`trace(0.9)`). Because the peak is
    in the state (`set_peaks`), another rate needs no recompilation.

    Args:
      text: for example "sgd(momentum=0.9)" or "scale_by_adam, add_decayed_weights(1e-4)".
      course: the schedule, as a factor.
      clip: the largest global norm of the gradient of this group; 0 does not clip.
      first: transformations that see the gradient before all others.
      rate: the name of the peak in the state.
      steps_per_epoch: training steps per epoch, for `flips`.

    Raises:
      InputError: a name that optax does not have, or arguments that it does not take.
    """
    ours: dict[str, Any] = {
        "normalize_by_leaf": scores.normalize_by_leaf,
        "polyak_by_leaf": scores.polyak_by_leaf,
        "flips": functools.partial(scores.flips, steps_per_epoch=steps_per_epoch),
    }
    chain = calls(text, {**_optax_functions(), **ours}, "optimizer")
    takers = [each for each in chain if _takes_learning_rate(each)]
    if len(takers) > 1:
        names = " and ".join(each.name for each in takers)
        raise InputError(f"optimizer {text!r}: both {names} take the learning rate; keep one")
    for each in takers:
        if each.arguments or "learning_rate" in each.keywords:
            raise InputError(
                f"optimizer {text!r}: the learning rate is a field of its own; "
                f"name the other arguments of {each.name}"
            )

    def build(**peak: Any) -> optax.GradientTransformation:
        def now(step: Any) -> Any:
            return peak[rate] * course(step)

        parts = [*first, *([optax.clip_by_global_norm(clip)] if clip else [])]
        for each in chain:
            parts.append(each(learning_rate=now) if each in takers else each())
        if not takers:
            parts.append(optax.scale_by_learning_rate(now))
        return optax.chain(*parts)

    # optax takes the names of hyperparameters from the signature
    parameter = inspect.Parameter(rate, inspect.Parameter.KEYWORD_ONLY)
    build.__signature__ = inspect.Signature([parameter])  # type: ignore[attr-defined]
    try:
        made = optax.inject_hyperparams(build)(**{rate: 1.0})
        # tried on a small tree now, for its mistakes to be told before anything is compiled
        weights = {"kernel": jax.ShapeDtypeStruct((2, 2), "float32")}
        state = jax.eval_shape(made.init, weights)
        jax.eval_shape(functools.partial(made.update, value=0.0), weights, state, weights)
    except InputError:
        raise
    except Exception as error:  # the arguments are the user's
        raise InputError(f"optimizer {text!r}: {first_line(error)}") from None
    copies = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(state)) / 4
    if copies > MOST_COPIES:
        raise InputError(
            f"optimizer {text!r} keeps {copies:g} numbers for each weight; give one that keeps at "
            f"most {MOST_COPIES}"
        )
    return made


def set_peaks(state: Mapping[Group, Any], peaks: Mapping[str, float]) -> dict[Group, Any]:
    """The state of `grouped` optimizers with new peak learning rates, by the name of the rate.

    An optimizer without these rates in its state is unchanged.
    """

    def peaked(each: Any) -> Any:
        known = getattr(each, "hyperparams", {})
        new = {name: peaks[name] for name in known if name in peaks}
        if not new:
            return each
        arrays = {name: jnp.asarray(peak, known[name].dtype) for name, peak in new.items()}
        return each._replace(hyperparams={**known, **arrays})

    return {group: peaked(each) for group, each in state.items()}


def rates(state: Mapping[Group, Any]) -> set[str]:
    """The names of the peak learning rates in the state of `grouped` optimizers."""
    return {name for each in state.values() for name in getattr(each, "hyperparams", {})}


def grouped(
    groups: Mapping[Group, optax.GradientTransformation],
) -> optax.GradientTransformationExtraArgs:
    """One transformation for a dict of trees: each tree has the optimizer of its name.

    Further arguments of `update` (`value`, the loss) go to the optimizers that take them.

    Raises:
      InputError: by `init`, for a tree without one.
    """

    rules = {name: optax.with_extra_args_support(rule) for name, rule in groups.items()}

    def initialize(learned: Mapping[Group, Any]) -> dict[Group, Any]:
        if missing := sorted(learned.keys() - groups.keys()):
            raise InputError(f"no optimizer is given for the learned {', '.join(missing)}; add one")
        return {name: groups[name].init(tree) for name, tree in learned.items()}

    def update(
        gradients: Mapping[Group, Any],
        state: Mapping[Group, Any],
        learned: Any = None,
        **extra: Any,
    ) -> tuple[dict[Group, Any], dict[Group, Any]]:
        pairs = {
            name: rules[name].update(gradient, state[name], learned and learned[name], **extra)
            for name, gradient in gradients.items()
        }
        return (
            {name: pair[0] for name, pair in pairs.items()},
            {name: pair[1] for name, pair in pairs.items()},
        )

    return optax.GradientTransformationExtraArgs(initialize, update)


def falling(steps: int) -> optax.GradientTransformation:
    """A density that falls linearly from 1 in `steps` steps, ignoring its gradient.

    Its parameters are `{"now": density, "target": density}`; after step k, `now` is
    `1 - (1 - target) * min(k / steps, 1)`, from step `steps` on `target`, to one unit in the
    last place.
    """

    def initialize(parameters: Mapping[str, Any]) -> Any:
        del parameters
        return jnp.zeros((), jnp.int32)

    def update(gradients: Any, step: Any, parameters: Any = None) -> tuple[Any, Any]:
        del gradients
        now, target = parameters["now"], parameters["target"]
        share = jnp.minimum((step + 1) / steps, 1.0).astype(target.dtype)
        value = jnp.where(share < 1, 1 - (1 - target) * share, target)
        return {"now": value - now, "target": jnp.zeros_like(target)}, step + 1

    return optax.GradientTransformation(initialize, update)


def _takes_learning_rate(each: Call) -> bool:
    return "learning_rate" in inspect.signature(each.function).parameters


def _optax_functions() -> dict[str, Any]:
    """The public functions of optax that return a gradient transformation."""
    found = {}
    for name in dir(optax):
        function = getattr(optax, name)
        if name.startswith("_") or not inspect.isfunction(function):
            continue
        if name == "polyak_sgd":  # it descends by itself, and takes no rate; scale_by_polyak does
            continue
        returns = str(inspect.signature(function).return_annotation)
        if "GradientTransformation" in returns:
            found[name] = function
    return found
