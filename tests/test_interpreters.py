"""Targets that are not our own interpreter: other versions, in venvs that have nothing, started in every way.

The launcher is in its own venv.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import zipapp
from pathlib import Path

import pytest

from tests.support.child import source_of
from tests.support.destinations import HELLO
from tests.support.run import (
    PROGRAMS,
    VERSIONS,
    environment,
    find_interpreter,
    interpreters,
    pysocksify,
    run,
)
from tests.support.servers import reference_server

FETCHED = {"status": 200, "body": HELLO.decode()}
# Nothing listens there.
NOBODY = pysocksify("-x", "socks5h://127.0.0.1:1")
UNCONFINED = pysocksify("--confine", "off", "-x", "socks5h://127.0.0.1:1")
FETCH = (PROGRAMS / "fetch_urllib.py").read_text()


@pytest.fixture(scope="module", params=VERSIONS)
def version(request):
    if request.param not in interpreters():
        pytest.skip(f"no CPython {request.param} on this machine")
    return request.param


@pytest.fixture(scope="module")
def venv(version, tmp_path_factory):
    """The directory of a venv without a single package, ours included."""
    directory = tmp_path_factory.mktemp(f"venv-{version}-")
    create = [interpreters()[version], "-m", "venv", "--without-pip", directory]
    subprocess.run(create, check=True, env=environment(), stdin=subprocess.DEVNULL)
    return directory


@pytest.fixture(scope="module")
def python(venv):
    return str(venv / "bin" / "python")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Not in the repository, where each of them could import us."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def proxy():
    with reference_server() as running:
        yield running


@pytest.fixture
def fetches(proxy, http_server):
    """``fetches(*command)``: the command is one that fetches, and does it through the proxy."""

    def fetches(*command, **options):
        words = pysocksify("-x", proxy.url(), "--loopback", "proxy")
        ran = run(*words, *command, http_server.url(), **options)
        assert ran.json == FETCHED, str(ran)
        assert ran.err == "", str(ran)
        assert proxy.asked == [("CONNECT", http_server.host, http_server.port)]

    return fetches


def script(path: Path, first_line: str, text: str = FETCH) -> Path:
    """An executable script."""
    path.write_text(f"{first_line}\n{text}")
    path.chmod(0o755)
    return path


def test_the_venv_knows_nothing_of_us(python, version):
    code = (
        "import importlib.util, json, sys\n"
        "print(json.dumps(['%d.%d' % sys.version_info[:2], importlib.util.find_spec('pywrap') is None]))"
    )
    assert run(python, "-c", code).json == [version, True]


# ---------------------------------------------------------------- ways to start a program


def test_a_script(python, fetches):
    fetches(python, PROGRAMS / "fetch_urllib.py")


def test_code_on_the_command_line(python, fetches):
    fetches(python, "-c", FETCH)


def test_code_on_standard_input(python, fetches):
    fetches(python, "-", input=FETCH)


def test_a_module(python, fetches, tmp_path):
    package = tmp_path / "fetching"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text(FETCH)
    fetches(python, "-m", "fetching", cwd=tmp_path)


def test_an_interpreter_with_options(python, fetches):
    fetches(python, "-W", "error", "-X", "dev", "-uB", PROGRAMS / "fetch_urllib.py")


def test_an_interpreter_found_on_the_path(venv, fetches):
    path = f"{venv / 'bin'}:{os.environ['PATH']}"
    fetches("python", PROGRAMS / "fetch_urllib.py", env={"PATH": path})


def test_an_interpreter_outside_of_any_venv(version, fetches):
    base = interpreters()[version]
    if base == sys.executable:
        base = sys._base_executable
    fetches(base, PROGRAMS / "fetch_urllib.py")


def test_a_script_with_a_shebang(python, fetches, tmp_path):
    fetches(script(tmp_path / "fetch.py", f"#!{python}"))


def test_a_script_with_a_shebang_named_from_where_it_is(python, fetches, tmp_path):
    script(tmp_path / "fetch.py", f"#!{python}")
    fetches("./fetch.py", cwd=tmp_path)


def test_a_script_whose_shebang_has_an_option(python, fetches, tmp_path):
    fetches(script(tmp_path / "fetch.py", f"#!{python} -Werror"))


def test_a_script_found_by_env(venv, fetches, tmp_path):
    path = f"{venv / 'bin'}:{os.environ['PATH']}"
    fetches(script(tmp_path / "fetch.py", "#!/usr/bin/env python3"), env={"PATH": path})


def test_a_script_found_by_env_with_options(python, fetches, tmp_path):
    fetches(script(tmp_path / "fetch.py", f"#!/usr/bin/env -S {python} -W error -X dev"))


# What pip writes, and what it writes where the path is too long for the kernel or has blanks in it.
SHEBANGS = ["#!{python}", "#!/bin/sh\n'''exec' {python} \"$0\" \"$@\"\n' '''"]


CONSOLE_SCRIPT = """\
# -*- coding: utf-8 -*-
import re
import sys
from fetching import main
if __name__ == '__main__':
    sys.argv[0] = re.sub(r'(-script\\.pyw|\\.exe)?$', '', sys.argv[0])
    sys.exit(main())
"""


@pytest.mark.parametrize("shebang", SHEBANGS, ids=["plain", "through sh"])
def test_a_console_script(shebang, venv, python, fetches):
    (packages,) = venv.glob("lib/python*/site-packages")
    (packages / "fetching.py").write_text(
        "def main():\n" + "".join(f"    {line}\n" for line in FETCH.splitlines())
    )
    path = script(venv / "bin" / "fetch", shebang.format(python=python), CONSOLE_SCRIPT)
    try:
        fetches("fetch", env={"PATH": f"{venv / 'bin'}:{os.environ['PATH']}"})
    finally:
        path.unlink()


@pytest.fixture
def application(tmp_path):
    directory = tmp_path / "application"
    directory.mkdir()
    (directory / "__main__.py").write_text(FETCH)
    return directory


def test_a_zipapp(python, application, fetches, tmp_path):
    archive = tmp_path / "app.pyz"
    zipapp.create_archive(application, archive)
    fetches(python, archive)


def test_a_zipapp_with_a_shebang(python, application, fetches, tmp_path):
    archive = tmp_path / "app.pyz"
    zipapp.create_archive(application, archive, interpreter=python)
    fetches(archive)


def test_a_directory_with_a_main(python, application, fetches):
    fetches(python, application)


# ---------------------------------------------------------------- what a program does there


def through(proxy, *options):
    return pysocksify("-x", proxy.url(), "--loopback", "proxy", *options)


@pytest.mark.parametrize(
    "name", ["fetch_urllib.py", "fetch_http_client.py", "asyncio_streams.py", "report.py"]
)
def test_tls(name, python, proxy, https_server):
    server = https_server
    place = [server.url()] if name == "fetch_urllib.py" else [server.host, server.port]
    ran = run(*through(proxy), python, PROGRAMS / name, *place, server.ca_pem)
    assert ran.err == ""
    if name == "report.py":
        assert ran.json["tls peer"] == [server.host, server.port]
        assert ran.json["same recv"] and ran.json["tls recv"]
    else:
        assert ran.json["status"] == 200
    assert proxy.asked == [("CONNECT", server.host, server.port)]


@pytest.mark.parametrize("when", ["after", "before"])
@pytest.mark.parametrize("poller", ["select", "poll", "epoll", "epoll-edge", "selectors"])
def test_pollers(poller, when, python, proxy, echo_server):
    words = echo_server.host, echo_server.port, poller, when
    ran = run(*through(proxy), python, PROGRAMS / "nonblocking.py", *words)
    assert (ran.json["echoed"], ran.json["again"], ran.err) == ("hello", "EISCONN", "")
    assert proxy.asked == [("CONNECT", echo_server.host, echo_server.port)]


def test_many_at_once(python, proxy, echo_server, http_server):
    words = echo_server.host, echo_server.port, 100
    ran = run(*through(proxy), python, PROGRAMS / "asyncio_sock_connect.py", *words)
    assert ran.json == {"connections": 100, "right": True}
    ran = run(*through(proxy), python, PROGRAMS / "fetch_threads.py", http_server.url(), 40)
    assert ran.json["done"] == 40
    assert len(proxy.asked) == 140


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_children(method, python, proxy, http_server):
    # Python 3.12 and later warn of a fork() beside another thread: ours is gone by then.
    words = http_server.url(), method
    ran = run(*through(proxy), python, "-W", "error", PROGRAMS / "fetch_multiprocessing.py", *words)
    assert ran.json["children"] == [HELLO.decode()] * 2
    assert ran.err == ""
    assert proxy.asked == [("CONNECT", http_server.host, http_server.port)] * 4


def test_failures(python, proxy, refusing_port):
    ways = "blocking", "timeout", "connect_ex", "nonblocking", "create_connection", "asyncio", "urllib"
    words = PROGRAMS / "fail.py", "127.0.0.1", refusing_port, *ways
    wrapped = run(*through(proxy), python, *words).json
    bare = run(python, *words).json
    for how in ways:
        assert [wrapped[how][key] for key in ("error", "errno", "outer")] == [
            bare[how][key] for key in ("error", "errno", "outer")
        ]


def test_a_loop_is_not_blocked(python, blackhole_proxy):
    url = f"socks5h://{blackhole_proxy.host}:{blackhole_proxy.port}"
    ran = run(*pysocksify("-x", url), python, PROGRAMS / "tick_asyncio.py", "elsewhere.test", 80, 2)
    assert ran.json["outcome"] == "TimeoutError"
    assert ran.json["longest"] < 1


def test_leaks(trace, python):
    # Those of its own interpreter are test_leaks.py's.
    ran, seen = trace(*NOBODY[:-1], "--udp", "block", "--", python, "-c", source_of(leak))
    assert ran.json == ["PermissionError"] * 5
    assert seen.reached == [], str(seen)


def leak():
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    seen = []
    for attempt in (
        lambda: udp.sendto(b"hello", ("192.0.2.1", 9)),
        lambda: udp.connect(("elsewhere.test", 9)),
        lambda: socket.socket().sendto(b"hello", socket.MSG_FASTOPEN, ("192.0.2.1", 80)),
        # Past what may be in _socket under that name.
        lambda: socket.socket.__base__().connect(("192.0.2.1", 80)),
        lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW),
    ):
        try:
            seen.append(attempt())
        except Exception as err:
            seen.append(type(err).__name__)
    print(json.dumps(seen))


def test_uninstall_leaves_no_trace(python, proxy, echo_server):
    # It needs the package, where under the command only our start-up file knows the way to it.
    root = str(PROGRAMS.parent.parent)
    words = PROGRAMS / "install_and_uninstall.py", proxy.url(), echo_server.host, echo_server.port
    ran = run(python, *words, env={"PYTHONPATH": root})
    assert [round["left"] for round in ran.json["rounds"]] == [[], []]
    assert [round["through"][:2] for round in ran.json["rounds"]] == [["hello", "hello"]] * 2


def test_the_hidden_sitecustomize_is_run(python, fetches, tmp_path):
    (tmp_path / "sitecustomize.py").write_text("import builtins\nbuiltins.seen = 'customized'\n")
    fetches(python, "-c", f"assert seen == 'customized'\n{FETCH}", env={"PYTHONPATH": str(tmp_path)})


# ---------------------------------------------------------------- interpreters that are too old


@pytest.mark.parametrize("old", ["2.7", "3.6", "3.8", "3.9", "3.10"])
def test_an_interpreter_that_is_too_old_is_refused_before_the_program_runs(old, tmp_path):
    path = find_interpreter(old)
    if path is None:
        pytest.skip(f"no CPython {old} on this machine")
    # By another name: the launcher goes by that, and leaves the rest to the interpreter.
    named = tmp_path / "python3"
    named.write_text(f'#!/bin/sh\nexec {path} "$@"\n')
    named.chmod(0o755)
    ran = run(*NOBODY, named, "-c", "print('started')", status=125)
    assert ran.out == ""
    (line,) = ran.err.splitlines()
    assert line.startswith("pysocksify: error: program not started: ")
    assert f"ython {old}, and pysocksify needs CPython 3.11 or later" in line
    assert "not CPython 3.11 or later" in run(*UNCONFINED, path, "-c", "print('started')", status=126).err


def test_a_script_of_such_an_interpreter_is_refused(tmp_path):
    path = find_interpreter("3.10")
    if path is None:
        pytest.skip("no CPython 3.10 on this machine")
    marker = tmp_path / "started"
    program = script(tmp_path / "program.py", f"#!{path}", f"open({json.dumps(str(marker))}, 'w')\n")
    ran = run(*UNCONFINED, program, status=126)
    assert len(ran.err.splitlines()) == 2
    assert not marker.exists()
