"""A forwarder of connections that can cut them."""

import contextlib
import select
import socket
import socketserver
import threading


class Forwarder(socketserver.ThreadingTCPServer):
    """In front of a proxy, as a NAT or a firewall is: ``cut`` ends the connections, and the proxy stays."""

    daemon_threads = False
    block_on_close = True

    def __init__(self, there):
        self._there = there
        self._far = []
        super().__init__(("127.0.0.1", 0), None)

    @property
    def port(self):
        return self.server_address[1]

    def finish_request(self, near, _):
        with socket.create_connection(self._there) as far:
            self._far.append(far)
            with contextlib.suppress(ConnectionError):
                self._relay(near, far)
            self._far.remove(far)

    def _relay(self, near, far):
        while True:
            for ready in select.select([near, far], [], [])[0]:
                data = ready.recv(4096)
                if not data:
                    return
                (far if ready is near else near).sendall(data)

    def cut(self):
        for far in [*self._far]:
            far.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def forwarder(there):
    with Forwarder(there) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
            server.cut()
