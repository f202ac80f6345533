"""DNS over TCP (RFC 1035, RFC 7766), as a client of one name server: addresses, and names of addresses.

The server does the rest: recursion, retries at other servers, DNSSEC. No cache, no sockets, no clock, no
logging.
"""

from __future__ import annotations

import errno
import os

from pywrap.errors import ProtocolError, ProxyClosed, Unencodable, counted
from pywrap.frozen import frozen
from pywrap.socks.wire import Recv, Send, packed, unpacked

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TypeAlias

    from pywrap.socks.wire import Dialogue

    Labels: TypeAlias = tuple[bytes, ...]

# RFC 1035 section 3.2.2, RFC 3596 section 2.1.
A = 1
CNAME = 5
PTR = 12
AAAA = 28

# RCODEs of RFC 1035 section 4.1.1. All others are failures as well.
NO_ERROR = 0
SERVER_FAILURE = 2
NAME_ERROR = 3

_INTERNET = 1
_HEADER = 12
_RESPONSE = 0x8000
_OPCODE = 0x7800
_TRUNCATED = 0x0200
_RECURSION_DESIRED = 0x0100
_CODE = 0x000F

# RFC 1035 section 2.3.4; of a name, including its length bytes.
_LONGEST_NAME = 255
_LONGEST_LABEL = 63

_SIZES = {A: 4, AAAA: 16}

_REVERSE_4, _REVERSE_6 = ".in-addr.arpa", ".ip6.arpa"

# How many labels and pointers of names may be read in one message. 64 KiB hold four thousand addresses, each
# with one pointer; but pointers to pointers could make a reader follow a hundred million.
_MOST_STEPS = 1 << 15


@frozen
class Answer:
    """The server's answer to one question (RFC 1035 section 4.1).

    ``code``: the RCODE. ``values``: addresses as literals, or names, in the order of the message; names that
    no host can have are left out. ``canonical``: the name that has these values, after aliases (CNAME).
    ``seconds``: the time to live.
    """

    code: int
    values: tuple[str, ...] = ()
    canonical: str = ""
    seconds: int = 0


def ask(name: str, kinds: tuple[int, ...]) -> Dialogue[list[Answer]]:
    """Ask for the records of ``name`` of all ``kinds`` at once; return an answer for each, in that order.

    ``kinds``: the constants ``A``, ``AAAA``, ``PTR`` of this module.
    A server may hang up after its first answer, against RFC 7766 section 6.2.1.1: such servers exist. The
    other questions then have the answer SERVER_FAILURE.

    Raises:
        ProtocolError: an answer that cannot be read, or to another question.
        Unencodable: no DNS message can hold the name.
    """
    first = int.from_bytes(os.urandom(2), "big")
    waiting = {(first + place) & 0xFFFF: kind for place, kind in enumerate(kinds)}
    yield Send(b"".join(pack_query(number, name, kind) for number, kind in waiting.items()))
    answers: dict[int, Answer] = {}
    while waiting:
        try:
            message = yield from _read_message()
        except ProxyClosed:
            if not answers:
                raise
            break
        kind = waiting.pop(int.from_bytes(message[:2], "big"), 0)
        if not kind:
            raise _garbled("to a question that was not asked")
        answers[kind] = parse_answer(message, name, kind)
    return [answers.get(kind, Answer(SERVER_FAILURE)) for kind in kinds]


def exchange(query: bytes) -> Dialogue[bytes]:
    """Send ``query``, a whole message without its length, as it is; return the next message that comes.

    Raises:
        ProtocolError: what comes is too short for a message.
    """
    yield Send(len(query).to_bytes(2, "big") + query)
    return (yield from _read_message())


def reverse_name(address: bytes) -> str:
    """The name below in-addr.arpa or ip6.arpa whose PTR records are the names of ``address``.

    ``address``: 4 or 16 bytes in network order.
    """
    if len(address) == 4:
        # RFC 1035 section 3.5.
        return ".".join(str(byte) for byte in reversed(address)) + _REVERSE_4
    # RFC 3596 section 2.5.
    return ".".join(reversed(address.hex())) + _REVERSE_6


def reversed_address(name: str) -> bytes | None:
    """The 4 or 16 bytes of the address for which ``reverse_name`` is ``name``; None when there is none."""
    try:
        if name.endswith(_REVERSE_4):
            parts = name.removesuffix(_REVERSE_4).split(".")
            return packed(".".join(reversed(parts))) if len(parts) == 4 else None
        if name.endswith(_REVERSE_6):
            digits = name.removesuffix(_REVERSE_6).split(".")
            if len(digits) == 32 and all(len(digit) == 1 for digit in digits):
                return bytes.fromhex("".join(reversed(digits)))
    except ValueError:
        # Not the digits of any address.
        pass
    return None


def pack_query(number: int, name: str, kind: int) -> bytes:
    """A message that asks for the records of ``name`` of one ``kind``.

    Its length in two bytes stands before it, as over TCP (RFC 1035 section 4.2.2).
    ``number``: the ID that the answer will have.

    Raises:
        Unencodable: the name is not ASCII, or has a part that is empty or too long.
    """
    header = (number, _RECURSION_DESIRED, 1, 0, 0, 0)
    question = _pack_name(name) + kind.to_bytes(2, "big") + _INTERNET.to_bytes(2, "big")
    message = b"".join(field.to_bytes(2, "big") for field in header) + question
    return len(message).to_bytes(2, "big") + message


def parse_answer(message: bytes, name: str, kind: int) -> Answer:
    """Read the answer to the question for the records of ``name`` of one ``kind`` (RFC 1035 section 4).

    ``message``: without its length. Of its ID the caller takes care.

    Raises:
        ProtocolError: it is not an answer to that, or cannot be read.
    """
    # +----+-------+---------+---------+---------+---------+
    # | ID | FLAGS | QDCOUNT | ANCOUNT | NSCOUNT | ARCOUNT |   then so many questions and records
    # +----+-------+---------+---------+---------+---------+
    # | 2  |   2   |    2    |    2    |    2    |    2    |
    # +----+-------+---------+---------+---------+---------+
    flags, questions, records = (_number(message, at, 2) for at in (2, 4, 6))
    if not flags & _RESPONSE or flags & _OPCODE:
        raise _garbled("not an answer")
    if flags & _TRUNCATED:
        # Truncation is for answers by UDP.
        raise _garbled("marked as truncated")
    code = flags & _CODE
    if code:
        return Answer(code)
    if questions != 1:
        raise _garbled(f"to {questions} questions")
    steps = iter(range(_MOST_STEPS))
    asked, at = _read_name(message, _HEADER, steps)
    wanted = _folded(_labels(name))
    if (_folded(asked), _number(message, at, 4)) != (wanted, kind << 16 | _INTERNET):
        raise _garbled("to another question")
    aliases, found = _read_records(message, at + 4, records, kind, steps)
    canonical, seconds = name, 1 << 31
    followed = set()
    while wanted in aliases and wanted not in found:
        if wanted in followed:
            raise _garbled("aliases in a circle")
        followed.add(wanted)
        target, lasts = aliases[wanted]
        # A name that no host can have is left out; the name before it stays the canonical one.
        canonical, seconds = _host_name(target) or canonical, min(seconds, lasts)
        wanted = _folded(target)
    values = found.get(wanted, [])
    seconds = min([seconds, *(lasts for _, lasts in values)])
    texts = tuple(dict.fromkeys(text for text, _ in values if text))
    return Answer(code, texts, canonical, seconds if texts else 0)


def checked_name(name: str) -> str:
    """``name``, which comes from the network; "" when no host can have it."""
    return _host_name(tuple(name.removesuffix(".").encode("ascii", "replace").split(b".")))


# ---------------------------------------------------------------- parts of a message


def _read_message() -> Dialogue[bytes]:
    size = int.from_bytes((yield Recv(2)), "big")
    if size < _HEADER:
        raise _garbled(counted(size, "byte"))
    return (yield Recv(size))


def _read_records(
    message: bytes, at: int, count: int, kind: int, steps: Iterator[int]
) -> tuple[dict[Labels, tuple[Labels, int]], dict[Labels, list[tuple[str, int]]]]:
    """The aliases, and the values of one ``kind``, each by its owner and with its time to live."""
    aliases: dict[Labels, tuple[Labels, int]] = {}
    found: dict[Labels, list[tuple[str, int]]] = {}
    for _ in range(count):
        # +------+------+-------+-----+----------+-------+
        # | NAME | TYPE | CLASS | TTL | RDLENGTH | RDATA |
        # +------+------+-------+-----+----------+-------+
        # | Var. |  2   |   2   |  4  |    2     | Var.  |
        # +------+------+-------+-----+----------+-------+
        owner, at = _read_name(message, at, steps)
        its_kind, its_class = _number(message, at, 2), _number(message, at + 2, 2)
        seconds = _number(message, at + 4, 4)
        size = _number(message, at + 8, 2)
        at += 10
        data = _take(message, at, size)
        # RFC 2181 section 8: a time with its highest bit set counts as 0.
        seconds = 0 if seconds >> 31 else seconds
        owner = _folded(owner)
        if its_class == _INTERNET and its_kind == CNAME:
            aliases[owner] = _read_target(message, at, size, steps), seconds
        elif its_class == _INTERNET and its_kind == kind:
            if kind == PTR:
                value = _host_name(_read_target(message, at, size, steps))
            elif size == _SIZES[kind]:
                value = unpacked(data)
            else:
                raise _garbled(f"an address of {counted(size, 'byte')}")
            found.setdefault(owner, []).append((value, seconds))
        at += size
    return aliases, found


def _read_target(message: bytes, at: int, size: int, steps: Iterator[int]) -> Labels:
    """The name in a record whose data is one name (CNAME, PTR)."""
    target, end = _read_name(message, at, steps)
    if end != at + size:
        raise _garbled("a name that does not fill its record")
    return target


def _read_name(message: bytes, at: int, steps: Iterator[int]) -> tuple[Labels, int]:
    """The name at offset ``at``, and the offset of what follows it (RFC 1035 section 4.1.4).

    Each label and each pointer uses up one of ``steps``.
    """
    labels: list[bytes] = []
    size = 1
    start, after = at, 0
    while length := _number(message, at, 1):
        if next(steps, None) is None:
            raise _garbled("names of too many parts")
        if length <= _LONGEST_LABEL:
            labels.append(_take(message, at + 1, length))
            at += 1 + length
            size += 1 + length
            if size > _LONGEST_NAME:
                raise _garbled("a name without an end")
        elif length >= 0xC0:
            after = after or at + 2
            at = _number(message, at, 2) & 0x3FFF
            # "A prior occurrence" (section 4.1.4): as each pointer leads further to the front, they end.
            if at >= start:
                raise _garbled("a name that points at itself")
            start = at
        else:
            raise _garbled(f"an unknown kind of label: {length:#04x}")
    return tuple(labels), after or at + 1


def _number(message: bytes, at: int, size: int) -> int:
    return int.from_bytes(_take(message, at, size), "big")


def _take(message: bytes, at: int, size: int) -> bytes:
    taken = message[at : at + size]
    if len(taken) < size:
        raise _garbled("it ends too early")
    return taken


def _labels(name: str) -> Labels:
    try:
        labels = tuple(name.removesuffix(".").encode("ascii").split(b"."))
    except UnicodeEncodeError:
        raise Unencodable(f"not an ASCII name: {name!r}", errno.EINVAL) from None
    if not all(1 <= len(label) <= _LONGEST_LABEL for label in labels):
        raise Unencodable(f"a part of a name has 1 to 63 bytes: {name!r}", errno.EINVAL)
    return labels


def _pack_name(name: str) -> bytes:
    data = b"".join(bytes([len(label)]) + label for label in _labels(name)) + b"\0"
    if len(data) > _LONGEST_NAME:
        raise Unencodable(f"a name has at most 253 bytes: {name!r}", errno.EINVAL)
    return data


def _folded(labels: Labels) -> Labels:
    """The labels in lower case, as they are compared (RFC 4343)."""
    return tuple(label.lower() for label in labels)


def _host_name(labels: Labels) -> str:
    """The name as text; "" when no host can have it, by the rules of the C library (res_hnok).

    The owner of an address writes its PTR record, and programs put the answer into logs and web pages: so
    only letters, digits, - and _ pass.
    """
    for label in labels:
        if not label.translate(None, b"-_").isalnum() or label.startswith(b"-"):
            return ""
    name = b".".join(labels).decode("ascii")
    return name if packed(name) is None else ""


def _garbled(what: str) -> ProtocolError:
    return ProtocolError(f"a garbled answer: {what}")
