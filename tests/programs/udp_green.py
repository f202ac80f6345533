"""gevent's or eventlet's sockets with everything monkey-patched: udp_green.py HOST PORT gevent|eventlet

Expects an echo server. Ten at once, each with a socket of its own, and the loop goes on meanwhile.
"""

import sys

if sys.argv[3] == "gevent":
    from gevent import monkey

    monkey.patch_all()
    import gevent

    def together(function, count):
        jobs = [gevent.spawn(function, number) for number in range(count)]
        gevent.joinall(jobs, raise_error=True)
        return [job.value for job in jobs]
else:
    import eventlet

    eventlet.monkey_patch()

    def together(function, count):
        return list(eventlet.GreenPool().imap(function, range(count)))


import json  # noqa: E402
import socket  # noqa: E402

host, port = sys.argv[1], int(sys.argv[2])


def talk(number):
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.settimeout(30)
    sock.sendto(b"to %d" % number, (host, port))
    got = [sock.recvfrom(100)[0].decode()]
    sock.connect((host, port))
    sock.send(b"send %d" % number)
    got.append(sock.recv(100).decode())
    buffer = bytearray(100)
    sock.sendall(b"all %d" % number)
    got.append(buffer[: sock.recv_into(buffer)].decode())
    sock.close()
    return got == [f"{word} {number}" for word in ("to", "send", "all")]


print(json.dumps({"right": together(talk, 10), "socket": socket.socket.__module__}))
