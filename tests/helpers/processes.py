"""Environments of the processes that tests start."""

import os
from pathlib import Path


def environment(*folders, **more):
    """The tests' own, without PyTorch: TensorBoard's writer would import it, for 1.5 seconds.

    Python also imports from these folders.
    """
    hidden = str(Path(__file__).parent / "hidden")
    path = os.pathsep.join(filter(None, [hidden, *folders, os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path, **more}
