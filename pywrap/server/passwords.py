"""Passwords: how they are stored, and how a client's is checked without revealing anything but yes or no.

A hash is ``$scrypt$ln=14,r=8,p=1$SALT$HASH`` (RFC 7914, in the notation of PHC): ln is the binary logarithm
of the cost, salt and hash are base64 without padding. The default costs 16 MiB and some 50 ms.
"""

from __future__ import annotations

import os
from binascii import Error, a2b_base64, b2a_base64
from functools import partial
from time import monotonic

from pywrap.errors import ConfigError
from pywrap.frozen import frozen
from pywrap.socks.wire import Later

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pywrap.relay.loop import Loop
    from pywrap.server.threads import Pool

PREFIX = b"$scrypt$"

_COST = 14
_SALT = 16
_SIZE = 32
# The largest ln. A hash of a larger cost would take more than a gigabyte of memory for each log-in.
_LARGEST_COST = 20
_LARGEST_FACTOR = 32

# Seconds between two log-ins of an address after its first failure; doubled by each further one, up to the
# longest.
_FIRST_DELAY = 0.1
_LONGEST_DELAY = 5.0

# Seconds after which an address's failures are forgotten, and how many addresses are remembered at most.
_FORGIVEN = 600.0
_ADDRESSES = 4096

# How many successful log-ins are remembered, so that a client that opens many connections waits only once.
_REMEMBERED = 4096


@frozen
class Hashed:
    """The stored form of a password: salt, costs and hash of scrypt (RFC 7914)."""

    cost: int
    factor: int
    parallel: int
    salt: bytes
    digest: bytes

    def matches(self, password: bytes) -> bool:
        """Whether ``password`` is the one; takes time and memory. Any thread may call it."""
        from hmac import compare_digest

        found = _scrypt(password, self.salt, self.cost, self.factor, self.parallel, len(self.digest))
        return compare_digest(found, self.digest)


def hash_password(password: bytes) -> bytes:
    """The text to store in the place of ``password``."""
    salt = os.urandom(_SALT)
    digest = _scrypt(password, salt, _COST, 8, 1, _SIZE)
    return PREFIX + b"ln=%d,r=8,p=1$%b$%b" % (_COST, _base64(salt), _base64(digest))


def parse_hash(text: bytes) -> Hashed:
    """Read a text of ``hash_password``.

    Raises:
        ConfigError: ``text`` is not in this form.
    """
    try:
        parameters, salt, digest = text.removeprefix(PREFIX).split(b"$")
        values = dict(item.split(b"=") for item in parameters.split(b","))
        cost, factor, parallel = (int(values.pop(key)) for key in (b"ln", b"r", b"p"))
        # a2b_base64 needs the padding that PHC leaves out, and ignores padding beyond that.
        hashed = Hashed(cost, factor, parallel, a2b_base64(salt + b"=="), a2b_base64(digest + b"=="))
    except (ValueError, KeyError, Error):
        raise ConfigError(
            "not a hash of scrypt", "`pysocksd --users FILE --add-user NAME` makes one"
        ) from None
    largest = cost <= _LARGEST_COST and factor <= _LARGEST_FACTOR and parallel <= _LARGEST_FACTOR
    if values or not largest or min(cost, factor, parallel) < 1 or len(hashed.digest) < 16:
        raise ConfigError("a hash of scrypt with parameters that are not taken here")
    return hashed


def _scrypt(password: bytes, salt: bytes, cost: int, factor: int, parallel: int, size: int) -> bytes:
    # Imported here, since it loads OpenSSL.
    from hashlib import scrypt

    memory = 128 * factor * ((1 << cost) + parallel + 2)
    return scrypt(password, salt=salt, n=1 << cost, r=factor, p=parallel, maxmem=2 * memory, dklen=size)


def _base64(data: bytes) -> bytes:
    return b2a_base64(data, newline=False).rstrip(b"=")


class Authenticator:
    """Checks log-ins: as plain text at once, hashes in threads, and slowly where many were wrong.

    After a failure, the next log-in of the same address waits before it is checked, whether it is right or
    not: otherwise the wait would reveal that. ``users``: by name, the password or its hash. ``failed(party)``
    is called for each failure.
    """

    def __init__(
        self,
        loop: Loop,
        pool: Pool,
        users: Mapping[bytes, bytes | Hashed],
        failed: Callable[[str], None],
    ) -> None:
        self._loop = loop
        self._pool = pool
        self._users = users
        self._failed = failed
        self._key = os.urandom(32)
        self._right: dict[bytes, None] = {}
        self._failures: dict[str, Failures] = {}
        # The check of an unknown user must take as long as that of a known one.
        self._dummy = next((each for each in users.values() if isinstance(each, Hashed)), b"")

    def check(self, party: str, name: bytes, password: bytes) -> bool | Later:
        """Whether ``password`` is that of ``name``; ``party``: the client, as ``dial.party_of`` has it.

        A ``Later`` where the answer takes time, or has to wait.
        """
        wait = self._wait(party)
        if not wait:
            result = self._check_quickly(name, password)
            if result is not None:
                return self._note(party, result)
        return Later(lambda resume: self._begin(wait, party, name, password, resume))

    def _begin(
        self, wait: float, party: str, name: bytes, password: bytes, resume: Callable[[bool], None]
    ) -> None:
        if wait:
            self._loop.after(wait, lambda: self._check(party, name, password, resume))
        else:
            self._check(party, name, password, resume)

    def _check(self, party: str, name: bytes, password: bytes, resume: Callable[[bool], None]) -> None:
        result = self._check_quickly(name, password)
        if result is not None:
            resume(self._note(party, result))
            return
        kept = self._users.get(name, self._dummy)
        assert isinstance(kept, Hashed), "the others are checked quickly"

        def done(answer: bool | OSError) -> None:
            right = answer is True and name in self._users
            if right:
                self._remember(name, password)
            resume(self._note(party, right))

        self._pool.run(party, partial(kept.matches, password), done)

    def _check_quickly(self, name: bytes, password: bytes) -> bool | None:
        """Whether the password is right, as far as that is known at once; None: a thread has to hash."""
        from hmac import compare_digest

        kept = self._users.get(name, self._dummy)
        if not isinstance(kept, Hashed):
            return compare_digest(password, kept) and name in self._users
        return True if self._mark(name, password) in self._right else None

    def _mark(self, name: bytes, password: bytes) -> bytes:
        from hmac import digest

        return digest(self._key, b"%d:%b%b" % (len(name), name, password), "sha256")

    def _remember(self, name: bytes, password: bytes) -> None:
        if len(self._right) >= _REMEMBERED:
            del self._right[next(iter(self._right))]
        self._right[self._mark(name, password)] = None

    # ------------------------------------------------------------ failures

    def _wait(self, party: str) -> float:
        """Seconds until the next log-in of ``party`` may be checked; takes that place in its queue."""
        failures = self._failures.get(party)
        if failures is None:
            return 0.0
        now = monotonic()
        if now - failures.last > _FORGIVEN:
            del self._failures[party]
            return 0.0
        return failures.queue(now)

    def _note(self, party: str, right: bool) -> bool:
        if right:
            return True
        failures = self._failures.pop(party, None) or Failures()
        if len(self._failures) >= _ADDRESSES:
            del self._failures[next(iter(self._failures))]
        self._failures[party] = failures
        failures.add(monotonic())
        self._failed(party)
        return False


class Failures:
    """The wrong log-ins of one address."""

    __slots__ = ("_count", "_next", "last")

    def __init__(self) -> None:
        self._count = 0
        self._next = 0.0
        self.last = 0.0

    def add(self, now: float) -> None:
        """Note a failure at the moment ``now``, in seconds of the monotonic clock."""
        self._count += 1
        self.last = now
        self._next = max(self._next, now + self._delay)

    def queue(self, now: float) -> float:
        """Take the next place for an attempt; return the seconds to wait for it."""
        begin = max(now, self._next)
        self._next = begin + self._delay
        return begin - now

    @property
    def _delay(self) -> float:
        return min(_LONGEST_DELAY, _FIRST_DELAY * 2.0 ** min(self._count - 1, 20))
