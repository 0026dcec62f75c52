"""Training without labels, as a config describes it: what a step costs."""

from collections.abc import Callable

import jax
import numpy as np
import pytest

from jaxmask import adapter, model
from jaxmask.recipe import defaults
from jaxmask.run import task as tasks
from jaxmask.run.trainer import Ready, make_trainer
from jaxmask.run.unlabeled import loss_of

SWAV = "swav(prototypes=8, dimension=8, queue=0)"
DINO = "dino(prototypes=8, dimension=8, hidden=8)"


@pytest.fixture(scope="module")
def of_config(shallow_resnet) -> Callable:
    """(changes of a config, "__" for dots) -> operations and planned passes of its step."""
    config = defaults.self_mask("digits", epochs=1)
    config.network.name, config.network.width = "resnet20", 0.5
    config.data.size, config.data.validation = 32, 0.2
    config.full.train.batch_size = 16
    dataset = tasks.load_data(config.data, 0)
    task = tasks.make_task(config.data, config.network, dataset, ((0.5,), (0.25,)))
    variables = model.initialize(task.module, jax.random.key(0), task.image_shape)
    way = adapter.weights([(".*", "train")])

    def found(labels, tmp_path, **changes):
        mine = config.copy_and_resolve_references()
        mine.update_from_flattened_dict({k.replace("__", "."): v for k, v in changes.items()})
        learned, frozen = way.init(jax.random.key(0), variables["params"])
        training = None
        if not labels:
            of_views, size, training = loss_of(task, mine)
            learned = {**learned, "loss": of_views.init(jax.random.key(0), size)}
        trainer = make_trainer(task, mine.full.train, way, 0, "full.train", (), unlabeled=training)
        ready = Ready(learned, frozen, variables["batch_stats"])
        programs, job = trainer.job(ready, {}, "full", tmp_path, "full")
        xs = next(iter(task.feed("train").chunks(np.zeros((1, 16), np.int32), [1])))
        x = jax.tree.map(lambda leaf: leaf[0], xs)
        lowered = programs.step.lower(job.state, job.frozen, task.feed("train").resident, x)
        return lowered.cost_analysis()["flops"], trainer.planned.passes

    return found


@pytest.mark.parametrize(
    "changes",
    [
        {"loss": SWAV, "views__small": 0},
        {"loss": SWAV, "views__small": 5, "views__small_size": 24},
        {"loss": SWAV, "views__large_size": 16, "views__small_size": 16},
        {"loss": DINO, "views__small": 3},
    ],
)
def test_a_step_is_planned_at_what_its_views_cost(changes, of_config, tmp_path):
    labeled, one = of_config(True, tmp_path)
    unlabeled, passes = of_config(False, tmp_path, views__blur=0.0, **changes)
    assert one == 1
    assert unlabeled / labeled == pytest.approx(passes, rel=0.1)


def test_an_adversarial_view_costs_a_second_step_and_the_way_to_its_pixels(of_config, tmp_path):
    given = {"views__blur": 0.0, "views__small": 4, "loss": SWAV}
    labeled, _ = of_config(True, tmp_path)
    plain, few = of_config(False, tmp_path, **given)
    harder, many = of_config(False, tmp_path, adversarial_step=0.1, **given)
    # before compilation, which removes forward passes that are there twice: a third of each view
    twice = few / 3
    assert (harder - plain) / labeled == pytest.approx(many - few + twice, rel=0.1)
