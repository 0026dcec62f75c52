"""How long a step takes, from its floating-point operations or measured."""

import math

import jax
import jax.numpy as jnp
import pytest

from jaxmask.train import cost


class Lowered:
    """A jitted function's stand-in, of a known or unknown cost."""

    def __init__(self, found):
        self.found = found

    def lower(self, *arguments):
        return self

    def cost_analysis(self):
        if isinstance(self.found, type):
            raise self.found
        return self.found


@pytest.fixture(autouse=True)
def one_slow_processor(monkeypatch):
    monkeypatch.setattr(cost, "RATE", {"cpu": 1000.0, jax.default_backend(): 1000.0})
    monkeypatch.setattr(jax, "device_count", lambda: 1)


@pytest.mark.parametrize(("flops", "steps"), [(2000, 1), (500, 4), (300, 6), (1e9, 1)])
def test_a_scan_takes_about_two_seconds_and_has_a_step_at_least(flops, steps):
    assert cost.SECONDS == 2
    assert cost.scan_steps(Lowered({"flops": flops})) == steps


def test_several_devices_do_more(monkeypatch):
    monkeypatch.setattr(jax, "device_count", lambda: 4)
    assert cost.scan_steps(Lowered({"flops": 500})) == 16


@pytest.mark.parametrize(
    "found", [{}, None, {"flops": 0.0}, {"flops": -1.0}, {"flops": float("nan")},
              NotImplementedError],
)  # fmt: skip
def test_an_unknown_cost_falls_back(found):
    assert cost.scan_steps(Lowered(found)) == cost.FALLBACK_STEPS


def test_the_seconds_of_a_step_are_its_operations_by_the_rate():
    assert cost.rough_seconds(Lowered({"flops": 250})) == 0.25
    assert math.isnan(cost.rough_seconds(Lowered({})))


def test_a_step_is_measured_in_scans_after_one_that_compiles_and_the_median_counts(monkeypatch):
    """By a clock that the scan itself moves."""
    clock, taken, states = [0.0], iter([60.0, 5.0, 2.0, 9.0, 3.0, 4.0]), []

    def train(state, given, xs):
        clock[0] += next(taken)
        states.append((state, given, xs.tolist()))
        return state + 1

    monkeypatch.setattr(cost.time, "monotonic", lambda: clock[0])
    assert cost.measured_seconds(train, 0, "given", steps=2) == 4.0 / 2
    assert states == [(state, "given", [0, 1]) for state in range(6)]


def test_a_real_scan_that_takes_its_state_over_is_measured():
    train = jax.jit(lambda x, xs: jax.lax.scan(lambda x, _: (x @ x, None), x, xs)[0],
                    donate_argnums=0)  # fmt: skip
    assert 0 < cost.measured_seconds(train, jnp.eye(8), steps=3) < 60


def test_a_real_step_is_counted_by_its_operations_and_not_run(monkeypatch):
    """A matrix product of n^3 multiplications and additions; twice the side, an eighth."""
    monkeypatch.setattr(cost, "RATE", {jax.default_backend(): 2**25})

    def never(x):
        jax.debug.callback(lambda: pytest.fail("it was run"))
        return x @ x

    small, large = (cost.scan_steps(jax.jit(never), jnp.ones((n, n))) for n in (64, 128))
    assert small == pytest.approx(2 * 2**25 / (2 * 64**3), rel=0.1)
    assert small / large == pytest.approx(8, rel=0.1)
