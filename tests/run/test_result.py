"""What `result.json` holds: written, read, and read as earlier versions wrote it."""

import json
from importlib import metadata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxmask.errors import InputError
from jaxmask.run import result
from jaxmask.run.result import Result

SHARES = st.floats(0, 1)
NAMES = st.text(max_size=5)
MORE = st.dictionaries(
    st.sampled_from(["loss", "schedule", "runs", "initial"]),
    st.none() | st.booleans() | st.integers() | SHARES | NAMES | st.lists(NAMES, max_size=2),
)
RESULTS = st.builds(
    Result,
    recipe=NAMES, method=NAMES, dataset=NAMES, seed=st.integers(0, 2**32),
    accuracy=st.none() | SHARES, validation_accuracy=st.none() | SHARES,
    storage_bytes=st.integers(0, 2**40), steps=st.integers(0, 2**40), seconds=SHARES,
    network=NAMES, density=SHARES, density_by_leaf=st.dictionaries(NAMES, SHARES, max_size=3),
    empty_leaves=st.lists(NAMES, max_size=3).map(tuple), mask_bits=st.integers(0, 2**40),
    trained_numbers=st.integers(0, 2**40), more=MORE,
)  # fmt: skip


@settings(max_examples=25)
@given(RESULTS)
def test_a_result_comes_back_as_it_was_written(tmp_path_factory, found):
    folder = tmp_path_factory.mktemp("result")
    given_back = result.write(folder, found)
    read = result.read(folder)
    assert given_back == read
    versions = read.more["versions"]
    assert read == found._replace(more={**found.more, "versions": versions})


def test_the_file_has_all_fields_side_by_side_and_the_versions(tmp_path):
    found = Result("prune", "snip", "digits", 3, 0.5, None, 10, 7, 1.5,
                   empty_leaves=("fc1/kernel",), more={"schedule": "USS"})  # fmt: skip
    result.write(tmp_path, found)
    told = json.loads((tmp_path / "result.json").read_text())
    assert told["schedule"] == "USS"
    assert told["empty_leaves"] == ["fc1/kernel"]
    assert told["validation_accuracy"] is None
    assert "more" not in told
    assert told["versions"]["jax"] == metadata.version("jax")
    assert set(told) == {*Result._fields, "schedule", "versions"} - {"more"}
    assert found.as_json() == {name: value for name, value in told.items() if name != "versions"}


def test_a_field_that_a_file_lacks_is_none_or_empty(tmp_path):
    (tmp_path / "result.json").write_text('{"accuracy": 0.25, "mine": [1]}')
    found = result.read(tmp_path)
    assert (found.accuracy, found.more) == (0.25, {"mine": [1]})
    assert (found.density_by_leaf, found.empty_leaves) == ({}, ())
    others = set(Result._fields) - {"accuracy", "more", "density_by_leaf", "empty_leaves"}
    assert {getattr(found, name) for name in others} == {None}


def test_names_of_earlier_versions_are_read_as_what_they_are_called_now(tmp_path):
    (tmp_path / "result.json").write_text(
        '{"accuracy": null, "regularisation": 0.1, "neighbours": 5}'
    )
    assert result.read(tmp_path).more == {"regularization": 0.1, "neighbors": 5}


@pytest.mark.parametrize("text", [None, '{"accu', "[1]", "3", '{"seed": 0}', ""])
def test_what_is_no_result_is_one_line_that_names_it(tmp_path, text):
    if text is not None:
        (tmp_path / "result.json").write_text(text)
    with pytest.raises(InputError, match=r"result\.json") as error:
        result.read(tmp_path)
    assert "\n" not in str(error.value)
