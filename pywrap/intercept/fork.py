"""What happens at fork().

In the parent, before fork(): the table of placeholder addresses becomes one that both processes share, so
that an address never stands for different names in the two (``tunnel.placeholders``). The background thread
stops, and starts again after fork(): Python warns programs that fork while other threads run
(``tunnel.background``).

In the child, which has the thread that called fork() and no other (``Runtime.forked`` calls all of these):

* the lock is made anew: the thread that held it may not exist (``lock``);
* a module of ours that another thread was loading is loaded anew (``loading``);
* the background thread is the parent's, and the child starts one when it needs it (``tunnel.background``);
* a non-blocking connect() that is pending is the parent's: in the child it fails with ECONNABORTED
  (``tcp.nonblocking``);
* a listener whose BIND is not answered yet requests another one in the child; a port at which the proxy
  listens already belongs to both processes, and one of them gets its peer (``bind.listener``);
* a UDP association is used by both, and each watches its control connection (``udp.association_setup``);
* open tunnels, their names, and registrations with epoll objects stay as they are;
* proxies that are known to be dead, or to support pipelining, are as well known to the child
  (``tunnel.hops``), and with ``isolate_streams`` it gets credentials of its own.

vfork() and posix_spawn() do none of this: the child executes another program (``patches.spawn``).
"""

from __future__ import annotations

import os

from pywrap.intercept import loading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pywrap.intercept.runtime import Runtime

# The runtime, if there is one yet; None until ``install``.
_runtime: Callable[[], Runtime | None] | None = None


def install(runtime: Callable[[], Runtime | None]) -> None:
    """Hook fork(), which cannot be undone. May be called twice."""
    global _runtime
    if _runtime is None:
        _runtime = runtime
        os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)


def _before() -> None:
    runtime = None if _runtime is None else _runtime()
    if runtime is not None:
        runtime.about_to_fork()


def _in_parent() -> None:
    runtime = None if _runtime is None else _runtime()
    if runtime is not None:
        runtime.has_forked()


def _in_child() -> None:
    loading.forked()
    runtime = None if _runtime is None else _runtime()
    if runtime is not None:
        runtime.forked()
