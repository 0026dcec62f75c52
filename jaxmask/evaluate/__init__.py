"""Measures of a representation: functions of arrays, independent of how it was learned."""

from jaxmask.evaluate.confusion import confusion_matrix, per_class_accuracy
from jaxmask.evaluate.features import extract
from jaxmask.evaluate.knn import knn
from jaxmask.evaluate.linear_probe import LinearProbe, linear_probe

__all__ = [
    "LinearProbe",
    "confusion_matrix",
    "extract",
    "knn",
    "linear_probe",
    "per_class_accuracy",
]
