"""Placeholders that are asked for at the name server of a confinement."""

from __future__ import annotations

import os
import socket
import threading

import pytest

from pywrap.config.settings_env import CONFINED
from pywrap.socks.wire import packed
from pywrap.tunnel import shared_names
from pywrap.tunnel.shared_names import SharedNames, is_confined

KNOWN = {"a.example": "198.18.0.1", "b.example": "198.18.0.2"}


class Broker:
    def __init__(self):
        self.asked = []

    def getaddrinfo(self, name, *_):
        self.asked.append(name)
        if name not in KNOWN:
            raise socket.gaierror(socket.EAI_NONAME, "unknown")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (KNOWN[name], 0))]

    def getnameinfo(self, address, _):
        self.asked.append(address[0])
        for name, known in KNOWN.items():
            if known == address[0]:
                return name, "0"
        raise socket.gaierror(socket.EAI_NONAME, "unknown")


@pytest.fixture
def broker():
    return Broker()


@pytest.fixture
def names(broker):
    return SharedNames(threading.Lock, "198.18.0.0/15", broker.getaddrinfo, broker.getnameinfo)


def test_the_broker_is_asked_for_a_name_once(names, broker):
    assert [names.placeholder("a.example") for _ in range(3)] == ["198.18.0.1"] * 3
    assert names.placeholder("a.example", ipv6=True) == "fd73:6f63:6b73::c612:1"
    assert names.name_of(packed("198.18.0.1")) == "a.example"
    assert broker.asked == ["a.example"]


def test_what_another_program_got_is_asked_for_once_too(names, broker):
    assert [names.name_of(packed("198.18.0.2")) for _ in range(2)] == ["b.example"] * 2
    assert names.name_of(packed("fd73:6f63:6b73::c612:2")) == "b.example"
    assert broker.asked == ["198.18.0.2"]


def test_what_is_no_placeholder_is_not_asked_for(names, broker):
    assert names.name_of(packed("192.0.2.1")) is None
    assert broker.asked == []


def test_what_the_broker_does_not_know_has_no_name(names):
    assert names.name_of(packed("198.18.0.77")) == ""
    with pytest.raises(socket.gaierror):
        names.placeholder("unknown.example")


def test_names_are_remembered_up_to_a_number(names, broker, monkeypatch):
    monkeypatch.setattr(shared_names, "MOST", 1)
    for name in "a.example", "b.example", "b.example", "a.example":
        names.placeholder(name)
    assert broker.asked == ["a.example", "b.example", "a.example"]


def test_a_fork_shares_nothing_more(names, broker):
    names.share()
    assert broker.asked == []


def test_the_variable_alone_proves_no_confinement(monkeypatch):
    monkeypatch.setenv(CONFINED, "net:[1]")
    assert not is_confined()
    monkeypatch.setenv(CONFINED, os.readlink("/proc/self/ns/net"))
    assert is_confined()
    monkeypatch.delenv(CONFINED)
    assert not is_confined()
