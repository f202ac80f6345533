"""What a connected socket says of itself, and what it is: report.py HOST PORT [CA]"""

import json
import os
import socket
import ssl
import stat
import sys

host, port, *ca = sys.argv[1:]

# What is in _socket under that name may be patched. The C class cannot be: it says what the kernel says.
Kernel = socket.socket.__base__


def kind(cls, name):
    """Who implements ``cls.name``: ``method_descriptor`` is C, ``function`` is Python."""
    return type(getattr(cls, name)).__name__


with socket.create_connection((host, int(port)), timeout=20) as sock:
    result = {
        "getpeername": sock.getpeername()[:2],
        "getsockname": sock.getsockname()[:2],
        "kernel peer": Kernel.getpeername(sock)[:2],
        "kernel name": Kernel.getsockname(sock)[:2],
        "class": f"{type(sock).__module__}.{type(sock).__name__}",
        "family": sock.family.name,
        "type": sock.type.name,
        "proto": sock.proto,
        "is a socket": stat.S_ISSOCK(os.fstat(sock.fileno()).st_mode),
        "domain": socket.AddressFamily(Kernel.getsockopt(sock, socket.SOL_SOCKET, socket.SO_DOMAIN)).name,
        "SO_ERROR": sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR),
        "timeout": sock.gettimeout(),
        "repr": repr(sock),
        "methods": {
            name: kind(socket.socket, name) for name in ("recv", "recv_into", "send", "sendall", "close")
        },
        "same recv": socket.socket.recv is Kernel.recv and socket.socket.send is Kernel.send,
    }
    if ca:
        context = ssl.create_default_context(cafile=ca[0])
        with context.wrap_socket(sock, server_hostname=host) as wrapped:
            result["tls peer"] = wrapped.getpeername()[:2]
            result["tls version"] = wrapped.version()
            # SSLSocket implements these in Python over _ssl: then it must be ssl.py's function.
            result["tls recv"] = wrapped.recv.__func__.__code__.co_filename == ssl.__file__  # type: ignore[attr-defined]
print(json.dumps(result))
