"""Starts children that are not Python: children_not_python.py WHAT [ARG]..., WHAT being a function below."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path


async def in_asyncio(*words: str) -> None:
    process = await asyncio.create_subprocess_exec(*words, stdout=subprocess.PIPE)
    out, _ = await process.communicate()
    sys.stdout.write(out.decode())


def fetch(way: str, url: str, times: str = "1") -> None:
    """Have curl fetch ``url``, started in this ``way``, so many times."""
    curl = ("curl", "-sS", url)
    line = " ".join(curl)
    for _ in range(int(times)):
        match way:
            case "run":
                subprocess.run(curl)
            case "shell":
                subprocess.run(line, shell=True)
            case "system":
                os.system(line)
            case "popen":
                sys.stdout.write(os.popen(line).read())
            case "execvp":
                if os.fork() == 0:
                    os.execvp(curl[0], curl)
                os.wait()
            case "posix_spawn":
                os.waitpid(os.posix_spawnp(curl[0], curl, os.environ), 0)
            case "spawnlp":
                os.spawnlp(os.P_WAIT, curl[0], *curl)
            case "asyncio":
                asyncio.run(in_asyncio(*curl))
            case "pipeline":
                subprocess.run(f"{line} | cat | cat", shell=True)
            case "empty environment":
                subprocess.run(curl, env={})
            case "preexec_fn":
                subprocess.run(curl, preexec_fn=lambda: None)
            case "new session":
                subprocess.run(curl, start_new_session=True)
            case "another name":
                subprocess.run(["other", *curl[1:]], executable="curl")
            case "thread":
                thread = threading.Thread(target=subprocess.run, args=(curl,))
                thread.start()
                thread.join()
            case "forked":
                if os.fork() == 0:
                    os._exit(subprocess.call(curl))
                os.wait()
            case "python below":
                code = f"import subprocess; subprocess.run({curl!r})"
                subprocess.run([sys.executable, "-c", code])
            case "python below a shell":
                code = f"import subprocess; subprocess.run({list(curl)!r})"
                subprocess.run(
                    ["sh", "-c", f'{sys.executable} -c "{code}"'], env={"PATH": os.environ["PATH"]}
                )
            case "isolated python below a shell":
                code = f"from urllib.request import urlopen; print(urlopen('{url}').read().decode().strip())"
                subprocess.run(["sh", "-c", f'{sys.executable} -I -S -c "{code}"'])
            case _:
                raise SystemExit(f"what is `{way}`?")
        sys.stdout.flush()


SHELL = """
echo $PPID $(ps -o pgid=,sid= -p $$) $PWD $(umask) $0 $# $1 $EXTRA $(trap)
cat /proc/$$/status | grep -E 'Sig(Blk|Ign|Cgt)'
for fd in /proc/$$/fd/*; do
    case $(readlink $fd) in *pysocksify-shared*) ;; *) echo ${fd##*/} ;; esac
done
ulimit -n
"""


def look(folder: str) -> None:
    """Print what children see of themselves, twice for each way: of the first child, and of a later one."""
    os.environ["EXTRA"] = "extra"
    ids = {os.getpid(): "us", os.getpgid(0): "our group", os.getsid(0): "our session"}
    before = {each: len(os.listdir(f"/proc/self/{each}")) for each in ("fd", "task")}
    reading, writing = os.pipe()
    found: dict[str, object] = {}
    ways: dict[str, dict[str, object]] = {
        "plain": {},
        "cwd": {"cwd": folder},
        "relative cwd": {"cwd": os.path.relpath(folder)},
        "umask": {"umask": 0o027},
        "pass_fds": {"pass_fds": (reading,)},
        "inheritable": {"close_fds": False},
        "signals": {"restore_signals": False},
        "ignored": {"preexec_fn": lambda: signal.signal(signal.SIGUSR1, signal.SIG_IGN)},
        "limited": {"preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (99, 99))},
        "elsewhere": {"preexec_fn": lambda: os.chdir(folder)},
        "process group": {"process_group": 0},
        "session": {"start_new_session": True},
        "environment": {"env": {"PATH": os.environ["PATH"], "EXTRA": "other"}},
    }
    for name, options in ways.items():
        for turn in ("first", "then"):
            process = subprocess.Popen(
                ["sh", "-c", SHELL, "its name", "argument"], stdout=subprocess.PIPE, text=True, **options
            )
            out, _ = process.communicate()
            said = {**ids, process.pid: "it"}
            words = [said.get(int(word), word) if word.isdigit() else word for word in out.split()]
            found[f"{name}, {turn}"] = [*map(str, words), process.returncode]
    for command in (
        ["sh", "-c", "exit 7"],
        ["sh", "-c", "kill -TERM $$"],
        ["/nowhere"],
        ["./nothing"],
        [folder],
    ):
        try:
            found[" ".join(command)] = subprocess.call(command)
        except OSError as err:
            found[" ".join(command)] = [type(err).__name__, err.errno, err.filename]
    found["os.system"] = [os.system("exit 3"), os.system("kill -KILL $$")]
    found["left"] = [len(os.listdir(f"/proc/self/{each}")) - count for each, count in before.items()]
    try:
        os.wait()
    except ChildProcessError:
        found["no other child"] = True
    print(json.dumps(found))


def many(count: str) -> None:
    """Start so many children; print the descriptors and threads after a few and after all."""
    states = []
    for number in range(int(count)):
        if number == 5:
            states.append((len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))))
        assert subprocess.call(["/bin/true"]) == 0
    states.append((len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))))
    print(json.dumps(states))


def leave(url: str, fifo: str, how: str) -> None:
    """Leave a child behind that fetches ``url`` when something is written to ``fifo``."""
    line = f"read go <{fifo}; curl -sS {url} >{fifo}.out 2>&1; mv {fifo}.out {fifo}.done"
    subprocess.Popen(
        ["sh", "-c", line], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    print("left", flush=True)
    if how == "killed":
        os.kill(os.getpid(), signal.SIGKILL)


def warned(count: str) -> None:
    for _ in range(int(count)):
        subprocess.run(["true"])
        subprocess.run(["/bin/echo", "started"])


def measure(count: str) -> None:
    """The seconds of a processor that a start of /bin/true takes, ours and plain in turn."""
    from pywrap.intercept.patches import spawn

    handed = spawn._handed
    subprocess.call(["/bin/true"])
    subprocess.call(["/bin/true"])
    taken = {True: 0.0, False: 0.0}
    for _ in range(int(count)):
        for ours in (True, False):
            spawn._handed = handed if ours else None
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.call(["/bin/true"])
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            taken[ours] += after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(json.dumps([each / int(count) for each in (taken[True], taken[False])]))


def connected(host: str, port: str) -> None:
    """A child gets a connection of this program as its stdin and stdout."""
    with socket.create_connection((host, int(port))) as sock:
        subprocess.run(["sh", "-c", "echo hello; head -1 >&2"], stdin=sock, stdout=sock)


def serve(host: str) -> None:
    """Connect to a server on this machine that is a child, and Python to us no more than any other."""
    words = (sys.executable, "-I", "-S", Path(__file__).with_name("serve_twice.py"), host)
    command = ["sh", "-c", 'exec "$0" "$@"', *map(str, words)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        said = []
        with socket.create_connection((host, port)) as sock:
            said.append(sock.recv(99).decode())
        said.append(asyncio.run(ask(host, port)))
        print(json.dumps(said))


async def ask(host: str, port: int) -> str:
    reader, writer = await asyncio.open_connection(host, port)
    said = await reader.read()
    writer.close()
    return said.decode()


def other_python(file: str, page: str) -> None:
    """An interpreter that the patches do not know, twice."""
    code = f"from urllib.request import urlopen; print(urlopen('{page}').read().decode().strip())"
    for _ in range(2):
        subprocess.run([file, "-c", code])


def become() -> None:
    """As root: children that are another user, in three ways."""

    def demote() -> None:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)

    command = ["sh", "-c", "id -u; id -G; readlink /proc/self/ns/net; grep CapEff /proc/self/status"]
    for options in (
        {"user": 65534, "group": 65534, "extra_groups": []},
        {"user": 65534, "group": 65534, "extra_groups": [7, 8]},
        {"preexec_fn": demote},
    ):
        subprocess.run(command, **options)
    print(os.readlink("/proc/self/ns/net"))


def installed(proxy: str, url: str) -> None:
    """Without the command."""
    import pywrap

    pywrap.install(proxy)
    subprocess.run(["curl", "-sS", url])
    pywrap.uninstall()
    subprocess.run(["readlink", "/proc/self/ns/net"])
    print(os.readlink("/proc/self/ns/net"), flush=True)
    pywrap.install(proxy, children=False)
    subprocess.run(["readlink", "/proc/self/ns/net"])
    pywrap.uninstall()
    pywrap.install(proxy, children="refuse")
    try:
        subprocess.run(["true"])
    except PermissionError:
        print("refused")


def refused() -> None:
    for start in (
        lambda: subprocess.run(["true"]),
        lambda: os.system("true"),
        lambda: os.posix_spawnp("true", ["true"], {}),
        lambda: os.execv("/bin/true", ["true"]),
    ):
        try:
            start()
        except OSError as err:
            print(type(err).__name__, err.errno)


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
