"""Libraries with sockets of their own: stand-ins of their names, since it is the import that is looked at."""

from __future__ import annotations

import importlib
import sys

import pytest

from tests.support.child import source_of
from tests.support.run import pysocksify, run

PROXY = "socks5h://192.0.2.99:1080"  # never reached


@pytest.fixture
def library(tmp_path):
    """``library(name)`` makes a module of that name, which says when it is executed."""

    def make(name):
        (tmp_path / f"{name}.py").write_text("print('executed')")
        return {"PYTHONPATH": str(tmp_path)}

    return make


def use(env, code, *options):
    return run(*pysocksify("-x", PROXY, *options), sys.executable, "-c", code, env=env, status=None)


@pytest.mark.parametrize("name", ["uvloop", "pycares"])
def test_what_has_a_substitute_is_as_if_it_were_not_installed(library, name):
    code = f"try:\n    import {name}\nexcept ModuleNotFoundError as err:\n    print(err, '|', err.name)"
    ran = use(library(name), code)
    assert "executed" not in ran.out
    assert ran.out.startswith(f"pysocksify refused: {name} ") and ran.out.endswith(f"| {name}\n")
    assert ran.err == ""


def test_a_program_that_insists_ends_with_the_reason(library):
    ran = use(library("uvloop"), "import uvloop")
    assert ran.status == 1
    assert "uvloop connects and resolves past the proxy; asyncio's own event loops are covered" in ran.err


def test_local_names_may_be_asked_for_in_any_way(library):
    assert use(library("pycares"), "import pycares", "--dns", "local").out == "executed\n"


FIND = (
    "from gevent import monkey; monkey.patch_all()\n"
    + "import socket\n"
    + "print(socket.gethostbyname('example.org'))"
)


def test_the_resolver_of_gevent_that_is_in_c_is_refused():
    ran = use({"GEVENT_RESOLVER": "ares"}, FIND)
    assert ran.status == 1
    assert "pysocksify refused: gevent's `ares` asks name servers past the proxy" in ran.err
    assert use({"GEVENT_RESOLVER": "ares,thread"}, FIND).out == "198.18.0.1\n"


@pytest.mark.parametrize("name", ["pycurl", "grpc", "psycopg2"])
def test_what_has_none_is_loaded_with_a_warning(library, name):
    env = library(name)
    ran = use(env, f"import {name}, {name}")
    assert ran.out == "executed\n"
    assert ran.err.count("\n") == 1 and f"warning: {name} has sockets of its own" in ran.err
    assert use(env, f"import {name}", "-q").err == ""


@pytest.mark.parametrize("name", ["pycurl", "psycopg2", "uvloop"])
def test_nothing_is_said_of_what_is_not_installed(name):
    def program():
        sys.path = []
        try:
            importlib.import_module(name)
        except ImportError as err:
            print(err)

    ran = use({}, source_of(program), "-v")
    assert (ran.out, ran.err) == (f"No module named '{name}'\n", "")


def test_after_uninstall_they_are_nothing_special(library):
    code = "import pywrap; pywrap.uninstall(); import uvloop, pycurl"
    env = library("uvloop") | library("pycurl")
    ran = use(env, code)
    assert (ran.out, ran.err) == ("executed\nexecuted\n", "")
