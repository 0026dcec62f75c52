import json

import pytest

from jaxmask.train.judge import Progress, judge

NAN = float("nan")


def after(*epochs, patience=0, select="accuracy", training=1.0):
    progress = Progress()
    for epoch, (loss, accuracy) in enumerate(epochs, start=1):
        validation = {"loss": loss, "accuracy": accuracy}
        progress = judge(progress, {"loss": training}, validation, epoch, patience, select)
    return progress


def test_the_best_epoch_by_accuracy_then_loss_or_by_loss():
    epochs = (0.5, 0.8), (0.6, 0.9), (0.55, 0.9), (0.4, 0.7)
    assert after(*epochs).chosen["epoch"] == 3
    assert after(*epochs, select="loss").chosen["epoch"] == 4


@pytest.mark.parametrize("select", ["accuracy", "loss"])
def test_an_epoch_that_is_not_finite_is_never_the_best(select):
    assert after((NAN, 0.9), (2.0, 0.1), select=select).chosen["epoch"] == 2
    assert after((float("inf"), 0.9), select=select).chosen is None


def test_patience_counts_epochs_without_a_lower_loss():
    assert after((0.5, 0.5), (0.6, 0.6), patience=2).ended is None
    progress = after((0.5, 0.5), (0.6, 0.6), (NAN, 0.7), patience=2)
    assert (progress.ended, progress.chosen["epoch"]) == ("patience", 2)
    assert after((0.5, 0.5), (0.6, 0.6), (0.4, 0.1), (0.5, 0.1), patience=2).ended is None


def test_a_training_loss_that_is_not_finite_ends_the_run():
    assert after((0.5, 0.5), training=NAN).ended == "diverged"


def test_without_validation_the_last_epoch_is_kept():
    progress = judge(Progress(), {"loss": 1.0}, {}, 1, 0, "accuracy")
    assert judge(progress, {"loss": 9.0}, {}, 2, 0, "accuracy").chosen == {"epoch": 2}


def test_progress_survives_json_exactly():
    progress = after((0.1 + 0.2, 1 / 3), (0.7, 2 / 3))
    assert Progress(**json.loads(json.dumps(progress._asdict()))) == progress
