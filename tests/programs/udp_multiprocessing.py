"""Datagrams before, in and after child processes: udp_multiprocessing.py HOST PORT fork|spawn|forkserver

Expects an echo server. The children have sockets of their own, and a forked one also the parent's.
"""

import json
import multiprocessing
import socket
import sys


def exchange(sock, address, word):
    sock.sendto(word, address)
    return sock.recv(100).decode()


def udp():
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.settimeout(30)
    return sock


def work(address, word):
    with udp() as sock:
        return exchange(sock, address, word)


def use(sock, address, answers):
    # A socket that was sent to another process has lost it, but not its descriptor's mode.
    sock.settimeout(30)
    answers.put(exchange(sock, address, b"the parent's socket"))


if __name__ == "__main__":
    address, method = (sys.argv[1], int(sys.argv[2])), sys.argv[3]
    context = multiprocessing.get_context(method)
    with udp() as sock:
        got = [exchange(sock, address, b"before")]
        with context.Pool(2) as pool:
            got += pool.starmap(work, [(address, b"one"), (address, b"two")])
            pool.close()
            pool.join()
        answers = context.SimpleQueue()
        child = context.Process(target=use, args=(sock, address, answers))  # type: ignore[attr-defined]
        child.start()
        got.append(answers.get())
        child.join()
        got.append(exchange(sock, address, b"after"))
    print(json.dumps({"got": got}))
