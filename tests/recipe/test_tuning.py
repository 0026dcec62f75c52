from jaxmask.run.tuning import Choice, best_choice


def test_the_best_accuracy_wins_and_the_lower_loss_among_equals():
    tried = {1.0: (0.8, 0.5), 2.0: (0.9, 0.6), 3.0: (0.9, 0.4), 4.0: (None, None)}
    value, choices = best_choice("m", list(tried), lambda value: Choice(value, *tried[value], 1.0))
    assert value == 3.0
    assert [choice.value for choice in choices] == [1.0, 2.0, 3.0, 4.0]


def test_a_single_choice_is_not_tried():
    assert best_choice("m", [5.0], lambda _: 1 / 0) == (5.0, [])
