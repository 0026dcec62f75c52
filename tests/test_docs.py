"""The site builds without a warning, shows every public name, and what its pages say runs."""

import doctest
import functools
import importlib
import importlib.util
import re
import shutil
import subprocess
import sys
import urllib.parse
from html.parser import HTMLParser
from pathlib import Path

import pages
import processes
import pytest

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(
    path.relative_to(DOCS).as_posix()
    for path in DOCS.rglob("*.md")
    if path.relative_to(DOCS).parts[0] not in ("_build", "examples")
)
SKELETONS = DOCS / "design" / "skeletons"


def load(path):
    """A Python file as a module."""
    spec = importlib.util.spec_from_file_location(f"docs_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


public = load(DOCS / "public.py")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder with a copy of the sources and the site that was built of it, in `html`.

    Examples are executed, unless the checkout's own copy of the site is of the same package.
    """
    pytest.importorskip("sphinx_gallery")
    folder = tmp_path_factory.mktemp("site")
    for name in ("docs", "examples"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("_build"))
    for name in ("benchmarks", "jaxmask", "CHANGELOG.md"):
        (folder / name).symlink_to(ROOT / name)
    command = ["-q", "-W", "--keep-going", "-n", "-d", folder / "trees", folder / "docs"]
    ended = subprocess.run(
        [sys.executable, "-m", "sphinx", *map(str, command), str(folder / "html")],
        capture_output=True,
        text=True,
        # examples are small: compilation dominates
        env=processes.environment(str(ROOT), JAX_DISABLE_MOST_OPTIMIZATIONS="1"),
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return folder


# What is shown


def test_every_public_name_is_in_the_reference(site):
    from sphinx.util.inventory import InventoryFile

    with (site / "html" / "objects.inv").open("rb") as file:
        inventory = InventoryFile.load(file, "", lambda base, path: path)
    shown = {name for kind, names in inventory.items() if kind.startswith("py:") for name in names}
    assert sorted(set(public.public()) - shown) == []


def test_every_method_has_an_example():
    from jaxmask import adapter, mask, score

    of_names = {"mask": "threshold", "mask_topk": "top_k", "mask_sign": "sign"}
    methods = [of_names.get(name, name) for name in (*adapter.METHODS, *adapter.EVALUATORS)]
    wanted = [f"adapt_{name}.py" for name in (*methods, *mask.TRANSFORMS)]
    wanted += [f"prune_{name}.py" for name in score.SCORERS]
    assert set(wanted) <= set(public.EXAMPLES)
    scripts = {path.name for path in (ROOT / "examples").glob("*.py")} - {"digits.py"}
    assert scripts == set(public.EXAMPLES)


class Links(HTMLParser):
    """The links and the anchors of a page."""

    def __init__(self, path):
        super().__init__()
        self.links, self.anchors = [], {""}
        self.feed(path.read_text())

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.anchors.add(found.get("id", ""))
        self.links += [found[name] for name in ("href", "src") if found.get(name)]


def dead_links(folder):
    """The links between the pages of a folder that lead nowhere, as "page: link"."""
    parsed = {path.resolve(): Links(path) for path in folder.rglob("*.html")}
    dead = []
    for path, page in parsed.items():
        for link in page.links:
            parts = urllib.parse.urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / urllib.parse.unquote(parts.path)).resolve()
            target = target if parts.path else path
            anchor = urllib.parse.unquote(parts.fragment)
            known = parsed[target].anchors if target in parsed else {anchor}
            if not target.exists() or anchor not in known:
                dead.append(f"{path.relative_to(folder.resolve())}: {link}")
    return dead


def test_no_link_is_dead(site):
    assert dead_links(site / "html") == []


def test_a_dead_link_is_found(tmp_path):
    (tmp_path / "a.html").write_text(
        '<p id="here"><a href="b.html#x">b</a><a href="#here">a</a><img src="no.png">'
        '<a href="b.html">b</a><a href="https://example.org/none">out</a><a href="c.html">c</a>'
    )
    (tmp_path / "b.html").write_text('<p id="y">')
    found = ["a.html: b.html#x", "a.html: no.png", "a.html: c.html"]
    assert dead_links(tmp_path) == found


# What runs


def blocks(page, kind):
    return pages.blocks((DOCS / page).read_text(), kind)


def of_kind(kind):
    return [page for page in PAGES if blocks(page, kind)]


@pytest.mark.parametrize("page", of_kind("python"))
def test_the_code_of_a_page_runs(page, tmp_path, monkeypatch, quick_compilation):
    from jaxmask.run import criteria

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(criteria, "CRITERIA", dict(criteria.CRITERIA))
    names = {"__name__": "page"}
    for block in blocks(page, "python"):
        exec(compile(block, page, "exec"), names)
        reaches_everything(names.pop("gradient", {}))
    SAYS.get(page, lambda names: None)(names)


def reaches_everything(gradient):
    import jax
    import numpy as np

    for leaf in jax.tree.leaves(gradient):
        assert np.isfinite(leaf).all()
        assert np.abs(leaf).max() > 0


def learns_and_keeps(names):
    """The page Start: a mask is learned, and what is read from its file is the same network."""
    learned = names["accuracy"](names["adapted"](names["learned"]), *names["held_out"])
    assert learned > 0.85
    assert names["accuracy"](names["restored"], *names["held_out"]) == learned
    assert 0.5 < names["mask"].measure.density(names["masks"]) < 1


SAYS = {"start.md": learns_and_keeps}


def test_every_scorer_and_transform_is_used_on_a_page():
    from jaxmask import mask, score

    code = "\n".join(block for page in of_kind("python") for block in blocks(page, "python"))
    for name in (*score.SCORERS, "stack", "as_weights"):
        assert f"score.{name}(" in code, name
    for name in mask.TRANSFORMS:
        assert f"mask.{name}(" in code, name


@pytest.mark.parametrize("page", of_kind("{code-block} python"))
def test_other_code_is_python(page):
    for block in blocks(page, "{code-block} python"):
        compile(block, page, "exec")


@functools.cache
def commands():
    """(page, name, arguments) of every command of the package in the pages and beside them."""
    texts = {page: (DOCS / page).read_text() for page in PAGES}
    texts |= {name: (ROOT / name).read_text() for name in ("README.md", "benchmarks/README.md")}
    return [(page, *command) for page, text in texts.items() for command in pages.commands(text)]


def test_the_commands_name_configs_and_fields_that_exist():
    from jaxmask.cli import engines
    from jaxmask.cli.run import parse
    from jaxmask.cli.sweep import expand

    seen = {"run": 0, "sweep": 0}
    for _, command, arguments in commands():
        if command in seen:
            if "--help" not in arguments:
                taken = engines.distributed if command == "run" else engines.parse
                config, _ = parse(taken(arguments)[1])
                assert command == "run" or expand(config)
            seen[command] += 1
    assert seen["run"] > 15
    assert seen["sweep"] > 5


def test_the_modes_that_pages_and_configs_name_exist():
    from jaxmask.cli import config as configs

    texts = [(DOCS / page).read_text() for page in PAGES]
    texts += [path.read_text() for path in configs.CONFIGS.glob("*.py")]
    known = "|".join(configs.names())
    named = {pair for text in texts for pair in re.findall(rf"\b({known}):([a-z]\w+)", text)}
    assert len(named) > 15
    for name, mode in named:
        configs.load(configs.CONFIGS / f"{name}.py", mode)


def test_the_commands_have_the_options_that_the_pages_name(site):
    helps = (site / "docs" / "reference" / "help.txt").read_text().split("usage: ")[1:]
    for page, command, arguments in commands():
        if command in ("run", "sweep"):
            continue
        words = [command, *(arguments[:1] if command in ("masks", "task") else ())]
        found = [each for each in helps if each.startswith(" ".join(["jaxmask", *words, "["]))]
        assert len(found) == 1, (page, words)
        asked = {each.partition("=")[0] for each in arguments if each.startswith("--")}
        assert asked <= set(re.findall(r"--[\w-]+", found[0])), (page, words)


# The skeletons


@pytest.mark.parametrize("name", ["criterion", "transform", "adapter"])
def test_a_skeletons_example_runs(name):
    import jax.numpy as jnp

    module = load(SKELETONS / f"{name}.py")
    results = doctest.testmod(module, extraglobs={"jnp": jnp, **vars(module)})
    assert results.attempted > 0
    assert results.failed == 0


def test_the_skeleton_of_a_transform_puts_stored_masks_on():
    import jax
    import jax.numpy as jnp
    import numpy as np

    leaky = load(SKELETONS / "transform.py").leaky(rest=0.25)
    scores = {"w": jax.random.normal(jax.random.key(0), (5, 3))}
    weights = {"w": jax.random.normal(jax.random.key(1), (5, 3))}
    bits = jax.tree.map(lambda m: m > 0, leaky.mask(scores))
    np.testing.assert_array_equal(leaky.put(bits, weights)["w"], leaky.apply(scores, weights)["w"])
    gradient = jax.grad(lambda s: jnp.sum(leaky.apply(s, weights)["w"]))(scores)["w"]
    np.testing.assert_allclose(gradient, 0.75 * weights["w"], rtol=1e-6)


def test_the_skeletons_of_an_adapter_and_a_network_keep_the_law():
    import jax
    import jax.numpy as jnp
    import numpy as np

    network = load(SKELETONS / "network.py").TwoLayers(classes=3, width=0.25)
    params = network.init(jax.random.key(0), jnp.ones((1, 4, 4, 1)))["params"]
    way = load(SKELETONS / "adapter.py").scales([("head/.*", "train"), (".*/kernel", "mask")])
    learned, frozen = way.init(None, params)
    learned = jax.tree.map(lambda leaf: leaf + 0.3, learned)
    restored = way.restore(params, way.store(learned, frozen))
    jax.tree.map(np.testing.assert_array_equal, restored, way.parameters(learned, frozen))
    assert network.apply({"params": restored}, jnp.ones((2, 4, 4, 1))).shape == (2, 3)


def test_the_skeleton_of_a_recipe_runs(tmp_path, quick_compilation):
    from jaxmask.recipe import defaults
    from jaxmask.run import driver

    config = defaults.dense("digits", epochs=1)
    config.network.width = 0.1
    begin = load(SKELETONS / "recipe.py").prepare(config)
    found = driver.alone(begin(tmp_path / "run", None))
    assert found.steps == 36 - 36 % 2
    assert found.accuracy > 0.3
    assert driver.alone(begin(tmp_path / "run", None)) == found  # a finished run is not run again
