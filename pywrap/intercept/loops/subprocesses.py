"""subprocess_exec() and subprocess_shell() of a loop that starts children in C: by ``subprocess`` instead.

``subprocess`` is patched, so it decides about the children (``patches.spawn``). The pipes stay the loop's
own.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


async def subprocess_exec(self: Any, protocol_factory: Any, program: Any, *args: Any, **options: Any) -> Any:
    """As of asyncio's loops."""
    if options.pop("shell", False):
        raise ValueError("shell must be False")
    return await _started(self, protocol_factory, [program, *args], False, options)


async def subprocess_shell(self: Any, protocol_factory: Any, cmd: Any, **options: Any) -> Any:
    """As of asyncio's loops."""
    if not options.pop("shell", True):
        raise ValueError("shell must be True")
    return await _started(self, protocol_factory, cmd, True, options)


async def _started(
    loop: Any, protocol_factory: Any, args: Any, shell: bool, options: dict[str, Any]
) -> tuple[Any, Any]:
    import subprocess
    from asyncio.unix_events import _UnixSubprocessTransport  # type: ignore[attr-defined]

    if options.pop("universal_newlines", False):
        raise ValueError("universal_newlines must be False")
    if options.pop("bufsize", 0):
        raise ValueError("bufsize must be 0")
    pipes = {name: options.pop(name, subprocess.PIPE) for name in ("stdin", "stdout", "stderr")}
    protocol = protocol_factory()
    ready = loop.create_future()
    transport = _UnixSubprocessTransport(
        loop, protocol, args, shell, **pipes, bufsize=0, waiter=ready, **options
    )
    _watch(loop, transport)
    try:
        await ready
    except (SystemExit, KeyboardInterrupt):
        raise
    except BaseException:
        transport.close()
        await transport._wait()
        raise
    return transport, protocol


def _watch(loop: Any, transport: Any) -> None:
    """Report the end of the child to ``transport``."""
    pid = transport.get_pid()
    pidfd = os.pidfd_open(pid)

    def ended() -> None:
        loop.remove_reader(pidfd)
        os.close(pidfd)
        try:
            status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        except ChildProcessError:
            # The program itself has waited for the child. asyncio reports 255 then.
            status = 255
        transport._process_exited(status)

    loop.add_reader(pidfd, ended)
