"""How many steps make a scan of some seconds: from the floating-point operations of one."""

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


def test_a_real_step_is_counted_by_its_operations_and_not_run(monkeypatch):
    """A matrix product of n^3 multiplications and additions; twice the side, an eighth."""
    monkeypatch.setattr(cost, "RATE", {jax.default_backend(): 2**25})

    def never(x):
        jax.debug.callback(lambda: pytest.fail("it was run"))
        return x @ x

    small, large = (cost.scan_steps(jax.jit(never), jnp.ones((n, n))) for n in (64, 128))
    assert small == pytest.approx(2 * 2**25 / (2 * 64**3), rel=0.1)
    assert small / large == pytest.approx(8, rel=0.1)
