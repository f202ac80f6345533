"""Makes the launcher behave like the program towards the process that started it, while it is the broker.

* Both are in one process group, so the terminal's signals (Ctrl-C, Ctrl-Z, SIGWINCH, a hang-up) reach the
  program by themselves, and a pipeline stays one job. The launcher acts on none of these itself.
* Signals that another process sends to the launcher are passed on.
* The launcher stops when the program has stopped, and continues it when it is continued itself.
* It ends as the program ends: with its status, or by the same signal.
* When the launcher is killed, the kernel kills the program, so that a SIGKILL to the pid that the caller
  knows ends the program. Its descendants then have no network.
* Processes that the program leaves behind keep their network: a copy of the launcher goes on as the broker
  until the last of them has ended.

A copy is made at the end of every program: finding out whether processes are left takes a millisecond, and
the last close of a packet socket 12 ms (packet_release(), an RCU grace period). No process waits for the
copy.
"""

from __future__ import annotations

# Without the enumerations of ``signal``, whose import takes 1 ms.
import _signal as signal  # type: ignore[import-not-found]
import os
import resource
import struct

from pywrap.confine import kernel
from pywrap.confine.last_bytes import MOMENT, LastBytes
from pywrap.confine.left_behind import leave_caller, take_over
from pywrap.confine.processes import processes
from pywrap.relay.loop import IN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from pywrap.confine.broker import Broker
    from pywrap.relay.loop import Loop

# Signals that are never passed on. SIGCHLD is for the parent of a child. The kernel sends the others to a
# process that writes to a closed pipe, or uses a terminal in the background.
_NOT_PASSED_ON = {signal.SIGCHLD, signal.SIGPIPE, signal.SIGTTIN, signal.SIGTTOU}
_FROM_KERNEL = 0x80  # SI_KERNEL


class Supervisor:
    """Serves until the program has ended, and longer if it leaves processes or unsent bytes behind.

    ``pid``: of the program. ``namespace``: its network. ``signals``: those that are blocked here. They are
    read from a descriptor (signalfd(2)), instead of interrupting or ending the launcher.
    """

    def __init__(self, loop: Loop, broker: Broker, pid: int, namespace: str, signals: frozenset[int]) -> None:
        self._loop = loop
        self._broker = broker
        self._pid = pid
        self._namespace = namespace
        self._status: int | None = None
        # In the copy: the read end of a pipe that is closed when the launcher ends.
        self._launcher = -1
        # Signals that are passed on to the program when a process has sent them; the terminal sends its own
        # to both.
        self._passed_on = signals - _NOT_PASSED_ON
        self._signals = kernel.signalfd(signals)
        loop.watch(self._signals, IN, self._on_signal)

    def run(self) -> NoReturn:
        """Serve, and end as the program ends."""
        # The program may have ended, or stopped, before the descriptor for signals was made.
        self._look_at_program()
        self._loop.run()
        self._broker.close()
        assert self._status is not None, "the loop ends with the program"
        if self._launcher < 0 and not self._is_copied():
            _end_as(self._status)
        # Wait for the end of the launcher, so that the last close of the packet socket happens in this copy.
        os.read(self._launcher, 1)
        os._exit(0)

    def _on_signal(self, events: int) -> None:
        try:
            data = os.read(self._signals, kernel.SIGINFO * 16)
        except BlockingIOError:
            return
        for start in range(0, len(data), kernel.SIGINFO):
            number, _, code, sender = struct.unpack_from("=IiiI", data, start)
            if number == signal.SIGCHLD:
                self._look_at_program()
            elif number == signal.SIGCONT:
                # A process has continued the launcher, so the program is continued too.
                self._tell(signal.SIGCONT)
            elif code != _FROM_KERNEL and number in self._passed_on and sender != self._pid:
                self._tell(number)

    def _look_at_program(self) -> None:
        while self._status is None:
            pid, status = os.waitpid(self._pid, os.WNOHANG | os.WUNTRACED | os.WCONTINUED)
            if not pid:
                return
            if os.WIFSTOPPED(status):
                self._stop_too(os.WSTOPSIG(status))
            elif not os.WIFCONTINUED(status):
                self._status = status
                self._program_has_ended(status)

    def _program_has_ended(self, status: int) -> None:
        def leave() -> None:
            self._leave_a_copy(status)

        def end() -> None:
            if self._broker.has_last_words and not processes(self._namespace, self._broker.helpers):
                self._loop.stop()
            else:
                leave()

        LastBytes(self._loop, self._broker, MOMENT, sent=end, late=leave, extends=False)

    def _leave_a_copy(self, status: int) -> None:
        """End as the program has; a copy of this process goes on with the work that is left."""
        if self._is_copied():
            self._loop.unwatch(self._signals)
            take_over(self._loop, self._broker, self._namespace)
        else:
            _end_as(status)

    def _is_copied(self) -> bool:
        """Fork this process; return True in the child, False in the parent, also if no child is made."""
        try:
            read, write = os.pipe()
            copy = os.fork()
        except OSError:
            return False
        if copy:
            return False
        os.close(write)
        self._launcher = read
        leave_caller()
        return True

    def _stop_too(self, number: int) -> None:
        """Stop as the program has, so that the shell that started it sees a stopped job."""
        if number not in (signal.SIGTSTP, signal.SIGSTOP, signal.SIGTTIN, signal.SIGTTOU):
            return
        # By SIGSTOP, since the other stop signals are blocked here.
        os.kill(os.getpid(), signal.SIGSTOP)
        # It goes on here when it is continued; the descriptor then reports SIGCONT.

    def _tell(self, number: int) -> None:
        if self._status is None:
            os.kill(self._pid, number)


def _end_as(status: int) -> NoReturn:
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        # No core dump of the launcher: the program has made its own, if any.
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.signal(number, signal.SIG_DFL) if number not in (signal.SIGKILL, signal.SIGSTOP) else None
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
        os.kill(os.getpid(), number)
    os._exit(os.waitstatus_to_exitcode(status) & 0xFF)
