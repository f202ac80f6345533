"""Frozen values behave as ``dataclasses.dataclass(frozen=True, slots=True)`` makes them."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys

import pytest

from pywrap.frozen import frozen, replace


@frozen
class Point:
    """A place."""

    x: int
    y: int = 2

    def __str__(self) -> str:
        return f"{self.x}/{self.y}"

    def moved(self, by: int) -> Point:
        return Point(self.x + by, self.y)

    @property
    def sum(self) -> int:
        return self.x + self.y


@frozen
class Other:
    x: int
    y: int = 2


@frozen
class Secret:
    word: str

    def __repr__(self) -> str:
        return "<Secret>"


def test_fields_by_position_by_name_and_by_default():
    assert (Point(1, 3).x, Point(1, 3).y) == (1, 3)
    assert Point(y=3, x=1) == Point(1, 3)
    assert Point(1) == Point(1, 2)


@pytest.mark.parametrize(
    ("args", "fields", "complaint"),
    [
        ((), {}, "misses the field: x"),
        ((1, 2, 3), {}, "takes 2 fields, got 3"),
        ((1,), {"x": 1}, "unexpected field: x"),
        ((1,), {"z": 1}, "unexpected field: z"),
    ],
)
def test_wrong_fields_are_a_type_error(args, fields, complaint):
    with pytest.raises(TypeError, match=complaint):
        Point(*args, **fields)


def test_nothing_can_be_changed():
    point = Point(1)
    with pytest.raises(AttributeError):
        point.x = 5
    with pytest.raises(AttributeError):
        point.z = 5
    with pytest.raises(AttributeError):
        del point.x
    assert point == Point(1)


def test_a_value_is_equal_to_its_like_and_to_no_other_class():
    assert Point(1) == Point(1)
    assert Point(1) != Point(2)
    assert Point(1) != Other(1)
    assert Point(1) != (1, 2)


def test_equal_values_are_one_key():
    assert {Point(1): "here"}[Point(1, 2)] == "here"
    with pytest.raises(TypeError):
        hash(Point([]))


def test_the_repr_shows_the_fields_unless_the_class_has_its_own():
    assert repr(Point(1)) == "Point(x=1, y=2)"
    assert str(Point(1)) == "1/2"
    assert repr(Secret("swordfish")) == "<Secret>"
    assert "swordfish" not in str(Secret("swordfish"))


def test_methods_properties_and_the_docstring_stay():
    assert Point(1).moved(2) == Point(3)
    assert Point(1).sum == 3
    assert Point.__doc__ == "A place."
    assert (Point.__module__, Point.__qualname__) == (__name__, "Point")


def test_a_value_can_be_matched_by_position():
    match Point(1):
        case Point(x, 2):
            assert x == 1
        case _:
            pytest.fail("no match")


def test_a_value_has_no_dict():
    assert not hasattr(Point(1), "__dict__")


@pytest.mark.parametrize(
    "through", [copy.copy, copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))]
)
def test_copies_are_equal(through):
    assert through(Point(1, 5)) == Point(1, 5)


def test_replace_changes_the_named_fields():
    assert replace(Point(1, 5), y=6) == Point(1, 6)
    assert replace(Point(1, 5)) == Point(1, 5)
    with pytest.raises(TypeError, match="unexpected field: z"):
        replace(Point(1), z=1)


def test_the_import_is_cheap():
    """This module exists to keep ``dataclasses`` out of the programs that we run."""
    code = "import sys; import pywrap.frozen; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert not {"dataclasses", "inspect", "re", "ast", "typing"} & set(loaded.stdout.split())
