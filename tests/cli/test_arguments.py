"""Parsers of commands: errors in one line, and helps."""

import pytest

from jaxmask.cli.arguments import add_command, command_parser, parsed
from jaxmask.cli.ending import HelpShown
from jaxmask.errors import InputError


@pytest.fixture
def parser():
    made = command_parser("mine", "Does mine.")
    sub = add_command(made.add_subparsers(required=True), "go", "go there", print)
    sub.add_argument("--far", type=int, default=1)
    return made


def test_a_command_of_a_command_is_parsed(parser):
    given = parsed(parser, ["go", "--far=3"])
    assert (given.far, given.command) == (3, print)


@pytest.mark.parametrize("arguments", [["go", "--far=x"], ["go", "--fa=1"], ["stay"], []])
def test_a_mistake_points_to_the_help(parser, arguments):
    with pytest.raises(InputError, match="; see --help"):
        parsed(parser, arguments)


@pytest.mark.parametrize(("option", "full"), [("--help", False), ("--helpfull", True)])
@pytest.mark.parametrize("before", [[], ["go"]])
def test_the_help_is_shown(parser, option, full, before, capsys):
    with pytest.raises(HelpShown):
        parsed(parser, [*before, option])
    told = capsys.readouterr().out
    assert told.startswith(" ".join(["usage: jaxmask mine", *before]))
    assert ("--verbosity" in told) is full
