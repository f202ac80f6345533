"""Counters of requests, bytes and datagrams; and their page for Prometheus (the extra ``metrics``)."""

from __future__ import annotations

from pywrap.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from pywrap.server.record import Record, Traffic
    from pywrap.server.server import Server


class Counters:
    """Numbers that only grow. Written by the loop's thread; any thread may read them."""

    def __init__(self) -> None:
        self.requests: dict[tuple[str, str], int] = {}
        self.bytes_up = self.bytes_down = 0
        self.datagrams_up = self.datagrams_down = self.datagrams_dropped = 0
        self.troubles = 0

    def record(self, record: Record) -> None:
        """Count a request by its command and outcome."""
        denied = record.outcome.startswith("not allowed")
        key = record.command, "denied" if denied else "failed" if record.outcome else "succeeded"
        self.requests[key] = self.requests.get(key, 0) + 1

    def closed(self, up: int, down: int) -> None:
        """Count the bytes of a connection that has ended."""
        self.bytes_up += up
        self.bytes_down += down

    def udp_closed(self, traffic: Traffic) -> None:
        """Count the datagrams of an association that has ended."""
        self.datagrams_up += traffic.up
        self.datagrams_down += traffic.down
        self.datagrams_dropped += sum(traffic.dropped.values())
        self.closed(traffic.bytes_up, traffic.bytes_down)


class Page:
    """The numbers, served over HTTP by a thread of prometheus_client.

    Raises:
        ConfigError: prometheus_client is not installed, or the address cannot be listened on.
    """

    def __init__(self, address: tuple[str, int], counters: Counters, server: Server) -> None:
        try:
            from prometheus_client import CollectorRegistry, start_http_server
        except ImportError:
            raise ConfigError(
                "--metrics needs prometheus_client", "`pip install 'pysocksify[metrics]'`"
            ) from None
        registry = CollectorRegistry()
        registry.register(_Collector(counters, server))
        try:
            self._server, self._thread = start_http_server(address[1], address[0], registry)
        except OSError as err:
            raise ConfigError(f"cannot listen on {address[0]}:{address[1]}: {err.strerror}") from err
        self.port: int = self._server.server_port

    def close(self) -> None:
        """Stop serving the page."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Collector:
    def __init__(self, counters: Counters, server: Server) -> None:
        self._counters = counters
        self._server = server

    def collect(self) -> Iterator[Any]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        counters, server = self._counters, self._server
        requests = CounterMetricFamily(
            "pysocksd_requests", "Requests by outcome", labels=["command", "outcome"]
        )
        for labels, count in list(counters.requests.items()):
            requests.add_metric(labels, count)
        yield requests
        carried = CounterMetricFamily("pysocksd_bytes", "Bytes of what has ended", labels=["direction"])
        carried.add_metric(["up"], counters.bytes_up)
        carried.add_metric(["down"], counters.bytes_down)
        yield carried
        datagrams = CounterMetricFamily(
            "pysocksd_datagrams", "Datagrams of associations that have ended", labels=["direction"]
        )
        datagrams.add_metric(["up"], counters.datagrams_up)
        datagrams.add_metric(["down"], counters.datagrams_down)
        datagrams.add_metric(["dropped"], counters.datagrams_dropped)
        yield datagrams
        yield CounterMetricFamily("pysocksd_troubles", "Broken clients and lacks", value=counters.troubles)
        yield CounterMetricFamily("pysocksd_failed_logins", "Wrong passwords", value=server.failed_logins)
        yield GaugeMetricFamily("pysocksd_connections", "Clients now", value=server.connections)
        yield GaugeMetricFamily("pysocksd_handshakes", "Of them without a request", value=server.half_open)
