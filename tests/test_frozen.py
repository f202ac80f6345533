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
        ((), {}, r"Point.__init__\(\) missing 1 required positional argument: 'x'"),
        ((1, 2, 3), {}, r"Point.__init__\(\) takes from 2 to 3 positional arguments but 4 were given"),
        ((1,), {"x": 1}, "multiple values for argument 'x'"),
        ((1,), {"z": 1}, "unexpected keyword argument 'z'"),
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
    with pytest.raises(TypeError, match="unexpected keyword argument 'z'"):
        replace(Point(1), z=1)


def test_a_value_is_made_and_hashed_no_slower_than_that_of_a_dataclass():
    """In instructions of the interpreter, which no other process on the machine can change."""
    from dataclasses import dataclass

    @dataclass(frozen=True, slots=True)
    class Peer:
        x: int
        y: int = 2

    for call in (lambda cls: cls(1, 2), lambda cls: hash(cls(1, 2)), lambda cls: cls(1, 2) == cls(1, 2)):
        for cls in (Point, Peer):
            call(cls)
        assert lines_run(lambda call=call: call(Point)) <= lines_run(lambda call=call: call(Peer))


def lines_run(call):
    """The number of bytecode instructions that ``call`` executes in Python functions."""
    count = 0

    def trace(frame, event, arg):
        nonlocal count
        frame.f_trace_opcodes = True
        count += event == "opcode"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
    return count


def test_the_import_is_cheap():
    """This module exists to keep ``dataclasses`` out of the programs that we run."""
    code = "import sys; import pywrap.frozen; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert not {"dataclasses", "inspect", "re", "ast", "typing"} & set(loaded.stdout.split())
