import json

import numpy as np

from jaxmask.train.records import Records, read_records


def scalars(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    return [event.step for event in events.Scalars("train/loss")]


def test_resuming_truncates_records_and_tensorboard_to_the_checkpoint(tmp_path):
    with Records(tmp_path) as records:
        for step in (10, 20, 30):
            records.write(step, step // 10, "train", loss=1.0 / step)
        records.board.histograms("scores", {"a/kernel": np.arange(5.0)}, 30)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 40, "ep')  # a kill in the middle of a line
    with Records(tmp_path, step=20) as records:
        assert [line["step"] for line in read_records(tmp_path)] == [10, 20]
        records.write(30, 3, "train", loss=0.5)
    lines = read_records(tmp_path)
    assert [line["step"] for line in lines] == [10, 20, 30]
    assert lines[-1]["loss"] == 0.5
    assert scalars(tmp_path) == [10, 20, 30]


def test_a_number_that_json_lacks_is_null(tmp_path):
    with Records(tmp_path) as records:
        records.write(1, 1, "train", loss=float("nan"), accuracy=0.5)
    (line,) = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert json.loads(line, parse_constant=lambda _: 1 / 0) == {
        "step": 1, "epoch": 1, "split": "train", "loss": None, "accuracy": 0.5,
    }  # fmt: skip
