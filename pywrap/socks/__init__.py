"""The SOCKS protocol, both ends, without sockets: ``wire``, ``v4``, ``v5``, ``serve``."""
