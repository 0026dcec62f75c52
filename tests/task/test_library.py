"""Many tasks over one network: a batch whose examples have different tasks."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tasks import SHAPE, base, task

from jaxmask import model
from jaxmask.errors import InputError
from jaxmask.task import library

CLASSES = (("a", "b", "c"), ("d", "e"), ("f", "g", "h", "i"))


@pytest.fixture(scope="module")
def tasks(tmp_path_factory):
    """A folder of three tasks (threshold masks, signs, trained biases), and their networks."""
    folder = tmp_path_factory.mktemp("library")
    path, variables = base(folder)
    random = np.random.default_rng(0)
    shape = variables["params"]["fc2"]["kernel"].shape
    made = [
        task(folder / "1.mask", path, variables, CLASSES[0],
             masks={"fc2/kernel": random.random(shape) < 0.6}),
        task(folder / "2.mask", path, variables, CLASSES[1],
             masks={"fc2/kernel": random.choice([-1, 1], shape)}),
        task(folder / "3.mask", path, variables, CLASSES[2],
             arrays={"params": {"fc1": {"bias": random.normal(size=15).astype(np.float32)}}}),
    ]  # fmt: skip
    return folder, path, made


def expected(made, images, numbers):
    """Logits one example at a time, -inf for classes that its task lacks."""
    found = np.full((len(images), 4), -np.inf, np.float32)
    for row, (image, number) in enumerate(zip(images, numbers)):
        net = model.create("lenet_300_100", classes=len(CLASSES[number]), width=0.05)
        x = ((image[None] / 255.0 - 0.5) / 0.25).astype(np.float32)
        found[row, : len(CLASSES[number])] = net.apply(made[number], x)[0]
    return found


def test_every_example_gets_its_own_task(tasks):
    folder, _, made = tasks
    served = library.load([folder])
    assert served.classes == CLASSES
    images = np.random.default_rng(1).integers(0, 256, (13, *SHAPE)).astype(np.uint8)
    for numbers in ([0] * 13, [2, 0, 1] * 4 + [1], [1] * 12 + [0]):
        found = served.serve(images, jnp.array(numbers))
        np.testing.assert_allclose(found, expected(made, images, numbers), rtol=1e-4, atol=1e-5)


GROUPED = {
    group: jax.jit(
        partial(library.grouped, lambda matrix, rows: rows @ matrix, group=group, classes=2)
    )
    for group in (1, 4, 12)
}


@settings(max_examples=25)
@given(st.lists(st.integers(0, 3), min_size=11, max_size=11), st.sampled_from(list(GROUPED)))
def test_grouping_is_a_loop_over_examples(numbers, group):
    random = np.random.default_rng(0)
    matrices, images = random.normal(size=(4, 5, 2)), random.normal(size=(11, 5))
    found = GROUPED[group](matrices, images, jnp.array(numbers))
    wanted = [image @ matrices[number] for image, number in zip(images, numbers)]
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


def test_switching_tasks_does_not_recompile():
    @jax.jit
    @chex.assert_max_traces(n=1)
    def serve(matrices, images, numbers):
        return library.grouped(
            lambda matrix, rows: rows @ matrix, matrices, images, numbers, group=2, classes=2
        )

    matrices, images = jnp.ones((3, 5, 2)), jnp.ones((4, 5))
    for numbers in ([0, 0, 0, 0], [2, 1, 0, 2], [1, 1, 1, 2]):
        serve(matrices, images, jnp.array(numbers))


def test_tasks_of_another_base_are_refused(tasks, tmp_path):
    folder, path, _ = tasks
    other, variables = base(tmp_path, seed=1)
    task(tmp_path / "other.mask", other, variables, CLASSES[0])
    with pytest.raises(InputError, match="fingerprints"):
        library.load([folder / "1.mask", tmp_path / "other.mask"], str(path))


def test_tasks_of_several_bases_are_refused_even_if_each_finds_its_own(tmp_path):
    for seed in (0, 1):
        path, variables = base(tmp_path, seed=seed)
        task(tmp_path / f"{seed}.mask", path, variables, CLASSES[0])
    with pytest.raises(InputError, match="different base networks"):
        library.load([tmp_path])


def test_tasks_that_cannot_be_served_are_one_line_errors(tasks, tmp_path):
    _, path, _ = tasks
    with pytest.raises(InputError, match=r"no \.mask file"):
        library.load([tmp_path])
    _, variables = base(tmp_path)
    task(tmp_path / "1.mask", path, variables, CLASSES[0])
    task(tmp_path / "2.mask", path, variables, CLASSES[0], mean=[0.1])
    with pytest.raises(InputError, match="differ in their mean"):
        library.load([tmp_path])
    task(tmp_path / "2.mask", path, variables, CLASSES[0], method="knn")
    with pytest.raises(InputError, match="a task of 'knn'"):
        library.load([tmp_path])
