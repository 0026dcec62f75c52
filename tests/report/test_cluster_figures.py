"""Clusters of a cascade against classes."""

import numpy as np
import pytest
from finished_runs import add_router, make_adapt

from jaxmask.report import adaptation, cluster_figures, embedded
from jaxmask.report.collect import collect


def information(clusters, labels):
    """2 I(C; L) / (H(C) + H(L)), from the definitions."""
    joint = np.zeros((max(clusters) + 1, max(labels) + 1))
    np.add.at(joint, (clusters, labels), 1 / len(labels))
    entropy = lambda p: -sum(x * np.log(x) for x in p.ravel() if x > 0)  # noqa: E731
    one, two = entropy(joint.sum(0)), entropy(joint.sum(1))
    return 2 * (one + two - entropy(joint)) / (one + two)


def test_shares_of_each_class_with_classes_sorted_by_cluster():
    #           a: 3 of 4 in 2    b: all in 0    c: none   d: halves
    clusters = [2, 2, 0, 2,       0, 0, 0,                 1, 2]  # fmt: skip
    labels = [0] * 4 + [1] * 3 + [3] * 2
    images = embedded.Routed(np.array(clusters), np.array(labels), ("a", "b", "c", "d"))
    found = cluster_figures.clusters(images)
    assert list(found.shares.columns) == ["b", "d", "a"]
    assert found.shares.to_numpy().T.tolist() == [[1, 0, 0], [0, 0.5, 0.5], [0.25, 0, 0.75]]
    assert found.sizes.tolist() == [4, 1, 4]
    assert found.information == pytest.approx(information(clusters, labels))


def test_random_clusters_say_nothing_and_equal_ones_all():
    labels = np.arange(4000) % 8
    clusters = np.random.default_rng(0).integers(0, 5, 4000)
    assert (
        cluster_figures.clusters(embedded.Routed(clusters, labels, ("x",) * 8)).information < 0.01
    )
    assert cluster_figures.clusters(embedded.Routed(labels, labels, ("x",) * 8)).information == 1


def test_a_panel_for_each_setting_of_cascades(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(cluster_figures, "_panel", _kept(drawn, cluster_figures._panel))
    for seed in (0, 1):
        for count in (2, 3):
            run = tmp_path / "runs" / f"{count}-{seed}"
            make_adapt(run, {"dispatcher": 0.6}, seed, recipe="cascade", config={"experts": count})
            add_router(run, np.arange(12) % count, np.arange(12) % 4)
    make_adapt(tmp_path / "runs" / "other", {"untouched": 0.5}, recipe="self_mask")
    runs = adaptation.named(collect([tmp_path / "runs"]))
    assert cluster_figures.draw(tmp_path / "a.png", runs)
    assert [len(table.shares) for table in drawn] == [2, 3]
    assert not cluster_figures.draw(tmp_path / "b.png", runs[runs["recipe"] == "self_mask"])
    for file in (tmp_path / "runs").glob(f"*/{embedded.ROUTER}"):
        file.unlink()
    assert not cluster_figures.draw(tmp_path / "b.png", runs)


def _kept(drawn, panel):
    return lambda axes, table: (drawn.append(table), panel(axes, table))[1]
