"""GSSAPI with python-gssapi (the extra ``gssapi``): both ends of a security context."""

from __future__ import annotations

from pywrap.errors import AuthenticationFailed, ConfigError, ProtocolError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pywrap.config.settings import Proxy
    from pywrap.socks.wire import Context


def acceptor(service: str) -> Callable[[], Context]:
    """A function that makes the context for a client, with the key of ``service`` (``$KRB5_KTNAME``).

    ``service``: a host-based service name in the keytab, such as ``socks@host``.

    Raises:
        ConfigError: python-gssapi is not installed, or there is no such key.
    """
    gssapi, GSSError = _library("--gssapi")  # noqa: N806 (a class)
    try:
        name = gssapi.Name(service, gssapi.NameType.hostbased_service)
        credentials = gssapi.Credentials(name=name, usage="accept")
    except GSSError as err:
        raise ConfigError(f"no key for `{service}`: {_words(err)}", "$KRB5_KTNAME names the keytab") from err
    return lambda: _Context(gssapi.SecurityContext(creds=credentials, usage="accept"), GSSError)


def initiator() -> Callable[[Proxy], Context]:
    """A function that makes the context for a connection to a hop, with the user's ticket (``kinit``).

    The first ``step`` of the context asks the KDC for a ticket for the hop, and waits for the answer.

    Raises:
        ConfigError: python-gssapi is not installed.
    """
    gssapi, GSSError = _library("`?gssapi` in the URL of a proxy")  # noqa: N806 (a class)
    flag = gssapi.RequirementFlag
    flags = (
        flag.mutual_authentication
        | flag.replay_detection
        | flag.out_of_sequence_detection
        | flag.confidentiality
        | flag.integrity
    )

    def make(hop: Proxy) -> Context:
        assert hop.kerberos is not None
        # A name of GSSAPI has an @ where a principal has a slash, which is what a URL has room for.
        service = (hop.kerberos.service or f"socks/{hop.host}").replace("/", "@", 1)
        try:
            name = gssapi.Name(service, gssapi.NameType.hostbased_service)
            return _Context(gssapi.SecurityContext(name=name, usage="initiate", flags=flags), GSSError)
        except GSSError as err:
            raise AuthenticationFailed(f"GSSAPI: {_words(err)}") from err

    return make


def _library(what: str) -> tuple[Any, type[Exception]]:
    try:
        import gssapi
        from gssapi.raw.misc import GSSError
    except ImportError:
        raise ConfigError(f"{what} needs python-gssapi", "`pip install 'pysocksify[gssapi]'`") from None
    return gssapi, GSSError


class _Context:
    def __init__(self, context: object, error: type[Exception]) -> None:
        self._context = context
        self._error = error

    @property
    def is_complete(self) -> bool:
        return bool(self._context.complete)  # type: ignore[attr-defined]

    @property
    def peer(self) -> bytes:
        return str(self._context.initiator_name).encode()  # type: ignore[attr-defined]

    def step(self, token: bytes) -> bytes:
        try:
            # At the first step of an initiator there is no token: None, since b"" would be an empty token.
            first = not token and self._context.usage == "initiate"  # type: ignore[attr-defined]
            return self._context.step(None if first else token) or b""  # type: ignore[attr-defined]
        except self._error as err:
            raise AuthenticationFailed(f"GSSAPI: {_words(err)}") from err

    def wrap(self, data: bytes, secret: bool) -> bytes:
        try:
            return bytes(self._context.wrap(data, secret).message)  # type: ignore[attr-defined]
        except self._error as err:
            raise ProtocolError(f"GSSAPI: {_words(err)}") from err

    def unwrap(self, token: bytes) -> tuple[bytes, bool]:
        try:
            result = self._context.unwrap(token)  # type: ignore[attr-defined]
        except self._error as err:
            raise ProtocolError(f"GSSAPI: {_words(err)}") from err
        return bytes(result.message), bool(result.encrypted)


def _words(err: Exception) -> str:
    return " ".join(str(err).split())
