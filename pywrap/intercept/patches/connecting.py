"""socket.connect(), connect_ex() and bind().

connect() does the first of these that applies:

1. a socket that is not IPv4 or IPv6 (AF_UNIX…): call the kernel;
2. a direct destination (``tunnel.routes``): call the kernel, with the address in the place of a name of
   /etc/hosts;
3. a refused destination: raise EPERM, or the errno of the verdict;
4. a datagram socket: ``udp.datagram_methods``, which sends nothing yet;
5. a stream that blocks, or has a timeout: open the tunnel here, on the program's own socket
(``tcp.blocking``); 6. a non-blocking stream: EINPROGRESS, and ``tcp.nonblocking`` opens the tunnel. In a
signal handler that has
   interrupted code of ours (``Runtime.is_interrupted``), as in 5. asyncio does not come here
   (``patches.asyncio``).

bind() is replaced because the C library would ask a name server for a host name. It also notes which sockets
are bound to port 0, for ``bind.listener``.
"""

from __future__ import annotations

import _socket
import errno
import os

from pywrap.errors import SocksError, to_oserror
from pywrap.intercept import originals
from pywrap.intercept.addresses import target, with_host
from pywrap.intercept.loading import load
from pywrap.intercept.tcp.blocking import open_blocking
from pywrap.intercept.tcp.connected_errno import known_error
from pywrap.tunnel.routes import DIRECT, REFUSE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pywrap.intercept.runtime import Runtime
    from pywrap.tunnel.routes import Verdict


def functions(runtime: Runtime) -> dict[str, Callable[..., Any]]:
    """connect(), connect_ex() and bind() under ``runtime``."""
    connecting = Connecting(runtime)
    return {"connect": connecting.connect, "connect_ex": connecting.connect_ex, "bind": connecting.bind}


class Connecting:
    """The three under ``runtime``; ``sock`` is their own ``self``."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def connect(self, sock: _socket.socket, address: Any, /) -> None:
        """connect(address): connect to a remote address, through the proxies where it must be."""
        runtime = self._runtime
        found = target(sock, address)
        if found is None:
            return originals.connect(sock, address)
        verdict = runtime.verdict(found, found.datagram)
        if verdict.kind == DIRECT:
            _directly(runtime, originals.connect, sock, address, verdict)
            return None
        error = _connect_through(runtime, sock, address, verdict)
        try:
            if error is not None:
                raise error
        finally:
            # The traceback has this frame: with it, the exception would be held by itself.
            del error
        return None

    def connect_ex(self, sock: _socket.socket, address: Any, /) -> int:
        """connect_ex(address) -> errno: as connect(), but returns what went wrong."""
        runtime = self._runtime
        found = target(sock, address)
        if found is None:
            return originals.connect_ex(sock, address)
        verdict = runtime.verdict(found, found.datagram)
        if verdict.kind == DIRECT:
            return _directly(runtime, originals.connect_ex, sock, address, verdict) or 0
        error = _connect_through(runtime, sock, address, verdict)
        try:
            # As the interpreter does for a timeout of the socket's own.
            return 0 if error is None else error.errno or errno.EAGAIN
        finally:
            # As above: its frames lead to this one.
            del error

    def bind(self, sock: _socket.socket, address: Any, /) -> None:
        """bind(address): bind to a local address; a name must be known here."""
        runtime = self._runtime
        found = target(sock, address)
        if found is not None and not runtime.is_literal(found.host):
            known = runtime.routes.local_addresses(found.host, found.ipv6)
            if known:
                address = with_host(address, known[0])
            elif not runtime.resolves_here(found.host):
                raise _socket.gaierror(_socket.EAI_NONAME, "Name or service not known")
        originals.bind(sock, address)
        if found is not None and found.port == 0 and runtime.settings.listen == "bind":
            runtime.registry.leave_port(originals.fileno(sock))


def _directly(
    runtime: Runtime, connect: Callable[..., int | None], sock: _socket.socket, address: Any, verdict: Verdict
) -> int | None:
    """Call ``connect``, the kernel's connect() or connect_ex(), as ``verdict`` says."""
    address = with_host(address, verdict.literal, verdict.destination.port)
    if runtime.log is None:
        return connect(sock, address)
    return runtime.log.directly(connect, sock, address, verdict)


def _connect_through(
    runtime: Runtime, sock: _socket.socket, address: Any, verdict: Verdict
) -> OSError | None:
    """Connect through the chain, or start to; return the exception for the program, if any.

    Raises:
        BaseException: what is neither an OSError nor a SocksError, such as KeyboardInterrupt.
    """
    if verdict.kind == REFUSE:
        return OSError(verdict.errno, verdict.reason)
    if originals.is_datagram(sock):
        return _connect_datagrams(runtime, sock, address, verdict)
    if not originals.is_tcp(sock):
        return runtime.no_datagrams(verdict, -1)
    try:
        timeout = originals.gettimeout(sock)
        is_ipv6 = originals.family(sock) == _socket.AF_INET6
        peer = runtime.peer(verdict.destination, address, is_ipv6)
        if timeout == 0 and not runtime.is_interrupted:
            known = known_error(runtime.registry, sock)
            if known:
                return OSError(known, os.strerror(known))
            load("pywrap.intercept.tcp.nonblocking").Pending(runtime, sock, peer, verdict)
            return OSError(errno.EINPROGRESS, os.strerror(errno.EINPROGRESS))
        open_blocking(runtime, sock, peer, verdict, timeout)
    except SocksError as err:
        runtime.messages.failed(verdict.destination, err)
        # The program expects an OSError from connect(), and no class of ours.
        return to_oserror(err)
    except OSError as err:
        return err
    return None


def _connect_datagrams(
    runtime: Runtime, sock: _socket.socket, address: Any, verdict: Verdict
) -> OSError | None:
    """A datagram socket's connect() names a peer; nothing is sent."""
    refusal = runtime.no_datagrams(verdict, originals.family_type_proto(sock)[2])
    if refusal is None:
        datagram = load("pywrap.intercept.udp.datagram_methods")
        try:
            datagram.methods(datagram.adopt(runtime, sock)).connect(sock, address)
        except OSError as err:
            return err
    return refusal
