"""Which configs of texts are refused, and what a task of texts is."""

import numpy as np
import pytest
import texts

from jaxmask.errors import InputError
from jaxmask.model import weights
from jaxmask.run import defaults, starting
from jaxmask.run import task as tasks


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return texts.folder(tmp_path_factory.mktemp("texts"), train=40, test=10)


def config(folder, recipe="dense", **changes):
    made = getattr(defaults, recipe)(f"text:{folder}", 1)
    made.network.name, made.network.width = "bert_tiny", 1 / 16
    made.data.tokenizer = str(folder)
    made.start = "random"
    for name, value in changes.items():
        made.update_from_flattened_dict({name.replace("__", "."): value})
    return made


def test_a_task(folder):
    task, start = starting.task_of(config(folder, network__pool="first"))
    assert start.weights is None
    assert task.image_shape == (16,)
    assert task.normalization == ((), ())
    assert task.dataset.train.images.shape == (36, 16)
    assert task.augment(None, task.dataset.train.images) is task.dataset.train.images
    module = task.module
    assert (module.vocabulary, module.context, module.padding) == (len(texts.WORDS), 512, 0)
    assert (module.separator, module.pool) == (3, "first")
    about = tasks.about_network(config(folder).network, task)
    assert about["image_shape"] == [16]
    assert about["tokenizer"] == task.dataset.tokenizer.fingerprint
    assert about["tokenizer_file"] == str(folder / "vocab.txt")
    assert "mean" not in about
    other, _ = starting.task_of(config(folder))
    assert other.identity != task.identity
    longer, _ = starting.task_of(config(folder, data__tokens=700))
    assert longer.module.context == 700


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data__flip": True}, "data.flip is for images, and text:.* leave it out"),
        ({"data__crop_padding": 2}, "data.crop_padding is for images"),
        ({"data__size": 32}, "data.size is for images"),
        ({"data__decode_size": 32}, "data.decode_size is for images"),
        ({"data__mean": (0.5,)}, "data.mean is for images"),
        ({"data__tokens": 0}, "data.tokens has 0; give a finite number of at least 1"),
        ({"data__tokens": 2}, "data.tokens is 2, of which 2 mark the ends"),
        ({"data__tokenizer": ""}, "texts need a tokenizer: --config.data.tokenizer=PATH"),
        ({"data__tokenizer": "nowhere"}, "there is no tokenizer at nowhere"),
        ({"data__validation": -1.0}, "data.validation is -1.0"),
        ({"network__name": "lenet5"}, "lenet5 reads images, and text:.* give one of bert_tiny"),
        ({"network__pool": "last"}, "bert_tiny has no pool 'last'"),
        ({"network__attention": "sparse()"}, "sparse"),
        ({"data__name": "digits", "data__tokenizer": ""}, "bert_tiny reads texts, and digits"),
        ({"data__name": "digits"}, "data.tokenizer is for texts, and digits is not"),
        ({"data__name": "digits", "data__tokenizer": "", "network__name": "lenet5",
          "network__pool": "mean"}, "lenet5 has no option 'pool'"),
    ],
)  # fmt: skip
def test_refusals(changes, message, folder):
    with pytest.raises(InputError, match=message) as error:
        starting.task_of(config(folder, **changes))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("recipe", ["self_mask", "cascade"])
def test_recipes_of_views_refuse(recipe, folder):
    from jaxmask import recipe as recipes

    with pytest.raises(InputError, match="this recipe learns from views of images"):
        recipes.prepare(config(folder, recipe))


def test_what_does_not_fit_the_network(folder):
    task, _ = starting.task_of(config(folder))
    section = config(folder)
    for options, message in (
        ({"vocabulary": 9}, "has 34 tokens, more than the 9 words of the network"),
        ({"padding": 7}, "fills up rows with token 0, the network expects 7"),
        ({"context": 15}, "rows have 16 tokens, .* 15; set data.tokens to at most 8"),
    ):
        with pytest.raises(InputError, match=message):
            tasks.make_task(section.data, section.network, task.dataset, ((), ()), options)


def stored(folder, path, **changes):
    """A weight file as `dense` writes it, of a network with random weights."""
    section = config(folder, **changes)
    task, _ = starting.task_of(section)
    variables = starting.random_weights(task, 0)
    weights.save(path, variables, tasks.about_network(section.network, task))
    return variables


def test_a_start_tells_its_tokenizer_and_options(folder, tmp_path):
    variables = stored(folder, tmp_path / "w.safetensors", network__pool="pooler")
    own = config(folder, data__tokenizer="", start=str(tmp_path / "w.safetensors"))
    task, start = starting.task_of(own)
    assert task.module.pool == "pooler"
    assert (start.head, start.head_in_base) == (True, True)
    # another use of the same weights has no place for the pooler
    own.network.pool = "mean"
    task, start = starting.task_of(own)
    assert "pooler" not in start.weights["params"]
    found = starting.starting_variables(task, start, starting.named_key(0, "start"))["params"]
    np.testing.assert_array_equal(found["head"]["kernel"], variables["params"]["head"]["kernel"])


def test_another_tokenizer_than_the_start_was_trained_with(folder, tmp_path):
    stored(folder, tmp_path / "w.safetensors")
    other = texts.vocabulary(tmp_path / "other", texts.WORDS, do_lower_case=False)
    given = config(folder, start=str(tmp_path / "w.safetensors"), data__tokenizer=str(other))
    with pytest.raises(InputError, match=f"{other} is another tokenizer than the weights"):
        starting.task_of(given)
    # one that happens to lie beside the weights is passed over for the one they name
    texts.vocabulary(tmp_path, texts.WORDS[:-1])
    given.data.tokenizer = ""
    task, _ = starting.task_of(given)
    assert task.dataset.tokenizer.path == folder / "vocab.txt"


def test_a_start_without_a_head_gets_a_new_one(folder, tmp_path):
    variables = stored(folder, tmp_path / "w.safetensors")
    loaded, about = weights.load(tmp_path / "w.safetensors")
    del loaded["params"]["head"]
    weights.save(tmp_path / "w.safetensors", loaded, about)
    given = config(folder, "prune", start=str(tmp_path / "w.safetensors"))
    with pytest.raises(InputError, match="have no head: set head to 'new'"):
        starting.task_of(given)
    given.head = "new"
    task, start = starting.task_of(given)
    assert (start.head, start.head_in_base) == (False, False)
    found = starting.starting_variables(task, start, starting.named_key(0, "start"))["params"]
    assert found["head"]["kernel"].shape == (8, 2)
    np.testing.assert_array_equal(found["block1"]["fc1"]["kernel"],
                                  variables["params"]["block1"]["fc1"]["kernel"])  # fmt: skip
