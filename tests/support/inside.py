"""What the programs of tests use; ``tests.support.child`` copies into a program what it names of this."""

import errno
import json
import os
import select
import socket
import stat
import time

# Seconds; for what must happen soon, and would hang the program otherwise.
PATIENCE = 30


def say(**result):
    """Print the result."""
    print(json.dumps(result))


def wait_writable(sock):
    """Wait as an event loop does for the end of a connect(); return its errno."""
    assert select.select([], [sock], [], PATIENCE)[1], "never writable"
    return sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)


def start(host, port):
    """A socket that is connecting."""
    sock = socket.socket()
    sock.setblocking(False)
    assert sock.connect_ex((host, port)) == errno.EINPROGRESS
    return sock


def echo(sock, data=b"hello"):
    """What an echo server sends back."""
    sock.settimeout(PATIENCE)
    sock.sendall(data)
    return sock.recv(len(data), socket.MSG_WAITALL).decode()


def outcome(function, *args):
    """What ``function`` returns, or [class, errno, text] of the OSError it raises."""
    try:
        return function(*args)
    except OSError as err:
        return [type(err).__name__, errno.errorcode.get(err.errno, err.errno), str(err)]


def descriptors():
    return sorted(os.listdir("/proc/self/fd"))


def left_over(before):
    """How many descriptors there are more than ``before``, once the background thread has closed its own."""
    until = time.monotonic() + PATIENCE
    while len(descriptors()) > len(before) and time.monotonic() < until:
        os.sched_yield()
    return len(descriptors()) - len(before)


def end_association(port):
    """As if the proxy had: what watches the control connection sees its end."""
    for fd in map(int, descriptors()):
        try:
            is_socket = stat.S_ISSOCK(os.fstat(fd).st_mode)
        except OSError:
            # The directory's own.
            continue
        if is_socket:
            with socket.socket(fileno=os.dup(fd)) as sock:
                if sock.type == socket.SOCK_STREAM and sock.getpeername()[1:] == (port,):
                    sock.shutdown(socket.SHUT_RDWR)


def udp(family=socket.AF_INET, timeout=PATIENCE):
    sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.settimeout(timeout)
    return sock


def question(sock, word, *to, tries=8):
    """Send ``word`` until an answer comes, as resolvers do; how often that was, the answer and its source."""
    sock.settimeout(1.0)
    for count in range(1, tries + 1):
        sock.sendto(word, *to) if to else sock.send(word)
        try:
            data, source = sock.recvfrom(100)
        except TimeoutError:
            continue
        return count, data.decode(), list(source)
    return None


def pause(sock, seconds):
    """Wait that long for a datagram, of which there is none."""
    sock.settimeout(seconds)
    assert outcome(sock.recv, 100)[0] == "TimeoutError"
