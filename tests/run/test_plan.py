"""What will be trained, as told before it starts: counts, steps and time."""

import jax
import jax.numpy as jnp
import pytest

from jaxmask import model
from jaxmask.run import plan
from jaxmask.run.plan import Planned, below, told

NETWORK = model.create("lenet5", classes=10)


def planned(steps=100, batch_size=64, evaluated=0, early=False, place="", passes=1.0):
    made = Planned(steps, batch_size, evaluated, early, NETWORK, (28, 28, 1), passes)
    return below(place, [made])[0]


@pytest.fixture
def seconds(monkeypatch):
    """Makes a step take this long, roughly and measured; returns the kinds that were measured."""
    kinds = []

    def of(rough, measured=None):
        def found(*kind):
            kinds.append(kind)
            if isinstance(measured, Exception):
                raise measured
            return measured

        monkeypatch.setattr(plan, "_rough_seconds", lambda *kind: rough)
        monkeypatch.setattr(plan, "_measured_seconds", found)
        return kinds

    return of


@pytest.mark.parametrize(
    ("parts", "start"),
    [
        ([planned()], "1 training, 100 steps of 64 images;"),
        ([planned(), planned(2000)], "2 trainings, 2,100 steps of 64 images;"),
        ([planned(), planned(batch_size=8)], "2 trainings, 200 steps of 8 to 64 images;"),
        ([planned(), planned(early=True)], "2 trainings, at most 200 steps of 64 images;"),
        ([planned()] * 1200, "1,200 trainings, 120,000 steps"),
    ],
)
def test_trainings_and_steps_are_counted(parts, start, tmp_path, seconds):
    seconds(1e-9)
    assert told(parts, tmp_path).startswith(start)
    assert told(parts, tmp_path).endswith(f"({plan.AGAIN})")


def test_finished_trainings_are_not_counted(tmp_path, seconds):
    seconds(1e-9)
    parts = [planned(place="pretrain"), planned(7, place="full"), planned(5, place="full/a")]
    for place in ("pretrain", "full/a"):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "result.json").write_text("{}")
    assert told(parts, tmp_path).startswith("1 training left of 3, 7 steps of 64 images")
    (tmp_path / "full" / "result.json").write_text("{}")
    assert told(parts, tmp_path) == "all of 3 trainings are done"
    assert told([], tmp_path) == "nothing to train"


def test_the_time_is_measured_only_where_it_matters(tmp_path, seconds):
    kinds = seconds(0.1, 0.2)
    assert "; about a minute or less (" in told([planned(599)], tmp_path)
    assert kinds == []
    assert "; about 2 minutes of training on this machine (" in told([planned(601)], tmp_path)
    assert kinds == [(NETWORK, (28, 28, 1), 64)]


def test_equal_steps_are_measured_once_and_all_are_added(tmp_path, seconds):
    kinds = seconds(1.0, 2.0)
    parts = [planned(600), planned(600), planned(600, batch_size=32), planned(900)]
    assert "; about 1.5 hours of" in told(parts, tmp_path)  # 2700 steps of 2 s
    assert sorted(kind[2] for kind in kinds) == [32, 64]


def test_validation_is_a_forward_pass(tmp_path, seconds):
    seconds(1.0, 1.0)
    assert "; about 4 minutes of" in told([planned(180, 10, 1800)], tmp_path)  # 180 + 180 / 3


def test_views_of_an_image_cost_what_they_have_of_its_pixels(tmp_path, seconds):
    kinds = seconds(1.0, 1.0)
    parts = [planned(100, passes=3.0), planned(60), planned(90, 10, 900, passes=19 / 3)]
    line = told(parts, tmp_path)  # 300 + 60 + 570 + 30, of steps that are measured once each
    assert line.startswith("3 trainings, 250 steps of 10 to 64 images; about 16 minutes of")
    assert len(kinds) == 2


def test_operations_of_an_unknown_number_are_measured(tmp_path, seconds):
    kinds = seconds(float("nan"), 1e-3)
    assert "; about a minute of training" in told([planned()], tmp_path)
    assert len(kinds) == 1


def test_without_the_memory_to_measure_the_steps_are_told(tmp_path, seconds):
    seconds(9.0, jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory"))
    line = told([planned()], tmp_path)
    assert line == f"1 training, 100 steps of 64 images ({plan.AGAIN})"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(1, "a minute"), (89, "a minute"), (91, "2 minutes"), (5399, "90 minutes"),
     (5401, "1.5 hours"), (47.9 * 3600, "47.9 hours"), (60 * 3600, "2.5 days")],
)  # fmt: skip
def test_a_time_has_the_unit_that_suits_it(seconds, text):
    assert plan._spoken(seconds) == text


def test_a_step_is_that_of_the_network_at_its_batch_size():
    """Its operations: those of a convolution's and a matrix's products, three times."""
    one, two = (plan._rough_seconds(NETWORK, (28, 28, 1), size) for size in (64, 128))
    assert two / one == pytest.approx(2, rel=0.05)
    variables = model.initialize(NETWORK, jax.random.key(0), (28, 28, 1))
    images = jnp.ones((64, 28, 28, 1))
    apply = model.apply_function(NETWORK)
    forward = jax.jit(lambda p: apply(p, {}, images, False)[0]).lower(variables["params"])
    rate = plan.cost.RATE[jax.default_backend()] * jax.device_count()
    assert one * rate == pytest.approx(3 * forward.cost_analysis()["flops"], rel=0.25)


def test_steps_of_all_weights_are_measured_once_for_all_runs_of_a_process(
    monkeypatch, quick_compilation
):
    calls = []

    def measured(train, state, frozen, batch, steps):
        calls.append(batch)
        trained = train(jax.tree.map(jnp.copy, state), frozen, batch, jnp.arange(steps))
        assert int(trained.step) == steps
        for one, other in zip(jax.tree.leaves(state.learned), jax.tree.leaves(trained.learned)):
            assert not jnp.array_equal(one, other)
        return 0.5

    monkeypatch.setattr(plan.cost, "measured_seconds", measured)
    networks = [model.create("lenet_300_100", classes=10, width=0.05) for _ in range(2)]
    kinds = [(network, (28, 28, 1), 6) for network in networks]
    assert [plan._measured_seconds(*kind) for kind in kinds] == [0.5, 0.5]
    ((images, labels),) = calls
    assert (images.shape, labels.shape) == ((6, 28, 28, 1), (6,))
    assert float(jnp.std(images)) > 0.5


def test_what_was_traced_for_a_rough_time_is_not_traced_again(monkeypatch):
    traced, training = [], plan._training
    monkeypatch.setattr(plan, "_training", lambda *kind: traced.append(kind) or training(*kind))
    kinds = [(NETWORK, (28, 28, 1), size) for size in (3, 3, 5)]
    one, again, other = (plan._rough_seconds(*kind) for kind in kinds)
    assert one == again < other
    assert traced == kinds[1:]
