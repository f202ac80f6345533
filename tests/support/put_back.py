"""What of a library is replaced by install(), and put back by uninstall(): tried in a child."""

from __future__ import annotations

import sys

from tests.support.child import source_of
from tests.support.run import run


def check_put_back(*places: str, subclasses: bool = False) -> None:
    """Each of ``places``, as ``module:name.name``, is another object in between, and the old one afterwards.

    ``subclasses``: it is a class, and the other object a subclass of it.
    """

    def program():
        import importlib
        from operator import attrgetter

        import pywrap

        def found():
            return [
                attrgetter(names)(importlib.import_module(module))
                for module, _, names in (place.partition(":") for place in places)
            ]

        before = found()
        pywrap.install("socks5h://192.0.2.99:1080")
        for old, new in zip(before, found(), strict=True):
            assert new is not old and (not subclasses or issubclass(new, old))
        pywrap.uninstall()
        assert all(old is new for old, new in zip(before, found(), strict=True))
        print("put back")

    assert run(sys.executable, "-c", source_of(program)).out == "put back\n"
