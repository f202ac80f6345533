"""Every function that replaces one of ``socket`` and decides about traffic, for one ``Runtime``.

Made at the first call of a function of ``lazy``, so that a program without network traffic imports none of
it. Everything is imported here and at once, so that nothing is left to import when gevent has replaced the
locks of the import system.
"""

from __future__ import annotations

# The last two are called by the package's ``__init__`` and by ``sockopt``.
from pywrap.intercept import audit, multicast, unsupported  # noqa: F401
from pywrap.intercept.patches import connect, getaddrinfo, listen, sendto
from pywrap.intercept.runtime import Runtime

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pywrap.config.settings import Settings
    from pywrap.intercept.registry import SocketRegistry


def new_runtime(settings: Settings, registry: SocketRegistry) -> Runtime:
    """A ``Runtime`` with its ``functions``."""
    made = Runtime(settings, registry)
    for module in (connect, sendto, listen, getaddrinfo):
        made.functions.update(module.functions(made))
    return made
