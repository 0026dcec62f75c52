"""Networks compared image by image, against McNemar's test worked out by hand."""

from math import comb

import numpy as np
import pytest

from jaxmask.report import paired


@pytest.fixture
def run(tmp_path):
    """Two networks on twelve images: the first alone is right on 7, the second alone on 1."""
    labels = np.arange(12) % 3
    wrong = {"one": [11, 3], "other": [0, 1, 2, 4, 5, 6, 7, 3]}
    for network, places in wrong.items():
        predicted = labels.copy()
        predicted[places] += 1
        for classifier in paired.CLASSIFIERS:
            folder = tmp_path / network / classifier
            folder.mkdir(parents=True)
            np.save(folder / paired.PREDICTED, np.stack([predicted, labels]))
    return tmp_path


def test_it_counts_the_images_that_one_alone_gets_right(run):
    found = paired.table(run, ["other", "one"], "other")
    assert list(found["network"]) == ["one", "one"]
    assert list(found["classifier"]) == ["linear_probe", "knn"]
    assert (found[["better", "worse"]].to_numpy() == [7, 1]).all()
    np.testing.assert_allclose(found["difference"], 6 / 12)
    # of eight tosses, seven or more alike, on either side
    np.testing.assert_allclose(found["p"], 2 * (comb(8, 7) + comb(8, 8)) / 2**8)


def test_networks_that_never_differ_have_p_1(run):
    for name in paired.CLASSIFIERS:
        np.save(
            run / "other" / name / paired.PREDICTED, np.load(run / "one" / name / paired.PREDICTED)
        )
    assert (paired.table(run, ["one"], "other")["p"] == 1).all()


def test_the_table_says_points_and_what_it_is_about(run):
    text = paired.markdown(paired.table(run, ["one"], "other"), "other")
    assert "| one | linear probe | +50.00 | 7 | 1 | 0.07 |" in text
    assert "not about other seeds" in text
