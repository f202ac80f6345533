"""The mark of a patched process, which ``pysocksify --watch`` sees from outside.

It has to end with exec(), when another program takes the place of the patched one, and to be there in a
forked child, which is patched as well; and it may cost no descriptor, since a program that becomes a daemon
closes them all. A mapping of memory is like that: one without access and without content, whose size nothing
else has, shared so that the kernel never joins it with a neighbour. In /proc/PID/maps it is a line of its
own.

Any program could make such a mapping. The mark tells what was forgotten, not what was forged.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    import mmap

# A prime: no allocator asks for that many.
PAGES = 61

_mark: mmap.mmap | None = None


def put() -> None:
    """Mark this process. Nothing happens where the kernel does not allow that: --watch knows it less well."""
    global _mark
    if _mark is not None:
        return
    try:
        # With ``socket``, not at the start: the import takes 0.2 ms, and without a socket there is no need.
        import mmap

        _mark = mmap.mmap(-1, PAGES * mmap.PAGESIZE, flags=mmap.MAP_SHARED | mmap.MAP_ANONYMOUS, prot=0)
    except (ImportError, OSError):
        # An interpreter without that module; or RLIMIT_AS.
        pass


def remove() -> None:
    """Take the mark away. May be called twice."""
    global _mark
    if _mark is not None:
        _mark.close()
        _mark = None


def is_put(maps: str) -> bool:
    """Is a process marked? ``maps`` is the text of its /proc/PID/maps."""
    from mmap import PAGESIZE

    for line in maps.splitlines():
        if "---s" in line:
            begin, _, end = line.partition(" ")[0].partition("-")
            if int(end, 16) - int(begin, 16) == PAGES * PAGESIZE:
                return True
    return False
