"""What whoever watches is told, where there is no terminal."""

import pytest

from jaxmask.train import progress
from jaxmask.train.progress import Bar


@pytest.fixture
def clock(monkeypatch):
    """The time in seconds, in a list, that a test sets."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    monkeypatch.setenv("TERM", "dumb")
    return now


def test_a_line_every_ten_seconds_and_one_at_the_end(clock, capsys):
    with Bar("title", total=40, done=20) as bar:
        for step, seconds in ((22, 4), (24, 11), (26, 15), (30, 25), (40, 26)):
            clock[0] = 100.0 + seconds
            bar.update(step, 64 * (step - 20), loss=0.5, density=None, accuracy=0.123456)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split("  ")[0] for line in lines] == [
        "title: step 24/40", "title: step 30/40", "title: step 40/40"
    ]  # fmt: skip
    assert lines[0].split("  ")[1:] == [
        "loss 0.5", "accuracy 0.1235", f"{64 * 4 / 11:,.0f} examples/s", "44 s left"
    ]  # fmt: skip
    # 10 steps in 25 seconds, and 10 are left
    assert lines[1].endswith("25 s left")
    assert lines[2].endswith("0 s left")


def test_the_first_update_at_once_divides_by_nothing(clock, capsys):
    with Bar("title", total=1) as bar:
        bar.update(1, 0)
    assert capsys.readouterr().err == "title: step 1/1  0 examples/s  0 s left\n"
