"""Files of the version before this layout (0.1.0 of 2026-11-21) give the same networks as then.

`written_before/run` is a run of `adapt` on digits, with its random base weights; `logits.json` has
the logits that that version computed for random images.
"""

import json
import shutil
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from jaxmask import mask, task
from jaxmask.cli.masks import main as masks
from jaxmask.cli.run import main as run

BEFORE = Path(__file__).parent / "written_before"
LOGITS = json.loads((BEFORE / "logits.json").read_text())
IMAGES = np.random.default_rng(0).integers(0, 17, (5, 8, 8, 1)).astype(np.uint8)
METHODS = sorted(LOGITS)


@pytest.mark.parametrize("method", METHODS)
def test_a_file_gives_the_logits_that_it_gave(method):
    learned = task.load(BEFORE / "run" / method / "masks" / "task.mask")
    found = learned.logits(learned.variables, IMAGES)
    np.testing.assert_allclose(found, LOGITS[method], rtol=1e-4, atol=1e-4)


def test_they_are_served_together():
    names = [method for method in METHODS if method != "knn"]
    paths = [BEFORE / "run" / method / "masks" / "task.mask" for method in names]
    numbers = np.arange(len(names)).repeat(5)
    images = np.concatenate([IMAGES] * len(names))
    found = task.serve(paths).serve(images, jnp.asarray(numbers))
    expected = np.concatenate([LOGITS[name] for name in names])
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_show_and_apply_read_them(method, tmp_path, capsys):
    file = str(BEFORE / "run" / method / "masks" / "task.mask")
    assert masks(["show", file]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["method", method] in lines
    status = masks(["apply", file, f"--out={tmp_path}/a.safetensors"])
    assert status == (2 if method == "knn" else 0)


def test_a_run_directory_that_was_started_is_refused_in_one_line(tmp_path, capsys):
    shutil.copy(BEFORE / "run" / "config.json", tmp_path)
    assert run(["--config=digits", f"--workdir={tmp_path}"]) == 2
    told = capsys.readouterr().err
    assert "was started by an earlier version of jaxmask" in told
    assert told.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


def test_the_old_module_name_of_mask_files_still_works():
    from jaxmask import maskfile

    assert mask.file is maskfile
