import pytest

from jaxmask.errors import InputError
from jaxmask.train.named import call, calls

TABLE = {"outer": lambda x=0, y=None: ("outer", x, y), "inner": lambda z: ("inner", z)}


def test_arguments_are_literals_or_calls_of_the_table():
    assert call("outer(1.5, y=inner((1, 2)))", TABLE, "thing") == ("outer", 1.5, ("inner", (1, 2)))
    assert call("outer", TABLE, "thing") == ("outer", 0, None)
    assert [each.name for each in calls("outer, inner(3)", TABLE, "thing")] == ["outer", "inner"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("outre(1)", "did you mean 'outer'"),
        ("outer(1", "cannot be read"),
        ("outer(q=1)", "its arguments are x, y"),
        ("outer(x=__import__('os'))", "unknown thing '__import__'"),
        ("outer(x=a.b)", "cannot be read"),
        ("outer(**{'x': 1})", "not allowed"),
        ("", "is empty"),
        ("outer, outer", "must name one"),
    ],
)
def test_unreadable_text_is_refused_in_one_line(text, message):
    with pytest.raises(InputError, match=message.replace("(", r"\(")) as caught:
        call(text, TABLE, "thing")
    assert "\n" not in str(caught.value)
