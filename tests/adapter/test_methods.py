"""Methods as configs describe them: which parameters each learns, and what it refuses."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmask import adapter, mask, model, tree
from jaxmask.adapter import sections
from jaxmask.adapter.base import Site
from jaxmask.errors import InputError
from jaxmask.run import defaults
from jaxmask.run.result import Result

pytestmark = pytest.mark.usefixtures("quick_compilation")


def site(name="lenet5", head="train"):
    net = model.create(name, classes=3, width=0.25)
    shapes = jax.eval_shape(lambda: model.initialize(net, jax.random.key(0), (16, 16, 1)))
    rules = tuple(rule for rule in model.rules(name) if not rule[0].startswith("head/"))
    return Site(name, shapes["params"], rules, model.stages(name), ("head/.*", head))


def section(method, **changes):
    made = defaults.adapt("digits", 4)[method]
    made.update(changes)
    return made


def groups(method, where=None, **changes):
    """{group: paths} of what a method learns and freezes; nothing is computed."""
    where = where or site()
    way = adapter.METHODS[method].build(section(method, **changes), where)
    learned, frozen = jax.eval_shape(way.init, jax.random.key(0), where.parameters)
    return (
        {name: set(tree.named_leaves(part)) for name, part in learned.items()},
        {name: set(tree.named_leaves(part)) for name, part in frozen.items()},
    )


HEAD = {"head/kernel", "head/bias"}
LAYERS = ("conv1", "conv2", "fc1")
KERNELS = {f"{layer}/kernel" for layer in LAYERS}
BIASES = {f"{layer}/bias" for layer in LAYERS}


@pytest.mark.parametrize(
    ("method", "changes", "trained"),
    [
        ("full", {}, HEAD | KERNELS | BIASES),
        ("partial", {}, HEAD | {"fc1/kernel", "fc1/bias"}),
        ("partial", {"stages": 2}, HEAD | {f"{a}/{b}" for a in LAYERS[1:]
                                           for b in ("kernel", "bias")}),
        ("bias", {}, HEAD | BIASES),
    ],
)  # fmt: skip
def test_fine_tuning_trains_what_its_name_says(method, changes, trained):
    learned, frozen = groups(method, **changes)
    assert learned == {"train": trained}
    assert frozen == {"freeze": (HEAD | KERNELS | BIASES) - trained}


def test_norm_trains_scales_and_biases_of_norms_alone():
    where = site("resnet20")
    learned, _ = groups("norm", where)
    every = set(tree.paths(where.parameters))
    norms = {path for path in every if "/bn" in f"/{path}"}
    assert norms
    assert learned == {"train": HEAD | norms}


@pytest.mark.parametrize("method", ["mask", "mask_sign", "mask_topk"])
def test_masks_score_every_kernel_and_train_the_head(method):
    learned, frozen = groups(method)
    assert learned == {"scores": KERNELS, "train": HEAD}
    assert (frozen["weights"], frozen["freeze"]) == (KERNELS, BIASES)


def test_lora_has_factors_of_every_kernel():
    learned, _ = groups("lora", rank=2)
    assert learned["low_rank"] == {f"{path}/{name}" for path in KERNELS for name in "ab"}
    assert learned["train"] == HEAD
    learned, _ = groups("lora", rules=(("conv1/.*", "mask"),))
    assert learned["low_rank"] == {"conv1/kernel/a", "conv1/kernel/b"}


@pytest.mark.parametrize(
    ("changes", "scored", "trained"),
    [
        ({"stages": 1}, {"conv1/kernel"}, HEAD),
        ({"stages": 2}, {"conv1/kernel", "conv2/kernel"}, HEAD),
        ({"stages": -1}, {"fc1/kernel"}, HEAD),
        ({"stages": -2}, {"conv2/kernel", "fc1/kernel"}, HEAD),
        ({"stages": -3}, KERNELS, HEAD),
        ({"also": ("norm",)}, KERNELS, HEAD),  # it has none
        ({"head": "mask"}, KERNELS | {"head/kernel"}, set()),
        ({"rules": (("conv2/.*", "mask"),)}, {"conv2/kernel", "conv2/bias"}, HEAD),
    ],
)
def test_a_mask_section_says_where(changes, scored, trained):
    learned, _ = groups("mask", **changes)
    assert learned == {"scores": scored, "train": trained}


@pytest.mark.parametrize("method", ["mask", "mask_topk", "mask_sign"])
def test_norms_and_scales_are_learned_beside_a_mask(method):
    where = site("resnet20")
    norms = {path for path in tree.paths(where.parameters) if "/bn" in path or path[:2] == "bn"}
    kernels = {path for path in tree.paths(where.parameters) if path.endswith("conv2/kernel")}
    learned, _ = groups(method, where, also=("norm", "scale"), stages=-1)
    assert learned["train"] == HEAD | norms
    assert learned["scale"] == learned["scores"]
    assert learned["scores"] & kernels == {path for path in kernels if "layer3" in path}
    assert all("layer3" in path for path in learned["scores"])


@pytest.mark.parametrize("method", sorted(set(adapter.METHODS) - {"norm"}))
def test_a_head_of_text_stays_as_it_is(method):
    learned, frozen = groups(method, site(head="freeze"))
    assert not HEAD & set().union(*learned.values())
    assert frozen["freeze"] >= HEAD


def test_a_share_of_the_scores_is_chosen_by_the_section():
    _, frozen = groups("mask", trainable_share=0.5)
    assert frozen["selected"] == KERNELS


def test_the_known_adapters_are_of_all_methods_and_evaluators():
    assert adapter.KNOWN.keys() == adapter.METHODS.keys() | adapter.EVALUATORS.keys()


def test_only_the_density_of_top_k_is_an_array():
    assert {name for name, method in adapter.METHODS.items() if method.arrays} == {"mask_topk"}
    assert adapter.METHODS["mask_topk"].arrays == ("density",)


def test_a_density_of_zero_becomes_that_of_the_mask_and_the_config_stays():
    settle, given = adapter.METHODS["mask_topk"].settle, section("mask_topk", density=0.0)
    found = Result("adapt", "mask", "digits", 0, 0.9, 0.9, 1, 1, 1.0, density=0.37)
    assert settle(given, {"mask": found}).density == 0.37
    assert given.density == 0
    own = section("mask_topk", density=0.2)
    assert settle(own, {"mask": found}) is own
    with pytest.raises(InputError, match="name 'mask' before it"):
        settle(given, {"full": found})


def test_a_named_transform_is_the_one_of_its_arguments():
    found = sections.transform("mask.transform", "threshold(mu=0.5, init=normal(0.1))")
    scores = {"w": jnp.array([0.4, 0.6])}
    np.testing.assert_array_equal(found.mask(scores)["w"], [0, 1])
    weights, key = {"w": jnp.zeros((3, 3))}, jax.random.key(0)
    chex.assert_trees_all_equal(found.init(key, weights), mask.normal(0.1)(key, weights))
    found = sections.transform("mask.transform", "levels((0, 1, 2), (0.0, 1.0), constant(0.5))")
    assert found.mask({"w": jnp.array([0.5, 2.0])})["w"].tolist() == [1, 2]
    found = sections.transform("mask.transform", "threshold(slope=clipped(width=0.5))")
    assert jax.grad(lambda s: found.mask({"w": s})["w"])(0.7) == 0


@pytest.mark.parametrize(
    ("method", "changes", "message"),
    [
        ("partial", {"stages": 0}, "partial.stages is 0; lenet5 has 3"),
        ("partial", {"stages": 4}, "partial.stages is 4"),
        ("norm", {}, "lenet5 has no batch or layer norm"),
        ("lora", {"rank": 0}, "lora.rank has 0"),
        ("lora", {"scale": -1.0}, r"lora.scale has -1\.0"),
        ("lora", {"scale": float("nan")}, "lora.scale has nan"),
        ("mask", {"head": "freeze"}, "mask.head is 'freeze'"),
        ("mask", {"stages": 4}, "mask.stages is 4; lenet5 has 3"),
        ("mask", {"stages": -4}, "mask.stages is -4; lenet5 has 3"),
        ("mask", {"also": ("norms",)}, "mask.also has 'norms'"),
        ("mask", {"trainable_by": "size"}, "mask.trainable_by is 'size'"),
        ("mask", {"trainable_share": 0.0}, r"mask.trainable_share is 0\.0"),
        ("mask", {"trainable_share": 1.1}, r"mask.trainable_share is 1\.1"),
        ("mask", {"transform": "treshold"}, "did you mean 'threshold'"),
        ("mask", {"transform": "normal(1.0)"}, "is not a mask transform"),
        ("mask", {"transform": "threshold(mu='high')"}, "mu"),
        ("mask", {"transform": "top_k(density=2)"}, "density"),
        ("mask", {"transform": "threshold(init=3)"}, "mask.transform"),
        ("mask_sign", {"head": "x"}, "mask_sign.head is 'x'"),
        ("mask_topk", {"density": 1.5}, r"mask_topk.density is 1\.5"),
        ("mask_topk", {"density": -0.5}, r"mask_topk.density has -0\.5"),
        ("mask_topk", {"falling_epochs": 5.0}, "it must be at most the"),
        ("mask_topk", {"falling_epochs": 1.0}, "mask_topk.train.select='last'"),
        ("mask_topk", {"scope": "whole"}, "scope"),
        ("mask_topk", {"initial": "treshold"}, "treshold"),
    ],
)
def test_what_cannot_be_is_one_line(method, changes, message):
    with pytest.raises(InputError, match=message) as error:
        groups(method, **changes)
    assert "\n" not in str(error.value)


def test_a_falling_density_needs_training_that_does_not_end_early():
    made = section("mask_topk", falling_epochs=1.0)
    made.train.patience, made.train.select = 2, "last"
    with pytest.raises(InputError, match=r"mask_topk\.train\.patience=0"):
        adapter.METHODS["mask_topk"].build(made, site())


def test_a_head_of_text_is_not_masked():
    with pytest.raises(InputError, match="a text head is frozen"):
        groups("mask", site(head="freeze"), head="mask")


def test_rates_of_plain_sgd_are_refused_where_the_gradient_is_normalized():
    made = section("mask", choices=(0.01, 10.0))
    with pytest.raises(InputError, match=r"mask.choices has 10.0, .*'sgd\(momentum=0.9\)'"):
        adapter.METHODS["mask"].build(made, site())
    made.train.mask_optimizer = "sgd(momentum=0.9)"
    adapter.METHODS["mask"].build(made, site())


def test_a_clipped_gradient_is_refused_where_its_size_counts():
    made = section("mask")
    made.train.clip = 1.0
    with pytest.raises(InputError, match=r"mask.train.clip is 1.0, .* set it to 0"):
        adapter.METHODS["mask"].build(made, site())
    made.train.mask_optimizer = "normalize_by_leaf, sgd(momentum=0.9)"
    adapter.METHODS["mask"].build(made, site())
