"""The mark of a patched process: there in its forked children, gone after exec() and uninstall()."""

from __future__ import annotations

import os
import subprocess
import sys

from pywrap import marker
from tests.support.child import source_of
from tests.support.run import pysocksify, run

SHOWS = "import sys; from pywrap.marker import is_put; print(is_put(open('/proc/self/maps').read()))"


def test_the_mark_can_be_put_and_removed_twice():
    def is_put():
        with open("/proc/self/maps") as file:
            return marker.is_put(file.read())

    assert not is_put()
    marker.put()
    marker.put()
    assert is_put()
    marker.remove()
    marker.remove()
    assert not is_put()


def test_a_forked_child_has_it_and_what_it_executes_has_not():
    marker.put()
    try:
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            with open("/proc/self/maps") as file:
                os.write(writer, b"yes" if marker.is_put(file.read()) else b"no")
            os._exit(0)
        os.waitpid(pid, 0)
        assert os.read(reader, 10) == b"yes"
        for fd in (reader, writer):
            os.close(fd)
        said = subprocess.run([sys.executable, "-c", SHOWS], capture_output=True, text=True, check=True)
        assert said.stdout == "False\n"
    finally:
        marker.remove()


def test_a_patched_program_has_it_from_its_import_of_socket_on():
    words = *pysocksify("-x", "socks5h://127.0.0.1:1"), sys.executable, "-c"
    assert run(*words, SHOWS).out == "False\n"
    assert run(*words, f"import socket; {SHOWS}").out == "True\n"


def test_it_costs_no_descriptor():
    code = "import os, {0}; print(sorted(os.listdir('/proc/self/fd'))[:-1])"
    words = *pysocksify("-x", "socks5h://127.0.0.1:1"), sys.executable, "-c"
    assert len(run(*words, code.format("sys")).out) == len(run(*words, code.format("socket")).out)


def test_install_and_uninstall_put_and_remove_it():
    def program():
        import pywrap
        from pywrap.marker import is_put

        def maps():
            return is_put(open("/proc/self/maps").read())

        pywrap.install("socks5h://127.0.0.1:1")
        print(maps(), pywrap.uninstall(), maps())

    assert run(sys.executable, "-c", source_of(program)).out == "True None False\n"
