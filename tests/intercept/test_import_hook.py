"""Which imports are told, and what happens when patching fails. The import system is that of a child."""

from __future__ import annotations

import sys

import pytest

from tests.support.child import source_of
from tests.support.inside import say
from tests.support.run import run


def ran(program, *args, status=0):
    # Without what `site` imports.
    words = (sys.executable, "-S", "-c", f"import sys; sys.path.insert(0, '.')\n{source_of(program, *args)}")
    return run(*words, status=status)


def test_socket_is_told_of_once_it_is_executed_and_nothing_else_is():
    def program():
        from pywrap.intercept import import_hook

        told = []
        import_hook.install(
            lambda: told.append("expected"),
            lambda module: told.append([module.__name__, hasattr(module, "create_connection")]),
            lambda name: told.append(name),
        )
        import colorsys  # noqa: F401
        import socket  # noqa: F401

        import_hook.uninstall()
        import_hook.uninstall()
        say(told=told, finders=[type(each).__name__ for each in sys.meta_path].count("Finder"))

    said = ran(program).json
    assert said["told"][-1] == ["socket", True]
    assert "colorsys" not in str(said["told"])
    assert said["finders"] == 0


def test_a_program_that_imports_the_c_module_alone_gets_socket_imported_behind_it():
    def program():
        from pywrap.intercept import import_hook

        told = []
        import_hook.install(lambda: None, lambda module: told.append(module.__name__), lambda name: None)
        # As before anything had imported them.
        for name in "socket", "_socket":
            sys.modules.pop(name, None)
        import _socket

        say(told=told, socket="socket" in sys.modules, own=type(_socket.__loader__).__name__ != "Loader")

    said = ran(program).json
    assert "socket" in said["told"]
    assert said["socket"] and said["own"]


def test_a_module_is_told_of_when_it_is_reloaded():
    def program():
        import importlib
        import socket

        from pywrap.intercept import import_hook

        told = []
        import_hook.install(lambda: None, lambda module: told.append(module.__name__), lambda name: None)
        importlib.reload(socket)
        say(told=told)

    assert ran(program).json == {"told": ["socket"]}


@pytest.mark.parametrize("name", ["uvloop", "gevent"])
def test_a_module_that_is_not_installed_is_not_announced(name):
    def program():
        from pywrap.intercept import import_hook

        announced = []
        import_hook.install(lambda: None, lambda module: None, announced.append)
        try:
            __import__(name)
        except ModuleNotFoundError as err:
            say(announced=announced, name=err.name)

    # -S: there are no site-packages.
    assert ran(program).json == {"announced": [], "name": name}


def test_a_module_with_sockets_of_its_own_is_announced_before_it_is_executed(tmp_path):
    (tmp_path / "grpc.py").write_text("print('executed')\n")

    def program(folder):
        sys.path.insert(0, folder)
        from pywrap.intercept import import_hook

        def announced(name):
            print("announced", name, "socket" in sys.modules)
            raise ModuleNotFoundError("refused", name=name)

        import_hook.install(lambda: None, lambda module: None, announced)
        try:
            import grpc  # noqa: F401
        except ModuleNotFoundError as err:
            print(err)

    assert ran(program, str(tmp_path)).out == "announced grpc True\nrefused\n"


@pytest.mark.parametrize("fails", ["expected", "imported"])
def test_a_program_does_not_go_on_with_a_module_that_is_half_patched(fails):
    def program():
        from pywrap.intercept import import_hook

        def fail(*_):
            raise ImportError("no patch")

        def nothing(*_):
            pass

        import_hook.install(
            fail if fails == "expected" else nothing, fail if fails == "imported" else nothing, nothing
        )
        for name in "socket", "select":
            sys.modules.pop(name, None)
        try:
            import socket  # noqa: F401
        except BaseException:
            pass
        print("it went on")

    done = ran(program, status=125)
    assert done.out == ""
    # `socket` imports `select`, which is patched first.
    name = "socket" if fails == "expected" else "select"
    assert f"pysocksify: error: cannot patch the {name} module: ImportError('no patch')" in done.err
