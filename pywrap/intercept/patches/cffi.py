"""cffi, without a compiler: what a program looks up by ``ffi.dlopen()`` in the C library (``unsupported``).

ctypes tells audit hooks of that. A module that cffi has compiled calls C without a look-up, and is not seen.
"""

from __future__ import annotations

from pywrap.intercept.loading import load

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pywrap.intercept.patching import Patches
    from pywrap.intercept.runtime import Runtime


def install(patches: Patches, module: Any, current: Callable[[], Runtime | None]) -> None:
    """Replace what makes a library in ``module``, which is ``cffi.api``."""
    make, unsupported = module._make_ffi_library, load("pywrap.intercept.unsupported")

    def _make_ffi_library(ffi: Any, libname: Any, flags: Any) -> Any:
        library, names = make(ffi, libname, flags)
        # Each library has a class of its own. What it has found once is in its __dict__.
        cls = type(library)
        for name in ("__getattr__", "__addressof__"):
            setattr(cls, name, _checked(getattr(cls, name), current, unsupported))
        return library, names

    patches.replace(module, "_make_ffi_library", _make_ffi_library)


def _checked(look_up: Any, current: Callable[[], Runtime | None], unsupported: Any) -> Any:
    def check_and_look_up(self: Any, name: str) -> Any:
        runtime = current() if name in unsupported.SYMBOLS else None
        if runtime is not None:
            unsupported.check_symbol(runtime, name, "cffi")
        return look_up(self, name)

    return check_and_look_up
