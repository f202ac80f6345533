from __future__ import annotations

import errno
import os
import socket
import threading
from pathlib import Path

import pytest

from pywrap.socks.wire import packed
from pywrap.tunnel import names as module
from pywrap.tunnel.names import Hosts, Names


@pytest.fixture
def names() -> Names:
    return Names(threading.Lock)


def test_a_placeholder_is_in_the_benchmark_network_and_turns_back(names):
    address = names.placeholder("example.org")
    assert address == "198.18.0.1"
    assert names.name_of(packed(address)) == "example.org"


def test_the_same_name_keeps_its_placeholder(names):
    assert names.placeholder("a.example") == names.placeholder("a.example")
    assert names.placeholder("a.example") != names.placeholder("b.example")


def test_an_ipv6_placeholder_stands_for_the_same_name(names):
    address = names.placeholder("example.org", ipv6=True)
    assert address == "fd73:6f63:6b73::c612:1"
    assert names.name_of(socket.inet_pton(socket.AF_INET6, address)) == "example.org"
    assert names.placeholder("example.org") == "198.18.0.1"


@pytest.mark.parametrize("literal", "192.0.2.1 198.17.255.255 198.20.0.0 198.18.0.0 2001:db8::1".split())
def test_other_addresses_are_none(names, literal):
    assert names.name_of(packed(literal)) is None


def test_groups_are_none_where_placeholders_look_like_them():
    names = Names(threading.Lock, "224.128.0.0/9")
    assert names.name_of(packed("224.0.0.251")) is None
    assert names.placeholder("example.org") == "224.128.0.1"


@pytest.mark.parametrize("literal", ["198.18.0.1", "198.19.255.254", "fd73:6f63:6b73::c612:7"])
def test_a_placeholder_of_somebody_else_is_known_as_such(names, literal):
    assert names.name_of(packed(literal)) == ""


def test_a_full_pool_gives_up_what_was_idle_longest():
    names = Names(threading.Lock, "192.0.2.0/30")
    first, second = names.placeholder("first.example"), names.placeholder("second.example")
    names.placeholder("first.example")
    third = names.placeholder("third.example")
    assert third == second
    assert names.placeholder("second.example") == first
    assert names.name_of(packed(third)) == "third.example"
    assert names.name_of(packed(first)) == "second.example"


def test_a_full_pool_keeps_what_is_gone_to():
    names = Names(threading.Lock, "192.0.2.0/29")
    addresses = [names.placeholder(f"{number}.example") for number in range(6)]
    assert names.name_of(packed(addresses[0])) == "0.example"
    assert names.placeholder("6.example") == addresses[1]
    assert names.name_of(packed(addresses[0])) == "0.example"
    # All of them are in use by now, and one has to go: the one that was asked for first.
    for number in (2, 3, 4, 5):
        assert names.name_of(packed(addresses[number])) == f"{number}.example"
    assert names.name_of(packed(addresses[1])) == "6.example"
    assert names.placeholder("7.example") == addresses[2]


def test_a_full_pool_says_so_once_for_its_size():
    said: list[int] = []
    names = Names(threading.Lock, "192.0.2.0/29", said.append)
    for number in range(6):
        names.placeholder(f"{number}.example")
    assert said == []
    for number in range(6, 20):
        names.placeholder(f"{number}.example")
    assert said == [1, 7, 13]
    assert names.generation == 14


def test_every_address_of_the_network_stands_for_a_name_but_the_first_and_the_last():
    names = Names(threading.Lock, "10.0.0.0/24")
    given = [names.placeholder(f"{number}.example") for number in range(254)]
    assert given == [f"10.0.0.{number}" for number in range(1, 255)]
    assert names.placeholder("one.more") == "10.0.0.1"
    assert [names.name_of(packed(f"10.0.0.{number}")) for number in (0, 255)] == [None, None]


def test_threads_that_ask_at_once_agree():
    names = Names(threading.Lock)
    answers: list[list[str]] = []

    def ask() -> None:
        answers.append([names.placeholder(f"{number}.example") for number in range(300)])

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(answer == answers[0] for answer in answers)
    assert len(set(answers[0])) == 300


HOSTS = """\
127.0.0.1\tlocalhost
192.0.2.7   db.example db   # the database
2001:db8::7 DB.example
not-an-address name
192.0.2.8
fe80::1%lo  link.example
"""


@pytest.fixture
def hosts(tmp_path: Path) -> Hosts:
    path = tmp_path / "hosts"
    path.write_text(HOSTS)
    return Hosts(str(path))


def test_hosts_answers_in_any_case_and_with_a_final_dot(hosts):
    assert hosts.addresses("db.example") == ["192.0.2.7", "2001:db8::7"]
    assert hosts.addresses("DB.EXAMPLE.") == ["192.0.2.7", "2001:db8::7"]
    assert hosts.addresses("db") == ["192.0.2.7"]
    assert hosts.addresses("link.example") == ["fe80::1%lo"]


def test_hosts_knows_the_names_of_an_address(hosts):
    assert hosts.names(packed("192.0.2.7")) == ["db.example", "db"]
    assert hosts.names(packed("192.0.2.8")) == []


def test_hosts_does_not_know_the_rest(hosts):
    assert hosts.addresses("example.org") == []
    assert hosts.addresses("name") == []
    assert hosts.addresses("the") == []
    assert hosts.addresses("") == []


def test_localhost_and_this_machine_are_known_without_the_file(tmp_path):
    hosts = Hosts(str(tmp_path / "none"))
    assert hosts.addresses("localhost") == ["127.0.0.1", "::1"]
    assert hosts.addresses("app.localhost") == ["127.0.0.1", "::1"]
    assert hosts.addresses(os.uname().nodename) == ["127.0.0.1"]
    assert hosts.names(packed("127.0.0.1")) == []


def test_a_changed_file_is_read_again(hosts, tmp_path):
    assert hosts.addresses("new.example") == []
    (tmp_path / "other").write_text("192.0.2.9 new.example\n")
    (tmp_path / "other").rename(tmp_path / "hosts")
    assert hosts.addresses("new.example") == ["192.0.2.9"]
    (tmp_path / "hosts").unlink()
    assert hosts.addresses("new.example") == []


@pytest.mark.parametrize("kind", ["directory", "fifo", "unreadable", "not text"])
def test_a_file_that_cannot_be_read_is_one_without_entries(tmp_path, monkeypatch, kind):
    path = tmp_path / "hosts"
    if kind == "directory":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        path.write_bytes(b"\xff\xfe\0 \0\n\xff name.example\n192.0.2.1 good\xff.example\n")
    if kind == "unreadable":
        # root reads everything.
        monkeypatch.setattr(module, "open", refused, raising=False)
    hosts = Hosts(str(path))
    assert hosts.addresses("name.example") == []
    assert hosts.addresses("localhost") == ["127.0.0.1", "::1"]
    assert hosts.names(packed("192.0.2.2")) == []


def refused(path, **_):
    raise PermissionError(errno.EACCES, "Permission denied", path)


def test_a_file_that_can_be_read_again_is_read(tmp_path, monkeypatch):
    path = tmp_path / "hosts"
    path.write_text("192.0.2.7 db.example\n")
    hosts = Hosts(str(path))
    with monkeypatch.context() as patched:
        patched.setattr(module, "open", refused, raising=False)
        assert hosts.addresses("db.example") == []
    assert hosts.addresses("db.example") == ["192.0.2.7"]


@pytest.mark.parametrize("has_ipv6", [True, False])
def test_the_loopback_address_of_ipv6_is_in_front_where_there_is_one(tmp_path, monkeypatch, has_ipv6):
    path = tmp_path / "hosts"
    path.write_text(
        "127.0.0.1 localhost other\n127.0.1.1 other\n192.0.2.1 db\n::1 localhost other\n2001:db8::1 db\n"
    )
    monkeypatch.setattr(module, "_has_loopback_6", lambda: has_ipv6)
    hosts = Hosts(str(path))
    in_front = ["::1"] if has_ipv6 else []
    at_the_end = [] if has_ipv6 else ["::1"]
    assert hosts.addresses("localhost") == [*in_front, "127.0.0.1", *at_the_end]
    assert hosts.addresses("other") == [*in_front, "127.0.0.1", "127.0.1.1", *at_the_end]
    assert hosts.addresses("db") == ["192.0.2.1", "2001:db8::1"]
