"""Networks of one run compared image by image: McNemar's exact test of their mistakes."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from jaxmask.report import summary
from jaxmask.run.result import PREDICTED

CLASSIFIERS = {"linear_probe": "linear probe", "knn": "k-NN"}


def table(folder: Path, networks: Sequence[str], baseline: str) -> pd.DataFrame:
    """One row per classifier and network other than the baseline, with unrounded numbers.

    Columns: `classifier`, `network`, `difference` (of accuracies), `better` and `worse` (test
    images that only the one, only the other gets right), and `p`: the probability, if each of these
    were as likely to be of the one kind as of the other, of a split as uneven as this (exact, two
    sides). It tells whether these networks differ, and nothing about other seeds of the same
    method.

    McNemar, Note on the sampling error of the difference between correlated proportions or
    percentages, Psychometrika 1947.

    Args:
      folder: of the run; below it, each network's folder has one of each classifier.
    """
    from scipy.stats import binomtest

    rows = []
    for classifier in CLASSIFIERS:
        theirs = _right(folder / baseline / classifier)
        for network in networks:
            if network == baseline:
                continue
            ours = _right(folder / network / classifier)
            better, worse = int((ours & ~theirs).sum()), int((theirs & ~ours).sum())
            p = binomtest(better, better + worse).pvalue if better + worse else 1.0
            difference = (better - worse) / len(ours)
            rows.append((classifier, network, difference, better, worse, float(p)))
    columns = ["classifier", "network", "difference", "better", "worse", "p"]
    return pd.DataFrame(rows, columns=columns)


def markdown(found: pd.DataFrame, baseline: str) -> str:
    """The table for people, with a caption."""
    shown = pd.DataFrame(
        {
            "network": found["network"],
            "by": found["classifier"].map(CLASSIFIERS),
            "points": [f"{100 * value:+.2f}" for value in found["difference"]],
            "only it is right": found["better"].astype(str),
            f"only {baseline} is right": found["worse"].astype(str),
            "p": [f"{value:.2g}" for value in found["p"]],
        }
    )
    said = (
        f"Against {baseline}, on the same test images: McNemar's exact test, not corrected for the "
        f"{len(found)} comparisons. It is about these networks, not about other seeds."
    )
    return summary.markdown(shown, said)


def _right(folder: Path) -> np.ndarray:
    predicted, labels = np.load(folder / PREDICTED)
    return predicted == labels
