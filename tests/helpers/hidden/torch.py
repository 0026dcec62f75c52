"""PyTorch of a process with this folder in its path: as if it were not installed."""

raise ImportError("hidden from processes of tests, see processes.py")
