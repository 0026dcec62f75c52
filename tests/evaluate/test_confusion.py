import jax
import numpy as np
import pytest
from sklearn import metrics

from jaxmask.errors import InputError
from jaxmask.evaluate import confusion_matrix, per_class_accuracy


@pytest.fixture(scope="module")
def guesses():
    random = np.random.default_rng(0)
    labels = random.integers(0, 5, 300)
    return labels, np.where(random.random(300) < 0.6, labels, random.integers(0, 5, 300))


def test_both_are_scikit_learns(guesses):
    labels, predictions = guesses
    matrix = confusion_matrix(labels, predictions, 5)
    np.testing.assert_array_equal(matrix, metrics.confusion_matrix(labels, predictions))
    assert matrix[1, 2] != matrix[2, 1]  # otherwise rows and columns could be swapped
    recalls = metrics.recall_score(labels, predictions, average=None)
    np.testing.assert_allclose(per_class_accuracy(labels, predictions, 5), recalls, rtol=1e-6)


def test_a_class_without_examples_has_no_accuracy():
    found = per_class_accuracy(np.array([0, 2, 2]), np.array([1, 2, 1]), 4)
    np.testing.assert_array_equal(found, [0, np.nan, 0.5, np.nan])


def test_labels_outside_the_classes_are_left_out():
    labels, predictions = np.array([0, -1, 3, 1, 1]), np.array([0, 0, 0, -1, 3])
    np.testing.assert_array_equal(confusion_matrix(labels, predictions, 3), np.diag([1, 0, 0]))
    # a prediction outside the classes is wrong
    np.testing.assert_array_equal(per_class_accuracy(labels, predictions, 3), [1, 0, np.nan])


def test_they_compile_inside_other_functions(guesses):
    labels, predictions = (guess.astype(np.int8) for guess in guesses)
    both = jax.jit(lambda a, b: (confusion_matrix(a, b, 200), per_class_accuracy(a, b, 200)))
    matrix, accuracy = both(labels, predictions)
    assert matrix.sum() == 300
    assert matrix.shape == (200, 200)
    np.testing.assert_array_equal(accuracy[:5], per_class_accuracy(*guesses, 5))


@pytest.mark.parametrize("measure", [confusion_matrix, per_class_accuracy])
def test_predictions_and_labels_must_match(measure):
    with pytest.raises(InputError, match="do not match"):
        measure(np.zeros(3, int), np.zeros(4, int), 2)
