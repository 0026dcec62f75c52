import itertools

import numpy as np
import pandas as pd
import pytest
from finished_runs import make_run
from scipy import stats
from scipy.cluster import hierarchy

from jaxmask import mask
from jaxmask.report import collect, overlap, overlap_figures, tickets
from jaxmask.report.overlap import ALL, CRITERIA, SCHEDULES, Ticket

SHAPES = {"a/kernel": (30, 20), "b/kernel": (20, 5)}


def drawn(random, shares, shapes=SHAPES):
    """Exactly these shares of each leaf, at random."""
    found = {}
    for (path, shape), share in zip(shapes.items(), shares):
        size = int(np.prod(shape))
        bits = np.arange(size) < round(share * size)
        found[path] = random.permutation(bits).reshape(shape)
    return found


def ticket(method, schedule="USS", own=True, initial="0", masks=None, context=""):
    random = np.random.default_rng(list(map(ord, method + schedule)))
    masks = drawn(random, (0.2, 0.5)) if masks is None else masks
    name = f"{method} {schedule}"
    series = f"{name}, {context}" if context else name
    return Ticket(series, method, schedule, context, name, own, initial, masks)


def flat(masks):
    return np.concatenate([leaf.ravel() for leaf in masks.values()])


def kinds(rows):
    return {(row["one"], row["two"]): row["kind"] for row in rows}


def test_an_index_and_that_of_chance_by_counting():
    one, two = ticket("snip"), ticket("grasp", masks=drawn(np.random.default_rng(1), (0.1, 0.9)))
    (row,) = overlap.pairs([one, two])
    a, b = flat(one.masks), flat(two.masks)
    assert row["jaccard"] == pytest.approx((a & b).sum() / (a | b).sum())
    both = 600 * 0.2 * 0.1 + 100 * 0.5 * 0.9
    assert row["chance"] == pytest.approx(both / (a.sum() + b.sum() - both))
    assert row["beyond"] == pytest.approx(row["jaccard"] - row["chance"])


def test_chance_is_what_random_tickets_of_equal_counts_have():
    random = np.random.default_rng(5)
    shares, indices = (0.02, 0.4), []
    for _ in range(300):
        one, two = (flat(drawn(random, shares)) for _ in range(2))
        indices.append((one & two).sum() / (one | two).sum())
    pair = [ticket(name, masks=drawn(random, shares)) for name in ("snip", "grasp")]
    error = stats.sem(indices)
    assert overlap.pairs(pair)[0]["chance"] == pytest.approx(np.mean(indices), abs=4 * error)
    # and not what masks of the whole network have, whatever its layers
    whole = np.mean(flat(pair[0].masks))
    assert abs(np.mean(indices) - whole / (2 - whole)) > 20 * error


def test_kinds_are_of_one_experiment_and_the_same_initial_weights():
    found = kinds(overlap.pairs([
        ticket("snip"), ticket("grasp"), ticket("grasp", "UMS", own=False),
        ticket("magnitude", "ISS", context="fashion"), ticket("synflow", "UMS", initial="1"),
        ticket("random", initial=None),
    ]))  # fmt: skip
    assert found["snip USS", "grasp USS"] == CRITERIA
    assert found["grasp USS", "grasp UMS"] == SCHEDULES
    assert found["snip USS", "grasp UMS"] == ""  # two things differ
    assert {kind for pair, kind in found.items() if "magnitude ISS, fashion" in pair} == {""}
    assert {kind for pair, kind in found.items() if "synflow UMS" in pair} == {""}
    assert {kind for pair, kind in found.items() if "random USS" in pair} == {""}


def test_variants_of_one_schedule_are_not_two_schedules():
    one = ticket("magnitude", "ISS")
    found = overlap.pairs([one, one._replace(series="magnitude ISS, rounds=3")])
    assert [(row["kind"], row["jaccard"]) for row in found] == [("", 1.0)]


def test_tickets_of_other_networks_are_not_compared():
    other = ticket("grasp", masks=drawn(np.random.default_rng(0), (0.5,), {"a/kernel": (3, 3)}))
    assert overlap.pairs([ticket("snip"), other]) == []


def test_the_core_of_all_criteria_beside_that_of_chance():
    among = [ticket("snip"), ticket("grasp"), ticket("magnitude", "ISS")]
    rows = overlap.pairs([*among, ticket("random"), ticket("snip", "UMS", own=False)])
    (row,) = [row for row in rows if row["kind"] == ALL]
    assert row["names"] == "snip USS, grasp USS, magnitude ISS"
    bits = np.array([flat(each.masks) for each in among])
    assert row["jaccard"] == pytest.approx(bits.all(axis=0).sum() / bits.any(axis=0).sum())
    every = 600 * 0.2**3 + 100 * 0.5**3
    some = 600 * (1 - 0.8**3) + 100 * (1 - 0.5**3)
    assert row["chance"] == pytest.approx(every / some)
    assert not [each for each in overlap.pairs(among[:2]) if each["kind"] == ALL]


def frame_of(tickets_by_seed, density=0.1):
    rows = [
        {"target_density": density, "seed": seed, **row}
        for seed, among in tickets_by_seed.items()
        for row in overlap.pairs(among)
    ]
    return pd.DataFrame(rows, columns=overlap.COLUMNS)


def three_seeds():
    found = {}
    for seed in range(3):
        random = np.random.default_rng(seed)
        core = drawn(random, (0.1, 0.1))
        found[seed] = [
            ticket(name, schedule, own, str(seed), joined(drawn(random, (0.1, 0.1)), core, shared))
            for name, schedule, own, shared in (
                ("snip", "USS", True, True), ("snip", "UMS", False, False),
                ("grasp", "USS", True, True), ("magnitude", "ISS", True, True),
                ("random", "USS", True, False),
            )
        ]  # fmt: skip
    return found


def joined(masks, core, shared):
    return {path: leaf | core[path] if shared else leaf for path, leaf in masks.items()}


def test_a_core_of_criteria_exceeds_chance_and_schedules_do_not():
    found = frame_of(three_seeds())
    table = overlap.summarized(found)
    means = table[table["name"] == ""].set_index("kind")
    informed = found[(found["kind"] == CRITERIA) & found["informed"]]
    assert len(informed) == 9  # three pairs of three seeds, none with random
    by_seed = informed.groupby("seed")["beyond"].mean()
    assert means["beyond"][CRITERIA] == pytest.approx(by_seed.mean())
    assert means["beyond_std"][CRITERIA] == pytest.approx(by_seed.std())
    assert means["count"].tolist() == [3, 3]
    assert means["beyond"][CRITERIA] > 0.2 > abs(means["beyond"][SCHEDULES])
    ((shown, caption),) = overlap.tables(found)
    texts = dict(shown.values.tolist())
    line = means.loc[CRITERIA]
    assert texts["two criteria: mean over pairs"] == (
        f"{line['jaccard']:.3f}, {line['beyond']:+.3f} ± {line['beyond_std']:.3f}"
    )
    assert "all criteria at once (snip USS, grasp USS, magnitude ISS)" in texts
    assert "two schedules: snip USS and snip UMS" in texts
    assert "two criteria: grasp USS and random USS" in texts
    assert "over 3 seeds" in caption


def test_settings_that_criteria_have_in_common_are_a_column():
    found = {
        seed: [
            each._replace(context=context, series=f"{each.series}, {context}")
            for context in ("network=a", "network=b")
            for each in among
        ]
        for seed, among in three_seeds().items()
    }
    ((shown, _),) = overlap.tables(frame_of(found))
    one, two = (shown[shown["setting"] == f"network={name}"] for name in "ab")
    assert len(one) + len(two) == len(shown)
    assert one["tickets"].tolist() == two["tickets"].tolist()
    assert one["0.1"].tolist() == two["0.1"].tolist()
    assert "two schedules: snip USS and snip UMS" in one["tickets"].tolist()


def test_one_seed_has_no_spread_and_no_pairs_no_table():
    found = frame_of({0: three_seeds()[0]})
    ((shown, _),) = overlap.tables(found)
    assert "±" not in "".join(shown["0.1"])
    assert overlap.tables(found.iloc[:0]) == []
    assert overlap.tables(found[found["kind"] == ""]) == []


def test_many_pairs_are_listed_by_their_mean_alone(monkeypatch):
    monkeypatch.setattr(overlap, "LISTED", 3)
    ((shown, caption),) = overlap.tables(frame_of(three_seeds()))
    assert caption.endswith("Single pairs are in overlap.csv.")
    assert [name for name in shown["tickets"] if name.startswith("two criteria")] == [
        "two criteria: mean over pairs"
    ]


def test_overlap_of_runs_is_the_mean_over_the_seeds_in_common(tmp_path):
    for seed in range(3):
        make_run(tmp_path / f"a{seed}", 0.9, "snip", seed=seed)
        if seed < 2:
            make_run(tmp_path / f"b{seed}", 0.9, "grasp", seed=seed)
    make_run(tmp_path / "c", 0.9, "other", seed=0, shapes={"fc1/kernel": (3, 3)})
    make_run(tmp_path / "again", 0.9, "snip", seed=0)
    found = tickets.read(collect.collect([tmp_path])).overlaps
    table = overlap.matrix(found, "jaccard")
    kept = {
        name: np.concatenate([
            leaf["kernel"].ravel()
            for leaf in mask.file.load(tmp_path / name / "masks/ticket.mask").values()
        ])
        for name in ("a0", "a1", "b0", "b1")
    }  # fmt: skip
    each = [
        (kept[f"a{seed}"] & kept[f"b{seed}"]).sum() / (kept[f"a{seed}"] | kept[f"b{seed}"]).sum()
        for seed in range(2)
    ]
    assert table.loc["snip USS", "grasp USS"] == pytest.approx(np.mean(each))
    assert table.loc["grasp USS", "snip USS"] == table.loc["snip USS", "grasp USS"]
    assert table.loc["snip USS", "snip USS"] == 1
    assert "other USS" not in table
    assert set(found["kind"]) == {CRITERIA}


def test_clusters_join_the_most_alike_first(tmp_path):
    found = frame_of(three_seeds())
    table = overlap_figures.comparable(overlap.matrix(found, "jaccard"))
    tree = overlap_figures.linkage(table)
    distances = {
        frozenset(pair): 1 - table.loc[pair] for pair in itertools.combinations(table.index, 2)
    }
    closest = min(distances, key=distances.get)
    assert {table.index[int(place)] for place in tree[0, :2]} == closest
    assert tree[0, 2] == pytest.approx(distances[closest])
    groups = hierarchy.fcluster(tree, 0.8, "distance")
    named = dict(zip(table.index, groups))
    assert named["snip USS"] == named["grasp USS"] == named["magnitude ISS"]
    assert named["random USS"] != named["snip USS"] != named["snip UMS"]
    assert overlap_figures.clusters(tmp_path / "x.png", found, "")
    assert (tmp_path / "x.png").exists()


def test_a_ticket_without_a_common_seed_is_left_out_of_the_clusters(tmp_path):
    seeds = three_seeds()
    seeds[9] = [ticket("late", masks=drawn(np.random.default_rng(0), (0.1, 0.1))), seeds[0][4]]
    table = overlap.matrix(frame_of(seeds), "jaccard")
    assert np.isnan(table.loc["late USS", "snip USS"])
    assert "late USS" not in overlap_figures.comparable(table)
    assert not overlap_figures.clusters(tmp_path / "x.png", frame_of({0: seeds[0][:2]}), "")


def test_the_curve_needs_two_densities(tmp_path):
    styles = {name: {"color": "C0"} for name in (
        "snip USS", "snip UMS", "grasp USS", "magnitude ISS", "random USS")}  # fmt: skip
    one = frame_of(three_seeds())
    assert not overlap_figures.against_density(tmp_path / "x.png", one, styles)
    both = pd.concat([one, frame_of(three_seeds(), 0.01)])
    assert overlap_figures.against_density(tmp_path / "x.png", both, styles)
    assert not overlap_figures.heat_map(tmp_path / "y.png", one.iloc[:0], "")
