"""Runs blocking calls in threads: as many as are needed, with a share for each client.

All decisions are made in the thread of the loop. A worker has a queue of its own, with at most one
job in it, so a job that waits can be taken back, and no lock is needed.
"""

from __future__ import annotations

import errno
from _queue import SimpleQueue
from _thread import start_new_thread
from time import monotonic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable
    from functools import partial
    from typing import Any

    from pywrap.relay.loop import Loop, Owner
else:
    # Without what else ``collections`` and ``functools`` define: a confined program waits for these imports.
    from _collections import deque
    from _functools import partial

# The most threads. One that waits costs some 30 KiB of memory. A call of getaddrinfo() cannot be
# interrupted: with glibc's defaults a name server that is silent holds a thread for 10 s or more.
THREADS = 1024

# Seconds after which a thread without work ends.
IDLE = 10.0


class Job:
    """One call of ``work``. ``then``: gets its result or its OSError; None once the job was cancelled."""

    __slots__ = ("client", "owner", "then", "work")

    def __init__(
        self, client: str, owner: Owner | None, work: Callable[[], Any], then: Callable[[Any], None]
    ) -> None:
        self.client = client
        self.owner = owner
        self.work = work
        self.then: Callable[[Any], None] | None = then


class Worker:
    """A thread of the pool: its queue, and the moment since which it has no work."""

    __slots__ = ("idle_since", "jobs")

    def __init__(self) -> None:
        self.jobs: SimpleQueue[Job | None] = SimpleQueue()
        self.idle_since = 0.0


class Pool:
    """Runs jobs for clients. A client may hold as many threads as are left for all others.

    So one client gets at most half of the threads, and of n clients that want more than there are, each gets
    1/(n+1): a thread is free for one more client as long as fewer than ``limit`` clients want too much
    (dynamic thresholds, as switches share their memory: Choudhury and Hahne 1998). Jobs of a client beyond
    its share wait, and clients take turns.
    """

    def __init__(self, loop: Loop, limit: int = THREADS) -> None:
        self._loop = loop
        self._limit = limit
        self._workers: set[Worker] = set()
        self._idle: list[Worker] = []
        self._held: dict[str, int] = {}
        # Waiting jobs by client; the client that was served last comes last.
        self._waiting: dict[str, deque[Job]] = {}
        self._closed = False

    def run(self, client: str, work: Callable[[], Any], then: Callable[[Any], None]) -> Job:
        """Run ``work`` in a thread. The loop calls ``then`` with its result, never before this returns."""
        job = Job(client, self._loop.owner, work, then)
        self._waiting.setdefault(client, deque()).append(job)
        self._dispatch()
        return job

    def cancel(self, job: Job) -> None:
        """Forget ``job``. While it runs, it keeps its thread, and counts for its client."""
        job.then = None
        waiting = self._waiting.get(job.client)
        if waiting is not None and job in waiting:
            waiting.remove(job)
            if not waiting:
                del self._waiting[job.client]

    def close(self) -> None:
        """Let each thread end after its present call; nothing waits for them."""
        self._closed = True
        for worker in self._workers:
            worker.jobs.put(None)

    # ------------------------------------------------------------ in the thread of the loop

    def _dispatch(self) -> None:
        """Give waiting jobs to threads, as far as the share of each client allows."""
        while (client := self._next_client()) is not None:
            worker = self._idle.pop() if self._idle else self._start()
            if worker is None and self._workers:
                # The next worker that becomes free takes the job.
                return
            waiting = self._waiting.pop(client)
            job = waiting.popleft()
            if waiting:
                self._waiting[client] = waiting
            if worker is None:
                answer = OSError(errno.EAGAIN, "no thread can be started")
                self._loop.call(partial(self._tell, job, answer), job.owner)
                continue
            self._held[client] = self._held.get(client, 0) + 1
            worker.jobs.put(job)

    def _next_client(self) -> str | None:
        free = self._limit - (len(self._workers) - len(self._idle))
        return next((client for client in self._waiting if self._held.get(client, 0) < free), None)

    def _start(self) -> Worker | None:
        worker = Worker()
        try:
            # Not threading.Thread: its start() waits until the thread runs, and the loop would stand still
            # while it starts hundreds for a client. Nor does the interpreter wait for such a thread at its
            # end.
            start_new_thread(self._work, (worker,))
        except (RuntimeError, MemoryError):
            # A limit of processes (RLIMIT_NPROC, a cgroup's pids.max) or of memory is reached.
            return None
        if not self._workers:
            self._loop.after(IDLE, self._end_idle, shared=True)
        self._workers.add(worker)
        return worker

    def _done(self, worker: Worker, job: Job, answer: Any) -> None:
        worker.idle_since = monotonic()
        self._idle.append(worker)
        self._held[job.client] -= 1
        if not self._held[job.client]:
            del self._held[job.client]
        try:
            self._tell(job, answer)
        finally:
            if not self._closed:
                self._dispatch()

    def _tell(self, job: Job, answer: Any) -> None:
        then, job.then = job.then, None
        if then is not None:
            then(answer)

    def _end_idle(self) -> None:
        """Let threads end that have been idle for long; ``_idle`` has the latest used last."""
        limit = monotonic() - IDLE
        while self._idle and self._idle[0].idle_since <= limit:
            worker = self._idle.pop(0)
            self._workers.discard(worker)
            worker.jobs.put(None)
        if self._workers and not self._closed:
            self._loop.after(IDLE, self._end_idle, shared=True)

    # ------------------------------------------------------------ in a thread of its own

    def _work(self, worker: Worker) -> None:
        while (job := worker.jobs.get()) is not None:
            answer: Any
            try:
                answer = job.work()
            except OSError as err:
                answer = err
            except BaseException as err:
                # If the thread ended here, the job would have no result, and would count for the client for
                # ever.
                answer = OSError(errno.EIO, f"{type(err).__name__}: {err}")
            self._loop.call(partial(self._done, worker, job, answer), job.owner)
