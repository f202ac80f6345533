"""An association's end, as its control connections tell it."""

from __future__ import annotations

import _socket
import errno
import select
import socket
import struct

import pytest

from pywrap.config.settings import Proxy
from pywrap.errors import ProtocolError, ProxyClosed
from pywrap.intercept.lock import Lock
from pywrap.socks.wire import Endpoint
from pywrap.tunnel.association import NEVER, Associating, Association, relay_address
from pywrap.tunnel.background import Background


class Starter:
    """Starts the thread of a ``Background`` when it is told to."""

    def __call__(self, function, args):
        self._start = function, args

    def run(self):
        """Here, to its end."""
        function, args = self._start
        function(*args)


@pytest.fixture
def control():
    """A control connection that does not block, and the proxy's end of it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = _socket.socket()
        ours.connect(listener.getsockname())
        ours.setblocking(False)
        theirs, _ = listener.accept()
        with theirs:
            yield ours, theirs
            ours.close()


PATH = (Proxy("socks5h", "127.0.0.1", 1080),)
BOUND = Endpoint("127.0.0.1", 4000)


def associated(control, bound=BOUND.host):
    return Association(PATH, [control], [Endpoint(bound, BOUND.port)])


class Answered:
    """The attempt of an association, on ``sock``, that the proxy has replied to."""

    path = PATH
    bound = BOUND

    def __init__(self, sock):
        self.sock = sock

    def start(self):
        return True


def test_the_end_of_a_control_connection_is_told(control):
    ours, theirs = control
    error_to_report = []
    start = Starter()
    background = Background(start, Lock, select.epoll)
    (task,) = associated(ours).watching(lambda _, err: error_to_report.append(err))
    background.submit(task)
    theirs.close()
    start.run()
    assert isinstance(error_to_report[0], ProxyClosed)
    assert "proxy 127.0.0.1:1080: the proxy hung up" in str(error_to_report[0])
    assert ours.fileno() == -1


def test_a_watch_that_is_cancelled_before_it_began_closes_its_connection(control):
    # A socket that was closed at once after its first answer, while the thread had other things to do.
    ours, theirs = control
    start = Starter()
    background = Background(start, Lock, select.epoll)
    (task,) = associated(ours).watching(lambda *_: None)
    background.submit(task)
    background.cancel(task)
    start.run()
    assert ours.fileno() == -1
    assert theirs.recv(1) == b""


def test_a_proxy_that_does_not_stop_talking_leaves_the_thread_to_others(control):
    ours, theirs = control
    theirs.sendall(bytes(10000))
    (task,) = associated(ours).watching(lambda *_: None)
    assert task.attempt.advance() is False
    assert len(ours.recv(10000)) == 10000 - 4096


def test_a_proxy_that_is_gone_right_after_its_reply_has_hung_up(control):
    ours, theirs = control
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    theirs.close()
    poller = select.poll()
    poller.register(ours, select.POLLIN)
    assert poller.poll()
    associating = Associating(Answered(ours), lambda *_: None, NEVER)
    with pytest.raises(ProxyClosed, match=r"^proxy 127.0.0.1:1080: the proxy hung up"):
        associating.start()
    associating.abandon()
    assert ours.fileno() == -1


@pytest.mark.parametrize(
    ("bound", "proxy", "relay"),
    [
        # Said by most servers: the address that the proxy was reached by.
        ("0.0.0.0", "192.0.2.1", "192.0.2.1"),
        ("::", "2001:db8::1", "2001:db8::1"),
        # Behind a NAT: its own side of it.
        ("10.0.0.5", "192.0.2.1", "192.0.2.1"),
        ("172.16.0.5", "192.0.2.1", "192.0.2.1"),
        ("127.0.0.1", "192.0.2.1", "192.0.2.1"),
        ("fd00::5", "2001:db8::1", "2001:db8::1"),
        # Each machine has one of its own.
        ("127.0.0.1", "10.0.0.1", "10.0.0.1"),
        ("::ffff:127.0.0.1", "10.0.0.1", "10.0.0.1"),
        ("::1", "fd00::1", "fd00::1"),
        ("169.254.0.5", "192.168.0.1", "192.168.0.1"),
        ("127.0.0.2", "127.0.0.1", "127.0.0.2"),
        # Behind a tunnel of SSH.
        ("10.0.0.5", "127.0.0.1", "10.0.0.5"),
        # On the same network, that is where it is.
        ("10.0.0.5", "10.0.0.1", "10.0.0.5"),
        ("192.0.2.7", "192.0.2.1", "192.0.2.7"),
        ("192.0.2.7", "10.0.0.1", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.1", "192.0.2.7"),
        # Nobody here may look it up.
        ("relay.example", "192.0.2.1", "192.0.2.1"),
        # What a name behind the first hop stands for is not known here.
        ("10.0.0.5", "second.example", "10.0.0.5"),
        ("0.0.0.0", "second.example", "second.example"),
    ],
)
def test_where_the_relay_of_a_reply_is(bound, proxy, relay):
    assert relay_address(Endpoint(bound, 4000), proxy) == Endpoint(relay, 4000)


@pytest.mark.parametrize("bound", ["224.0.0.1", "255.255.255.255", "ff02::1", "::ffff:239.1.2.3"])
def test_a_relay_is_one_machine(control, bound):
    with pytest.raises(ProtocolError, match="proxy 127.0.0.1:1080: a UDP relay cannot be at a multicast"):
        associated(control[0], bound)


@pytest.mark.parametrize("bound", ["0.0.0.0", "127.0.0.1", "::", "relay.example"])
def test_a_relay_without_a_port_is_none(control, bound):
    with pytest.raises(
        ProtocolError, match="proxy 127.0.0.1:1080: the proxy has no UDP: it granted"
    ) as caught:
        Association(PATH, [control[0]], [Endpoint(bound, 0)])
    assert caught.value.errno == errno.EOPNOTSUPP


def test_a_relay_without_a_port_behind_another_is_told_of(control):
    path = (*PATH, Proxy("socks5h", "192.0.2.1", 1081))
    with pytest.raises(
        ProtocolError, match="hop 2 of 2, proxy 192.0.2.1:1081: the proxy has no UDP"
    ) as caught:
        Association(path, [control[0]] * 2, [BOUND, Endpoint("0.0.0.0", 0)])
    assert caught.value.errno == errno.EOPNOTSUPP
