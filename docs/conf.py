"""The site: `launch/docs` builds it, and tests/test_docs.py does so strictly."""

import contextlib
import gc
import hashlib
import io
import os
import re
import sys
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")

HERE = Path(__file__).parent
ROOT = HERE.parent
sys.path.insert(0, str(HERE))

import jax  # noqa: E402
import public  # noqa: E402 (beside this file)
from sphinx_gallery.scrapers import matplotlib_scraper  # noqa: E402

from jaxmask import adapter  # noqa: E402
from jaxmask.cli import columns, program  # noqa: E402
from jaxmask.run import fields  # noqa: E402

# examples run small programs, some of them several times: compiling dominates
jax.config.update("jax_disable_most_optimizations", True)
jax.config.update(
    "jax_compilation_cache_dir", os.environ.get("JAXMASK_CACHE", f"{HERE}/_build") + "/xla"
)
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)

project = "jaxmask"
author = "the authors of jaxmask"
html_title = "jaxmask"
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["design/skeletons", "_build"]
nitpicky = True
nitpick_ignore_regex = [(r"py:.*", r"(?!jaxmask\.).+")]  # other projects are not looked up
default_role = "code"
smartquotes = False  # "" is a value of fields
myst_enable_extensions = ["colon_fence", "attrs_inline"]
myst_heading_anchors = 3
suppress_warnings = ["config.cache"]  # the gallery's order is a function

html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sphinx = False
html_show_copyright = False
html_copy_source = False
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#1f5fa8", "color-brand-content": "#1f5fa8"},
    "dark_css_variables": {"color-brand-primary": "#7db4f0", "color-brand-content": "#7db4f0"},
}
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

# Reference

autodoc_member_order = "bysource"
autodoc_typehints = "none"
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True
napoleon_attr_annotations = False

SHORT = public.short_names()


def linked(app, what, name, found, options, lines):
    """Makes reStructuredText of docstrings, which have code in single backticks, as Markdown has.

    Names of public things become links; outside of code, nothing else is markup.
    """
    inside = False
    for index, line in enumerate(lines):
        inside = inside and bool(line.strip())
        if not line.lstrip().startswith((">>>", "...")):
            lines[index], inside = converted(line, inside)


def converted(line, inside):
    """The line as reStructuredText; whether it starts, and ends, inside code."""
    text = ""
    for part in re.split("(`+)", line):
        if part.startswith("`"):
            inside = not inside
        elif not inside:
            part = re.sub(r"(?<!\w)[*|](?=\w)|(?<=\w)_(?!\w)|(?<=\w)\|", r"\\\g<0>", part)
        text += part
    return re.sub(r"(?<!`)`([\w.]+)`(?!`)", link, text), inside


def link(match):
    target = SHORT.get(match[1])
    return f":py:obj:`{match[1]} <{target}>`" if target else match[0]


def without_fields(app, what, name, found, skip, options):
    """Leaves out a NamedTuple's fields, which its docstring describes, and inherited methods."""
    if what == "class" and (type(found).__name__ == "_tuplegetter" or name in dir(tuple)):
        return True
    return skip


def unbroken(app, name, source):
    """Keeps a number, its deviation and its unit on one line of a table."""
    lines = source[0].split("\n")
    source[0] = "\n".join(
        re.sub(r"(?<=[\d%]) (± |%)", lambda m: "\xa0" + m[1].replace(" ", "\xa0"), line)
        if line.startswith("|")
        else line
        for line in lines
    )


# Commands: what they print by --help

HELP = (
    "run", "sweep", "report", "masks show", "masks overlap", "masks apply", "masks export",
    "masks merge", "task evaluate", "task predict", "prepare", "list", "completion",
)  # fmt: skip


def write_help(app):
    os.environ["COLUMNS"] = "88"
    columns.PLAIN_WIDTH = 88
    pages = []
    for command in HELP:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            program.main([*command.split(), "--help"])
        pages.append("\n".join(line.rstrip() for line in printed.getvalue().splitlines()))
    write_if_changed(HERE / "reference" / "help.txt", ("\n\n" + "-" * 88 + "\n\n").join(pages))


# Config fields: a table of each section, and of each method


def write_fields(app):
    tables = [
        ("All recipes", "", fields.EXPERIMENT),
        ("Network", "network.", fields.NETWORK),
        ("Data", "data.", fields.DATA),
        ("Training", "train.", fields.TRAIN),
        *((f"Recipe `{name}`", "", table) for name, table in fields.OF_RECIPES.items()),
        ("Scoring, of `prune` and `lottery`", "scoring.", fields.SCORING),
        ("Views, of `self_mask` and `cascade`", "views.", fields.VIEWS),
        ("Few labels, of `self_mask`", "few_labels.", fields.FEW_LABELS),
        ("Sweeps", "", fields.SWEEP),
    ]
    for name, each in {**adapter.METHODS, **adapter.EVALUATORS}.items():
        table = {field: (value, fields.METHOD[field]) for field, value in each.defaults.items()}
        tables.append((f"Method `{name}`: {each.about}", f"{name}.", table))
    text = []
    for title, at, table in tables:
        text += [f"## {title}", "", "| field | default | what |", "|---|---|---|"]
        for name, (default, about) in table.items():
            if not isinstance(default, dict):
                shown = repr(default).replace("|", "\\|")
                text.append(f"| `{at}{name}` | `{shown}` | {about.replace('|', chr(92) + '|')} |")
        text.append("")
    write_if_changed(HERE / "reference" / "fields.inc", "\n".join(text))


def write_if_changed(path, text):
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


# Examples: the scripts of examples/, executed in this process


def order(name):
    return public.EXAMPLES.index(Path(name).name)


def source_stamp():
    """Of the package: examples are executed again when it changes."""
    digest = hashlib.sha256()
    for path in sorted((ROOT / "jaxmask").rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def forget_stale(app):
    stamp = HERE / "examples" / "package.sha256"
    if stamp.exists() and stamp.read_text() == source_stamp():
        return
    for path in (HERE / "examples").glob("*.md5"):
        path.unlink()


def keep_stamp(app, error):
    if error is None and (HERE / "examples").exists():
        (HERE / "examples" / "package.sha256").write_text(source_stamp())


def vector_graphics(block, variables, gallery):
    """Saves the open figures once, sharp at any size."""
    return matplotlib_scraper(block, variables, gallery, format="svg")


def keep(gallery, script):
    """What is in memory stays: the gallery looks for garbage before every example, for a second."""
    gc.freeze()


sphinx_gallery_conf = {
    "examples_dirs": [str(ROOT / "examples")],
    "gallery_dirs": ["examples"],
    "filename_pattern": r"\.py$",
    "ignore_pattern": r"digits\.py$",
    "within_subsection_order": order,
    "abort_on_example_error": True,
    "download_all_examples": False,
    "show_memory": False,
    "show_signature": False,
    "remove_config_comments": True,
    "reference_url": {"jaxmask": None},
    "doc_module": ("jaxmask",),
    "matplotlib_animations": False,
    "image_scrapers": (vector_graphics,),
    "reset_modules": ("matplotlib", "seaborn", keep),
    "plot_gallery": os.environ.get("JAXMASK_DOCS_EXAMPLES", "1") == "1",
}


def setup(app):
    app.connect("autodoc-process-docstring", linked, priority=400)
    app.connect("autodoc-skip-member", without_fields)
    app.connect("source-read", unbroken)
    app.connect("builder-inited", write_help)
    app.connect("builder-inited", write_fields)
    app.connect("builder-inited", forget_stale, priority=1)
    app.connect("build-finished", keep_stamp)
    return {"parallel_read_safe": True}
