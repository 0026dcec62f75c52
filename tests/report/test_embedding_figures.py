"""Embeddings of a run's networks as points, and which of them are drawn."""

import numpy as np
import pytest
from finished_runs import add_embeddings, make_adapt

from jaxmask.report import adaptation, embedded, embedding_figures
from jaxmask.report.collect import collect

NETWORKS = {"untouched": 0.5, "dispatcher": 0.6, "unconditional": 0.7}


def cascade(folder, labels, classes=(), seed=0, size=5, config=None):
    make_adapt(folder, NETWORKS, seed, recipe="cascade", config=config, knn_accuracy=0.875)
    random = np.random.default_rng(seed)
    for name in NETWORKS:
        add_embeddings(folder / name, random.normal(size=(len(labels), size)), labels, classes)
    return folder


def named(folder):
    return adaptation.named(collect([folder]))


def points(folder, way="PCA"):
    return embedding_figures.points(embedded.settings_of(named(folder), 3)[0], way)


def test_each_network_has_a_panel_with_every_image(tmp_path):
    labels = [2, 0, 1] * 4
    run = cascade(tmp_path / "run", labels, ["cat", "dog", "eel"])
    table = points(tmp_path)
    assert list(table["title"].unique()) == [f"{name}\nk-NN 87.5 %" for name in NETWORKS]
    for place, (name, network) in enumerate(table.groupby("title", sort=False)):
        assert network["network"].unique().tolist() == [place]
        assert network["class"].tolist() == ["eel", "cat", "dog"] * 4
        rows = embedded.embeddings(run / name.split("\n")[0]).features.astype(float)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        left, values, _ = np.linalg.svd(rows - rows.mean(0), full_matrices=False)
        placed = np.abs(network[["x", "y"]].to_numpy())
        assert placed == pytest.approx(np.abs(left[:, :2] * values[:2]), abs=1e-9)


def test_of_many_classes_the_most_frequent_are_drawn(tmp_path):
    # class k has k + 3 images, but 30 has as many as 24 and 40 none
    labels = [label for label in range(30) for _ in range(label + 3)] + [30] * 23
    cascade(tmp_path / "run", labels, [f"class {label}" for label in range(41)])
    network = points(tmp_path).query("network == 1")
    count = network["class"].value_counts()
    assert count.to_dict() == {f"class {label}": label + 3 for label in range(20, 30)}
    assert network["classes"].unique() == [41]
    assert embedding_figures.draw(tmp_path / "a.png", named(tmp_path), "PCA")


def test_twenty_classes_are_all_drawn(tmp_path):
    cascade(tmp_path / "run", list(range(20)) * 2)
    table = points(tmp_path)
    assert set(table["label"]) == set(range(20))
    assert len(set(embedding_figures._colors(list(range(20))).values())) == 20


def test_classes_of_one_name_are_two_classes(tmp_path, monkeypatch):
    legends = []
    monkeypatch.setattr(embedding_figures, "_legend", lambda *given: legends.append(given[2:]))
    for seed, loss in enumerate(("swav()", "dino()")):
        cascade(
            tmp_path / loss, [0, 1, 2, 1], ["crane", "bird", "crane"], seed, config={"loss": loss}
        )
    assert embedding_figures.draw(tmp_path / "a.png", named(tmp_path), "PCA")
    ((colors, classes),) = legends  # of both rows
    assert classes["class"].tolist() == ["crane", "bird", "crane"]
    assert len(set(colors.values())) == 3


def test_of_many_images_some_are_drawn_evenly_spaced(tmp_path, monkeypatch):
    monkeypatch.setattr(embedding_figures, "POINTS", 12)
    labels = np.arange(50) // 5
    cascade(tmp_path / "run", labels)
    assert points(tmp_path).query("network == 0")["label"].tolist() == [
        labels[place * 50 // 12] for place in range(12)
    ]


def test_runs_are_rows_and_networks_without_embeddings_are_left_out(tmp_path):
    for loss in ("swav()", "dino()"):
        cascade(tmp_path / loss, [0, 1, 2, 1], config={"loss": loss})
    (tmp_path / "dino()" / "dispatcher" / embedded.EMBEDDINGS).unlink()
    table = points(tmp_path)
    assert table.groupby("run")["network"].nunique().tolist() == [2, 3]
    assert len(table) == 4 * 5
    add_embeddings(tmp_path / "swav()" / "untouched", np.eye(2), [0, 1])  # too few to place
    assert len(points(tmp_path)) == 4 * 4


@pytest.mark.parametrize("way", ["PCA", "t-SNE"])
def test_the_same_files_give_the_same_picture_wherever_they_are(tmp_path, way):
    for place in ("here", "there/far"):
        cascade(tmp_path / place / "run", [0, 1, 2] * 20, seed=3)
        assert embedding_figures.draw(tmp_path / place / "a.png", named(tmp_path / place), way)
    first, second = ((tmp_path / place / "a.png").read_bytes() for place in ("here", "there/far"))
    assert first == second
    assert first[:4] == b"\x89PNG"


def test_without_embeddings_there_is_no_picture(tmp_path):
    make_adapt(tmp_path / "run", {"untouched": 0.5, "mask": 0.6}, recipe="self_mask")
    assert not embedding_figures.draw(tmp_path / "a.png", named(tmp_path), "PCA")
    assert not (tmp_path / "a.png").exists()
