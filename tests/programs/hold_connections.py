"""Accept connections on the listener with the number in argv, send back what comes, and hold them all."""

import select
import socket
import sys

listener = socket.socket(fileno=int(sys.argv[1]))
poll = select.epoll()
poll.register(listener, select.EPOLLIN)
held = {}
while True:
    for fd, _ in poll.poll():
        if fd == listener.fileno():
            sock, _ = listener.accept()
            held[sock.fileno()] = sock
            poll.register(sock, select.EPOLLIN)
            continue
        try:
            data = held[fd].recv(4096)
        except OSError:
            data = b""
        if data:
            held[fd].sendall(data)
        else:
            held.pop(fd).close()
