"""Learn binary masks over frozen networks, score and prune networks, compare such experiments."""

from jaxmask import signals

signals.note_in_commands()  # first, because importing JAX takes seconds

from jaxmask import mask, prune, score, tree  # noqa: E402
from jaxmask.version import __version__ as __version__  # noqa: E402

__all__ = ["mask", "prune", "score", "tree"]
