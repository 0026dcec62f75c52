"""All benchmarks, each in its own process, and one table of the results."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.measure import Result, machine, table

NAMES = (
    "epoch",
    "input",
    "masked_step",
    "masked_profile",
    "views",
    "self_mask_losses",
    "self_mask_step",
    "convolution",
    "selection",
    "leaves",
    "compression",
    "probe",
    "scoring",
    "networks",
    "start_up",
    "memory",
    "accelerator",
    "grid",
)


def main() -> None:
    """Runs them one after the other; their own tables go to stderr, the summary to stdout."""
    rows: list[Result] = []
    with tempfile.TemporaryDirectory() as folder:
        for name in NAMES:
            print(f"benchmarks.{name}", file=sys.stderr, flush=True)
            results = Path(folder) / name
            subprocess.run(
                [sys.executable, "-m", f"benchmarks.{name}", f"--results={results}"],
                cwd=Path(__file__).parent.parent, stdout=sys.stderr, check=True,
            )  # fmt: skip
            rows += [Result(*row) for row in json.loads(results.read_text())]
    # Only now: an accelerator's memory belongs to one process at a time.
    print(f"{machine()}\n")
    print(table(("measured", "jaxmask", "against", "ratio (quartiles)", "aim"), rows))


if __name__ == "__main__":
    main()
