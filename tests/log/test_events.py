from __future__ import annotations

import _socket
import errno
import json
import os

import pytest

from pywrap.config.settings import Proxy
from pywrap.errors import SocksError
from pywrap.log.events import BROKER, LAUNCHER, Log
from tests.support.log import read, valid

HOP = Proxy("socks5", "proxy.example", 1080, b"alice", b"secret")


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "log"
    path.touch()
    return path


@pytest.fixture
def log(file):
    log = Log(str(file), "run-1")
    yield log
    log.close()


def test_each_kind_of_line_keeps_to_the_schema(log, file):
    begun = log.begin()
    begun.times.begin((HOP,))
    begun.times.expect(0, "greeting")
    number = log.connection(begun, "example.org", 443, "tunnel", name="example.org", chain="", local="a:1")
    log.connection(log.begin(), "127.0.0.1", 1, "direct", reason="this machine", result="unknown")
    log.connection(begun, "example.org", 443, "tunnel", error=SocksError("no", errno.EACCES))
    log.end(number, begun, 1, 2, True)
    log.association(begun, (HOP,), relay="[::1]:2")
    log.association(log.begin(), (HOP,), TimeoutError("timed out"))
    log.datagrams("192.0.2.1", 53, "tunnel", None, "work")
    log.listener("0.0.0.0:1", "direct")
    log.listener(None, "tunnel", (), SocksError("refused"))
    log.accepted("192.0.2.1", 2, (HOP,))
    log.name(begun, "example.org", "placeholder", ["198.18.0.1"])
    log.name(begun, "example.org", "tor", [], _socket.gaierror(_socket.EAI_NONAME, "not known"))
    log.refusal("192.0.2.1", 3, "udp", errno.EPERM, "blocked")
    log.refusal(None, None, None, errno.EPERM, "refused")
    log.run("0.1", False, [("", "strict", (HOP,))])
    lines = read(file)
    assert len(lines) == 15
    assert {line["event"] for line in lines} == {
        *("connection", "end", "association", "datagrams", "listener", "accepted"),
        *("name", "refusal", "run"),
    }
    assert {(line["run"], line["by"], line["pid"]) for line in lines} == {("run-1", "patch", os.getpid())}
    assert [line["errno"] for line in lines if line.get("errno")] == [
        *("EACCES", "ETIMEDOUT", "ECONNREFUSED", "EAI_NONAME", "EPERM", "EPERM")
    ]
    assert lines[0]["hops"][0]["reply"] is None and lines[0]["hops"][0]["greeting"] is not None


def test_no_line_has_credentials(log, file):
    log.run("0.1", False, [("", "strict", (HOP,))])
    begun = log.begin()
    begun.times.begin((HOP,))
    log.connection(begun, "example.org", 443, "tunnel")
    text = file.read_text()
    assert "proxy.example:1080" in text
    assert "secret" not in text and "alice" not in text


def test_a_destination_of_datagrams_is_written_once(log, file):
    for _ in range(3):
        log.datagrams("192.0.2.1", 53, "tunnel", None, "")
        log.datagrams("192.0.2.1", 53, "direct", "rule", None)
    assert [line["route"] for line in read(file)] == ["tunnel", "direct"]


def test_hostile_names_stay_in_their_strings(log, file):
    name = '"}\n{"v":1,"x":"\u2028\udc80</script>'
    log.name(log.begin(), name, "placeholder", [name])
    (line,) = read(file)
    assert line["name"] == name and line["answers"] == [name]


def test_lost_lines_are_counted_in_the_log_when_it_can_be_written_again(tmp_path):
    path = tmp_path / "late"
    said = []
    log = Log(str(path), "run-1", BROKER, said.append, "curl")
    for _ in range(3):
        log.datagrams("192.0.2.1", 53 + _, "tunnel", None, "")
    assert len(said) == 1 and "loses lines: No such file" in said[0]
    path.touch()
    log.refusal(None, None, None, errno.EPERM, "now")
    log.close()
    lines = read(path)
    assert [line["event"] for line in lines] == ["lost", "refusal"]
    assert lines[0]["lines"] == 3


def test_a_line_that_a_pipe_would_tear_is_shortened():
    reader, writer = os.pipe()
    log = Log(f"/proc/self/fd/{writer}", "run-1", LAUNCHER, program="x" * 5000)
    log.name(log.begin(), "n" * 5000, "placeholder", ["a" * 100] * 100)
    # The first line finds out that it is a pipe; it is whole or it is lost.
    log.name(log.begin(), "n" * 5000, "placeholder", ["a" * 100] * 100)
    lines = valid(os.read(reader, 1 << 16).decode())
    assert lines[-1]["shortened"] and len(json.dumps(lines[-1])) < 4096
    for fd in (reader, writer):
        os.close(fd)
    log.close()
