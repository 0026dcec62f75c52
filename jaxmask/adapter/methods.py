"""The methods that the recipe `adapt` compares, by their names in configs and files."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from jaxmask import mask
from jaxmask.adapter.base import Adapter, Evaluator, Site
from jaxmask.adapter.knn import KNN
from jaxmask.adapter.lora import LARGEST_SCALE, MOST_RANK, lora
from jaxmask.adapter.masks import masks
from jaxmask.adapter.probe import LINEAR_PROBE
from jaxmask.adapter.scaled import scaled
from jaxmask.adapter.sections import (
    check_normalized,
    mask_rules,
    norms,
    share,
    transform,
    with_axes,
)
from jaxmask.adapter.weights import restore, weights
from jaxmask.errors import InputError, check_numbers
from jaxmask.train.named import call


class Method(NamedTuple):
    """An adapter that a config section describes.

    Attributes:
      build: (section, Site) -> Adapter; raises InputError for an invalid value.
      defaults: the fields of its section in a config, except `train`. "tune" names the field of
        `train` that the choices set.
      arrays: fields whose values are arrays of the training run: runs that differ only in these
        share compiled programs.
      settle: (section, results of earlier methods) -> section, for a method that uses the result
        of another one.
      about: the method in a line.
      train: the fields of `train` whose defaults are others than those of all methods.
    """

    build: Callable[[Any, Site], Adapter]
    defaults: Mapping[str, Any]
    arrays: tuple[str, ...] = ()
    settle: Callable[[Any, Mapping[str, Any]], Any] = lambda section, results: section
    about: str = ""
    train: Mapping[str, Any] = {}


def _full(section: Any, site: Site) -> Adapter:
    """Fine-tune every weight."""
    return weights([site.head, (".*", "train")])


def _partial(section: Any, site: Site) -> Adapter:
    """Fine-tune the last stages."""
    if not 1 <= section.stages <= len(site.stages):
        raise InputError(
            f"partial.stages is {section.stages}; {site.name} has {len(site.stages)} stages"
        )
    return weights([site.head, *((path, "train") for path in site.stages[-section.stages :])])


def _bias(section: Any, site: Site) -> Adapter:
    """Fine-tune the biases only (BitFit, Ben Zaken et al. 2022)."""
    return weights([site.head, ("(.*/)?bias", "train")])


def _norm(section: Any, site: Site) -> Adapter:
    """Fine-tune scales and biases of batch and layer norms only (Frankle et al. 2021)."""
    found = norms(site)
    if not found:
        raise InputError(f"norm: {site.name} has no batch or layer norm")
    return weights([site.head, *found])


def _lora(section: Any, site: Site) -> Adapter:
    """Learn low-rank updates of the kernels (LoRA, Hu et al. 2022)."""
    check_numbers("lora.rank", [section.rank], 1, MOST_RANK)
    check_numbers("lora.scale", [section.scale], 0, LARGEST_SCALE)
    rules = [site.head, *(section.rules or site.rules)]
    return lora(rules, section.rank, section.scale, site.axes)


def _mask(name: str) -> Callable[[Any, Site], Adapter]:
    """Learn one bit per frozen weight by the transform that the section names."""

    def build(section: Any, site: Site) -> Adapter:
        check_normalized(name, section)
        rules = mask_rules(name, section, site)
        way = masks(
            transform(f"{name}.transform", section.transform, site.axes),
            rules,
            settings={"transform": section.transform},
            **share(name, section),
        )
        return scaled(way, rules, site.axes) if "scale" in section.also else way

    return build


def _mask_topk(section: Any, site: Site) -> Adapter:
    """Learn which frozen weights to keep, at a given density."""
    check_numbers("mask_topk.density", [section.density], 0)
    check_numbers("mask_topk.falling_epochs", [section.falling_epochs], 0)
    if section.density > 1:
        raise InputError(f"mask_topk.density is {section.density}; it must be in [0, 1]")
    if section.falling_epochs > section.train.epochs:
        raise InputError(
            f"mask_topk.falling_epochs is {section.falling_epochs}; it must be at most the "
            f"{section.train.epochs} epochs of training"
        )
    if section.falling_epochs and section.train.patience:
        raise InputError(
            "mask_topk.falling_epochs needs mask_topk.train.patience=0: early stopping would end "
            "at another density"
        )
    if section.falling_epochs and section.train.select != "last":
        raise InputError(
            "mask_topk.falling_epochs needs mask_topk.train.select='last': an earlier epoch has "
            "another density"
        )
    transform("mask_topk", f"top_k(0.5, scope={section.scope!r}, init={section.initial})")
    initial = call(section.initial, with_axes(mask.INITIALIZERS, site.axes), "initial scores")
    rules = mask_rules("mask_topk", section, site)
    way = masks(
        lambda density: mask.top_k(density, section.scope, initial, section.rescale, site.axes),
        rules,
        density=section.density or 1.0,  # 0 is replaced before training, by `settle`
        falling_epochs=section.falling_epochs,
        settings={"transform": "top_k"},
        **share("mask_topk", section),
    )
    return scaled(way, rules, site.axes) if "scale" in section.also else way


def _found_density(section: Any, results: Mapping[str, Any]) -> Any:
    """Replaces a density of 0 by the one that `mask` found."""
    if section.density:
        return section
    if "mask" not in results:
        raise InputError(
            "mask_topk.density is 0, which takes the density that 'mask' finds; name 'mask' "
            "before it in config.methods"
        )
    section = section.copy_and_resolve_references()
    section.density = results["mask"].density
    return section


# what each field is: `run.fields.METHOD`
_RATES = {"tune": "learning_rate", "choices": (0.001, 0.01, 0.03, 0.1)}
_MASK = {
    "rules": (),
    "stages": 0,
    "head": "train",
    "also": (),
    "trainable_share": 1.0,
    "trainable_by": "random",
    "tune": "mask_learning_rate",
    "choices": (1.0, 5.0, 20.0, 50.0),
}

METHODS: dict[str, Method] = {
    "full": Method(_full, _RATES, about="fine-tune every weight"),
    "partial": Method(_partial, {"stages": 1, **_RATES}, about="fine-tune the last stages"),
    "bias": Method(_bias, _RATES, about="fine-tune the biases (BitFit, Ben Zaken et al. 2022)"),
    "norm": Method(
        _norm, _RATES, about="fine-tune scales and biases of norms (Frankle et al. 2021)"
    ),
    "lora": Method(
        _lora,
        {"rank": 4, "scale": 1.0, "rules": (), **_RATES},
        about="low-rank updates of kernels (LoRA, Hu et al. 2022)",
    ),
    "mask": Method(
        _mask("mask"),
        {
            **_MASK,
            "transform": "threshold(mu=0.0, init=constant(1.0), rescale=True)",
            "choices": (0.005, 0.01, 0.02, 0.05),
        },
        about="one bit per weight, on where its score is above a threshold (Mallya et al. 2018)",
        # the rate counts in units of the scores, and the loss limits the steps
        train={
            "mask_optimizer": "polyak_by_leaf(0.99), sgd(momentum=0.9)",
            "mask_learning_rate": 0.02,
        },
    ),
    "mask_sign": Method(
        _mask("mask_sign"),
        {**_MASK, "transform": "sign(init=magnitude())"},
        about="one sign per weight (BinaryConnect, Courbariaux et al. 2015)",
    ),
    "mask_topk": Method(
        _mask_topk,
        {
            **_MASK,
            "density": 0.5,
            "falling_epochs": 0.0,
            "scope": "layer",
            "initial": "kaiming_uniform()",
            "rescale": True,
        },
        arrays=("density",),
        settle=_found_density,
        about="one bit per weight, an exact share of them on (Ramanujan et al. 2020)",
    ),
}
EVALUATORS: dict[str, Evaluator] = {"knn": KNN, "linear_probe": LINEAR_PROBE}

# The adapters that restore what these methods store; without rules, which only training needs.
KNOWN: dict[str, Adapter] = {
    **{name: weights() for name in ("full", "partial", "bias", "norm", *EVALUATORS)},
    "knn": weights()._replace(restore=restore),  # its arrays are for its classifier
    **{
        name: scaled(masks(mask.threshold(), ()), ()) for name in ("mask", "mask_topk", "mask_sign")
    },
    "lora": lora(()),
}
