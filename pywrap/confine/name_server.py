"""The name server of the confinement: it answers at port 53 of every address, according to ``--dns``.

As for patched programs (``intercept.patches.getaddrinfo``), the first of these that applies answers:
/etc/hosts; for direct names and a first hop's, the resolver outside; with ``dns tor`` and ``dns tcp://`` a
look-up through the chain; else a placeholder. Records other than addresses and PTR exist only with ``dns
tcp://``, where the question goes to that server unchanged. Otherwise the answer to such a question is empty,
but there is always one: a program without an answer asks again and again.

A name has a placeholder of each family, for programs that want only one. Programs that sort addresses try the
IPv4 one first (``namespaces``), and programs that try both at once still get one tunnel (``happy_eyeballs``).
"""

from __future__ import annotations

import os
from _socket import EAI_NODATA, EAI_NONAME
from time import monotonic

from pywrap.confine import dns_message
from pywrap.confine.dns_message import AAAA, NAME_ERROR, NO_ERROR, PTR, SERVER_FAILURE, A, Question
from pywrap.errors import ProtocolError, Rejected, SocksError
from pywrap.socks import dns, v5
from pywrap.socks.wire import Endpoint, packed, unpacked
from pywrap.tunnel.lookups import LookupFailed, has_addresses
from pywrap.tunnel.resolver import OF_TOR, name_server
from pywrap.tunnel.routes import address_of
from pywrap.tunnel.shared_names import NOT_OWN, OWN, asked_whether_own

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeAlias

    from pywrap.confine.askers import Ends
    from pywrap.confine.outside import Outside
    from pywrap.socks.wire import Dialogue

    # A function that sends the bytes of an answer to the program.
    Respond: TypeAlias = Callable[[bytes], None]
    # The identity of a program's socket: an address and a port.
    Client: TypeAlias = object

# Seconds that a placeholder may be remembered.
OF_PLACEHOLDER = 10
OF_LOCAL = 10
# Seconds for which a failed look-up through the chain is not repeated.
_OF_FAILURE = 10.0
# How many questions may be under way, and how many answers are remembered.
MOST = 2048


class NameServer:
    """Answers questions; ``respond`` is called once for each, or never for a message that is no question.

    ``ipv6``: whether there is IPv6 inside.
    """

    def __init__(self, outside: Outside, ipv6: bool) -> None:
        self._outside = outside
        self._ipv6 = ipv6
        self._dns = outside.settings.dns
        self._server = name_server(self._dns)
        # The questions under way, since a program repeats a slow one.
        self._asked: set[tuple[Client, int, bytes]] = set()
        # By the question without its ID: until when the answer holds, and the answer.
        self._known: dict[bytes, tuple[float, bytes]] = {}

    def ask(self, message: bytes, client: Client, respond: Respond, ends: Ends, datagram: bool) -> None:
        """Answer ``message``, a question that came from ``client``, in a ``datagram`` or over TCP.

        ``ends``: the addresses of the program's socket, and of the name server that it has asked.
        """
        try:
            question = dns_message.read_question(message)
        except ProtocolError:
            answer = dns_message.failure(message, dns_message.FORMAT_ERROR)
            if answer is not None:
                respond(answer)
            return
        key = client, question.number, question.asked
        if key in self._asked or len(self._asked) >= MOST:
            return
        self._asked.add(key)
        log = self._outside.log
        begun = None if log is None else log.begin(self._outside.asker(ends, datagram))

        def once(answer: bytes) -> None:
            self._asked.discard(key)
            if log is not None and begun is not None:
                log.answered(begun, question, self._outside.how(question.name), answer)
            if datagram and len(answer) > question.room:
                answer = dns_message.truncated(question)
            respond(answer)

        if question.kind in (A, AAAA):
            self._ask_addresses(question, message, once)
        elif question.kind == PTR:
            self._ask_name(question, message, once)
        elif self._server is not None:
            self._forward(question, message, once)
        else:
            once(dns_message.reply(question, []))

    # ------------------------------------------------------------ addresses

    def _ask_addresses(self, question: Question, message: bytes, respond: Respond) -> None:
        name, outside = question.name, self._outside
        routes = outside.routes
        if not name or "\\" in name or packed(name) is not None:
            # The root exists and has no address; other such names cannot be those of hosts.
            respond(dns_message.reply(question, [], NO_ERROR if not name else NAME_ERROR))
        elif (address := asked_whether_own(name)) is not None:
            answer = [OWN if routes.is_own(address) else NOT_OWN] if question.kind == A else []
            respond(dns_message.reply(question, answer))
        elif known := routes.local_addresses(name):
            routes.remember(name, known, from_hosts=True)
            self._tell(question, known, OF_LOCAL, respond)
        elif self._dns == "local" or routes.resolves_here(name):
            self._resolve_here(question, respond)
        elif self._dns == "remote" or not has_addresses(name) or routes.is_blocked(name):
            self._give_placeholder(question, respond)
        elif self._server is not None:
            self._forward(question, message, respond)
        else:
            self._ask_tor(question, Endpoint(name, 0), v5.RESOLVE, respond)

    def _tell(self, question: Question, literals: list[str], seconds: int, respond: Respond) -> None:
        """Answer with the addresses in ``literals`` that are of the family asked for."""
        size = 4 if question.kind == A else 16
        addresses = [address for address in map(packed, literals) if address and len(address) == size]
        respond(dns_message.reply(question, addresses, NO_ERROR, seconds))

    def _resolve_here(self, question: Question, respond: Respond) -> None:
        def found(answer: Any) -> None:
            if isinstance(answer, OSError):
                none = answer.errno in (EAI_NONAME, EAI_NODATA)
                respond(dns_message.reply(question, [], NAME_ERROR if none else SERVER_FAILURE))
                return
            literals = list(dict.fromkeys(str(sockaddr[0]) for _, sockaddr in answer))
            try:
                self._outside.routes.learn_from_resolver(question.name, literals)
            except LookupFailed as err:
                self._outside.messages.say(0, str(err))
                respond(dns_message.reply(question, [], SERVER_FAILURE))
                return
            self._tell(question, literals, OF_LOCAL, respond)

        self._outside.resolver.resolve(question.name, 0, found)

    def _give_placeholder(self, question: Question, respond: Respond) -> None:
        if question.kind == AAAA and not self._ipv6:
            respond(dns_message.reply(question, []))
            return
        self._outside.messages.say(2, f"{question.name}: left to the last proxy")
        try:
            literal = self._outside.names.placeholder(question.name, question.kind == AAAA)
        except LookupFailed as err:
            self._outside.messages.say(0, str(err))
            respond(dns_message.reply(question, [], SERVER_FAILURE))
            return
        self._tell(question, [literal], OF_PLACEHOLDER, respond)

    # ------------------------------------------------------------ names

    def _ask_name(self, question: Question, message: bytes, respond: Respond) -> None:
        outside = self._outside
        address = dns_message.reversed_address(question.name)
        if address is None:
            if self._server is not None:
                self._forward(question, message, respond)
            else:
                respond(dns_message.reply(question, [], NAME_ERROR))
            return
        known = [name] if (name := outside.names.name_of(address)) else outside.hosts.names(address)
        if known:
            respond(dns_message.reply(question, [], NO_ERROR, OF_LOCAL, known[0]))
        elif name == "" or outside.routes.verdict(unpacked(address), 0).kind != "tunnel":
            # A placeholder without a name, or an address for which no look-up through the chain is allowed.
            self._reverse_here(question, address, respond)
        elif self._server is not None:
            self._forward(question, message, respond)
        elif self._dns == "tor":
            self._ask_tor(question, Endpoint(unpacked(address), 0), v5.RESOLVE_PTR, respond)
        else:
            self._reverse_here(question, address, respond)

    def _reverse_here(self, question: Question, address: bytes, respond: Respond) -> None:
        if self._dns != "local":
            respond(dns_message.reply(question, [], NAME_ERROR))
            return

        def found(answer: Any) -> None:
            if isinstance(answer, OSError):
                respond(dns_message.reply(question, [], NAME_ERROR))
            else:
                respond(dns_message.reply(question, [], NO_ERROR, OF_LOCAL, answer))

        self._outside.resolver.reverse(unpacked(address), found)

    # ------------------------------------------------------------ beyond the chain

    def _ask_tor(self, question: Question, what: Endpoint, command: int, respond: Respond) -> None:
        key = question.asked
        if self._tell_known(key, question, respond):
            return

        def done(bound: Endpoint) -> None:
            if command == v5.RESOLVE_PTR:
                name = dns.checked_name(bound.host)
                code = NO_ERROR if name else NAME_ERROR
                self._remember_and_tell(
                    key, question, dns_message.reply(question, [], code, OF_TOR, name), respond
                )
                return
            address = packed(bound.host)
            if address is None or self._is_refused(question.name, address):
                respond(dns_message.reply(question, [], SERVER_FAILURE))
                return
            self._outside.routes.learn_from_beyond(question.name, [bound.host])
            right = (len(address) == 4) == (question.kind == A)
            answer = dns_message.reply(question, [address] if right else [], NO_ERROR, OF_TOR)
            self._remember_and_tell(key, question, answer, respond)

        def failed(err: SocksError) -> None:
            self._outside.messages.say(1, f"{what.host}: {err}")
            none = isinstance(err, Rejected) and err.failure.blamed is None and err.code in _NOT_FOUND
            answer = dns_message.reply(question, [], NAME_ERROR if none else SERVER_FAILURE)
            self._remember_and_tell(key, question, answer, respond, _OF_FAILURE if none else 0.0)

        self._outside.converse(what.host, what, command, None, done, failed)

    def _forward(self, question: Question, message: bytes, respond: Respond) -> None:
        """Send the program's question unchanged to the name server of ``dns tcp://``."""
        server, key = self._server, message[2:]
        assert server is not None, "it was asked before"
        if self._tell_known(key, question, respond):
            return
        number = int.from_bytes(os.urandom(2), "big")
        query = dns_message.with_number(message, number)
        answers: list[bytes] = []

        def talk() -> Dialogue[None]:
            answers.append((yield from dns.exchange(query)))

        def done(_: Endpoint) -> None:
            answer = answers[0]
            seconds = self._learn(question, answer, number)
            if seconds is None:
                respond(dns_message.reply(question, [], SERVER_FAILURE))
            else:
                self._remember_and_tell(key, question, answer, respond, float(seconds))

        def failed(err: SocksError) -> None:
            self._outside.messages.say(1, f"name server {server}: {err} (asked for {question.name})")
            respond(dns_message.reply(question, [], SERVER_FAILURE))

        self._outside.converse(question.name, server, v5.CONNECT, talk, done, failed)

    def _learn(self, question: Question, answer: bytes, number: int) -> int | None:
        """Note the addresses of ``answer`` for the rules; return the seconds it holds, None if refused."""
        if len(answer) < 12 or int.from_bytes(answer[:2], "big") != number or not answer[2] & 0x80:
            return None
        if question.kind not in (A, AAAA):
            return 0
        try:
            found = dns.parse_answer(answer, question.name, question.kind)
        except SocksError as err:
            self._outside.messages.say(1, f"name server {self._server}: {err} (asked for {question.name})")
            return None
        if any(self._is_refused(question.name, address_of(literal) or b"") for literal in found.values):
            return None
        self._outside.routes.learn_from_beyond(question.name, list(found.values))
        return found.seconds

    def _is_refused(self, name: str, address: bytes) -> bool:
        """Whether ``address``, an answer through the chain, would be direct or mean another name."""
        why = self._outside.routes.why_not_from_beyond(address)
        if why:
            self._outside.messages.say(1, f"refused: {name} was answered with {unpacked(address)}, {why}")
        return bool(why)

    def _tell_known(self, key: bytes, question: Question, respond: Respond) -> bool:
        until, answer = self._known.get(key, (0.0, b""))
        if monotonic() >= until:
            return False
        respond(dns_message.with_number(answer, question.number))
        return True

    def _remember_and_tell(
        self, key: bytes, question: Question, answer: bytes, respond: Respond, seconds: float = OF_TOR
    ) -> None:
        if seconds:
            if len(self._known) >= MOST:
                self._known.clear()
            self._known[key] = monotonic() + seconds, answer
        respond(dns_message.with_number(answer, question.number))


# The reply codes of Tor for a name that it does not find.
_NOT_FOUND = (v5.HOST_UNREACHABLE, v5.GENERAL_FAILURE)
