"""The protocols without sockets: SOCKS, both ends (``wire``, ``v4``, ``v5``, ``serve``), and ``http``."""
