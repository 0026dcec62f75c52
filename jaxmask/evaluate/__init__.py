"""Measures of a representation: functions of arrays, independent of how it was learned."""

from jaxmask.evaluate.confusion import confusion_matrix, per_class_accuracy
from jaxmask.evaluate.features import extract, unit
from jaxmask.evaluate.knn import knn
from jaxmask.evaluate.linear_probe import LinearProbe, linear_probe
from jaxmask.evaluate.router import ROUTERS, Clustering, Router, kmeans, mixture, route
from jaxmask.evaluate.whitening import Whitening, whiten, whitening

__all__ = [
    "ROUTERS",
    "Clustering",
    "LinearProbe",
    "Router",
    "Whitening",
    "confusion_matrix",
    "extract",
    "kmeans",
    "knn",
    "linear_probe",
    "mixture",
    "per_class_accuracy",
    "route",
    "unit",
    "whiten",
    "whitening",
]
