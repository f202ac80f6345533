"""Libraries with sockets of their own: stand-ins of their names, since it is the import that is looked at."""

from __future__ import annotations

import importlib
import sys

import pytest

from pywrap.intercept import import_hook, unsupported
from tests.support.child import source_of
from tests.support.run import program, pysocksify, run

PROXY = "socks5h://192.0.2.99:1080"  # never reached


@pytest.fixture
def library(tmp_path):
    """``library(name)`` makes a module of that name, which says when it is executed."""

    def make(name):
        *packages, module = name.split(".")
        folder = tmp_path
        for package in packages:
            folder = folder / package
            folder.mkdir(exist_ok=True)
            (folder / "__init__.py").touch()
        (folder / f"{module}.py").write_text("print('executed')")
        return {"PYTHONPATH": str(tmp_path)}

    return make


def use(env, code, *options):
    return run(*pysocksify("-x", PROXY, *options), sys.executable, "-c", code, env=env, status=None)


def test_what_the_import_hook_looks_for_is_what_can_be_said_something_of():
    assert import_hook.FOREIGN == unsupported.LEAVES.keys() | unsupported.REFUSED.keys()


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


@pytest.mark.parametrize("verbosity", [[], ["-q"]], ids=["usual", "quiet"])
@pytest.mark.parametrize("name", ["grpc", "zmq", "MySQLdb", "pyarrow._s3fs"])
def test_what_has_no_seam_is_loaded_with_a_warning(library, name, verbosity):
    ran = use(library(name), f"import {name}, {name}", *verbosity)
    assert ran.out == "executed\n"
    assert ran.err.count("\n") == 1
    assert f"warning: {name.partition('.')[0]} has sockets of its own: " in ran.err
    assert " leave directly, past the proxies (--confine on sends them through)\n" in ran.err


def test_modules_of_one_library_have_one_warning(library):
    library("pyarrow._flight")
    ran = use(library("pyarrow._s3fs"), "import pyarrow._flight, pyarrow._s3fs")
    assert ran.out == "executed\nexecuted\n"
    assert ran.err.count("warning: pyarrow has sockets of its own") == 1


def test_foreign_quiet_says_nothing(library):
    ran = use(library("grpc"), "import grpc", "--foreign", "quiet")
    assert (ran.out, ran.err) == ("executed\n", "")


def test_foreign_refuse_is_as_if_it_were_not_installed(library):
    code = "try:\n    import grpc\nexcept ModuleNotFoundError as err:\n    print(err, '|', err.name)"
    ran = use(library("grpc"), code, "--foreign", "refuse")
    assert ran.out == "pysocksify refused: grpc has sockets of its own (--foreign) | grpc\n"
    assert ran.err == ""


def test_in_a_confinement_there_is_nothing_to_say(library):
    env = library("grpc")
    for foreign in ("warn", "refuse"):
        ran = use(env, "import grpc", "--confine", "on", "--foreign", foreign)
        if "cannot be confined" in ran.err:
            pytest.skip(ran.err)
        assert (ran.out, ran.err) == ("executed\n", "")


@pytest.mark.parametrize("name", ["grpc", "zmq", "pycares"])
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
    code = "import pywrap; pywrap.uninstall(); import zmq, grpc"
    env = library("zmq") | library("grpc")
    ran = use(env, code)
    assert (ran.out, ran.err) == ("executed\nexecuted\n", "")


# ---------------------------------------------------------------- ctypes

LOOK_UP = "import ctypes; c = ctypes.CDLL(None); c.getpid(); c.system; c.system; c['connect']"


@pytest.mark.parametrize("verbosity", [[], ["-q"]], ids=["usual", "quiet"])
def test_a_program_that_looks_up_functions_of_c_is_told_of(verbosity):
    ran = use({}, LOOK_UP, *verbosity)
    system, connect = ran.err.splitlines()
    assert "looks up `system` of the C library (ctypes): what it does by that leaves directly" in system
    assert "`connect`" in connect
    assert use({}, LOOK_UP, "--foreign", "quiet").err == ""


def test_by_cffi_as_well():
    command = program("look_up_by_cffi.py")
    system, connect = run(*pysocksify("-x", PROXY), *command).err.splitlines()
    assert "looks up `system` of the C library (cffi): what it does by that leaves directly" in system
    assert "`connect`" in connect
    refused = run(*pysocksify("-x", PROXY, "--foreign", "refuse"), *command, status=1)
    assert "AttributeError: pysocksify refused: `system`" in refused.err
    assert use({}, "import cffi; cffi.FFI().dlopen(None)").err == ""


def test_foreign_refuse_hides_functions_of_c():
    ran = use({}, "import ctypes\nprint(hasattr(ctypes.CDLL(None), 'system'))", "--foreign", "refuse")
    assert (ran.out, ran.err) == ("False\n", "")


@pytest.mark.parametrize("name", ["gethostbyname_r", "getaddrinfo_a", "__res_nquery", "wordexp", "execveat"])
def test_functions_beside_the_usual_ones_are_told_of_as_well(name):
    code = f"import ctypes\ngetattr(ctypes.CDLL('libresolv.so.2'), {name!r}, None)"
    assert f"looks up `{name}` of the C library" in use({}, code).err


def test_a_look_up_by_a_handle_is_told_of_as_well():
    code = "import _ctypes, ctypes\n_ctypes.dlsym(ctypes.CDLL(None)._handle, 'connect')"
    assert "looks up `connect` of the C library" in use({}, code).err


def test_ctypes_itself_is_nothing_to_tell_of():
    assert use({}, "import ctypes, ctypes.util, uuid; ctypes.CDLL(None).getpid()").err == ""
