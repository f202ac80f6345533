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


def _quickly(package):
    """The module pywrap.archive, whose code is in the archive of a start as well; None if it is not there."""
    import marshal
    from _frozen_importlib_external import MAGIC_NUMBER

    file = package + "/archive.py"
    try:
        # Where Python keeps it as a rule. A look elsewhere takes longer.
        fd = os.open("%s/__pycache__/archive.%s.start" % (package, sys.implementation.cache_tag), os.O_RDONLY | os.O_CLOEXEC)
        try:
            data = os.read(fd, os.fstat(fd).st_size)
        finally:
            os.close(fd)
        status = os.stat(file)
        if sys.pycache_prefix or sys.flags.optimize or data[:4] != MAGIC_NUMBER:
            return None
        folder, entries = marshal.loads(memoryview(data)[4:])
        time, size, code = entries["pywrap.archive"][1:]
    except (OSError, EOFError, ValueError, TypeError, KeyError):
        # It was not written yet, or not to its end.
        return None
    if (folder, time, size) != (package, status.st_mtime_ns, status.st_size):
        return None
    archive = sys.modules["pywrap.archive"] = type(sys)("pywrap.archive")
    archive.__file__ = file
    exec(code, vars(archive))
    archive.take("start", entries)
    return archive


def _from_its_file(package):
    from _frozen_importlib import module_from_spec
    from _frozen_importlib_external import spec_from_file_location

    spec = spec_from_file_location("pywrap.archive", os.path.join(package, "archive.py"))
    archive = sys.modules["pywrap.archive"] = module_from_spec(spec)
    spec.loader.exec_module(archive)
    archive.read("start")
    return archive


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
        package = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
        archive = _quickly(package) or _from_its_file(package)
    bootstrap = archive.load("pywrap.launch.bootstrap")

    # Under another name it is executed by programs/isolated.py, and hides no other sitecustomize.
    bootstrap.start(os.path.dirname(os.path.abspath(__file__)), __name__ == "sitecustomize")


try:
    _start()
except BaseException as err:
    # Not sys.exit(): SystemExit here prints a page of "Fatal Python error".
    os.write(2, ("pysocksify: error: program not started: %s\n" % (err or repr(err),)).encode("utf-8", "replace"))
    os._exit(125)
