"""Names of programs on uvloop and rloop, and what uninstall() leaves of the loops."""

from __future__ import annotations

import json
import sys

from tests.support.child import source_of
from tests.support.loops import on, through
from tests.support.run import program, run


def test_names_are_left_to_the_proxy(loop, trace, proxy):
    ran, seen = trace(*through(proxy), *on(loop, "names_asyncio.py", "elsewhere.test"))
    bare = run(*program("on_loop.py"), loop, "names_asyncio.py", "localhost").json
    said = ran.json
    assert said["rows"] == [[2, 1, ["198.18.0.1", 80]]]
    assert said["name"] == ["elsewhere.test", "http"]
    assert {key: said[key] for key in ("literal", "loopback", "own")} == {
        key: bare[key] for key in ("literal", "loopback", "own")
    }
    assert said["bad"][0] == "gaierror"
    assert seen.destinations == set(), str(seen)


def test_uninstall_leaves_no_trace(loop):
    def program():
        import importlib

        import pywrap

        module = importlib.import_module(loop)
        cls = module.Loop if loop == "uvloop" else module.loop.RLoop
        before = dict(vars(cls))
        pywrap.install("socks5h://192.0.2.99:1080")
        changed = [name for name in vars(cls) if vars(cls)[name] is not before.get(name)]
        pywrap.uninstall()
        print(json.dumps([len(changed) > 3, dict(vars(cls)) == before]))

    assert run(sys.executable, "-c", source_of(program)).json == [True, True]
