"""What passes through a relay is also tried through the server that it was made for."""

from tests.server.conftest import client, server, target

__all__ = ["client", "server", "target"]
