import json

from jaxmask.report import tables

RESULT = {
    "method": "mask", "accuracy": 0.98214, "validation_accuracy": 0.99, "density": 0.9358,
    "trained_numbers": 92069, "storage_bytes": 14558, "seconds": 3.26,
    "density_by_leaf": {"a": 0.5},
}  # fmt: skip


def write(folder, **changes):
    folder.mkdir(parents=True)
    result = {**RESULT, "method": folder.name, **changes}
    (folder / "result.json").write_text(json.dumps(result))
    lines = [
        {"step": 8 * epoch, "epoch": epoch, "split": split, "loss": 1 / epoch}
        for epoch in (1, 2)
        for split in ("train", "validation")
    ]
    lines.append({"step": 16, "epoch": 2, "split": "validation", "loss": None})
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_a_comparison_has_a_row_for_each_method(tmp_path):
    write(tmp_path / "mask")
    write(tmp_path / "full", storage_bytes=370548, density=1.0)
    table = tables.comparison(tmp_path, ["mask", "full"])
    assert list(table["storage_bytes"]) == [14558, 370548]
    assert tables.markdown(table).splitlines() == [
        "| method | test accuracy | validation accuracy | density | trained numbers "
        "| bytes to store | seconds |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        "| mask | 98.21% | 99.00% | 0.936 | 92,069 | 14,558 | 3.3 |",
        "| full | 98.21% | 99.00% | 1.000 | 92,069 | 370,548 | 3.3 |",
    ]
