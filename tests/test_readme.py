"""The front door: the README is short, what it says runs, its links lead somewhere."""

import ast
import json
import re
from pathlib import Path

import pages
import pytest

import jaxmask

ROOT = Path(__file__).parent.parent
PAGES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")
README = (ROOT / "README.md").read_text()
BLOCKS = pages.blocks(README, "python")
PICTURE = ROOT / "docs" / "_static" / "masks.svg"


def test_it_is_short():
    assert len(README.encode()) <= 8192


def test_the_ten_lines_learn_and_their_masks_are_stored(quick_compilation, tmp_path):
    names: dict = {}
    exec(compile(BLOCKS[0], "README.md", "exec"), names)
    start = names["transform"].init(None, names["parts"]["mask"])
    assert names["loss"](names["scores"]) < 0.7 * names["loss"](start)
    masks = names["transform"].mask(names["scores"])
    assert 0 < names["mask"].measure.density(masks) < 1
    names["mask"].file.save(tmp_path / "task.mask", masks)
    stored = names["mask"].file.load(tmp_path / "task.mask")
    assert (stored["body"]["kernel"] == masks["body"]["kernel"]).all()


def test_the_other_block_prunes(quick_compilation):
    names: dict = {}
    exec(compile(BLOCKS[1], "README.md", "exec"), names)
    off = {name: ~keep for name, keep in names["many"].items()}
    assert all((names["w"][name][off[name]] == 0).all() for name in off)
    assert names["mask"].measure.density(names["one"]) == pytest.approx(0.1, abs=0.005)
    assert len(BLOCKS) == 2


def test_the_ten_lines_are_ten():
    block = BLOCKS[0].split("# the ten lines")[1].split("print(")[0]
    assert sum(bool(line.strip()) for line in block.splitlines()[1:]) == 10


def test_the_commands_name_configs_and_fields_that_exist():
    from jaxmask.cli.run import parse
    from jaxmask.cli.sweep import expand

    found = pages.commands(README)
    assert {name for name, _ in found} == {"run", "masks", "sweep", "report"}
    for name, arguments in found:
        if name in ("run", "sweep"):
            config, _ = parse(arguments)
            assert name == "run" or expand(config)


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files_and_headings(page):
    targets = pages.links((ROOT / page).read_text())
    assert targets
    for target in targets:
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        assert (ROOT / path).is_file(), target
        assert not anchor or anchor in pages.anchors((ROOT / path).read_text()), target


def test_commands_of_the_launchers_exist():
    for name in set(
        re.findall(r"\blaunch/\w+", "".join((ROOT / each).read_text() for each in PAGES))
    ):
        assert (ROOT / name).is_file(), name


# The figures of the digits


def figures(line):
    """The numbers of a row, with two decimals or commas for thousands."""
    return set(re.findall(r"\d+\.\d\d|\d+,\d+", line)) - {"91,424", "92,389"}


@pytest.mark.parametrize("method", ["linear_probe", "full", "mask"])
def test_the_digits_have_the_same_figures_everywhere(method):
    texts = (
        README,
        (ROOT / "docs" / "start.md").read_text(),
        ast.get_docstring(ast.parse((ROOT / "configs" / "digits.py").read_text())),
    )
    rows = [re.search(rf"^\| `{method}`.*", text, re.M)[0] for text in texts]
    assert figures(rows[0]) == figures(rows[1]) == figures(rows[2])
    accuracy = re.search(r"(\d+\.\d\d) %", rows[0])[1]
    size = re.search(r"([\d,]+) \|$", rows[0])[1]
    picture = PICTURE.read_text()
    assert f"{accuracy} %<" in picture
    assert f">{size} bytes<" in picture
    told = re.search(r"!\[(.*?)\]", README, re.S)[1].replace("\n", " ")
    assert accuracy in told
    assert size in told


def test_the_picture_is_drawn_from_runs(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    monkeypatch.syspath_prepend(ROOT / "docs")
    import picture

    for seed, accuracy in enumerate((0.5, 0.75)):
        method = {"accuracy": accuracy, "storage_bytes": 1000 + 2000 * seed}
        found = {"methods": dict.fromkeys(picture.METHODS, method)}
        (tmp_path / str(seed)).mkdir()
        (tmp_path / str(seed) / "result.json").write_text(json.dumps(found))
    measured = picture.means([tmp_path / "0", tmp_path / "1"])
    assert measured["mask"] == (62.5, 2000)
    picture.draw(measured, tmp_path / "drawn.svg")
    drawn = (tmp_path / "drawn.svg").read_text()
    assert "62.50 %<" in drawn
    assert ">2,000 bytes<" in drawn
    assert len(drawn) < 60_000
    assert PICTURE.stat().st_size < 60_000


# Versions


def test_the_citation_and_the_changes_have_the_package_s_version():
    import yaml

    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert cited["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= set(cited)
    changes = (ROOT / "CHANGELOG.md").read_text()
    latest, date = re.findall(r"^## \[(\d+\.\d+\.\d+)\] - (\d{4}-\d\d-\d\d)$", changes, re.M)[0]
    assert (cited["version"], cited["date-released"]) == (latest, date)
    assert jaxmask.__version__ == latest
    assert "\n## [Unreleased]\n" in changes
