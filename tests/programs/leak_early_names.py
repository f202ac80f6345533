"""Functions that were imported before pywrap: do they leak? leak_early_names.py [ATTEMPT]...

Prints for each the errno or the name of the exception, or what it got.
"""

import errno
import json
import socket
import sys
from socket import getaddrinfo, getfqdn, gethostbyaddr, gethostbyname, gethostbyname_ex, getnameinfo

HOST, NAME = "192.0.2.1", "elsewhere.test"

connect = socket.socket.connect
connect_ex = socket.socket.connect_ex
sendto = socket.socket.sendto
sendmsg = socket.socket.sendmsg
kept = socket.socket()
connect_of_kept = kept.connect


class Derived(socket.socket):
    """Made before, as ssl.SSLSocket is."""


# isort: split
import pywrap.auto  # noqa: E402, F401


def udp():
    return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)


ATTEMPTS = {
    "getaddrinfo": lambda: getaddrinfo(NAME, 80)[0][4][0],
    "getfqdn": lambda: getfqdn(NAME),
    "getfqdn of an address": lambda: getfqdn(HOST),
    "gethostbyaddr": lambda: gethostbyaddr(HOST),
    "gethostbyaddr of a name": lambda: gethostbyaddr(NAME),
    "gethostbyname": lambda: gethostbyname(NAME),
    "gethostbyname_ex": lambda: gethostbyname_ex(NAME),
    "getnameinfo": lambda: getnameinfo((HOST, 80), socket.NI_NAMEREQD),
    "connect": lambda: connect(socket.socket(), (HOST, 80)),
    "connect_ex": lambda: connect_ex(socket.socket(), (HOST, 80)),
    "connect of a kept socket": lambda: connect_of_kept((HOST, 80)),
    "sendto": lambda: sendto(udp(), b"hello", (HOST, 9)),
    "sendmsg": lambda: sendmsg(udp(), [b"hello"], [], 0, (HOST, 9)),
    "derived class, udp": lambda: Derived(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"hello", (HOST, 9)),
    "connect to a name": lambda: connect(socket.socket(), (NAME, 80)),
    "sendto a name": lambda: sendto(udp(), b"hello", (NAME, 9)),
}


def outcome(attempt):
    try:
        result = attempt()
    except (socket.gaierror, socket.herror) as err:
        return type(err).__name__
    except OSError as err:
        return errno.errorcode.get(err.errno, type(err).__name__)
    return [result]


wanted = sys.argv[1:] or ATTEMPTS
print(json.dumps({name: outcome(ATTEMPTS[name]) for name in wanted}))
