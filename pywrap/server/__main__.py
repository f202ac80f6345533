"""The server as a program: ``pysocksd``, or ``python -m pywrap.server``."""

from __future__ import annotations

import os
import signal
import sys

from pywrap import __version__
from pywrap.errors import ConfigError, counted
from pywrap.server.log import Log
from pywrap.server.options import HELP, UsageError, parse
from pywrap.server.server import Server, fast_open_is_allowed
from pywrap.server.users import read_users
from pywrap.socks.wire import packed


def main() -> None:
    """Run the server that the command line describes, and exit."""
    try:
        serve(sys.argv[1:])
    except ConfigError as err:
        hint = f"hint: {err.hint}\n" if err.hint else ""
        sys.stderr.write(f"pysocksd: error: {err}\n{hint}")
        raise SystemExit(2 if isinstance(err, UsageError) else 1) from None
    raise SystemExit(0)


def serve(argv: list[str]) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        ConfigError: it cannot start.
    """
    options = parse(argv)
    if options.show:
        sys.stdout.write(HELP if options.show == "help" else f"pysocksd {__version__}\n")
        return
    _occupy_standard_descriptors()
    users = read_users(options.users) if options.users else None
    _raise_limit()
    log = Log(options.verbosity)
    with Server(
        options.listen,
        users,
        log.record,
        log.closed,
        log.trouble,
        udp=options.udp,
        udp_closed=log.udp_closed,
        arrived=log.arrived,
        bind_addresses=options.bind_addresses,
        fast_open=options.fast_open,
    ) as server:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: server.stop())
        # In the loop, and not wherever the signal happens to arrive.
        signal.signal(signal.SIGHUP, lambda *_: server.call(lambda: _reload(options.users, server, log)))
        log.tell_when_writable(server.when_writable)
        if options.fast_open and not fast_open_is_allowed():
            log.warning("--fast-open has no effect without `sysctl net.ipv4.tcp_fastopen=3`")
        for address in server.addresses:
            if users is None and not _is_loopback(address.host):
                log.warning(f"{address} serves everyone who can reach it: no --users")
            log.listening(address)
        server.run()


def _reload(path: str, server: Server, log: Log) -> None:
    """What SIGHUP does: read the user file again. Tunnels that stand are not looked at."""
    if not path:
        log.warning("SIGHUP: there is no user file to read again")
        return
    try:
        users = read_users(path)
    except ConfigError as err:
        log.warning(f"SIGHUP: the users stay as they were: {err}")
        return
    server.set_users(users)
    log.note(f"SIGHUP: {counted(len(users), 'user')} read from {path}")


def _occupy_standard_descriptors() -> None:
    """Let no socket get the number of a stdin, stdout or stderr that is closed: lines are written there."""
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(fd)


def _is_loopback(host: str) -> bool:
    return host == "::1" or (packed(host) or b"")[:1] == b"\x7f" and ":" not in host


def _raise_limit() -> None:
    """Allow as many descriptors as we may have: a tunnel takes two, the usual limit is 1024."""
    import resource

    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


if __name__ == "__main__":
    main()
