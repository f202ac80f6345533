"""The mark of a patched process, which ``pysocksify --watch`` sees from outside.

The mark has to vanish at exec(), when another program takes the place of the patched one. It has to exist in
a forked child, which is patched as well. It must not need a descriptor, since a program that becomes a daemon
closes all. So it is a mapping of memory (mmap(2)), without access and without content, of a size that no
other mapping has, and shared, so that the kernel never joins it with a neighbour. In /proc/PID/maps it is a
line of its own.

Any program could make such a mapping: the mark shows which processes were forgotten, but cannot reveal a
forgery.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    import mmap

# The size in pages. A prime, which no allocator asks for.
PAGES = 61

_mark: mmap.mmap | None = None


def put() -> None:
    """Mark this process. Does nothing where the kernel does not allow that: --watch then knows less."""
    global _mark
    if _mark is not None:
        return
    try:
        # Imported with ``socket``, not at the start: it takes 0.2 ms, and a program without sockets needs no
        # mark.
        import mmap

        _mark = mmap.mmap(-1, PAGES * mmap.PAGESIZE, flags=mmap.MAP_SHARED | mmap.MAP_ANONYMOUS, prot=0)
    except (ImportError, OSError):
        # The interpreter lacks the module, or RLIMIT_AS forbids the mapping.
        pass


def remove() -> None:
    """Take the mark away. May be called twice."""
    global _mark
    if _mark is not None:
        _mark.close()
        _mark = None


def is_put(maps: str) -> bool:
    """Whether a process is marked; ``maps``: the text of its /proc/PID/maps."""
    from mmap import PAGESIZE

    for line in maps.splitlines():
        if "---s" in line:
            begin, _, end = line.partition(" ")[0].partition("-")
            if int(end, 16) - int(begin, 16) == PAGES * PAGESIZE:
                return True
    return False
