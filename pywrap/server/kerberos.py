"""GSSAPI with python-gssapi (the extra ``gssapi``): the server's end of a security context."""

from __future__ import annotations

from pywrap.errors import AuthenticationFailed, ConfigError, ProtocolError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pywrap.socks.gssapi import Context


def acceptor(service: str) -> Callable[[], Context]:
    """What makes a context for each client, with the key of ``service`` in the keytab (``$KRB5_KTNAME``).

    Raises:
        ConfigError: python-gssapi is not installed, or there is no such key.
    """
    try:
        import gssapi
        from gssapi.raw.misc import GSSError
    except ImportError:
        raise ConfigError("--gssapi needs python-gssapi", "`pip install 'pysocksify[gssapi]'`") from None
    try:
        name = gssapi.Name(service, gssapi.NameType.hostbased_service)
        credentials = gssapi.Credentials(name=name, usage="accept")
    except GSSError as err:
        raise ConfigError(f"no key for `{service}`: {_words(err)}", "$KRB5_KTNAME names the keytab") from err
    return lambda: _Context(gssapi.SecurityContext(creds=credentials, usage="accept"), GSSError)


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
            return self._context.step(token) or b""  # type: ignore[attr-defined]
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
