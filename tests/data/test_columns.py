"""Which columns are taken, from features as `datasets` writes them to JSON."""

import pytest

from jaxmask.data.columns import choose
from jaxmask.errors import InputError

IMAGE = {"_type": "Image"}
CLASS = {"names": ["cat", "dog"], "_type": "ClassLabel"}
BYTES = {"dtype": "binary", "_type": "Value"}


def value(dtype):
    return {"dtype": dtype, "_type": "Value"}


@pytest.mark.parametrize(
    ("features", "expected"),
    [
        ({"pixels": IMAGE, "kind": CLASS}, ("pixels", "kind")),
        ({"kind": CLASS, "id": value("int64"), "photo": IMAGE}, ("photo", "kind")),
        ({"image": IMAGE, "file": value("string"), "label": value("int8")}, ("image", "label")),
        ({"image": IMAGE, "label": value("string"), "label_id": CLASS}, ("image", "label_id")),
        ({"png": {"bytes": BYTES, "path": value("string")}, "cls": CLASS}, ("png", "cls")),
        ({"raw": BYTES, "label": value("bool")}, ("raw", "label")),
        ({"image": IMAGE, "thumb": BYTES, "label": CLASS}, ("image", "label")),
    ],
)
def test_found(features, expected):
    assert choose("hf:o/n", features, ("", "")) == expected


def test_given():
    features = {"a": IMAGE, "b": IMAGE, "fine": CLASS, "coarse": CLASS, "name": value("string")}
    for label in ("fine", "coarse", "name"):
        assert choose("hf:o/n", features, ("b", label)) == ("b", label)
    del features["a"]
    assert choose("hf:o/n", features, ("", "coarse")) == ("b", "coarse")


@pytest.mark.parametrize(
    ("features", "given", "named"),
    [
        ({"img": IMAGE, "fine": CLASS, "coarse": CLASS}, ("", ""), "fine, coarse; say which"),
        ({"img": IMAGE, "fine": CLASS, "coarse": CLASS}, ("", ""), "such as hf:o/n#fine"),
        ({"l": IMAGE, "r": IMAGE, "label": CLASS}, ("", ""), "such as hf:o/n#l,label"),
        # a caption or a number is not taken for a class unless it is called label
        ({"img": IMAGE, "caption": value("string")}, ("", ""), "could be in caption"),
        ({"img": IMAGE, "age": value("int64"), "id": value("int64")}, ("", ""), "in age, id"),
        ({"text": value("string"), "label": CLASS}, ("", ""), "could be the image"),
        ({"img": IMAGE, "box": {"feature": CLASS, "_type": "List"}}, ("", ""), "be the label"),
        ({"img": IMAGE, "label": value("float32")}, ("", ""), "be the label"),
        ({"img": IMAGE, "label": CLASS}, ("", "lable"), "only img, label"),
        ({"img": IMAGE, "label": CLASS}, ("", "img"), "'img' holds no classes"),
        ({"img": IMAGE, "label": CLASS}, ("label", "label"), "'label' holds no images"),
        ({"img": IMAGE, "age": value("float64")}, ("", "age"), "'age' holds no classes"),
        ({"img": {"shape": [2, 2], "_type": "Array2D"}, "label": CLASS}, ("", ""), "cast_column"),
    ],
)
def test_refused_in_one_line(features, given, named):
    with pytest.raises(InputError) as caught:
        choose("hf:o/n", features, given)
    assert named in str(caught.value)
    assert "hf:o/n" in str(caught.value)
    assert "\n" not in str(caught.value)
