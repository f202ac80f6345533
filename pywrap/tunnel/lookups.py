"""What all look-ups of names have in common: how they fail, and which names can be looked up at all."""

from __future__ import annotations

from _socket import EAI_AGAIN, EAI_FAIL, EAI_MEMORY, EAI_NODATA, EAI_NONAME, gaierror, herror

from pywrap.errors import SocksError

# The texts of the C library for the errors of getaddrinfo() (gai_strerror), and below of gethostbyaddr().
_WORDS = {
    EAI_NONAME: "Name or service not known",
    EAI_NODATA: "No address associated with hostname",
    EAI_AGAIN: "Temporary failure in name resolution",
    EAI_FAIL: "Non-recoverable failure in name resolution",
    EAI_MEMORY: "Memory allocation failure",
}
_UNKNOWN_HOST = (1, "Unknown host")
_OF_HOSTS = {EAI_AGAIN: (2, "Host name lookup failure"), EAI_FAIL: (3, "Unknown server error")}


class LookupFailed(SocksError):
    """A look-up found nothing. ``errno``: an error number of getaddrinfo(3), such as EAI_NONAME."""

    @property
    def is_final(self) -> bool:
        """Whether the name server or proxy has answered that there is nothing; else it did not answer."""
        return self.errno in (EAI_NONAME, EAI_NODATA)

    def as_gaierror(self) -> gaierror:
        """The exception that getaddrinfo() raises for it."""
        words = _WORDS[self.errno]
        return gaierror(self.errno, words if self.is_final else f"{words} ({self})")

    def as_herror(self) -> herror:
        """The exception that gethostbyaddr() raises for it."""
        return herror(*_OF_HOSTS.get(self.errno, _UNKNOWN_HOST))


def has_addresses(name: str) -> bool:
    """Whether ``name`` can have addresses: names below .onion have none (RFC 7686)."""
    return not name.lower().rstrip(".").endswith(".onion")


def is_host_name(name: str) -> bool:
    """Whether ``name`` has only characters of host names (RFC 952), or underscores, which are in use too."""
    return not name.encode("utf-8", "replace").translate(None, _OF_NAMES)


_OF_NAMES = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_."
