"""What Markdown pages hold: code blocks, commands, links."""

import re
import shlex

# `jaxmask run ...`, and `python -m jaxmask.run ...`
COMMAND = re.compile(r"^[^#\n]*?\b(?:python -m jaxmask\.|(?<![/\w-])jaxmask )(\w+)(.*)", re.M)


def blocks(text, kind):
    """The code blocks that open with this word."""
    return re.findall(rf"^```{re.escape(kind)}\n(.*?)^```", text, re.S | re.M)


def commands(text):
    """(name, arguments) of every command of the package in blocks of `sh`."""
    lines = "\n".join(blocks(text, "sh")).replace("\\\n", "")
    found = [(name, shlex.split(rest, comments=True)) for name, rest in COMMAND.findall(lines)]
    return [("run" if name == "main" else name, arguments) for name, arguments in found]


def links(text):
    """The targets of links and pictures."""
    return re.findall(r"\]\(([^)\s]+)\)", re.sub(r"^```.*?^```", "", text, flags=re.S | re.M))


def anchors(text):
    """The anchors that a code host gives to the headings."""
    text = re.sub(r"^```.*?^```", "", text, flags=re.S | re.M)
    headings = re.findall(r"^#+ (.+)$", text, re.M)
    plain = (re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", each).lower() for each in headings)
    return {re.sub(r"[^\w\- ]", "", each).strip().replace(" ", "-") for each in plain}
