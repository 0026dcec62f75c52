"""The command lines: arguments in, text out, and nothing more."""

import importlib.util
import sys

if importlib.util.find_spec("ml_collections") is None:
    print(
        "jaxmask: the commands need more than the library: pip install 'jaxmask[experiments]'",
        file=sys.stderr,
    )
    raise SystemExit(2)
