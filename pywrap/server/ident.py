"""The ident check of SOCKS4: the client's machine is asked for the user of the connection (RFC 1413).

The description of SOCKS4 has the server do this before it serves a request, and has two replies for it: 92
when no identd can be reached, 93 when it names another user than the request. The answer is worth as much as
the client's machine is trusted, so the check is off by default.
"""

from __future__ import annotations

from _socket import IPPROTO_IPV6, IPV6_V6ONLY, SO_ERROR, SOCK_STREAM, SOL_SOCKET

from pywrap.relay.descriptor_reserve import open_socket
from pywrap.relay.loop import IN, OUT
from pywrap.socks import v4

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Callable

    from pywrap.relay.loop import Loop
    from pywrap.relay.timers import Timer

OFF, LOG, REQUIRE = "off", "log", "require"
MODES = (OFF, LOG, REQUIRE)

PORT = 113
# RFC 1413 recommends no time-out below 30 s for the client; firewalls that drop the packet are common.
PATIENCE = 10.0

# Section 4: the answer has at most 1000 characters before its line's end.
_LONGEST = 1024


class Ident:
    """One question about the connection of ``client``.

    ``user``: the user id in the request. ``done(code, words)`` is called once; ``code``: 0 if ident confirms
    the user, else the code of a SOCKS4 reply.
    """

    __slots__ = ("_client", "_done", "_loop", "_received", "_sock", "_timer", "_user")

    def __init__(self, loop: Loop, client: socket, user: bytes, done: Callable[[int, str], None]) -> None:
        self._loop = loop
        self._client = client
        self._user = user
        self._done: Callable[[int, str], None] | None = done
        self._received = b""
        self._sock: socket | None = None
        self._timer: Timer | None = None

    def start(self) -> None:
        """Ask the client's machine (RFC 1413)."""
        try:
            here, there = self._client.getsockname(), self._client.getpeername()
            self._sock = sock = open_socket(self._client.family, SOCK_STREAM)
            if ":" in here[0]:
                sock.setsockopt(IPPROTO_IPV6, IPV6_V6ONLY, 1)
            # Bound to the address to which the client has connected: identd looks for a connection between
            # the two.
            sock.bind((here[0], 0, *here[2:]))
            self._timer = self._loop.after(PATIENCE, lambda: self._fail("it does not answer"))
            sock.connect((there[0], PORT, *there[2:]))
        except BlockingIOError:
            pass
        except OSError as err:
            self._fail(err.strerror or str(err))
            return
        self._loop.watch(sock.fileno(), OUT, self._on_connected)

    def cancel(self) -> None:
        """End the question; ``done`` is not called."""
        self._done = None
        if self._timer is not None:
            self._loop.cancel(self._timer)
            self._timer = None
        if self._sock is not None:
            self._loop.close(self._sock)
            self._sock = None

    def _on_connected(self, events: int) -> None:
        sock = self._sock
        assert sock is not None
        error = sock.getsockopt(SOL_SOCKET, SO_ERROR)
        try:
            if error:
                raise OSError(error, "it cannot be reached")
            # RFC 1413: first the port on the machine that is asked, the client's.
            sock.send(b"%d, %d\r\n" % (self._client.getpeername()[1], self._client.getsockname()[1]))
        except OSError as err:
            self._fail(err.strerror or str(err))
            return
        self._loop.watch(sock.fileno(), IN, self._on_readable)

    def _on_readable(self, events: int) -> None:
        assert self._sock is not None
        try:
            data = self._sock.recv(_LONGEST)
        except BlockingIOError:
            return
        except OSError as err:
            self._fail(err.strerror or str(err))
            return
        self._received += data
        line, end, _ = self._received.partition(b"\n")
        if not end and data and len(line) <= _LONGEST:
            return
        # 6193, 23 : USERID : UNIX : stjohns
        fields = line.rstrip(b"\r").split(b":", 3)
        if len(fields) < 3 or fields[1].strip() not in (b"USERID", b"ERROR"):
            self._fail("its answer is none")
        elif fields[1].strip() == b"ERROR":
            self._finish(v4.IDENT_MISMATCH, f"identd says {_shown(fields[2])}")
        elif len(fields) == 4 and fields[3].strip() == self._user:
            self._finish(0, "")
        else:
            self._finish(v4.IDENT_MISMATCH, f"identd says it is {_shown(fields[-1])}")

    def _fail(self, words: str) -> None:
        self._finish(v4.NO_IDENT, f"no ident: {words[:1].lower()}{words[1:]}")

    def _finish(self, code: int, words: str) -> None:
        done = self._done
        self.cancel()
        assert done is not None
        done(code, words)


def _shown(text: bytes) -> str:
    return repr(text.strip().decode("ascii", "backslashreplace"))
