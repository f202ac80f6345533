"""Starts children in the ways of ways.toml: start_every_way.py RUN FOLDER PROXY PART PARTS [NAME]...

Those of RUN, in PARTS portions, of which this is number PART; or those that are named. The files of each are
in a folder below FOLDER. Prints a JSON object: by the name of the way, what became of the child, and what was
said. With RUN "install", PROXY is given to pywrap.install(); the command has its own.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading  # noqa: F401 (of a way)
import time
import tomllib
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

TABLE = Path(__file__).with_name("ways.toml")
# Seconds for one child.
LIMIT = 150
PORT = 8090
# Of these runs what a child sends is dropped, and it need not wait for an answer.
UNANSWERED = ("warn", "c")

PYTHON = """\
import os, socket
sock = socket.create_connection(({host!r}, {port}))
sock.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n")
page = b""
while piece := sock.recv(999): page += piece
with open({answer!r}, "w") as file:
    file.write(page.split()[-1].decode() + " " + os.readlink("/proc/self/ns/net"))
"""
SHELL = """\
#!/bin/sh
page=$(/usr/bin/curl -sS {limit} {url}) && /bin/echo $page $(/usr/bin/readlink /proc/self/ns/net) >{answer}
"""
PERL = """\
use IO::Socket::INET; $s = IO::Socket::INET->new("{host}:{port}") or die;
print $s "GET / HTTP/1.0\\r\\n\\r\\n";
while (<$s>) {{ $page = $_ }} open(F, ">", "{answer}"); print F $page, " ", readlink("/proc/self/ns/net");
"""
BASH = """\
exec 3<>/dev/tcp/{host}/{port}; printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3
while read -r line <&3; do page=$line; done; echo $page $(readlink /proc/self/ns/net) >{answer}
"""
BACKEND = """\
import asks, zipfile

def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    asks.main()
    with zipfile.ZipFile(wheel_directory + "/asks-1-py3-none-any.whl", "w") as made:
        made.write("asks.py")
        for name, text in (
            ("METADATA", "Metadata-Version: 2.1\\nName: asks\\nVersion: 1\\n"),
            ("WHEEL", "Wheel-Version: 1.0\\nGenerator: a\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n"),
            ("RECORD", ""),
        ):
            made.writestr("asks-1.dist-info/" + name, text)
    return "asks-1-py3-none-any.whl"

build_editable = build_wheel
"""


def address(number: int) -> str:
    """Of the server that the child of this way asks: no other has it."""
    return f"10.3.{number >> 8}.{number & 255}"


def ask(code: str) -> None:
    exec(code, {})


def drain(fd: int) -> None:
    """Read until the other end of a terminal is closed."""
    with contextlib.suppress(OSError):
        while os.read(fd, 999):
            pass


def fork(function: Callable[[], object]) -> None:
    """Run ``function`` in a child."""
    pid = os.fork()
    if pid == 0:
        try:
            function()
        finally:
            sys.stdout.flush()
            os._exit(0)
    os.waitpid(pid, 0)


def call(*words: str | bytes, **options: Any) -> None:
    subprocess.run(words, **options)


def hears(status: int) -> None:
    """``status`` is os.spawnv()'s, to which an error of the exec is 127."""
    if status == 127:
        raise PermissionError(1, "pysocksify refused, as the status tells")


async def in_loop(starting: Coroutine[Any, Any, asyncio.subprocess.Process]) -> None:
    await (await starting).wait()


async def in_loop_of(*words: str) -> None:
    await in_loop(asyncio.create_subprocess_exec(*words))


class Way:
    """One of them, in its folder."""

    def __init__(self, source: str, number: int, folder: Path, limit: str) -> None:
        self.source = source
        self.folder = folder / f"{number:03}"
        self.folder.mkdir()
        self.answer = self.folder / "answer"
        host = address(number)
        url = f"http://{host}:{PORT}/"
        values = {"host": host, "port": PORT, "url": url, "answer": str(self.answer), "limit": limit}
        self.code = PYTHON.format(**values)
        self.file("script.py", self.code)
        self.file("other", SHELL.format(**values), 0o755)
        self.names = {
            **globals(),
            "P": sys.executable,
            "S": str(self.folder / "script.py"),
            "C": self.code,
            "E": {},
            "D": str(self.folder),
            "N": str(self.folder / "other"),
            "HOST": host,
            "URL": url,
            "ANSWER": str(self.answer),
            "CURL": ("/usr/bin/curl", "-sS", "-o", str(self.answer), url),
            "PERL": PERL.format(**values),
            "BASH": BASH.format(**values),
            "file": self.file,
            "tool": lambda first: self.file("tool", f"{first}\n{self.code}", 0o755),
            "worker": self.worker,
            "pool_of": self.pool_of,
            "make_venv": self.make_venv,
            "BIN": os.path.dirname(sys.executable) + "/",
            "PYPY": str(TABLE.parents[2] / ".pythons" / "bin" / "pypy3"),
            "PIP": ("-m", "pip", "--disable-pip-version-check", "--no-input"),
            "backend": self.backend,
            "until_answered": self.until_answered,
            "answered": self.answered,
        }

    def file(self, name: str, text: str, mode: int = 0o644) -> str:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)
        return str(path)

    def worker(self, method: Any) -> None:
        process = multiprocessing.get_context(method).Process(target=ask, args=(self.code,))
        process.start()
        process.join()

    def pool_of(self, method: str) -> None:
        with concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context(method)) as pool:
            pool.submit(ask, self.code).result()

    def make_venv(self) -> None:
        import venv

        venv.create("venv")

    def backend(self, requires: Sequence[str] = ()) -> None:
        """A package in ``source`` whose build backend is in it and asks for the page."""
        self.file("source/asks.py", f"def main(): exec({self.code!r}, {{}})\n")
        self.file("source/backend.py", BACKEND)
        system = f"requires = {list(requires)}\nbuild-backend = 'backend'\nbackend-path = ['.']\n"
        project = "name = 'asks'\nversion = '1'\n"
        self.file("source/pyproject.toml", f"[build-system]\n{system}[project]\n{project}")

    def answered(self) -> None:
        """Wait for the page of a child that nothing else waits for."""
        while not self.answer.exists() or not self.answer.stat().st_size:
            time.sleep(0.05)

    def until_answered(self, *words: str) -> None:
        """Run a program that does not end until its child has its page."""
        with subprocess.Popen(words) as process:
            while not self.answer.exists() and process.poll() is None:
                time.sleep(0.05)
            process.terminate()

    def start(self) -> tuple[str, str]:
        """Start the child in a process of its own; what became of it, and what was said."""
        said = self.folder / "said"
        pid = os.fork()
        if pid == 0:
            os.setpgid(0, 0)
            signal.alarm(LIMIT)
            fd = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            for each in (1, 2):
                os.dup2(fd, each)
            os.chdir(self.folder)
            try:
                exec(self.source, self.names)
            except BaseException:
                sys.excepthook(*sys.exc_info())
            finally:
                for stream in (sys.stdout, sys.stderr):
                    stream.flush()
                os._exit(0)
        _, status = os.waitpid(pid, 0)
        with contextlib.suppress(ProcessLookupError):
            # Workers and servers of its own, which nothing else ends.
            os.killpg(pid, signal.SIGKILL)
        text = said.read_text(errors="backslashreplace")
        return self.outcome(text, os.waitstatus_to_exitcode(status)), text[-1500:]

    def outcome(self, said: str, status: int) -> str:
        if status == -signal.SIGALRM:
            return f"not ended after {LIMIT} s"
        page, network = (*(self.answer.read_text().split() if self.answer.exists() else ()), "", "")[:2]
        if "is not Python: what it sends leaves directly" in said or "what it does by that leaves" in said:
            return "warned"
        if page == "hello":
            # Curl itself does not say in which network it was; but it is patched by nobody.
            return "tunnelled" if network == os.readlink("/proc/self/ns/net") else "confined"
        if "PermissionError: [Errno 1] pysocksify refused" in said:
            return "refused"
        return "nothing"


def main() -> None:
    run, folder, proxy, part, parts = sys.argv[1:6]
    named = sys.argv[6:]
    if run == "install":
        import pywrap

        pywrap.install(proxy)
    table = tomllib.loads(TABLE.read_text())
    every = [
        (of, *way) for of, outcomes in table.items() for ways in outcomes.values() for way in ways.items()
    ]
    wanted = [
        (number, name, source)
        for number, (of, name, source) in enumerate(every)
        if of == run and (name in named or not named)
    ]
    # In the forked processes, such children are no longer the first.
    if run in ("command", "tools", "newest", "install"):
        subprocess.run(["/bin/true"], check=True)
    limit = "--connect-timeout 0.1" if run in UNANSWERED else ""
    found = {}
    for number, name, source in wanted[int(part) :: int(parts)]:
        found[name] = Way(source, number, Path(folder), limit).start()
    print(json.dumps(found))


if __name__ == "__main__":
    main()
