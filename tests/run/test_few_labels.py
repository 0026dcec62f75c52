"""How many labels a share is, and the configs of the runs on them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxmask.data import Dataset, Split
from jaxmask.data.subset import split_training
from jaxmask.errors import InputError
from jaxmask.run import defaults, few_labels


def of_classes(counts):
    """A stand-in for `load_data`: the splits of a dataset with so many images of each class."""
    labels = np.repeat(np.arange(len(counts)), counts).astype(np.int32)

    def load(section, seed):
        parts = split_training(labels, section.share, section.validation, seed)
        train, validation = (Split(part, labels[part]) for part in parts)
        return Dataset("made", train, validation, train, tuple(map(str, range(len(counts)))))

    return load


def asked(**changes):
    config = defaults.self_mask("made", 1)
    config.few_labels.update(changes)
    return few_labels.Given(config, ("untouched", "mask"), ((0.5,), (0.25,)))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(1, 60), min_size=2, max_size=8), st.floats(0.01, 1.0),
    st.floats(0.01, 0.9),
)  # fmt: skip
def test_a_share_is_exactly_as_many_labels_or_refused(counts, share, validation):
    share = round(share, 3)
    what = asked(shares=(share,), validation=validation)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(few_labels.tasks, "load_data", of_classes(counts))
        try:
            (found,) = few_labels.counted(what)
        except InputError:
            return
    assert found.labels == round(share * sum(counts))
    assert len(counts) <= found.train < found.labels


@pytest.mark.parametrize(
    ("counts", "share"),
    [
        ([90] + [1] * 9, 0.12),  # one of each class: 19 labels and not 12
        ([5, 5], 0.2),  # two labels, none of them to choose by
        ([4000] + [1] * 3, 0.001),
    ],
)
def test_a_share_that_one_image_of_each_class_exceeds_is_refused(counts, share, monkeypatch):
    monkeypatch.setattr(few_labels.tasks, "load_data", of_classes(counts))
    with pytest.raises(InputError, match=rf"few_labels.shares has {share}, .*give larger shares"):
        few_labels.counted(asked(shares=(0.9, share)))


@pytest.mark.parametrize(
    ("train", "batch_size", "steps", "batch", "epochs"),
    [(10, 64, 100, 10, 100), (64, 64, 100, 64, 100), (200, 64, 100, 64, 33), (5000, 64, 3, 64, 1),
     (33, 32, 50, 32, 50), (96, 32, 50, 32, 17), (10, 0, 100, 0, 10), (1, 64, 7, 1, 7)],
)  # fmt: skip
def test_steps_become_epochs_of_batches_that_there_are(train, batch_size, steps, batch, epochs):
    what = asked(steps=steps)
    what.config.few_labels.full.train.batch_size = batch_size
    counts = few_labels.Counts(0.1, train + 2, train)
    made = few_labels.config_of(what, counts, 1, "untouched", "random")
    assert (made.full.train.batch_size, made.full.train.epochs) == (batch, epochs)


def test_a_learned_network_gets_a_probe_and_all_runs_on_a_draw_the_same_labels():
    what = asked(methods=("full", "mask"))
    counts = few_labels.Counts(0.1, 12, 10)
    starting, learned = (
        few_labels.config_of(what, counts, 2, name, name) for name in what.networks
    )
    assert starting.methods == ("full", "mask")
    assert learned.methods == ("linear_probe",)
    assert starting.data.to_dict() == learned.data.to_dict()
    assert starting.data.share == 0.1
    assert starting.seed == learned.seed == few_labels.draw_seed(0, 2)
    assert starting.data.mean == (0.5,)
