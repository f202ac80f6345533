"""_interpreters.create(): subinterpreters, each of which has modules of its own and is patched by itself.

Under the command ``pysocksify`` they run our start-up file, as every interpreter does at its start. After
``pywrap.install()`` there is no such file: so each is patched when it has been made. It gets the settings
from here, with the list of placeholders, which is one for all interpreters of a process. A subinterpreter
that C code makes (Py_NewInterpreter) is not seen. ``uninstall`` in the interpreter that made it undoes its
patches too, unless it executes code at that moment.
"""

from __future__ import annotations

import os

from pywrap.intercept.loading import load

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pywrap.intercept.patching import Patches

_PACKAGE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

# The code that patches the new interpreter. It leaves no name in its ``__main__``.
_ARM = """
def _pysocksify():
    import sys
    from _frozen_importlib import module_from_spec
    from _frozen_importlib_external import spec_from_file_location
    package, text, handed = {arguments!r}
    if "pywrap" not in sys.modules:
        file = package + "/__init__.py"
        spec = spec_from_file_location("pywrap", file, submodule_search_locations=[package])
        sys.modules["pywrap"] = module_from_spec(spec)
        spec.loader.exec_module(sys.modules["pywrap"])
    from pywrap import intercept
    if not intercept.active():
        def settings():
            from pywrap.config.settings_env import decode
            return decode(text)
        intercept.arm(settings, (lambda: handed) if handed is not None else None)
try:
    _pysocksify()
finally:
    del _pysocksify
"""

_DISARM = """
def _pysocksify():
    import sys
    if "pywrap.intercept" in sys.modules:
        sys.modules["pywrap.intercept"].uninstall()
try:
    _pysocksify()
finally:
    del _pysocksify
"""


def install(patches: Patches, module: Any, text: Callable[[], str], handed: Callable[[], str] | None) -> None:
    """Replace ``create`` in ``module``. ``text()``: the settings; ``handed``: as for ``intercept.arm``."""
    original = module.create
    # The identifiers of all interpreters that were made here; many may be destroyed by now.
    ours: set[int] = set()

    def create(*args: Any, **options: Any) -> Any:
        made = original(*args, **options)
        code = _ARM.format(arguments=(_PACKAGE, text(), handed() if handed is not None else None))
        try:
            failed = _run(module, made, code)
        except Exception as err:
            failed = err
        if failed is not None:
            module.destroy(made)
            raise RuntimeError(f"pysocksify cannot cover a new interpreter: {_shown(failed)}")
        ours.intersection_update(map(_number, module.list_all()))
        ours.add(_number(made))
        return made

    def disarm() -> None:
        for other in module.list_all():
            if _number(other) in ours:
                try:
                    _run(module, _number(other), _DISARM)
                except getattr(module, "InterpreterError", RuntimeError):
                    # The interpreter is executing code, or another thread has destroyed it.
                    continue
        ours.clear()

    create.__name__ = create.__qualname__ = "create"
    create.__doc__ = original.__doc__
    patches.replace(module, "create", create)
    patches.remember(disarm)


def _run(module: Any, interpreter: Any, code: str) -> Any:
    """Run ``code`` in ``interpreter``; return its exception, or None. Before Python 3.13 that is raised."""
    return (getattr(module, "exec", None) or module.run_string)(interpreter, code)


def _number(interpreter: Any) -> int:
    # An int, an object with __int__ (Python 3.12 and before), or a pair: the number, and which API made it.
    return int(interpreter[0] if isinstance(interpreter, tuple) else interpreter)


def _shown(failed: Any) -> str:
    return str(getattr(failed, "formatted", failed))


def text_of(settings: Any, path: str) -> str:
    """The text of ``settings``, with the list of placeholders at ``path``."""
    replace = load("pywrap.frozen").replace
    text = load("pywrap.config.settings_env").encode(
        replace(settings, shared_file=path or settings.shared_file)
    )
    assert isinstance(text, str)
    return text
