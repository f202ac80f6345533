"""Writes the results of the program's calls to the log (``pywrap.log``); imported only when there is one."""

from __future__ import annotations

import errno
import os
from _socket import AF_INET6

from pywrap.errors import SocksError
from pywrap.intercept import originals
from pywrap.log.events import DIRECT as TO_DIRECT
from pywrap.log.events import TUNNEL as TO_TUNNEL
from pywrap.log.events import UNKNOWN, Log
from pywrap.tunnel.routes import DIRECT, REFUSE, address_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from collections.abc import Callable
    from typing import Any

    from pywrap.config.settings import Path, Settings
    from pywrap.log.events import Begun
    from pywrap.socks.wire import Endpoint
    from pywrap.tunnel.routes import Verdict

# The errnos of a non-blocking connect() while the kernel connects: the final result is not seen here.
_UNDERWAY = (errno.EINPROGRESS, errno.EAGAIN)
# The errnos of a second connect() on the same socket, by which event loops ask whether it is connected.
_ASKED_AGAIN = (errno.EALREADY, errno.EISCONN)


class Recorder:
    """Writes lines of the log for one process.

    ``how(name)``: the source of the answers to a look-up of ``name``, such as "hosts", as ``Log.name`` takes
    it. ``how_of(address)``: the same for the names of an address. ``say``: prints a message for the user.
    """

    def __init__(
        self,
        settings: Settings,
        say: Callable[[str], None],
        how: Callable[[str], str],
        how_of: Callable[[str], str],
    ) -> None:
        self._log = Log(settings.log, settings.run, say=say)
        self._how = how
        self._how_of = how_of

    def close(self) -> None:
        """Give back the log's descriptor; a line that comes later opens it again."""
        self._log.close()

    def begin(self) -> Begun:
        """Note the moment, the thread and the library of a call of the program that begins now."""
        return self._log.begin()

    # ------------------------------------------------------------ connections

    def opened(self, begun: Begun, verdict: Verdict, sock: _socket.socket) -> None:
        """The tunnel on ``sock`` is open."""
        local, remote = _ends(sock)
        self._connection(begun, verdict, TO_TUNNEL, chain=verdict.chain, local=local, remote=remote)

    def failed(self, begun: Begun, verdict: Verdict, error: BaseException) -> None:
        """A tunnel has failed."""
        self._connection(begun, verdict, TO_TUNNEL, chain=verdict.chain, error=error)

    def directly(
        self, connect: Callable[..., int | None], sock: _socket.socket, address: Any, verdict: Verdict
    ) -> int | None:
        """Call ``connect``, which is connect() or connect_ex(), for a direct connection; return its result.

        Raises:
            OSError: what ``connect`` raises.
        """
        if originals.is_datagram(sock) or _ends(sock)[1] is not None:
            # connect() of a datagram socket sends nothing: its datagrams get a line of their own. Or the
            # socket is connected already, and an event loop asks whether it is.
            return connect(sock, address)
        begun = self._log.begin()
        try:
            result = connect(sock, address)
        except OSError as err:
            self._direct(begun, verdict, sock, err)
            raise
        self._direct(begun, verdict, sock, OSError(result, os.strerror(result)) if result else None)
        return result

    def _direct(self, begun: Begun, verdict: Verdict, sock: _socket.socket, error: OSError | None) -> None:
        if error is not None and error.errno in _ASKED_AGAIN:
            return
        underway = error is not None and error.errno in _UNDERWAY
        local, remote = _ends(sock) if error is None else (None, None)
        self._connection(
            begun,
            verdict,
            TO_DIRECT,
            reason=verdict.reason,
            error=None if underway else error,
            result=UNKNOWN if underway else "",
            local=local,
            remote=remote,
        )

    def _connection(self, begun: Begun, verdict: Verdict, route: str, **rest: Any) -> None:
        destination = verdict.destination
        name = _name(destination)
        self._log.connection(begun, destination.host, destination.port, route, name=name, **rest)

    # ------------------------------------------------------------ datagrams

    def datagrams(self, verdict: Verdict) -> None:
        """A datagram goes to the destination of ``verdict``."""
        is_direct = verdict.kind == DIRECT
        self._log.datagrams(
            verdict.destination.host,
            verdict.destination.port,
            TO_DIRECT if is_direct else TO_TUNNEL,
            verdict.reason if is_direct else None,
            None if is_direct else verdict.chain,
        )

    def association(
        self, begun: Begun, path: Path, error: BaseException | None = None, relay: Endpoint | None = None
    ) -> None:
        """An association is open, or has failed."""
        self._log.association(begun, path, error, None if relay is None else str(relay))

    # ------------------------------------------------------------ listeners

    def listens(self, place: Endpoint, path: Path) -> None:
        """The last proxy of ``path`` listens for the program at ``place``."""
        self._log.listener(str(place), TO_TUNNEL, path)

    def does_not_listen(self, error: SocksError) -> None:
        """No proxy listens."""
        self._log.listener(None, TO_TUNNEL, (), error)

    def listens_here(self, sock: _socket.socket) -> None:
        """``sock`` of the program listens on this machine."""
        if originals.is_inet(sock):
            self._log.listener(_ends(sock)[0], TO_DIRECT)

    def accepted(self, peer: Endpoint, path: Path) -> None:
        """A peer has connected to a listener at the proxy."""
        self._log.accepted(peer.host, peer.port, path)

    # ------------------------------------------------------------ names and refusals

    def looked_up(self, begun: Begun, name: str, answers: list[str], error: OSError | None = None) -> None:
        """The look-up of ``name`` has ended."""
        self._log.name(begun, name, self._how(name), answers, error)

    def looked_up_names_of(
        self, begun: Begun, literal: str, names: list[str], error: OSError | None = None
    ) -> None:
        """The look-up of the names of an address has ended."""
        self._log.name(begun, literal, self._how_of(literal), names, error, reverse=True)

    def judged(self, verdict: Verdict, datagram: bool) -> None:
        """Write a line for a ``verdict`` that refuses, or that is about datagrams."""
        if verdict.kind == REFUSE:
            destination = verdict.destination
            self.refused(
                verdict.errno,
                verdict.reason,
                destination.host,
                destination.port,
                "udp" if datagram else "tcp",
            )
        elif datagram:
            self.datagrams(verdict)

    def refused(
        self,
        number: int,
        why: str,
        host: str | None = None,
        port: int | None = None,
        protocol: str | None = None,
    ) -> None:
        """A call of the program was refused with the errno ``number``."""
        self._log.refusal(host, port, protocol, number, why)


def _name(destination: Endpoint) -> str | None:
    return destination.host if address_of(destination.host) is None else None


def _ends(sock: _socket.socket) -> tuple[str | None, str | None]:
    """The local and the remote endpoint of ``sock``, as the kernel has them; None for one that is missing."""
    ipv6 = originals.family_type_proto(sock)[0] == AF_INET6
    ends: list[str | None] = []
    for ask in (originals.getsockname, originals.getpeername):
        try:
            host, port = ask(sock)[:2]
        except OSError:
            ends.append(None)
        else:
            ends.append(f"[{host}]:{port}" if ipv6 else f"{host}:{port}")
    return ends[0], ends[1]
