"""The README's Python code runs unchanged."""

import re
import shlex
from pathlib import Path

import pytest

README = (Path(__file__).parent.parent / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_a_block_runs(block, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(compile(block, "README.md", "exec"), names)
    if "gradient" in names:
        import jax
        import numpy as np

        leaves = jax.tree.leaves(names["gradient"])
        assert leaves
        assert all(np.isfinite(leaf).all() and np.abs(leaf).max() > 0 for leaf in leaves)


def test_the_blocks_are_there():
    assert len(BLOCKS) == 24


def test_the_ten_lines_learn_and_save(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(compile(BLOCKS[0], "README.md", "exec"), names)
    start = names["transform"].init(None, names["parts"]["mask"])
    assert names["loss"](names["scores"]) < 0.7 * names["loss"](start)
    assert 0 < names["mask"].measure.density(names["transform"].mask(names["scores"])) < 1
    assert (tmp_path / "task.mask").exists()


def test_the_commands_name_configs_and_fields_that_exist():
    from jaxmask.cli.run import parse

    commands = re.findall(r"^python -m jaxmask\.main (.*)", README.replace("\\\n", ""), re.M)
    assert len(commands) >= 10
    for command in commands:
        parse(shlex.split(command, comments=True))


def test_the_named_grids_expand():
    from jaxmask.cli.run import parse
    from jaxmask.cli.sweep import expand

    commands = re.findall(r"^python -m jaxmask\.sweep (.*)", README.replace("\\\n", ""), re.M)
    assert len(commands) >= 2
    for command in commands:
        assert expand(parse(shlex.split(command, comments=True))[0])


def test_every_scorer_has_an_example():
    from jaxmask import score

    for name in score.__all__:
        if name != "hessian":
            assert any(f"score.{name}" in block for block in BLOCKS) or name == "absolute", name
