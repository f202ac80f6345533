"""Blocking sockets, three ways: create_connection.py HOST PORT

Expects an echo server. HOST may be a name.
"""

import json
import socket
import sys

host, port = sys.argv[1], int(sys.argv[2])


def echo(sock):
    sock.sendall(b"hello")
    answer = b""
    while len(answer) < 5:
        answer += sock.recv(5 - len(answer))
    return answer.decode()


answers = {}
with socket.create_connection((host, port), timeout=20) as sock:
    answers["create_connection"] = echo(sock)
    answers["timeout"] = sock.gettimeout()

family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
with socket.socket(family) as sock:
    sock.connect((host, port))
    answers["connect"] = echo(sock)
    answers["blocking"] = sock.getblocking()

with socket.socket(family) as sock:
    sock.settimeout(20)
    answers["connect_ex"] = sock.connect_ex((host, port))
    answers["after connect_ex"] = echo(sock)
print(json.dumps(answers))
