"""The pruned runs of one density."""

from pathlib import Path

import pytest
from finished_runs import make_run

from jaxmask.errors import InputError
from jaxmask.report import collect, one_density


def test_the_density_drawn_is_that_of_most_methods(grid):
    make_run(grid / "x", 0.9, "snip", target=0.01)
    frame = collect.collect([grid])
    assert one_density.chosen_density(frame) == 0.1
    assert one_density.chosen_density(frame, 0.01) == 0.01
    with pytest.raises(InputError, match=r"0\.2; known: 0\.01, 0\.1, 0\.5"):
        one_density.chosen_density(frame, 0.2)
    assert one_density.chosen_density(frame[frame["method"] == "dense"]) is None


def test_the_smallest_of_several_densities_is_drawn(grid):
    """Both methods have runs of 0.1 and of 0.5."""
    assert one_density.chosen_density(collect.collect([grid])) == 0.1


def test_runs_of_a_density_are_pruned_ones_in_the_order_of_their_names(grid):
    frame = collect.collect([grid])
    runs = one_density.at_density(frame, 0.5)
    assert list(runs["target_density"]) == [0.5] * 6
    places = one_density.places(runs)
    assert [name for name, _ in places] == ["grasp(temperature=200.0) USS"] * 3 + ["snip USS"] * 3
    assert [path.name for _, path in places][3:] == [f"snip-0.5-{seed}" for seed in range(3)]
    assert all(one_density.mask_file(path).exists() for _, path in places)
    assert len(one_density.pruned(frame)) == 12
    assert one_density.at_density(frame, None).empty
    assert one_density.title(runs) == "target density 0.5"
    assert one_density.mask_file(Path("a")) == Path("a/masks/ticket.mask")
