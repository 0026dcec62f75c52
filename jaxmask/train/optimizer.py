"""Optimizers and learning-rate schedules: any optax chain, by name and arguments."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxmask.errors import InputError
from jaxmask.train.named import Call, call, calls

Schedule = Callable[[Any], Any]  # step -> factor
Group = str  # "mask" (scores), "train" (weights), "low_rank" (factors) or "density"


def schedule(text: str, steps: int, steps_per_epoch: int) -> Schedule:
    """A learning rate's course over `steps`, as a factor of its peak: step -> [0, 1].

    Known are `constant`, `cosine(warmup_epochs=0)`, which rises linearly from 0 for the warm-up
    and then falls along half a cosine to 0, and `steps(epochs=(80, 120), factor=0.1)`, which
    multiplies by `factor` at each of the epochs.

    Raises:
      InputError: an unknown schedule, or a warm-up that leaves no steps after it.
    """

    def cosine(warmup_epochs: float = 0) -> Schedule:
        warmup = round(warmup_epochs * steps_per_epoch)
        if not 0 <= warmup < steps:
            raise InputError(
                f"schedule {text!r}: a warm-up of {warmup} steps leaves none of the {steps}; "
                "train longer or warm up for fewer epochs"
            )
        fall = optax.cosine_decay_schedule(1.0, steps - warmup)
        rise = optax.linear_schedule(0.0, 1.0, warmup) if warmup else fall
        return optax.join_schedules([rise, fall], [warmup])

    def stairs(epochs: tuple[float, ...], factor: float = 0.1) -> Schedule:
        return optax.piecewise_constant_schedule(
            1.0, {round(epoch * steps_per_epoch): factor for epoch in epochs}
        )

    table: dict[str, Callable] = {
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
) -> optax.GradientTransformation:
    """The optax chain that `text` describes, its learning rate's peak a number in its state.

    The learning rate at a step is `peak * course(step)`. It goes to the function of the chain
    that takes one (`sgd`, `adamw`, ...), or is applied last (`trace(0.9)`). Because the peak
    lies in the state (`set_peak`), another rate needs no recompilation.

    Args:
      text: for example "sgd(momentum=0.9)" or "scale_by_adam, add_decayed_weights(1e-4)".
      course: the schedule, as a factor.
      clip: the largest global norm of the gradient of this group; 0 does not clip.
      first: transformations that see the gradient before all others.

    Raises:
      InputError: a name that optax does not have, or arguments that it does not take.
    """
    chain = calls(text, _optax_functions(), "optimizer")
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

    def build(peak: Any) -> optax.GradientTransformation:
        def rate(step: Any) -> Any:
            return peak * course(step)

        parts = [*first, *([optax.clip_by_global_norm(clip)] if clip else [])]
        for each in chain:
            parts.append(each(learning_rate=rate) if each in takers else each())
        if not takers:
            parts.append(optax.scale_by_learning_rate(rate))
        return optax.chain(*parts)

    made = optax.inject_hyperparams(build)(peak=1.0)
    try:
        # tried on a small tree now, for its mistakes to be told before anything is compiled
        weights = {"kernel": jax.ShapeDtypeStruct((2, 2), "float32")}
        state = jax.eval_shape(made.init, weights)
        jax.eval_shape(made.update, weights, state, weights)
    except (TypeError, ValueError, AttributeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"optimizer {text!r}: {reason}") from None
    return made


def set_peak(state: Any, peak: float) -> Any:
    """The state of an `optimizer` with another peak learning rate."""
    dtype = state.hyperparams["peak"].dtype
    return state._replace(hyperparams={**state.hyperparams, "peak": jnp.asarray(peak, dtype)})


def grouped(groups: Mapping[Group, optax.GradientTransformation]) -> optax.GradientTransformation:
    """One transformation for a dict of trees, each tree with the optimizer of its name."""

    def initialize(learned: Mapping[Group, Any]) -> dict[Group, Any]:
        return {name: groups[name].init(tree) for name, tree in learned.items()}

    def update(
        gradients: Mapping[Group, Any], state: Mapping[Group, Any], learned: Any = None
    ) -> tuple[dict[Group, Any], dict[Group, Any]]:
        pairs = {
            name: groups[name].update(gradient, state[name], learned and learned[name])
            for name, gradient in gradients.items()
        }
        return (
            {name: pair[0] for name, pair in pairs.items()},
            {name: pair[1] for name, pair in pairs.items()},
        )

    return optax.GradientTransformation(initialize, update)


def falling(steps: int) -> optax.GradientTransformation:
    """A density that falls linearly from 1 in so many steps, whatever its gradient.

    Its parameters are `{"now": density, "target": density}`; after step k, `now` is
    `1 - (1 - target) * min(k / steps, 1)`, and from then on `target`, to one
    unit of its last place.
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
    """The public functions of optax that make a gradient transformation when called."""
    found = {}
    for name in dir(optax):
        function = getattr(optax, name)
        if name.startswith("_") or not inspect.isfunction(function):
            continue
        returns = str(inspect.signature(function).return_annotation)
        if "GradientTransformation" in returns:
            found[name] = function
    return found
