"""A tunnel on its way to other processes: send_socket.py HOST PORT fork|spawn|forkserver"""

import json
import multiprocessing
import socket
import sys

PATIENCE = 30


def names(sock):
    return [sock.getpeername(), sock.getsockname()[1]]


def report(conn, inherited):
    sent = conn.recv()
    sent.settimeout(PATIENCE)
    sent.sendall(b"hello")
    echoed = sent.recv(5, socket.MSG_WAITALL).decode()
    conn.send({"sent": names(sent), "inherited": names(inherited), "echoed": echoed})


if __name__ == "__main__":
    host, port, method = sys.argv[1:]
    pending, sock = socket.socket(), socket.create_connection((host, int(port)), PATIENCE)
    pending.setblocking(False)
    pending.connect_ex((host, int(port)))
    context = multiprocessing.get_context(method)
    ours, theirs = context.Pipe()
    process = context.Process(target=report, args=(theirs, sock))  # type: ignore[attr-defined]
    process.start()
    ours.send(pending)
    said = ours.recv()
    process.join()
    said["ours"] = [names(pending), names(sock)]
    plain, other = socket.socketpair()
    ours.send(plain)
    said["plain"] = theirs.recv().getpeername() == ""
    print(json.dumps(said))
