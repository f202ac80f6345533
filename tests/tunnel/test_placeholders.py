from __future__ import annotations

import errno
import os
import resource
import socket
import threading
from pathlib import Path

import pytest

from pywrap.socks.wire import packed
from pywrap.tunnel import placeholders as module
from pywrap.tunnel import round_robin, shared_file
from pywrap.tunnel.lookups import LookupFailed
from pywrap.tunnel.placeholders import Hosts, Placeholders


@pytest.fixture
def names() -> Placeholders:
    return Placeholders(threading.Lock)


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


@pytest.mark.parametrize("literal", "192.0.2.1 198.17.255.255 198.20.0.0 2001:db8::1".split())
def test_other_addresses_are_none(names, literal):
    assert names.name_of(packed(literal)) is None


def test_groups_are_none_where_placeholders_look_like_them():
    names = Placeholders(threading.Lock, "224.128.0.0/9")
    assert names.name_of(packed("224.0.0.251")) is None
    assert names.placeholder("example.org") == "224.128.0.1"


@pytest.mark.parametrize(
    "literal", ["198.18.0.0", "198.18.0.1", "198.19.255.254", "fd73:6f63:6b73::c612:7", "fd73:6f63:6b73::1"]
)
def test_what_stands_for_no_name_is_known_as_such(names, literal):
    assert names.name_of(packed(literal)) == ""


def test_an_address_means_its_name_for_ever_also_when_the_network_is_full():
    names = Placeholders(threading.Lock, "192.0.2.0/29")
    given = {names.placeholder(f"{number}.example", False): f"{number}.example" for number in range(6)}
    assert len(given) == 6
    for number in range(6, 20):
        with pytest.raises(LookupFailed) as caught:
            names.placeholder(f"{number}.example", False)
        assert caught.value.errno == socket.EAI_MEMORY
        assert str(caught.value) == (
            "each of the 6 addresses of 192.0.2.0/29 stands for a name (--placeholders)"
        )
    assert {address: names.name_of(packed(address)) for address in given} == given
    assert names.placeholder("3.example") == "192.0.2.4"


def test_beyond_a_full_network_there_is_ipv6_for_callers_that_take_it(monkeypatch):
    monkeypatch.setattr("pywrap.tunnel.placeholders.MOST_BEYOND", 8)
    names = Placeholders(threading.Lock, "192.0.2.0/30")
    assert [names.placeholder(name) for name in ("a", "b")] == ["192.0.2.1", "192.0.2.2"]
    given = {names.placeholder(f"{number}.example"): f"{number}.example" for number in range(100)}
    assert len(given) == 100
    assert all(address.startswith("fd73:6f63:6b73:1") for address in given)
    # The oldest are forgotten, and none is ever another name's.
    for address, name in given.items():
        assert names.name_of(packed(address)) in (name, "")
    assert names.name_of(packed(names.placeholder("99.example", True))) == "99.example"
    assert names.name_of(packed(next(iter(given)))) == ""


def test_every_address_of_the_network_stands_for_a_name_but_the_first_and_the_last():
    names = Placeholders(threading.Lock, "10.0.0.0/24")
    given = [names.placeholder(f"{number}.example") for number in range(254)]
    assert given == [f"10.0.0.{number}" for number in range(1, 255)]
    assert [names.name_of(packed(f"10.0.0.{number}")) for number in (0, 255)] == ["", None]
    assert names.unknown == "10.0.0.0"


# ---------------------------------------------------------------- the processes of a run


@pytest.fixture
def path():
    path = round_robin.create()
    yield path
    os.close(int(path.rpartition("/")[2]))


def test_what_one_process_gives_another_knows(path):
    """Two tables with one file are what two processes, or two interpreters, have."""
    one, other = (Placeholders(threading.Lock, path=path) for _ in range(2))
    assert [one.placeholder("a.example"), other.placeholder("b.example")] == ["198.18.0.1", "198.18.0.2"]
    assert one.name_of(packed("198.18.0.2")) == "b.example"
    # Also one that was given since, and names that another has given have their address already.
    assert other.placeholder("c.example") == "198.18.0.3"
    assert one.name_of(packed("198.18.0.3")) == "c.example"
    assert other.placeholder("a.example") == "198.18.0.1"
    assert one.name_of(packed("198.18.0.4")) == ""


def test_a_name_that_nothing_can_carry_is_known_where_it_was_given(path):
    one, other = (Placeholders(threading.Lock, path=path) for _ in range(2))
    address = packed(one.placeholder("x" * 300))
    assert (one.name_of(address), other.name_of(address)) == ("x" * 300, "")
    assert other.placeholder("a.example") == "198.18.0.2"


def test_processes_that_ask_at_once_never_share_an_address(path):
    children = []
    for child in range(4):
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            names = Placeholders(threading.Lock, path=path)
            given = [names.placeholder(f"{child}.{number}.example") for number in range(200)]
            os.write(writing, " ".join(given).encode())
            os._exit(0)
        os.close(writing)
        children.append((pid, reading))
    found = []
    for pid, reading in children:
        with open(reading) as pipe:
            found += pipe.read().split()
        assert os.waitpid(pid, 0)[1] == 0
    assert len(set(found)) == len(found) == 800
    names = Placeholders(threading.Lock, path=path)
    error_to_report = [names.name_of(packed(address)) for address in found]
    assert error_to_report == [f"{child}.{number}.example" for child in range(4) for number in range(200)]


def test_parent_and_child_go_on_with_one_list():
    names = Placeholders(threading.Lock)
    names.placeholder("before.example")
    names.share()
    other = Placeholders(threading.Lock, path=names._list.path)
    assert other.placeholder("child.example") == "198.18.0.2"
    assert names.placeholder("parent.example") == "198.18.0.3"
    assert other.name_of(packed("198.18.0.1")) == "before.example"
    os.close(int(names._list.path.rpartition("/")[2]))
    # Without the file, each goes on by itself, behind what it knows.
    assert names.placeholder("later.example") == "198.18.0.4"
    assert names.name_of(packed("198.18.0.2")) == "child.example"


@pytest.mark.parametrize("room", [0, 44])
def test_a_file_without_room_is_given_up_by_all(path, room):
    names, other, late = (Placeholders(threading.Lock, path=path) for _ in range(3))
    names.placeholder("a.example")
    other.placeholder("a.example")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (shared_file.SIZE + 256 + room, before[1]))
    try:
        given = [names.placeholder(name) for name in ("b", "c", "b")]
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert given == ["198.18.0.2", "198.18.0.3", "198.18.0.2"]
    assert names.name_of(packed("198.18.0.1")) == "a.example"
    # A part of a record is never taken for a name.
    assert other.placeholder("d.example") == "198.18.0.2"
    assert late.name_of(packed("198.18.0.3")) == ""


# ---------------------------------------------------------------- real addresses of the network


def test_an_address_that_something_else_has_given_is_no_placeholder():
    names = Placeholders(threading.Lock)
    names.is_real = {packed("198.18.0.1"), packed("198.18.0.3")}.__contains__
    assert names.name_of(packed("198.18.0.1")) is None
    assert [names.placeholder(name) for name in ("a", "b")] == ["198.18.0.2", "198.18.0.4"]
    assert [names.name_of(packed(f"198.18.0.{number}")) for number in range(1, 6)] == [
        None,
        "a",
        None,
        "b",
        "",
    ]
    # It was given before it turned up elsewhere: for the program it is what it was.
    names.is_real = {packed("198.18.0.2")}.__contains__
    assert names.name_of(packed("198.18.0.2")) == "a"


def test_what_the_local_resolver_tells_is_no_placeholder_unless_it_is_one_already():
    names = Placeholders(threading.Lock)
    names.claim("direct.example", packed("198.18.0.1"))
    names.claim("direct.example", packed("192.0.2.1"))
    assert names.name_of(packed("198.18.0.1")) is None
    assert names.placeholder("a.example") == "198.18.0.2"
    with pytest.raises(LookupFailed) as caught:
        names.claim("other.example", packed("198.18.0.2"))
    assert caught.value.errno == socket.EAI_FAIL
    assert str(caught.value) == (
        "other.example is at 198.18.0.2, which stands for a.example:"
        + " choose another network with --placeholders"
    )


def test_threads_that_ask_at_once_agree():
    names = Placeholders(threading.Lock)
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
