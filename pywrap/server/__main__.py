"""The server as a program: ``pysocksd``, or ``python -m pywrap.server``."""

from __future__ import annotations

import signal
import sys

from pywrap import __version__
from pywrap.errors import ConfigError
from pywrap.server.log import Log, say
from pywrap.server.options import HELP, UsageError, parse
from pywrap.server.server import Server, fast_open_is_allowed
from pywrap.server.users import read_users
from pywrap.socks.wire import is_loopback, packed


def main() -> None:
    """Run the server that the command line describes, and exit."""
    try:
        serve(sys.argv[1:])
    except ConfigError as err:
        say(f"error: {err}")
        if err.hint:
            sys.stderr.write(f"hint: {err.hint}\n")
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
        if options.fast_open and not fast_open_is_allowed():
            log.warning("--fast-open has no effect without `sysctl net.ipv4.tcp_fastopen=3`")
        for address in server.addresses:
            if users is None and not is_loopback(packed(address.host) or b""):
                log.warning(f"{address} serves everyone who can reach it: no --users")
            log.listening(address)
        server.run()


def _raise_limit() -> None:
    """Allow as many descriptors as we may have: a tunnel takes two, the usual limit is 1024."""
    import resource

    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


if __name__ == "__main__":
    main()
