"""Using learned tasks: load, predict, serve many, re-estimate batch statistics."""

from jaxmask.task.learned import Learned, load
from jaxmask.task.library import Library
from jaxmask.task.library import load as serve
from jaxmask.task.statistics import reestimate

__all__ = ["Learned", "Library", "load", "reestimate", "serve"]
