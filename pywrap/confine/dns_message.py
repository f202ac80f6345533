"""DNS messages as the broker answers them (RFC 1035): a question is read, a reply is made.

No sockets, no clock. The question comes from a program that is not to be trusted: ``read_question`` raises
for everything that it does not understand. A reply repeats the question's bytes, so that programs that vary
the case of its letters ("DNS 0x20") recognize them.
"""

from __future__ import annotations

from pywrap.errors import ProtocolError
from pywrap.frozen import frozen
from pywrap.socks.dns import AAAA, NAME_ERROR, NO_ERROR, PTR, SERVER_FAILURE, A, reversed_address

__all__ = ["A", "AAAA", "NAME_ERROR", "NO_ERROR", "PTR", "SERVER_FAILURE", "reversed_address"]

_HEADER = 12
_RESPONSE, _OPCODE, _TRUNCATED = 0x8000, 0x7800, 0x0200
_RECURSION_DESIRED, _RECURSION_AVAILABLE, _CHECKING_DISABLED = 0x0100, 0x0080, 0x0010
_INTERNET = 1
_OPT = 41
_LONGEST_NAME, _LONGEST_LABEL = 255, 63

FORMAT_ERROR = 1
NOT_IMPLEMENTED = 4

# RFC 1035 section 4.2.1: bytes of a reply in a datagram, unless the program announces a larger size (RFC
# 6891).
SMALLEST = 512

_NAME_OF_QUESTION = b"\xc0\x0c"


@frozen
class Question:
    """A question. ``name``: in lower case, without the final dot, bytes beyond ASCII escaped.

    ``asked``: the bytes of the question in the message. ``room``: the bytes of the longest reply that the
    program takes in a datagram. ``edns``: whether it uses EDNS (RFC 6891).
    """

    number: int
    flags: int
    name: str
    kind: int
    asked: bytes
    room: int = SMALLEST
    edns: bool = False


def read_question(message: bytes) -> Question:
    """Read a query of one question.

    Raises:
        ProtocolError: ``message`` is no query of one question, so that it cannot be answered.
    """
    if len(message) < _HEADER:
        raise ProtocolError("shorter than a header")
    number, flags, questions, answers, authorities, additional = (
        int.from_bytes(message[at : at + 2], "big") for at in range(0, _HEADER, 2)
    )
    if flags & (_RESPONSE | _OPCODE) or questions != 1 or answers or authorities:
        raise ProtocolError("not a query of one question")
    labels, at, size = [], _HEADER, 1
    while length := _byte(message, at):
        size += 1 + length
        if length > _LONGEST_LABEL or size > _LONGEST_NAME:
            raise ProtocolError("not a name")
        labels.append(message[at + 1 : at + 1 + length])
        at += 1 + length
    end = at + 5
    if len(message) < end:
        raise ProtocolError("it ends within the question")
    kind, net = (int.from_bytes(message[start : start + 2], "big") for start in (at + 1, at + 3))
    if net != _INTERNET:
        raise ProtocolError("of another class than Internet")
    name = ".".join(_text(label) for label in labels)
    room, edns = SMALLEST, False
    # An OPT record: root name, type 41, the size in the place of the class.
    if additional and message[end : end + 3] == bytes([0, 0, _OPT]) and len(message) >= end + 11:
        room, edns = max(SMALLEST, int.from_bytes(message[end + 3 : end + 5], "big")), True
    return Question(number, flags, name, kind, message[_HEADER:end], room, edns)


def reply(
    question: Question, addresses: list[bytes], code: int = NO_ERROR, seconds: int = 0, name: str = ""
) -> bytes:
    """The answer: ``addresses`` of 4 or 16 bytes, or for a PTR question the ``name``.

    ``code``: the RCODE. ``seconds``: the time to live.
    """
    records = [_record(PTR, seconds, _pack_name(name))] if name else []
    records += [_record(A if len(data) == 4 else AAAA, seconds, data) for data in addresses]
    return _message(question, code, records)


def truncated(question: Question) -> bytes:
    """The answer with the TC bit, at which programs ask again over TCP (RFC 1035 section 4.2.1)."""
    return _message(question, NO_ERROR, [], _TRUNCATED)


def failure(message: bytes, code: int) -> bytes | None:
    """The answer with the RCODE ``code`` to an unreadable message; None if it is not even a query."""
    if len(message) < _HEADER or message[2] & 0x80:
        return None
    flags = _RESPONSE | (int.from_bytes(message[2:4], "big") & (_OPCODE | _RECURSION_DESIRED)) | code
    return message[:2] + flags.to_bytes(2, "big") + bytes(8)


def with_number(message: bytes, number: int) -> bytes:
    """``message`` with the ID ``number``, that of the question."""
    return number.to_bytes(2, "big") + message[2:]


def _message(question: Question, code: int, records: list[bytes], extra: int = 0) -> bytes:
    flags = _RESPONSE | _RECURSION_AVAILABLE | extra | code
    flags |= question.flags & (_RECURSION_DESIRED | _CHECKING_DISABLED)
    # RFC 6891 section 7: the answer to a query with EDNS has an OPT record too, here without options and with
    # the largest size.
    opt = b"\0" + _OPT.to_bytes(2, "big") + b"\xff\xff" + bytes(6) if question.edns else b""
    head = (question.number, flags, 1, len(records), 0, 1 if opt else 0)
    return b"".join(field.to_bytes(2, "big") for field in head) + question.asked + b"".join(records) + opt


def _record(kind: int, seconds: int, data: bytes) -> bytes:
    head = kind.to_bytes(2, "big") + _INTERNET.to_bytes(2, "big") + seconds.to_bytes(4, "big")
    return _NAME_OF_QUESTION + head + len(data).to_bytes(2, "big") + data


def _pack_name(name: str) -> bytes:
    labels = name.encode("ascii", "replace").split(b".")
    return b"".join(bytes([len(label[:63])]) + label[:63] for label in labels if label) + b"\0"


def _byte(message: bytes, at: int) -> int:
    if at >= len(message):
        raise ProtocolError("it ends within the name")
    return message[at]


def _text(label: bytes) -> str:
    # A dot inside a label is escaped, to differ from one between two labels.
    return label.decode("ascii", "backslashreplace").replace(".", "\\.").lower()
