"""Sections: values are checked where they are set, lists become tuples, families know members."""

from typing import Annotated, Literal

import pytest

from tcmax_jax.section import (
    _DEFINED,
    Count,
    Family,
    FilePath,
    Limits,
    Positive,
    Section,
    SectionError,
    hints,
    section,
    type_text,
)
from tcmax_jax.training.config.tree import ConfigError, from_dict, to_dict


@section
class Shape(Family):
    name: str = "shape"


@section
class Circle(Shape):
    kind: Literal["circle"] = "circle"
    radius: Positive = 1.0


@section
class Polygon(Shape):
    kind: Literal["triangle", "square"] = "square"
    sides: Annotated[tuple[Positive, ...], Limits(min_length=1)] = (1.0,)
    area: Annotated[float, Limits(gt=0, le=1)] | None = None


@section
class Drawing(Section):
    shape: Shape = Circle()
    others: tuple[Shape, ...] = ()
    by_name: Annotated[dict[str, Shape], Limits(min_length=1)]
    size: tuple[Count, Count] = (1, 2)
    file: FilePath | None = None
    visible: bool = True


def drawing(**fields):
    return Drawing(**{"by_name": {"a": Circle()}, **fields})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"size": [1]}, r"^Expected size: \[integer > 0, integer > 0\], got \[1\]\.$"),
        ({"size": (1, 0)}, r"got \(1, 0\)"),
        ({"size": 3}, r"got 3"),
        ({"size": (True, 2)}, r"got \(True, 2\)"),
        ({"visible": 1}, r"^Expected visible: true or false, got 1\.$"),
        (
            {"by_name": {}},
            r"^Expected by_name: \{name: Shape of the kind circle, triangle",
        ),
        ({"by_name": [Circle()]}, r"Expected by_name"),
        ({"shape": "oval"}, r"^Expected Shape\.kind to be one of circle, triangle, square, got"),
        ({"shape": 3}, r"^Expected shape: Shape of the kind circle, triangle, square, got 3\.$"),
        ({"others": ("circle", 3)}, r"^Expected others: list of Shape of the kind"),
    ],
)
def test_values_that_do_not_fit_are_refused(fields, message):
    with pytest.raises(SectionError, match=message):
        drawing(**fields)


def test_lists_become_tuples_numbers_floats_names_members_and_paths_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = drawing(shape="triangle", others=["circle"], size=[3, 4], file="a.txt")
    assert made.shape == Polygon(kind="triangle") and made.others == (Circle(),)
    assert made.size == (3, 4) and made.file == str(tmp_path / "a.txt")
    assert isinstance(Circle(radius=2).radius, float)
    assert len({Circle(radius=2), Circle(radius=2.0)}) == 1


def test_plain_data_there_and_back():
    made = drawing(others=(Polygon(sides=(1, 2), area=0.5), "circle"), shape=Circle(name="o"))
    plain = to_dict(made)
    assert plain["others"][0] == {
        "kind": "square", "name": "shape", "sides": [1.0, 2.0], "area": 0.5,
    }  # fmt: skip
    assert from_dict(plain, Drawing) == made
    assert from_dict({"by_name": {"a": "circle"}, "shape": "square"}, Drawing).shape == Polygon()


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"shape": {"kind": "circle", "radius": -1}}, r"  shape\.radius: .*greater than 0, got -1"),
        ({"others": [{"kind": "square", "area": 2}]}, r"  others\.0\.area: .* equal to 1, got 2"),
        (
            {"by_name": {"x": {"kind": "oval"}}},
            r"  by_name\.x\.kind: Expected one of circle, triangle, .*'oval'",
        ),
        ({"shape": {"kind": "circle", "sides": 1}}, r"  shape\.sides: Unexpected"),
        ({"shape": {"radius": 1}}, r"  shape: Unable to extract tag using discriminator 'kind'"),
        ({"shape": {"kind": "circle", "radius": float("nan")}}, r"  shape\.radius: .*finite"),
        ({"colour": "red"}, r"  colour: Unexpected keyword argument"),
    ],
)
def test_a_path_is_named_where_plain_data_does_not_fit(tree, message):
    with pytest.raises(ConfigError, match=message):
        from_dict({"by_name": {"a": "circle"}, **tree}, Drawing)


def test_labels_have_what_is_not_the_default():
    assert Circle().label() == "circle"
    assert Polygon(kind="triangle", area=0.5).label() == "triangle-area=0.5"


def test_limits_are_written_as_people_write_them():
    assert [type_text(hint) for hint in hints(Polygon).values()] == [
        '"triangle" or "square"',
        "text",
        "list of number > 0 of at least 1",
        "number > 0 and <= 1 or null",
    ]


def test_a_member_that_is_defined_later_is_known_at_once():
    @section
    class Star(Shape):
        kind: Literal["star"] = "star"
        points: Count = 5

    tree = {"by_name": {"a": {"kind": "star", "points": 6}}}
    assert from_dict(tree, Drawing).by_name["a"] == Star(points=6)

    @section
    class OtherStar(Shape):
        kind: Literal["star"] = "star"

    with pytest.raises(SectionError, match=r"^Expected one Shape of the kind star, got tests"):
        Shape.members()
    _DEFINED.remove(OtherStar)
