"""Loads a module that ``import_hook`` waits for, and has it patched before code of the program sees it."""

from __future__ import annotations

import os
import sys

from pywrap.intercept.loading import block, unblock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

# Calls that may be in the middle of each other while a module is patched, beyond what the program allows. A
# finder of the program that imports something for each import imports ``socket`` where hardly any is left.
_DEPTH = 300


def nothing() -> None:
    """For a module before which nothing has to be there."""


class Again:
    """A loader that gives ``module``, which is loaded; ``imported`` is called as at its first import."""

    def __init__(self, module: Any, imported: Callable[[Any], None]) -> None:
        self._module = module
        self._imported = imported

    def create_module(self, spec: Any) -> Any:
        """The module itself, as it is."""
        return self._module

    def exec_module(self, module: Any) -> None:
        """The same as at its first import."""
        self._imported(module)


class Loader:
    """Loads a module by its own loader; calls ``expected`` before that and ``imported`` after it."""

    def __init__(self, spec: Any, expected: Callable[[], None], imported: Callable[[Any], None]) -> None:
        self._spec = spec
        self._loader = spec.loader
        self._expected = expected
        self._imported = imported

    def create_module(self, spec: Any) -> Any:
        """The module that the original loader makes."""
        return self._loader.create_module(spec)

    def exec_module(self, module: Any) -> None:
        """Execute the module by the original loader, between the calls of ``expected`` and ``imported``."""
        # Restored, since inspect and linecache ask the loader for the source.
        self._spec.loader = module.__loader__ = self._loader
        sys.setrecursionlimit(sys.getrecursionlimit() + _DEPTH)
        try:
            try:
                self._expected()
            except ImportError as err:
                _end(err)
            self._loader.exec_module(module)
            # An exception out of a signal handler would leave the module half patched.
            masks = block()
            try:
                self._imported(module)
            except BaseException as err:
                _end(err, module.__name__)
            unblock(masks)
        finally:
            sys.setrecursionlimit(sys.getrecursionlimit() - _DEPTH)


def _end(err: BaseException, name: str = "socket") -> None:
    """End the process: the program could catch ``err``, and go on with a module that is half patched."""
    line = f"pysocksify: error: cannot patch the {name} module: {err!r}\n"
    os.write(2, line.encode("utf-8", "backslashreplace"))
    os._exit(125)
