"""The file of a learned task: what is saved is what is read, and put on the base network."""

import json

import chex
import containers
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.core import FrozenDict, freeze
from hypothesis import given
from hypothesis import strategies as st

from jaxmask import adapter, mask, maskfile, tree
from jaxmask.adapter import Stored
from jaxmask.errors import InputError
from jaxmask.maskfile import Base
from jaxmask.task import file as task_file

ABOUT = {"network": "lenet5", "width": 1.0, "classes": ["a", "b"], "mean": [0.5], "std": [0.25],
         "method": "mask"}  # fmt: skip
BASE = Base("lenet5", "0" * 64)


def floats(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def base():
    return {
        "params": {"fc": {"kernel": floats(2, 4), "bias": floats(4)}},
        "batch_stats": {"bn": {"mean": floats(4, seed=1), "var": floats(4, seed=2)}},
    }


def saved(path, masks=None, arrays=None, settings=None, batch_stats=None, new=None, **about):
    stored = Stored(masks or {}, arrays or {}, settings or {})
    task_file.save(
        path, stored, batch_stats=batch_stats or {}, new=new or {}, base=BASE,
        about={**ABOUT, **about},
    )  # fmt: skip
    return task_file.read(path)


def test_a_task_is_read_as_it_was_saved(tmp_path):
    masks = {"fc": {"kernel": floats(2, 4) > 0}}
    arrays = {"params": {"head": {"bias": floats(2)}}, "low_rank": {"fc": {"a": floats(3)}}}
    statistics = {"bn": {"mean": floats(4, seed=5)}}
    settings = {"rescale": True, "mine": [1, {"x": None}]}
    found = saved(tmp_path / "deep" / "a.mask", masks, arrays, settings, statistics, metrics={})
    chex.assert_trees_all_equal(found.stored.masks, masks)
    chex.assert_trees_all_equal(found.stored.arrays, arrays)
    chex.assert_trees_all_equal(found.batch_stats, statistics)
    assert found.stored.settings == settings  # and not what is said of every task
    assert found.about == {**ABOUT, **settings, "metrics": {}}
    assert (found.base, found.signs, found.path) == (BASE, False, tmp_path / "deep" / "a.mask")


def test_holes_of_trees_are_left_out_and_what_the_adapter_stores_goes_before_the_new(tmp_path):
    trained = {"fc": {"kernel": None, "bias": floats(4)}, "head": {"bias": floats(2)}}
    fresh = {"head": {"kernel": floats(4, 2), "bias": floats(2, seed=9)}}
    found = saved(tmp_path / "a.mask", arrays={"params": trained}, new=fresh)
    wanted = {
        "fc": {"bias": trained["fc"]["bias"]},
        "head": {"kernel": fresh["head"]["kernel"], "bias": trained["head"]["bias"]},
    }
    chex.assert_trees_all_equal(found.stored.arrays["params"], wanted)


def test_the_size_is_the_files(tmp_path):
    stored = Stored({}, {"params": {"a": floats(3)}}, {})
    size = task_file.save(
        tmp_path / "a.mask", stored, batch_stats={}, new={}, base=BASE, about=ABOUT
    )
    assert size == (tmp_path / "a.mask").stat().st_size


def test_masks_of_signs_are_never_rescaled(tmp_path):
    signs = {"fc": {"kernel": np.where(floats(2, 4) > 0, 1, -1)}}
    found = saved(tmp_path / "a.mask", signs)
    assert found.signs
    assert found.stored.settings == {"rescale": False}
    on = task_file.restored(base(), found)["params"]["fc"]["kernel"]
    np.testing.assert_array_equal(on, base()["params"]["fc"]["kernel"] * signs["fc"]["kernel"])


def test_a_task_is_put_on_its_base_network(tmp_path):
    """By hand: masked and rescaled, the head beside it, its statistics in place of the base's."""
    masks = {"fc": {"kernel": floats(2, 4) > 0}}
    head, mean = floats(4, 2), floats(4, seed=7)
    file = saved(tmp_path / "a.mask", masks, {"params": {"head": {"kernel": head}}},
                 batch_stats={"bn": {"mean": mean}})  # fmt: skip
    found = jax.jit(lambda of: task_file.put_on(of, file, adapter.KNOWN["mask"]))(base())
    on = masks["fc"]["kernel"]
    wanted = {
        "params": {
            "fc": {
                "kernel": base()["params"]["fc"]["kernel"] * on / np.sqrt(on.mean()),
                "bias": base()["params"]["fc"]["bias"],
            },
            "head": {"kernel": head},
        },
        "batch_stats": {"bn": {**base()["batch_stats"]["bn"], "mean": mean}},
    }
    chex.assert_trees_all_close(found, wanted, rtol=1e-6)
    chex.assert_trees_all_close(task_file.restored(base(), file), wanted, rtol=1e-6)


def test_the_base_is_not_overwritten_by_what_only_completes_it():
    params = {"fc": {"kernel": 1}}
    stored = Stored({}, {"params": {"fc": {"kernel": 2}, "head": {"kernel": 3}}}, {})
    assert task_file.complete(params, stored) == {"fc": {"kernel": 1}, "head": {"kernel": 3}}


@pytest.mark.parametrize("name", ["frozen dict", "partitioned", "haiku", "nnx state", "equinox"])
def test_a_task_is_put_on_a_network_in_its_own_containers(name, tmp_path):
    kind = containers.KINDS[name]
    rules = [(kind.kernels[0], "mask"), (kind.kernels[1], "train")]
    for method, way in {
        "mask": adapter.masks(mask.threshold(0.0, mask.normal()), rules),
        "lora": adapter.lora(rules, rank=2),
        "full": adapter.weights(rules[1:]),
    }.items():
        learned, frozen = way.init(jax.random.key(0), kind.make())
        learned = jax.tree.map(lambda leaf: leaf + 0.1, learned)
        stored = way.store(learned, frozen)
        file = saved(tmp_path / "a.mask", stored.masks, stored.arrays, stored.settings,
                     batch_stats={"bn": {"mean": floats(3)}}, method=method)  # fmt: skip
        statistics = freeze({"bn": {"mean": np.zeros(3, np.float32), "var": np.ones(3)}})
        given = {"params": kind.make(), "batch_stats": statistics}
        found = task_file.restored(given, file)
        assert jax.tree.structure(found["params"]) == jax.tree.structure(given["params"])
        assert jax.tree.structure(found["batch_stats"]) == jax.tree.structure(statistics)
        np.testing.assert_array_equal(found["batch_stats"]["bn"]["mean"], floats(3))
        wanted = kind.apply(way.parameters(learned, frozen), containers.X)
        assert not np.allclose(wanted, kind.apply(given["params"], containers.X))
        np.testing.assert_allclose(kind.apply(found["params"], containers.X), wanted, rtol=1e-5)


def test_what_only_the_task_has_is_added_to_the_dicts_of_the_network():
    box = nn.Partitioned(floats(2), ("in",))
    stored = Stored({}, {"params": {"head": {"kernel": 3}, "fc": {"0": {"more": 4}}}}, {})
    found = task_file.complete(freeze({"fc": {"0": {"kernel": box}}}), stored)
    wanted = freeze({"fc": {"0": {"kernel": box, "more": 4}}, "head": {"kernel": 3}})
    assert isinstance(found, FrozenDict)
    assert jax.tree.structure(found) == jax.tree.structure(wanted)
    assert found["fc"]["0"]["kernel"].value is box.value
    assert (found["fc"]["0"]["more"], found["head"]["kernel"]) == (4, 3)
    with pytest.raises(InputError, match="no place for 'fc/0/more'"):
        task_file.complete({"fc": [{}], "head": {"kernel": 0}}, stored)


def test_the_adapter_is_the_one_that_the_file_names(tmp_path):
    file = saved(tmp_path / "a.mask", method="mine")
    mine = adapter.weights()
    assert task_file.adapter_of(file, {**adapter.KNOWN, "mine": mine}) is mine
    with pytest.raises(InputError, match=r"the adapter 'mine', which is not known .*adapters="):
        task_file.restored(base(), file)
    near = file._replace(about={"method": "masc"})
    with pytest.raises(InputError, match="did you mean 'mask'"):
        task_file.adapter_of(near, adapter.KNOWN)
    merged = file._replace(about={})
    assert task_file.adapter_of(merged, adapter.KNOWN) is adapter.KNOWN["mask"]


def test_names_of_earlier_versions_are_read_as_what_they_are_called_now(tmp_path):
    path = tmp_path / "a.mask"
    arrays = {"neighbours": {"features": floats(2, 3)}, "batch_stats": {}}
    texts = {"neighbours": "5", "regularisation": "0.1", "method": '"knn"'}
    maskfile.save(path, {}, metadata=texts, arrays=arrays)
    found = task_file.read(path)
    assert set(found.stored.arrays) == {"neighbors"}
    assert found.about == {"neighbors": 5, "regularization": 0.1, "method": "knn"}
    assert found.stored.settings == {"neighbors": 5}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)  # fmt: skip


@given(st.dictionaries(st.text(max_size=5), JSON, max_size=3))
def test_metadata_is_the_json_that_it_was(values):
    texts = {f"_{name}": json.dumps(value) for name, value in values.items()}
    assert task_file.metadata(texts) == {f"_{name}": value for name, value in values.items()}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("plain words", "plain words"),
        ("", ""),
        ("{", "{"),
        ("NaN", None),
        ('{"loss": Infinity}', {"loss": None}),
        ("[" * 100_000, "[" * 100_000),
        ("[" * 20 + "]" * 20, json.loads("[" * 20 + "]" * 20)),
        ("[" * 21 + "]" * 21, "[" * 21 + "]" * 21),
        ('{"a":' * 400 + "1" + "}" * 400, '{"a":' * 400 + "1" + "}" * 400),
    ],
)
def test_metadata_that_is_not_json_is_the_text_that_it_is(text, value):
    assert task_file.metadata({"a": text}) == {"a": value}


def test_masks_coded_given_the_weights_need_them(tmp_path):
    path, weights = tmp_path / "a.mask", base()["params"]
    bits = {"fc": {"kernel": floats(2, 4) > 0}}
    texts = {name: json.dumps(value) for name, value in ABOUT.items()}
    maskfile.save(path, bits, metadata=texts, base=BASE, weights=weights)
    chex.assert_trees_all_equal(task_file.read(path, weights=weights).stored.masks, bits)
    with pytest.raises(InputError, match=r"a\.mask"):
        task_file.read(path)


def test_every_method_of_ours_can_be_saved_and_restored(tmp_path):
    """Through a file: the parameters that were trained, whatever the dtype of their leaves."""
    rules = [("head/.*", "train"), (".*/kernel", "mask")]
    params = {"fc": {"kernel": jnp.asarray(floats(2, 4), jnp.bfloat16), "bias": jnp.ones(4)},
              "head": {"kernel": jnp.asarray(floats(4, 2))}}  # fmt: skip
    ways = {
        "mask": adapter.masks(mask.threshold(0.0, mask.normal()), rules),
        "lora": adapter.lora(rules, 1, 0.5),
        "full": adapter.weights(),
    }
    for name, way in ways.items():
        learned, frozen = way.init(jax.random.key(0), params)
        file_of = way.store(learned, frozen)
        file = saved(tmp_path / f"{name}.mask", file_of.masks, file_of.arrays, file_of.settings,
                     method=name)  # fmt: skip
        found = task_file.restored({"params": params}, file)
        chex.assert_trees_all_close(found["params"], way.parameters(learned, frozen), rtol=1e-2)
        chex.assert_trees_all_equal_dtypes(found["params"], params)
        assert tree.named_leaves(found["batch_stats"]) == {}
