"""The server as a program: ``pysocksd``, or ``python -m pywrap.server``."""

from __future__ import annotations

import os
import signal
import sys

from pywrap import __version__
from pywrap.errors import ConfigError, counted
from pywrap.frozen import replace
from pywrap.server import systemd, workers
from pywrap.server.command_line import help_text, parse
from pywrap.server.counters import Counters, Page
from pywrap.server.option_table import DEFAULT_FILE, DEFAULT_LISTEN
from pywrap.server.option_values import UsageError, is_loopback
from pywrap.server.server import Server, fast_open_is_allowed
from pywrap.server.stderr_log import Log
from pywrap.server.upstream import Upstream
from pywrap.server.users import add_user, read_users
from pywrap.socks.serve import Gssapi
from pywrap.socks.wire import Endpoint

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Sequence
    from ssl import SSLContext

    from pywrap.server.chosen_options import Options
    from pywrap.server.passwords import Hashed
    from pywrap.server.record import Record, Traffic

REFUSED = 3


def main() -> None:
    """Run the server that the command line describes, and exit."""
    try:
        status = run(sys.argv[1:])
    except ConfigError as err:
        hint = f"hint: {err.hint}\n" if err.hint else ""
        sys.stderr.write(f"pysocksd: error: {err}\n{hint}")
        raise SystemExit(2 if isinstance(err, UsageError) else 1) from None
    raise SystemExit(status)


def run(argv: list[str]) -> int:
    """Run the program with the arguments ``argv``; return the exit status.

    Raises:
        ConfigError: the server cannot start.
    """
    options = parse(argv, DEFAULT_FILE)
    if options.show:
        sys.stdout.write(help_text() if options.show == "help" else f"pysocksd {__version__}\n")
        return 0
    if options.add_user:
        return _add_user(options)
    users = read_users(options.users) if options.users else None
    if options.explain:
        from pywrap.server.explain import explain

        upstream = Upstream(options.proxies, options.routes)
        line, allowed = explain(options.explain, options.rules, _is_guarded(options, [], users), upstream)
        sys.stdout.write(line)
        return 0 if allowed else REFUSED
    _occupy_standard_descriptors()
    _raise_limit()
    sockets = systemd.inherited_sockets()
    if options.workers > 1:
        default = () if sockets or options.listen_tls else (DEFAULT_LISTEN,)
        log = Log(options.verbosity, options.log_format == "json")
        handed_over = [_address_of(sock) for sock in sockets]
        return workers.supervise(
            options.workers,
            (options.listen or default, options.listen_tls),
            lambda listen, number: Program(
                argv, replace(options, listen=listen[0], listen_tls=listen[1]), users, sockets, number
            ).serve(),
            log,
            lambda plain, tls: _tell_listening([*handed_over, *plain], tls, options, users, log),
        )
    Program(argv, options, users, sockets).serve()
    return 0


class Program:
    """A server, its log and its counters.

    ``users``: by name, the password or its hash; None serves all clients. ``sockets``: listen already.
    ``worker``: the number of this process among several, -1 when it is the only one.
    """

    def __init__(
        self,
        argv: list[str],
        options: Options,
        users: dict[bytes, bytes | Hashed] | None,
        sockets: list[socket],
        worker: int = -1,
    ) -> None:
        self._argv = argv
        self._options = options
        self._worker = worker
        self._users = users
        self._sockets = sockets
        self._counters = Counters()
        self._log = Log(options.verbosity, options.log_format == "json")

    def serve(self) -> None:
        """Serve until SIGTERM or SIGINT.

        Raises:
            ConfigError: the server cannot start.
        """
        options, log = self._options, self._log
        default = () if self._sockets or options.listen_tls else (DEFAULT_LISTEN,)
        with Server(
            options.listen or default,
            self._users,
            self._record,
            self._closed,
            self._trouble,
            udp=options.udp,
            udp_closed=self._udp_closed,
            arrived=log.arrived,
            bind_addresses=options.bind_addresses,
            fast_open=options.fast_open,
            limits=options.limits,
            rules=options.rules,
            guarded=_is_guarded(options, self._sockets, self._users),
            sockets=self._sockets,
            shared_ports=self._worker >= 0,
            ident=options.ident,
            listen_tls=options.listen_tls,
            tls=_tls(options),
            gssapi=_gssapi(options),
            upstream=Upstream(options.proxies, options.routes),
        ) as server:
            self._server = server
            log.tell_when_writable(server.when_writable)
            page = None
            if options.metrics is not None:
                host, port = options.metrics
                page = Page((host, port + max(self._worker, 0) if port else 0), self._counters, server)
                if self._worker <= 0:
                    log.note(f"counters for Prometheus on http://{host}:{page.port}/metrics")
            self._handle_signals()
            if self._worker < 0:
                tls = server.tls_addresses
                plain = [address for address in server.addresses if address not in tls]
                _tell_listening(plain, tls, options, self._users, log)
                systemd.notify("READY=1", f"STATUS={counted(len(server.addresses), 'listener')}")
            try:
                server.run()
            finally:
                if self._worker < 0:
                    systemd.notify("STOPPING=1")
                if page is not None:
                    page.close()
        log.close()

    def _handle_signals(self) -> None:
        server = self._server
        # Run by the loop, and not at the place where a signal happens to interrupt the program.
        signal.signal(signal.SIGTERM, lambda *_: server.call(self._drain))
        signal.signal(signal.SIGINT, lambda *_: server.stop())
        signal.signal(signal.SIGHUP, lambda *_: server.call(self._reload))
        signal.signal(signal.SIGUSR1, lambda *_: server.call(self._tell_connections))

    # ------------------------------------------------------------ signals

    def _drain(self) -> None:
        if not self._options.drain or self._server.is_draining:
            # A second SIGTERM: do not wait for the connections.
            self._server.stop()
            return
        count = self._server.drain(self._options.drain)
        if count:
            self._log.note(f"SIGTERM: {counted(count, 'tunnel')} may end within {self._options.drain:g} s")

    def _reload(self) -> None:
        """Handle SIGHUP: read the files again. Connections that exist are not changed."""
        log = self._log
        if self._worker < 0:
            systemd.notify(*systemd.reloading())
        try:
            options = parse(self._argv, DEFAULT_FILE)
            users = read_users(options.users) if options.users else None
            tls = _tls(options)
            self._server.set_upstream(Upstream(options.proxies, options.routes))
        except ConfigError as err:
            log.warning(f"SIGHUP: all stays as it was: {err}")
        else:
            self._server.set_users(users)
            self._server.set_rules(options.rules, _is_guarded(options, self._sockets, users))
            self._server.set_limits(options.limits)
            self._server.set_ident(options.ident)
            if tls is not None:
                self._server.set_tls(tls)
            log.verbosity = options.verbosity
            fixed = [name for name in _FIXED if getattr(options, name) != getattr(self._options, name)]
            if self._worker >= 0:
                # A worker listens at the ports that its parent chose for port 0.
                fixed = [name for name in fixed if not name.startswith("listen")]
            if fixed:
                log.warning(f"SIGHUP: needs a restart: {', '.join(fixed).replace('_', '-')}")
            self._users = users
            self._options = replace(self._options, drain=options.drain)
            read = counted(len(options.rules), "rule")
            log.note(
                f"SIGHUP: read again: {read}, {'no users' if users is None else counted(len(users), 'user')}"
            )
        if self._worker < 0:
            systemd.notify("READY=1")

    def _tell_connections(self) -> None:
        self._log.connections(self._server.list_connections())

    # ------------------------------------------------------------ reports of the server

    def _record(self, record: Record) -> None:
        self._counters.record(record)
        self._log.record(record)

    def _closed(self, record: Record, up: int, down: int, seconds: float) -> None:
        self._counters.closed(up, down)
        self._log.closed(record, up, down, seconds)

    def _udp_closed(self, record: Record, traffic: Traffic, seconds: float) -> None:
        self._counters.udp_closed(traffic)
        self._log.udp_closed(record, traffic, seconds)

    def _trouble(self, words: str) -> None:
        self._counters.troubles += 1
        self._log.trouble(words)


# Options that take effect only at the start of a server, not at SIGHUP.
_FIXED = (
    *("listen", "listen_tls", "udp", "bind_addresses", "fast_open", "workers", "metrics", "log_format"),
    *("gssapi", "gssapi_levels"),
)


def _add_user(options: Options) -> int:
    if not options.users:
        raise UsageError("--add-user needs the file to write to", "`pysocksd --users FILE --add-user NAME`")
    if sys.stdin.isatty():
        from getpass import getpass

        password = getpass(f"password for {options.add_user}: ")
        if getpass("again: ") != password:
            raise ConfigError("the two passwords differ")
        data = password.encode()
    else:
        data = sys.stdin.buffer.readline().rstrip(b"\r\n")
    new = add_user(options.users, options.add_user.encode("utf-8", "surrogateescape"), data)
    sys.stdout.write(f"{options.add_user}: {'added' if new else 'changed'}; SIGHUP tells a running server\n")
    return 0


def _tls(options: Options) -> SSLContext | None:
    if not options.listen_tls:
        return None
    if not options.certificate:
        raise UsageError("--listen-tls needs a certificate", "`--certificate FILE`, and `--key FILE`")
    from pywrap.relay.tls import server_context

    return server_context(options.certificate, options.key, options.client_ca)


def _gssapi(options: Options) -> Gssapi | None:
    if not options.gssapi:
        return None
    from pywrap.relay.kerberos import acceptor

    return Gssapi(acceptor(options.gssapi), options.gssapi_levels)


def _tell_listening(
    plain: Sequence[Endpoint], tls: Sequence[Endpoint], options: Options, users: object, log: Log
) -> None:
    """Say where it listens, without TLS and with it, and what the user may not have meant."""
    if options.fast_open and not fast_open_is_allowed():
        log.warning("--fast-open has no effect without `sysctl net.ipv4.tcp_fastopen=3`")
    for address in (*plain, *tls):
        is_checked = users is not None or options.gssapi or options.client_ca and address in tls
        if not is_checked and not is_loopback(address.host):
            log.warning(f"{address} serves every client that can reach it: no --users")
        log.listening(address)


def _address_of(sock: socket) -> Endpoint:
    host, port = sock.getsockname()[:2]
    return Endpoint(host, port)


def _is_guarded(options: Options, sockets: list[socket], users: object) -> bool:
    """Whether the server has no users, and other machines can reach it."""
    if options.gssapi or options.client_ca and not options.listen and not sockets:
        return False
    hosts = [host for host, _ in (*options.listen, *options.listen_tls)] + [
        sock.getsockname()[0] for sock in sockets
    ]
    return users is None and not all(is_loopback(host) for host in hosts)


def _occupy_standard_descriptors() -> None:
    """Open /dev/null as stdin, stdout and stderr where they are closed.

    A socket could otherwise get such a number, and lines of the log would be written to it.
    """
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(fd)


def _raise_limit() -> None:
    """Raise the limit of descriptors to the hard limit: a tunnel takes two, and the usual limit is 1024."""
    import resource

    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


if __name__ == "__main__":
    main()
