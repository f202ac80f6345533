"""Passwords: in no environment, in no argument, in a file that goes away, and in reach of every child."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pywrap.config import settings_env
from pywrap.config.settings import Chain, Proxy, Settings
from pywrap.launch import bootstrap, environment, secrets
from pywrap.launch.environment import STARTUP
from pywrap.launch.launch_error import LaunchError
from pywrap.launch.patch_or_confine import launch
from tests.support.child import source_of
from tests.support.run import environment as clean
from tests.support.run import pysocksify, run
from tests.support.servers import reference_server

SECRET = "pa55w0rd-of-this-test"
SETTINGS = Settings((Chain((Proxy("socks5h", "192.0.2.99", 1080, b"me", SECRET.encode()),)),))
WRAPPED = pysocksify("-x", f"socks5h://me:{SECRET}@192.0.2.99")


@pytest.fixture
def runtime(tmp_path: Path) -> Path:
    """$XDG_RUNTIME_DIR."""
    folder = tmp_path / "runtime"
    folder.mkdir(mode=0o700)
    return folder


def files(runtime: Path) -> list[Path]:
    return list((runtime / "pysocksify").iterdir()) if (runtime / "pysocksify").exists() else []


# Everything that a program and its children can see of themselves.
def look():
    import os
    import subprocess
    import sys

    os.system("env; tr '\\0' '\\n' </proc/self/environ")
    print(open("/proc/self/environ").read(), open("/proc/self/cmdline").read(), sys.orig_argv)
    subprocess.run("cat /proc/$$/cmdline /proc/$PPID/cmdline; env", shell=True)
    subprocess.run([sys.executable, "-c", "import os; print(os.environ); os.system('env')"])
    print("the end", os.environ["PYSOCKSIFY_SETTINGS"])


def test_no_environment_and_no_argument_has_the_password(interpreter: str, runtime: Path) -> None:
    ran = run(*WRAPPED, interpreter, "-u", "-c", source_of(look), env={"XDG_RUNTIME_DIR": str(runtime)})
    assert "the end file=" in ran.out
    assert ran.out.count("PYSOCKSIFY_SETTINGS") >= 6
    assert SECRET not in ran.out + ran.err
    assert files(runtime) == []


def test_children_of_children_are_tunnelled_with_it(echo_server: Any, runtime: Path) -> None:
    connect = f"import socket; socket.create_connection(('127.0.0.1', {echo_server.port})).close()"

    def program():
        subprocess.run([sys.executable, "-c", connect], check=True, close_fds=True)
        os.system(f'{sys.executable} -c "{connect}"')
        run_by_a_shell = ["sh", "-c", f'{sys.executable} -c "{connect}"']
        middle = f"import subprocess; subprocess.run({run_by_a_shell!r})"
        subprocess.run([sys.executable, "-c", middle], check=True)
        os.execv(sys.executable, [sys.executable, "-c", connect])

    code = source_of(program)
    with reference_server(users={b"me": SECRET.encode()}) as proxy:
        options = ("-x", proxy.url("me", SECRET), "--loopback", "proxy")
        run(*pysocksify(*options), sys.executable, "-c", code, env={"XDG_RUNTIME_DIR": str(runtime)})
        assert proxy.asked == [("CONNECT", "127.0.0.1", echo_server.port)] * 4
    # The last one took the place of the owner, and looked in its turn.
    assert files(runtime) == []


def test_the_file_is_for_its_user_alone(runtime: Path) -> None:
    code = "import os; path = os.environ['PYSOCKSIFY_SETTINGS']; print(path, os.stat(path[5:]).st_mode)"
    ran = run(*WRAPPED, sys.executable, "-c", code, env={"XDG_RUNTIME_DIR": str(runtime)})
    path, mode = ran.out.split()
    assert path.startswith(f"file={runtime}/pysocksify/")
    assert stat.S_IMODE(int(mode)) == 0o600
    assert stat.S_IMODE((runtime / "pysocksify").stat().st_mode) == 0o700


def test_without_a_password_there_is_no_file(runtime: Path) -> None:
    code = "import os; print(os.environ['PYSOCKSIFY_SETTINGS'][:5] == 'file=')"
    ran = run(
        *pysocksify("-x", "socks5h://me@192.0.2.99"),
        *(sys.executable, "-c", code),
        env={"XDG_RUNTIME_DIR": str(runtime)},
    )
    assert ran.out == "False\n"
    assert files(runtime) == []


def test_a_child_that_outlives_the_program_still_has_it(runtime: Path) -> None:
    # The child starts another Python once its parent, the owner, has gone.
    def child():
        import subprocess
        import sys

        sys.stdin.read()
        code = "import socket; print('covered', type(socket.socket.connect).__name__)"
        print(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout, flush=True)

    code = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {source_of(child)!r}])"
    env = {"XDG_RUNTIME_DIR": str(runtime)}
    program = subprocess.Popen(
        [*WRAPPED, sys.executable, "-c", code],
        *(-1, None, subprocess.PIPE, subprocess.PIPE),
        env=clean(env),
        text=True,
    )
    with program:
        assert program.stdin is not None and program.stdout is not None
        program.wait()
        assert len(files(runtime)) == 1
        # Another start looks for what is not needed, and leaves this one.
        run(*WRAPPED, sys.executable, "-c", "pass", env=env)
        assert len(files(runtime)) == 1
        program.stdin.close()
        assert program.stdout.read().split() == ["covered", "function"]
    run(*WRAPPED, sys.executable, "-c", "pass", env=env)
    assert files(runtime) == []


def test_what_a_kill_leaves_goes_with_the_next_start(runtime: Path) -> None:
    env = {"XDG_RUNTIME_DIR": str(runtime)}
    run(
        *(*WRAPPED, sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"),
        env=env,
        status=-signal.SIGKILL,
    )
    assert len(files(runtime)) == 1
    run(*WRAPPED, sys.executable, "-c", "pass", env=env)
    assert files(runtime) == []


@pytest.mark.parametrize("fault", ["missing", "readable", "link"])
def test_a_file_that_is_not_ours_ends_the_start(fault: str, tmp_path: Path) -> None:
    file = tmp_path / "file"
    if fault != "missing":
        file.write_text(settings_env.encode(SETTINGS))
        file.chmod(0o644 if fault == "readable" else 0o600)
    path = file
    if fault == "link":
        path = tmp_path / "link"
        path.symlink_to(file)
    env = {"PYTHONPATH": STARTUP, "PYSOCKSIFY_SETTINGS": f"file={path}"}
    ran = run(sys.executable, "-c", "print(1)", env=env, status=125)
    assert ran.out == ""
    assert ran.err.startswith(f"pysocksify: error: program not started: cannot read the settings in {path}: ")
    assert len(ran.err.splitlines()) == 1


@pytest.mark.parametrize("kind", ["link", "open to others", "file"])
def test_a_folder_that_others_could_change_is_not_used(kind: str, runtime: Path, tmp_path: Path) -> None:
    place = runtime / "pysocksify"
    if kind == "link":
        (tmp_path / "elsewhere").mkdir(mode=0o700)
        place.symlink_to(tmp_path / "elsewhere")
    elif kind == "open to others":
        place.mkdir()
        place.chmod(0o770)
    else:
        place.touch(0o600)
    value = secrets.store("x", os.getpid(), {"XDG_RUNTIME_DIR": str(runtime)})
    try:
        assert not value.startswith(f"file={runtime}")
    finally:
        secrets.take_back(value)
    assert not Path(value.removeprefix("file=")).exists()


def test_where_no_file_can_be_it_is_said(monkeypatch: Any, capsys: Any) -> None:
    def no_folder(environ: Any) -> str:
        raise PermissionError(1, "none for you")

    monkeypatch.setattr(secrets, "_folder", no_folder)
    changed = environment.environment(SETTINGS, {})
    assert settings_env.decode(changed["PYSOCKSIFY_SETTINGS"]) == SETTINGS
    assert capsys.readouterr().err == (
        "pysocksify: warning: no file for the password (none for you): it is in PYSOCKSIFY_SETTINGS, "
        "which every child can read\n"
    )


def test_no_argument_has_the_password_where_there_is_no_file(monkeypatch: Any) -> None:
    def no_folder(environ: Any) -> str:
        raise PermissionError(1, "none for you")

    monkeypatch.setattr(secrets, "_folder", no_folder)
    with pytest.raises(LaunchError, match="it would be seen in the arguments"):
        launch(SETTINGS, ["env", "-i", sys.executable], embedded=False)


def test_a_file_of_another_pid_namespace_is_left(runtime: Path) -> None:
    value = secrets.store("x", os.getpid(), {"XDG_RUNTIME_DIR": str(runtime)})
    path = Path(value.removeprefix("file="))
    # As two containers with one folder see each other: its owner is not to be found here.
    pid, rest = path.name.split("-", 1)
    ticks, namespace = rest.split("-")[0].split(".")
    other = path.rename(path.with_name(f"{pid}0000000-{ticks}.{namespace}0-x"))
    ended = path.with_name(f"{pid}0000000-{ticks}.{namespace}-x")
    ended.touch()
    path = Path(secrets.store("x", os.getpid(), {"XDG_RUNTIME_DIR": str(runtime)}).removeprefix("file="))
    assert set(files(runtime)) == {other, path}


def test_a_file_of_another_owner_is_left(runtime: Path) -> None:
    # Its owner is a Python above this one, as that of every child.
    value = secrets.store("x", os.getppid(), {"XDG_RUNTIME_DIR": str(runtime)})
    secrets.discard(value)
    assert len(files(runtime)) == 1
    secrets.take_back(value)
    assert files(runtime) == []
    for nothing in ("5f 1c hide_env Settings(", ""):
        secrets.discard(nothing)
        secrets.take_back(nothing)


@pytest.mark.parametrize(
    "wrapper", [["timeout", "60"], ["env", "-i"], ["timeout", "60", "nice", "setsid", "-w"]]
)
def test_behind_a_wrapper_it_goes_as_well(wrapper: Any, runtime: Path) -> None:
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'pass']); print(1)"
    ran = run(*WRAPPED, *wrapper, sys.executable, "-c", code, env={"XDG_RUNTIME_DIR": str(runtime)})
    assert ran.out == "1\n"
    assert files(runtime) == []


def test_a_wrapped_shell_has_it_until_it_is_unwrapped(runtime: Path, echo_server: Any) -> None:
    connect = f"import socket; socket.create_connection(('127.0.0.1', {echo_server.port})).close()"
    with reference_server(users={b"me": SECRET.encode()}) as proxy:
        command = [*pysocksify("-x", proxy.url("me", SECRET), "--loopback", "proxy", "--env")]
        script = f"""
eval "$({" ".join(command)})"
env
{sys.executable} -c "{connect}"
ls {runtime}/pysocksify | wc -l
eval "$({" ".join(pysocksify("--env=off"))})"
ls {runtime}/pysocksify | wc -l
"""
        # A session of its own, as a terminal's: its leader is the owner.
        ran = run("setsid", "-w", "sh", "-c", script, env={"XDG_RUNTIME_DIR": str(runtime)})
        assert proxy.asked == [("CONNECT", "127.0.0.1", echo_server.port)]
    assert SECRET not in ran.out + ran.err
    assert ran.out.split()[-2:] == ["1", "0"]


def test_the_arguments_of_what_goes_on_have_stars() -> None:
    # The bundled server keeps the arguments of the launcher, and --check is the launcher.
    def program():
        import os

        for name in os.listdir("/proc"):
            if name.isdigit():
                try:
                    print(open(f"/proc/{name}/cmdline").read().replace(chr(0), " "))
                except OSError:
                    pass

    options = (
        "-x",
        "embedded",
        "-x",
        f"socks5h://me:{SECRET}@192.0.2.99",
        f"-xhttp://you:{SECRET}@192.0.2.98",
    )
    ran = run(*pysocksify(*options), sys.executable, "-c", source_of(program))
    stars = "*" * len(SECRET)
    (server,) = [line for line in ran.out.splitlines() if f"me:{stars}@192.0.2.99" in line]
    assert f"-xhttp://you:{stars}@192.0.2.98" in server
    assert f"socks5h://me:{SECRET}" not in ran.out


def test_both_ends_agree() -> None:
    assert bootstrap.PREFIX == secrets.PREFIX
