import pytest

from jaxmask.errors import InputError
from jaxmask.run.tuning import Choice, best_choice


def test_the_best_accuracy_wins_and_the_lower_loss_among_equals():
    tried = {1.0: (0.8, 0.5), 2.0: (0.9, 0.6), 3.0: (0.9, 0.4), 4.0: (None, None)}
    assert best_choice("m", [Choice(value, *found, 1.0) for value, found in tried.items()]) == 3.0


def test_choices_that_all_diverged_are_refused():
    with pytest.raises(InputError, match=r"m: .* any of the choices 1, 2"):
        best_choice("m", [Choice(1.0, None, None, 1.0), Choice(2.0, None, None, 1.0)])
