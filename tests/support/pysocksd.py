"""A ``pysocksd`` in a process of its own, and its lines on stderr."""

import re
import signal
import socket
import subprocess
import sys

from tests.support.raw_sockets import receive

PYSOCKSD = [sys.executable, "-W", "error", "-m", "pywrap.server"]


class Program:
    """A ``pysocksd``, and its lines on stderr one at a time."""

    def __init__(self, *args):
        self.process = subprocess.Popen([*PYSOCKSD, *args], stderr=subprocess.PIPE, text=True)

    def line(self):
        return self.process.stderr.readline().rstrip("\n")

    def listening(self):
        """Wait for the line that says so; return the address."""
        match = re.fullmatch(r"pysocksd: listening on (.*):(\d+)", self.line())
        return match[1], int(match[2])

    def stop(self, number=signal.SIGTERM):
        """Stop it; return its exit status and the rest of its lines."""
        self.process.send_signal(number)
        return self.process.wait(), self.process.stderr.read().splitlines()

    def close(self):
        self.process.kill()
        self.process.wait()
        self.process.stderr.close()


def failure(*args):
    """Exit status and stderr of a run that does not begin to serve."""
    done = subprocess.run([*PYSOCKSD, *args], capture_output=True, text=True)
    return done.returncode, done.stderr


def request(target, address):
    sock = socket.create_connection(address, 30)
    sock.sendall(b"\x05\x01\x00" + b"\x05\x01\x00\x01" + target.address)
    assert receive(sock, 12)[2:4] == b"\x05\x00"
    return sock


def told(pysocksd):
    """The next line about SIGHUP."""
    while "SIGHUP" not in (line := pysocksd.line()):
        pass
    return line
