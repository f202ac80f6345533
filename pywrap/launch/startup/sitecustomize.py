"""The first code that Python runs in a program started by pysocksify.

If this file raised, ``site`` would print the error and start the program anyway, outside the tunnel.
So it ends the process instead. Any Python may read it, however old: hence its style.
"""

import os
import sys


def _is_confined():
    """Does the kernel see to it that this program's traffic goes through the proxies?"""
    try:
        # The variable alone proves nothing: a process outside may have it.
        return os.environ.get("PYSOCKSIFY_CONFINED") == os.readlink("/proc/self/ns/net")
    except OSError:
        return False


def _start():
    if sys.version_info < (3, 11) or sys.implementation.name != "cpython":
        if _is_confined():
            # An interpreter that the patches do not know runs without them.
            return
        raise Exception(
            "this is %s %d.%d, and pysocksify needs CPython 3.11 or later"
            % ((getattr(sys, "implementation", None) and sys.implementation.name or "Python",) + sys.version_info[:2])
        )
    if not getattr(sys, "_is_gil_enabled", lambda: True)():
        # What several threads share is guarded by that (`pywrap.intercept.lock`).
        if _is_confined():
            return
        raise Exception(
            "this is a free-threaded Python, %d.%dt, and pysocksify needs the GIL:"
            " run it with `-X gil=1` or PYTHON_GIL=1, or with `--confine on`" % sys.version_info[:2]
        )
    if not sys.platform.startswith("linux"):
        raise Exception("pysocksify runs on Linux only")

    # The package that this file is a part of, and nothing else from beside it: the program's own
    # sys.path must not see what the launcher was installed with.
    archive = sys.modules.get("pywrap.archive")
    if archive is None:
        from _frozen_importlib import module_from_spec
        from _frozen_importlib_external import spec_from_file_location

        package = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
        spec = spec_from_file_location("pywrap.archive", os.path.join(package, "archive.py"))
        archive = sys.modules["pywrap.archive"] = module_from_spec(spec)
        spec.loader.exec_module(archive)
        archive.read("start")
    bootstrap = archive.load("pywrap.launch.bootstrap")

    # Under another name it is executed by programs/isolated.py, and hides no other sitecustomize.
    bootstrap.start(os.path.dirname(os.path.abspath(__file__)), __name__ == "sitecustomize")


try:
    _start()
except BaseException as err:
    # Not sys.exit(): SystemExit here prints a page of "Fatal Python error".
    os.write(2, ("pysocksify: error: program not started: %s\n" % (err or repr(err),)).encode("utf-8", "replace"))
    os._exit(125)
