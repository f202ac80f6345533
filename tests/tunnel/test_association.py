"""An association's end, as its control connections tell it."""

from __future__ import annotations

import _socket
import _thread
import select
import socket

import pytest

from pywrap.config.settings import Proxy
from pywrap.errors import ProxyClosed
from pywrap.socks.wire import Endpoint
from pywrap.tunnel.association import Association
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


def associated(control):
    path = (Proxy("socks5h", "127.0.0.1", 1080),)
    return Association(path, [control], [Endpoint("127.0.0.1", 4000)])


def test_the_end_of_a_control_connection_is_told(control):
    ours, theirs = control
    told = []
    start = Starter()
    background = Background(start, _thread.allocate_lock, select.epoll)
    (task,) = associated(ours).watching(lambda _, err: told.append(err))
    background.submit(task)
    theirs.close()
    start.run()
    assert isinstance(told[0], ProxyClosed)
    assert "proxy 127.0.0.1:1080: the proxy hung up" in str(told[0])
    assert ours.fileno() == -1


def test_a_watch_that_is_cancelled_before_it_began_closes_its_connection(control):
    # A socket that was closed at once after its first answer, while the thread had other things to do.
    ours, theirs = control
    start = Starter()
    background = Background(start, _thread.allocate_lock, select.epoll)
    (task,) = associated(ours).watching(lambda *_: None)
    background.submit(task)
    background.cancel(task)
    start.run()
    assert ours.fileno() == -1
    assert theirs.recv(1) == b""
