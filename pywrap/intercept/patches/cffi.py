"""cffi: checks the functions that a program looks up in the C library by ``ffi.dlopen()`` (``unsupported``).

For ctypes an audit hook does that: ctypes raises an audit event at each look-up, cffi does not. A module that
cffi has compiled (API mode) calls C functions without a look-up, and is not seen.
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
    """Replace the function of ``module``, which is ``cffi.api``, that makes the object for a library."""
    make, unsupported = module._make_ffi_library, load("pywrap.intercept.unsupported")

    def _make_ffi_library(ffi: Any, libname: Any, flags: Any) -> Any:
        library, names = make(ffi, libname, flags)
        # Each library object has a class of its own, which looks a function up at its first use.
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
