"""absl's flags on the command line."""

import subprocess
import sys

import pytest
from absl import flags

from jaxmask.cli import absl_flags
from jaxmask.errors import InputError


@pytest.fixture(autouse=True)
def as_before():
    verbosity = flags.FLAGS["verbosity"]
    before = verbosity.value, verbosity.using_default_value
    yield
    verbosity.value, verbosity.using_default_value = before


def test_they_are_taken_out_and_set():
    rest = absl_flags.without(
        ["show", "a.mask", "--verbosity=1", "--out", "x", "-v", "-1", "--config.seed", "-3", "--",
         "--verbosity=2"]
    )  # fmt: skip
    assert rest == ["show", "a.mask", "--out", "x", "--config.seed", "-3", "--", "--verbosity=2"]
    assert flags.FLAGS["verbosity"].value == -1


@pytest.mark.parametrize("argument", ["--verbosity=loud", "--verbosity", "--noalsologtostderr=1"])
def test_an_invalid_value_is_one_line(argument):
    with pytest.raises(InputError) as error:
        absl_flags.without([argument])
    assert "\n" not in str(error.value)


def test_helps_are_the_commands_own():
    assert absl_flags.without(["--help", "--helpfull"]) == ["--help", "--helpfull"]


SCRIPT = """
import sys
from absl import logging
from jaxmask.cli import absl_flags
def main(arguments):
    logging.info("an info")
    logging.warning("a warning")
    print(arguments)
    return 5
absl_flags.start(main)
"""


@pytest.mark.parametrize(("given", "told"), [((), 1), (("--verbosity=0",), 2), (("-v=-2",), 0)])
def test_a_command_logs_warnings_unless_told_otherwise(given, told, tmp_path):
    ended = subprocess.run(
        [sys.executable, "-c", SCRIPT, "x", *given, "--y=1", f"--log_dir={tmp_path}"],
        capture_output=True, text=True,
    )  # fmt: skip
    assert (ended.returncode, ended.stdout) == (5, "['x', '--y=1']\n")
    (log,) = [path for path in tmp_path.iterdir() if not path.is_symlink()]
    warned = [line for line in log.read_text().splitlines() if "a warning" in line]
    if told:  # with time and place only for those who ask for more
        assert (warned[0] == "jaxmask: a warning") is (given == ())
    lines = [line for line in log.read_text().splitlines() if "an info" in line or "a warn" in line]
    assert len(lines) == told
