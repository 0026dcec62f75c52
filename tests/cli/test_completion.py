"""The completion of commands in a shell."""

import shutil
import subprocess

import pytest

from jaxmask.cli import config as configs
from jaxmask.cli.completion import main
from jaxmask.cli.program import COMMANDS

ASK = """
source "$1"
COMP_WORDS=(jaxmask "${@:2}"); COMP_CWORD=$(($# - 1))
_shtab_jaxmask
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    import contextlib
    import io

    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        assert main(["bash"]) == 0
    path = tmp_path_factory.mktemp("completion") / "jaxmask"
    path.write_text(printed.getvalue())
    return path


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ([""], set(COMMANDS)),
        (["ma"], {"masks"}),
        (["run", "--config", ""], set(configs.names())),
        (["list", "data"], {"datasets"}),
        (["report", "--base"], {"--baseline"}),
    ],
)
def test_bash_completes(script, words, wanted):
    ended = subprocess.run(
        ["bash", "-c", ASK, "bash", script, *words], capture_output=True, text=True
    )
    assert ended.stderr == ""
    assert wanted <= set(ended.stdout.split())


def test_another_shell_is_refused(capsys):
    assert main(["cmd"]) == 2
    assert "bash" in capsys.readouterr().err
