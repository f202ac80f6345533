"""Puts ports of ours into a connection string of libpq, for psycopg and psycopg2.

``host`` stays, for certificates and .pgpass; ``hostaddr``, the address to which libpq connects, is replaced.
Kerberos would ask its own servers directly, so it is turned off (``gssencmode``).
"""

from __future__ import annotations

import os

from pywrap.intercept.forward.forwarder import Forward, connected
from pywrap.tunnel.routes import DIRECT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from pywrap.intercept.own_socket import Own
    from pywrap.intercept.runtime import Runtime

# The environment variables that libpq reads for parameters that are missing in the string, as far as needed
# here.
_VARIABLES = {"host": "PGHOST", "hostaddr": "PGHOSTADDR", "port": "PGPORT", "service": "PGSERVICE"}

_PORT = "5432"


class ServiceNotRead(Exception):
    """The destination is in a service file (pg_service.conf), which only libpq reads."""


def destinations(parameters: Mapping[str, Any]) -> list[tuple[str, str, int]]:
    """The destinations in ``parameters`` and the environment: for each its host, address and port.

    The address is the one given as ``hostaddr``, or else the host; "" for a Unix socket.

    Raises:
        ServiceNotRead: a service file has them.
        ValueError: the parameters contradict each other; libpq will refuse them.
    """

    def said(name: str) -> str:
        return str(parameters.get(name) or os.environ.get(_VARIABLES[name]) or "")

    if said("service"):
        raise ServiceNotRead
    hosts, addresses = said("host").split(","), said("hostaddr").split(",")
    if hosts == [""]:
        hosts = addresses if addresses != [""] else ["/"]
    if addresses == [""]:
        addresses = [""] * len(hosts)
    ports = (said("port") or _PORT).split(",")
    if len(ports) == 1:
        ports *= len(hosts)
    if not len(hosts) == len(addresses) == len(ports):
        raise ValueError("numbers of hosts, addresses and ports that do not match")
    found = []
    for host, address, port in zip(hosts, addresses, ports, strict=True):
        is_local = not address and (not host or host[0] in "/@")
        found.append((host, "" if is_local else address or host, int(port or _PORT)))
    return found


def is_direct(runtime: Runtime, host: str, port: int) -> bool:
    """Whether libpq may connect to ``host`` and ``port`` itself; never to a name, which it would look up."""
    if not host:
        return True
    return runtime.is_literal(host) and runtime.routes.verdict(host, port, ":" in host).kind == DIRECT


def to_forward(
    runtime: Runtime, parameters: Mapping[str, Any], error: type[Exception]
) -> list[tuple[str, str, int]]:
    """The ``destinations``; [] where libpq may connect by itself, or will refuse the parameters.

    Raises:
        error: a service file has the destination, so it is not known.
    """
    try:
        hosts = destinations(parameters)
    except ServiceNotRead:
        raise error("pysocksify: where a service is cannot be told; name the host instead") from None
    except ValueError:
        return []
    return [] if all(is_direct(runtime, where, port) for _, where, port in hosts) else hosts


def described(host: str, where: str, port: int) -> str:
    """The destination as the error messages of libpq name it; ``where``: its address."""
    place = f'"{host}"' if host == where else f'"{host}" ({where})'
    return f"connection to server at {place}, port {port}"


def forward(runtime: Runtime, host: str, port: int, ready: Own | None = None) -> Forward:
    """A port whose connections are carried to ``host``; ``ready``: the socket for the first of them."""
    return Forward(lambda _: connected(runtime, host, port), port, ready)


def forwarded(
    parameters: Mapping[str, Any], hosts: list[tuple[str, str, int]], ports: list[Forward | None]
) -> dict[str, Any]:
    """``parameters`` with the addresses of ``ports`` for those of ``hosts``; a port None keeps the host's."""
    places = [
        (address, port) if each is None else each.address
        for (_, address, port), each in zip(hosts, ports, strict=True)
    ]
    new = {
        "host": ",".join(host for host, _, _ in hosts),
        "hostaddr": ",".join(str(place[0]) for place in places),
        "port": ",".join(str(place[1]) for place in places),
    }
    return {**parameters, **new, "gssencmode": "disable"}


def settle(ports: list[Forward | None], keep: bool = True) -> None:
    """After libpq has connected: have each port close by itself, as ``Forward.settle`` says."""
    for each in ports:
        if each is not None:
            each.settle(keep)


def close(ports: list[Forward | None]) -> None:
    """After libpq has failed to connect: close the ports."""
    for each in ports:
        if each is not None:
            each.close()
