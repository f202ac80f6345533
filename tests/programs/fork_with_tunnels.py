"""Forks while a datagram socket has an association, and tunnels are pending.

fork_with_tunnels.py HOST UDP TCP

Expects echo servers at both ports of HOST. Says {"forked": ...} on stdout, then waits for the end of the
association, and says {"ended": ERRNO}.
"""

import errno
import json
import os
import select
import socket
import sys


def fork():
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)


def exchange(sock, word):
    sock.send(word)
    return sock.recv(100).decode()


host, udp, tcp = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    sock.settimeout(30)
    sock.connect((host, udp))
    told = []
    for number in range(30):
        told.append(exchange(sock, b"%d" % number))
        fork()
    pending = [socket.socket() for _ in range(30)]
    for each in pending:
        each.setblocking(False)
        assert each.connect_ex((host, tcp)) == errno.EINPROGRESS
        fork()
    for each in pending:
        assert select.select([], [each], [], 30)[1], "it connects"
        assert each.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
        # The thread that has opened it may be ending.
        fork()
        each.setblocking(True)
        told.append(exchange(each, b"tcp"))
        each.close()
    print(json.dumps({"forked": told}), flush=True)
    try:
        sock.recv(100)
    except OSError as err:
        print(json.dumps({"ended": errno.errorcode.get(err.errno or 0, str(err))}))
