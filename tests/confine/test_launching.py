"""A confined program beside its launcher: status, signals, the terminal, and what is left behind."""

import os
import pty
import select
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.support import namespaces
from tests.support.child import source_of
from tests.support.confined import as_user, start
from tests.support.processes import children, gone, wait_until
from tests.support.run import environment, run

PATIENCE = 30


def namespace(pid: int) -> str:
    return os.readlink(f"/proc/{pid}/ns/net")


def others(inode: str) -> list[int]:
    """The processes of a network namespace."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            if namespace(int(name)) == inode:
                found.append(int(name))
        except OSError:
            continue
    return found


def start_and_say_what_it_imports():
    import os
    import sys

    def said(event, args):
        if event == "import":
            os.write(2, f"import {args[0]}\n".encode())
        elif event == "open" and "/pywrap/" in str(args[0]):
            os.write(2, f"read {args[0].rpartition('/')[2]}\n".encode())

    from pywrap import archive

    sys.addaudithook(said)
    archive.read("launcher")
    archive.load("pywrap.cli").main(sys.argv[1:])


# Each a millisecond or more of a start.
SLOW = {"collections", "ctypes", "enum", "functools", "heapq", "json", "re", "signal", "socket", "threading"}


def test_a_start_takes_our_modules_from_archives_and_imports_nothing_that_is_slow(client):
    program = client.python, "-c", source_of(start_and_say_what_it_imports)
    words = (*program, "-x", namespaces.url(4), "--confine", "on", "--", "true")
    # The first run writes them, which root alone may.
    run(*client.made.at("client"), *words, cwd=client.package)
    ran = run(*client.made.at("client"), *as_user(client.user), *words, cwd=client.package)
    done = [line.partition(" ")[::2] for line in ran.err.splitlines()]
    read = {name.rpartition(".")[2] for what, name in done if what == "read"}
    assert read == {"launcher", "confined", "namespaces", "broker"}
    imported = {name for what, name in done if what == "import"}
    assert "_ctypes" in imported
    assert not imported & SLOW


@pytest.mark.parametrize("status", [0, 7, 255])
def test_the_status_is_the_programs(client, status):
    client.run("sh", "-c", f"exit {status}", status=status)


def test_a_signal_ends_both(client):
    for number in (signal.SIGTERM, signal.SIGKILL, signal.SIGSEGV):
        client.run("sh", "-c", f"kill -{int(number)} $$", status=-number)


@pytest.mark.parametrize("limit", ["nproc=0:0", "nofile=3:3"])
def test_the_status_is_the_programs_where_the_launcher_can_make_no_copy_of_itself(client, limit):
    # Root's processes are not counted. An answer tells that the launcher has begun to serve.
    script = f"curl -sS http://four.test/; prlimit --pid $PPID --{limit}; exit 7"
    ran = client.run("sh", "-c", script, status=7)
    assert (ran.out, ran.err) == ("hello\n", "")


def test_what_cannot_run(client, package):
    assert "No such file" in client.run("/bin/sh-that-is-not-there", status=127).err or True
    script = package / f"script-{client.user}"
    script.write_text("#!/nowhere/interpreter\n")
    script.chmod(0o755)
    assert "cannot run" in client.run(script, status=127).err


PASSED_ON = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGQUIT]


@pytest.mark.parametrize("number", PASSED_ON)
def test_a_signal_for_the_launcher_is_the_programs(client, number):
    script = f"trap 'echo caught; exit 3' {int(number)}; echo ready; while :; do sleep 0.05; done"
    with start(client, "sh", "-c", script) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        assert process.stdout.read() == "caught\n"
    assert process.returncode == 3


def test_stdin_stdout_and_stderr_are_the_callers(client):
    ran = client.run("sh", "-c", "cat; echo err >&2", input="in")
    assert (ran.out, ran.err) == ("in", "err\n")


def test_the_environment_and_descriptors_are_the_callers(client):
    script = "ls -l /proc/self/fd | grep -c socket; echo $GREETING"
    assert client.run("sh", "-c", script, env={"GREETING": "hi"}).out == "0\nhi\n"


def test_in_a_pipeline_and_a_shell(client):
    script = "curl -sS http://four.test/ | tr a-z A-Z; env -i /usr/bin/wget -qO- http://four.test/"
    assert client.run("bash", "-c", script).out == "HELLO\nhello\n"


def test_a_killed_launcher_takes_the_program_with_it(client):
    with start(client, "sh", "-c", "echo ready; sleep 1000") as process:
        assert process.stdout.readline() == "ready\n"
        (program,) = children(process.pid)
        inode = namespace(program)
        assert inode != namespace(process.pid)
        process.kill()
    wait_until(lambda: gone(program))
    # Its own child lives on, without a network, as it would unconfined.
    for pid in others(inode):
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not others(inode))


@pytest.mark.parametrize("delay", [0.0, 0.02, 0.05, 0.1, 0.2])
def test_a_launcher_that_is_killed_at_any_stage(client, delay):
    process = start(client, "sleep", "1000")
    select.select([], [], [], delay)
    descendants = children(process.pid)
    process.kill()
    process.wait()
    process.stdout.close()
    for pid in descendants:
        wait_until(lambda pid=pid: gone(pid))


def test_what_a_program_leaves_behind_keeps_its_network(client, tmp_path):
    tmp_path.chmod(0o777)
    for folder in tmp_path.parents[:3]:
        folder.chmod(folder.stat().st_mode | 0o111)
    answer, go = tmp_path / "answer", tmp_path / "go"
    os.mkfifo(go)
    go.chmod(0o666)
    script = (
        f"(setsid sh -c 'read x <{go}; curl -sS http://four.test/ >{answer}.new; mv {answer}.new {answer}' "
        ">/dev/null 2>&1 &) ; exit 5"
    )
    client.run("sh", "-c", script, status=5)
    go.write_text("go\n")
    wait_until(answer.exists)
    assert answer.read_text() == "hello\n"


def test_the_broker_ends_with_the_last_process(client):
    script = "sleep 0.3 & readlink /proc/self/ns/net"
    inode = client.run("sh", "-c", script + " >&2; :").err.strip()
    wait_until(lambda: not others(inode))
    wait_until(lambda: not [pid for pid in brokers() if pid not in others(inode)])


def brokers() -> list[int]:
    """Processes of pysocksify that are no child of any any more."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            words = Path(f"/proc/{name}/cmdline").read_bytes().split(b"\0")
            parent = Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()[1]
        except OSError:
            continue
        if b"pywrap" in words and b"sleep 0.3" in b" ".join(words) and parent == "1":
            found.append(int(name))
    return found


def test_an_inherited_socket_is_refused(client):
    import socket

    with socket.create_server(("127.0.0.1", 0)) as listener:
        os.set_inheritable(listener.fileno(), True)
        process = start(client, "true", close_fds=False, stderr=subprocess.PIPE)
        _, err = process.communicate()
    assert process.returncode == 125
    assert "a socket of the network outside" in err


# ---------------------------------------------------------------- the terminal


class Terminal:
    """A shell with job control on a terminal of its own."""

    def __init__(self, client):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.chdir(client.package)
            os.execve("/bin/bash", ["bash", "--norc", "-i"], {**environment(), "PS1": "$ ", "TERM": "dumb"})
        self.seen = ""

    def say(self, text):
        os.write(self.fd, text.encode())

    def expect(self, text):
        end = time.monotonic() + PATIENCE
        while text not in self.seen:
            assert select.select([self.fd], [], [], end - time.monotonic())[0], self.seen
            self.seen += os.read(self.fd, 4096).decode(errors="replace")
        self.seen = self.seen.partition(text)[2]

    def close(self):
        os.close(self.fd)
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


@pytest.fixture
def terminal(client):
    made = Terminal(client)
    yield made
    made.close()


def words(client, *program):
    return " ".join(client.command("--confine", "on")) + " " + " ".join(program)


def test_ctrl_c_ends_the_program(client, terminal):
    # Not a shell: dash forgets a SIGINT that comes while it forks.
    code = 'import time; print("rea" + "dy", flush=True); time.sleep(1000)'
    terminal.say(words(client, client.python, "-c", f"'{code}'") + "\n")
    terminal.expect("ready")
    terminal.say("\x03")
    terminal.expect("^C")
    # The shell has the terminal again.
    terminal.expect("$ ")
    terminal.say("echo status $?\n")
    terminal.expect("status 130")


def test_ctrl_z_stops_it_and_fg_continues_it(client, terminal):
    terminal.say(words(client, client.python, "-c", '\'print("rea" + "dy"); print(input())\'') + "\n")
    terminal.expect("ready")
    terminal.say("\x1a")
    terminal.expect("Stopped")
    terminal.say("echo in the sh''ell; fg\n")
    terminal.expect("in the shell")
    # fg writes down the job, which would come between the echo and the answer.
    terminal.expect("print(input())")
    terminal.say("hello again\n")
    terminal.expect("hello again\r\nhello again")


def test_in_the_background(client, terminal):
    terminal.say(words(client, "sh", "-c", "'sleep 0.2; echo do''ne'") + " & wait; echo status $?\n")
    terminal.expect("done")
    terminal.expect("status 0")


def test_a_shell_inside_has_job_control(client, terminal):
    terminal.say(words(client, "bash", "--norc", "-i") + "\n")
    terminal.say("PS1='ins''ide '\n")
    terminal.expect("inside ")
    terminal.say("sh -c 'echo sta\"\"rt; exec sleep 1000'\n")
    terminal.expect("start")
    terminal.say("\x1a")
    terminal.expect("Stopped")
    terminal.say("kill %1; curl -sS http://four.test/\n")
    terminal.expect("hello")
    terminal.say("exit 9\n")
    terminal.say("echo status $?\n")
    terminal.expect("status 9")


def test_the_size_of_the_terminal_reaches_the_program(client, terminal):
    script = '\'trap "echo chan""ged; exit" WINCH; echo rea""dy; while :; do sleep 0.05; done\''
    terminal.say(words(client, "sh", "-c", script) + "\n")
    terminal.expect("ready")
    import fcntl
    import struct
    import termios

    fcntl.ioctl(terminal.fd, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
    terminal.expect("changed")
