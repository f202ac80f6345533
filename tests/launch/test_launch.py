"""The command as a user runs it: what becomes of the process, and what is refused."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import venv
import zipapp
from pathlib import Path

import pytest

from pywrap.config import settings_env
from pywrap.config.settings import Chain, Proxy, Settings
from pywrap.config.settings_env import decode
from pywrap.frozen import replace
from pywrap.launch import bootstrap
from pywrap.launch.environment import STARTUP, environment
from tests.support.child import source_of
from tests.support.run import environment as clean
from tests.support.run import pysocksify, run

PROXY = "socks5h://192.0.2.99:1080"  # never reached
WRAPPED = pysocksify("-x", PROXY)
UNCONFINED = pysocksify("--confine", "off", "-x", PROXY)
CONNECT = "import socket; socket.create_connection(('192.0.2.1', 80), 5)"
SETTINGS = Settings((Chain((Proxy("socks5h", "192.0.2.99"),)),))


def report():
    print(
        json.dumps(
            {
                "door": type(socket.socket.connect).__name__ == "function",
                "path": [p for p in sys.path if "startup" in p],
                "argv": sys.argv,
                "site": getattr(sys.modules.get("sitecustomize"), "__file__", None),
            }
        )
    )


REPORT = source_of(report)


@pytest.fixture
def bare(tmp_path_factory) -> str:
    """The interpreter of a venv that has nothing, least of all pysocksify."""
    folder = tmp_path_factory.mktemp("bare")
    venv.create(folder, with_pip=False)
    return str(folder / "bin" / "python")


def is_protected(said) -> bool:
    return said["door"] and said["path"] == []


def test_forms_of_a_program(bare, tmp_path):
    script = tmp_path / "app.py"
    script.write_text(f"#!{bare}\n" + REPORT)
    script.chmod(0o755)
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__main__.py").write_text(REPORT)
    zipapp.create_archive(tmp_path / "package", tmp_path / "app.pyz", interpreter=bare)
    for command in (
        [bare, str(script), "-I"],
        [bare, "-c", REPORT],
        [bare, "-m", "package"],
        [str(script), "arg"],
        ["./app.py"],
        [bare, str(tmp_path / "app.pyz")],
        [str(tmp_path / "app.pyz")],
    ):
        assert is_protected(run(*WRAPPED, *command, cwd=tmp_path).json), command


def test_it_turns_into_the_program(bare):
    process = subprocess.Popen(
        [*WRAPPED, bare, "-c", "import os, signal; print(os.getpid(), flush=True); signal.pause()"],
        stdout=subprocess.PIPE,
        env=clean(),
        text=True,
    )
    with process:
        assert int(process.stdout.readline()) == process.pid
        process.send_signal(signal.SIGTERM)
    assert process.returncode == -signal.SIGTERM


def test_the_exit_status_is_the_programs(bare):
    assert run(*WRAPPED, bare, "-c", "raise SystemExit(7)", status=7)


def test_signals_that_python_ignores_are_not_ignored_in_the_program(bare):
    code = (
        "import signal, subprocess, json, sys; status = subprocess.run(['cat', '/proc/self/status'], "
        "restore_signals=False, capture_output=True, text=True).stdout; print(json.dumps(status))"
    )
    ignored = {
        how: [line for line in run(*how, bare, "-c", code).json.splitlines() if line.startswith("SigIgn")]
        for how in ((), WRAPPED)
    }
    assert ignored[()] == ignored[WRAPPED]


def test_pythonpath_of_the_user_stays(bare, tmp_path):
    code = "import json, sys; print(json.dumps(sys.path))"
    said = run(*WRAPPED, bare, "-c", code, env={"PYTHONPATH": "/a:/b"})
    assert said.json[:3] == ["", "/a", "/b"]


def test_a_sitecustomize_that_ours_hides_is_run(bare, tmp_path):
    (tmp_path / "sitecustomize.py").write_text("import builtins; builtins.hidden = __name__")
    code = "import json, sys, sitecustomize, socket; print(json.dumps([hidden, sitecustomize.__file__]))"
    ran = run(*WRAPPED, bare, "-c", code, env={"PYTHONPATH": str(tmp_path)})
    assert ran.json == ["sitecustomize", str(tmp_path / "sitecustomize.py")]


def test_a_hidden_sitecustomize_that_fails_is_reported_as_by_site(bare, tmp_path):
    (tmp_path / "sitecustomize.py").write_text("raise ValueError('theirs')")
    env = {"PYTHONPATH": str(tmp_path)}
    theirs = run(bare, "-c", "print(1)", env=env)
    # Without the launcher, which is a Python and would report it as well.
    ours = run(bare, "-c", REPORT, env=environment(SETTINGS, env))
    assert ours.err == theirs.err != ""
    assert is_protected(ours.json)


def test_what_runs_before_the_start_up_file_is_told_of(tmp_path):
    made = tmp_path / "venv"
    run(sys.executable, "-m", "venv", "--without-pip", made)
    (packages,) = made.glob("lib/python*/site-packages")
    (packages / "early.pth").write_text("import socket\n")
    python = made / "bin" / "python"
    ran = run(*pysocksify("-v", "-x", "socks5h://192.0.2.99"), python, "-c", REPORT)
    assert "socket was imported before pysocksify" in ran.err
    assert is_protected(ran.json)
    assert run(*WRAPPED, python, "-c", "").err == ""


def test_children_are_protected_too(bare):
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {REPORT!r}], check=True)"
    assert is_protected(run(*WRAPPED, bare, "-c", code).json)


def test_running_it_under_itself_takes_the_inner_settings(bare):
    code = "import os, json; print(json.dumps([os.environ['PYTHONPATH'], os.environ['PYSOCKSIFY_SETTINGS']]))"
    path, settings = run(*WRAPPED, *pysocksify("-x", "socks4a://198.51.100.7:9"), bare, "-c", code).json
    assert path == STARTUP
    assert "'socks4a,'198.51.100.7,9" in settings


# ---------------------------------------------------------------- what must not start


def refused(*command, status=125, **how):
    ran = run(*command, status=status, **how)
    assert ran.out == ""
    return ran.err


def test_what_is_not_python_is_refused_unconfined():
    err = refused(*UNCONFINED, "ls", status=126)
    assert "not a Python program, so its traffic would leave directly; not started" in err
    assert len(err.splitlines()) == 2 and err.splitlines()[1].startswith("hint: ")


@pytest.mark.parametrize("option", ["-I", "-E", "-S", "-uI"])
def test_an_interpreter_that_looks_at_no_environment_is_covered(bare, option):
    words = pysocksify("--confine", "off", "-x", "socks5h://127.0.0.1:9")
    err = run(*words, bare, option, "-c", CONNECT, status=1).err
    assert "cannot reach the proxy 127.0.0.1:9" in err


def test_what_is_not_there_is_127():
    assert refused(*WRAPPED, "no-such-program", status=127) == (
        "pysocksify: error: program not found: no-such-program\n"
    )


def test_a_script_whose_interpreter_is_not_there_is_127(tmp_path):
    script = tmp_path / "app"
    script.write_text("#!/nowhere/python3\n")
    script.chmod(0o755)
    assert "No such file" in refused(*WRAPPED, script, status=127)
    # A file with a password is not left for a program that never was.
    wrapped = pysocksify("-x", "socks5h://me:password@192.0.2.99")
    refused(*wrapped, script, status=127, env={"XDG_RUNTIME_DIR": str(tmp_path)})
    assert list((tmp_path / "pysocksify").iterdir()) == []


def test_no_settings_no_start(bare):
    err = refused(bare, "-c", "print(1)", env={"PYTHONPATH": STARTUP})
    assert err == (
        "pysocksify: error: program not started: PYTHONPATH names pysocksify, "
        "but PYSOCKSIFY_SETTINGS is not set\n"
    )


@pytest.mark.parametrize("module", ["socket", "_socket"])
def test_damaged_settings_end_the_process_before_anything_connects(bare, module):
    env = {"PYTHONPATH": STARTUP, "PYSOCKSIFY_SETTINGS": "format=1 chain=nonsense"}
    connect = f"import {module} as module; module.socket().connect(('192.0.2.1', 1))"
    code = f"try: {connect}\nexcept BaseException: print(1)"
    assert "PYSOCKSIFY_SETTINGS" in refused(bare, "-c", code, env=env)


def test_a_failure_of_ours_at_the_start_ends_the_process(bare, tmp_path):
    # The package as it would be after half an upgrade.
    package = tmp_path / "pywrap"
    (package / "launch" / "startup").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    startup = package / "launch" / "startup" / "sitecustomize.py"
    startup.write_bytes((Path(STARTUP) / "sitecustomize.py").read_bytes())
    err = refused(bare, "-c", "print(1)", env={"PYTHONPATH": str(startup.parent)})
    assert err.startswith("pysocksify: error: program not started: ")
    assert len(err.splitlines()) == 1


def test_patches_that_cannot_be_made_end_the_process(bare):
    # An exception out of `import socket` could be caught, and what is half patched be used.
    code = "import sys; sys.modules['select'] = None\ntry: import socket\nexcept BaseException: print(1)"
    assert "pysocksify: error: " in refused(*WRAPPED, bare, "-c", "import sys, selectors\n" + code)


# ---------------------------------------------------------------- the environment


def test_eventlet_is_told_to_use_the_patched_resolver():
    assert environment(SETTINGS, {})["EVENTLET_NO_GREENDNS"] == "yes"
    assert environment(SETTINGS, {"EVENTLET_NO_GREENDNS": "no"})["EVENTLET_NO_GREENDNS"] == "no"
    assert "EVENTLET_NO_GREENDNS" not in environment(replace(SETTINGS, dns="local"), {})


def test_the_environment_names_our_folder_first_and_once():
    changed = environment(SETTINGS, {"PYTHONPATH": f"/a:{STARTUP}:/b", "HOME": "/home"})
    assert changed["PYTHONPATH"] == f"{STARTUP}:/a:/b"
    assert changed["HOME"] == "/home"
    assert settings_env.decode(changed[settings_env.VARIABLE]) == SETTINGS


def test_the_folder_holds_the_start_up_file_and_nothing_else():
    # Python 2, which is refused there, compiles it beside it.
    found = {name for name in os.listdir(STARTUP) if name != "__pycache__" and not name.endswith(".pyc")}
    assert found == {"sitecustomize.py"}


def test_the_bootstrap_reads_what_the_launcher_writes():
    assert bootstrap.VARIABLE == settings_env.VARIABLE


# ---------------------------------------------------------------- the bundled server


def test_the_bundled_server_serves_this_run_and_ends_with_it(bare, echo_server):
    def program(host, port):
        sock = socket.create_connection((host, port))
        sock.sendall(b"hello")
        settings = open(os.environ["PYSOCKSIFY_SETTINGS"][len("file=") :]).read()
        proxy = str(decode(settings).chain[0]).rpartition(":")
        try:
            os.waitpid(-1, os.WNOHANG)
            children = True
        except ChildProcessError:
            children = False
        print(json.dumps([sock.recv(5).decode(), children, proxy]))

    code = source_of(program, echo_server.host, echo_server.port)
    ran = run(*pysocksify("-x", "embedded", "--loopback", "proxy", "-v"), bare, "-c", code)
    echoed, children, (host, _, port) = ran.json
    assert (echoed, children) == ("hello", False)
    assert f"{echo_server.host}:{echo_server.port} via {host}:{port}: connected" in ran.err
    assert_nothing_listens(host, int(port))


def test_a_stranger_cannot_use_the_bundled_server(bare):
    def program():
        settings = decode(open(os.environ["PYSOCKSIFY_SETTINGS"][len("file=") :]).read())
        host, _, port = str(settings.chain[0]).rpartition(":")
        sock = socket.create_connection((host, int(port)))
        sock.sendall(b"\x05\x01\x00")
        print(json.dumps(sock.recv(2).hex()))

    assert run(*pysocksify("-x", "embedded"), bare, "-c", source_of(program)).json == "05ff"


def assert_nothing_listens(host: str, port: int) -> None:
    """The server ends when it sees that the program did, which is a moment later."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with socket.socket() as sock:
            if sock.connect_ex((host, port)):
                return
    raise AssertionError("the bundled server outlives its program")


# ---------------------------------------------------------------- free-threaded builds


def free_threaded(bare, gil):
    """``bare``, which says of itself that it is such a build, and whether it runs with the ``gil``."""
    (packages,) = Path(bare).parent.parent.glob("lib/python*/site-packages")
    flags = "sys.abiflags = 't'; sysconfig.get_config_vars()['Py_GIL_DISABLED'] = 1"
    (packages / "build.pth").write_text(
        f"import sys, sysconfig; {flags}; sys._is_gil_enabled = lambda: {gil}\n"
    )
    return bare


def test_a_python_without_the_gil_is_not_started(bare):
    ran = run(*UNCONFINED, free_threaded(bare, gil=False), "-c", "print('started')", status=125)
    assert "free-threaded" in ran.err and "-X gil=1" in ran.err and "--confine on" in ran.err
    assert ran.out == ""


def test_such_a_build_with_the_gil_is_covered(bare):
    # PYTHON_GIL=1: what counts is how it runs, not how it was built.
    assert is_protected(run(*WRAPPED, free_threaded(bare, gil=True), "-c", REPORT).json)


def test_a_confined_python_without_the_gil_runs_without_the_patches(bare):
    confined = pysocksify("--confine", "on", "-x", PROXY)
    assert not run(*confined, free_threaded(bare, gil=False), "-c", REPORT).json["door"]


def test_install_refuses_a_python_without_the_gil():
    def program():
        sys._is_gil_enabled = lambda: False
        import pywrap

        try:
            pywrap.install("socks5h://127.0.0.1:9")
        except RuntimeError as err:
            print(err)

    assert "needs the GIL" in run(sys.executable, "-c", source_of(program)).out
