"""psycopg2: each connection goes by a port that is forwarded (``forward``).

``psycopg2.connect`` calls one C function, to which it passes the whole connection string. The connection
through the chain is made first, so that the program sees its failure. Calls of the class
``psycopg2.extensions.connection`` itself are not covered.

cancel() makes another connection in one C call that holds the GIL: our thread could never carry the bytes. So
a class derived from the connection's class sends pg_cancel_backend() instead, by a connection of its own.
"""

from __future__ import annotations

from pywrap.intercept.forward import libpq
from pywrap.intercept.forward.forwarder import connected

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pywrap.intercept.forward.forwarder import Forward
    from pywrap.intercept.own_socket import Own
    from pywrap.intercept.patching import Patches
    from pywrap.intercept.runtime import Runtime


def install(patches: Patches, module: Any, current: Callable[[], Runtime | None]) -> None:
    """Replace ``_connect`` in ``module``, which is psycopg2. ``current()``: the runtime, or None."""
    original, extensions, error = module._connect, module.extensions, module.OperationalError
    derived: dict[Any, Any] = {}

    def _connect(dsn: str, connection_factory: Any = None, **options: Any) -> Any:
        runtime = current()
        if runtime is None:
            return original(dsn, connection_factory, **options)
        parameters = extensions.parse_dsn(dsn)
        hosts = libpq.to_forward(runtime, parameters, error)
        if not hosts:
            return original(dsn, connection_factory, **options)
        hosts, forwards = _opened(runtime, error, parameters, hosts)
        cls = connection_factory or extensions.connection
        if isinstance(cls, type):
            if cls not in derived:
                derived[cls] = _class(cls, _connect)
            cls = derived[cls]
        try:
            text = extensions.make_dsn(**libpq.forwarded(parameters, hosts, forwards))
            made = original(text, cls, **options)
        except BaseException:
            libpq.close(forwards)
            raise
        # Without ``keep``, cancel() of any other class is refused; it would otherwise wait for ever.
        libpq.settle(forwards, keep=False)
        if type(made) in derived.values():
            made._dsn_before_pysocksify = dsn
        return made

    patches.replace(module, "_connect", _connect)


def _class(base: Any, connect: Callable[[str], Any]) -> Any:
    class Connection(base):  # type: ignore[misc]
        def cancel(self) -> None:
            pid = self.get_backend_pid()
            other = connect(self._dsn_before_pysocksify)
            try:
                other.autocommit = True
                with other.cursor() as cursor:
                    cursor.execute("select pg_cancel_backend(%s)", [pid])
            finally:
                other.close()

    Connection.__name__ = Connection.__qualname__ = base.__name__
    Connection.__module__ = base.__module__
    return Connection


def _opened(
    runtime: Runtime, error: Any, parameters: dict[str, Any], hosts: list[tuple[str, str, int]]
) -> tuple[list[tuple[str, str, int]], list[Forward | None]]:
    """The first of the ``hosts`` that can be reached, and those after it; and a port for each.

    libpq tries hosts in order, so those before the first that can be reached are left out.
    """
    limit = float(parameters.get("connect_timeout") or 0)
    failures = []
    for number, (host, where, port) in enumerate(hosts):
        if libpq.is_direct(runtime, where, port):
            return hosts[number:], _ports(runtime, hosts[number:], None)
        try:
            ready = connected(runtime, where, port, limit or None)
        except OSError as err:
            failures.append(f"{libpq.described(host, where, port)} failed: {err.strerror or err}")
        else:
            return hosts[number:], _ports(runtime, hosts[number:], ready)
    raise error("\n".join(failures))


def _ports(runtime: Runtime, hosts: list[tuple[str, str, int]], ready: Own | None) -> list[Forward | None]:
    ports: list[Forward | None] = []
    for number, (_, where, port) in enumerate(hosts):
        is_direct = libpq.is_direct(runtime, where, port)
        first = ready if number == 0 else None
        ports.append(None if is_direct else libpq.forward(runtime, where, port, first))
    return ports
