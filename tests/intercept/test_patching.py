"""Attributes that are replaced are put back as they were."""

from __future__ import annotations

from pywrap.intercept.patching import Patches


class Base:
    inherited = "of the base"


def test_what_was_inherited_is_uncovered_again():
    class Derived(Base):
        own = "of the class"

    before = dict(vars(Derived))
    patches = Patches()
    patches.replace(Derived, "inherited", "new")
    patches.replace(Derived, "own", "new")
    assert (Derived.inherited, Derived.own, Base.inherited) == ("new", "new", "of the base")
    patches.undo()
    assert dict(vars(Derived)) == before


def test_the_last_is_put_back_first():
    class Owner:
        attribute = "first"

    undone = []
    patches = Patches()
    for new in "second", "third":
        patches.replace(Owner, "attribute", new)
        patches.remember(lambda: undone.append(Owner.attribute))
    patches.undo()
    assert undone == ["third", "second"]
    assert Owner.attribute == "first"


def test_a_second_undo_does_nothing():
    class Owner:
        attribute = "first"

    patches = Patches()
    patches.replace(Owner, "attribute", "second")
    patches.undo()
    Owner.attribute = "the program's"
    patches.undo()
    assert Owner.attribute == "the program's"
