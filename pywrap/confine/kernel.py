"""The system calls that Python 3.11 does not have: unshare, mount, prctl, capabilities, signalfd.

They are called by the C part of ctypes. Importing its Python part, which makes classes that nothing here
needs, would take a millisecond for which the program waits. Each function raises OSError with the errno, and
with its arguments in the text.
"""

from __future__ import annotations

import errno
import os
import sys
from _ctypes import (
    FUNCFLAG_CDECL,
    FUNCFLAG_USE_ERRNO,
    CFuncPtr,
    _SimpleCData,
    addressof,
    byref,
    dlopen,
    dlsym,
    get_errno,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

# sched.h
CLONE_NEWNS = 0x00020000
CLONE_NEWUSER = 0x10000000
CLONE_NEWNET = 0x40000000

# sys/mount.h
MS_BIND = 0x1000
MS_REC = 0x4000
MS_SLAVE = 1 << 19
MS_NOSUID, MS_NODEV, MS_NOEXEC = 2, 4, 8

# linux/mount.h. The numbers are the same on all architectures that came after 2019's unification.
_OPEN_TREE, _MOVE_MOUNT, _FSOPEN, _FSCONFIG, _FSMOUNT = 428, 429, 430, 431, 432
_FSOPEN_CLOEXEC = 1
_FSMOUNT_CLOEXEC = 1
_FSCONFIG_SET_STRING, _FSCONFIG_CMD_CREATE = 1, 6
_OPEN_TREE_CLONE, _OPEN_TREE_CLOEXEC = 1, os.O_CLOEXEC
_MOVE_MOUNT_F_EMPTY_PATH = 4
_AT_FDCWD = -100

# linux/prctl.h
_PR_SET_PDEATHSIG = 1
_PR_GET_PDEATHSIG = 2
_PR_CAPBSET_DROP = 24
_PR_SET_DUMPABLE = 4

_SFD_FLAGS = os.O_CLOEXEC | os.O_NONBLOCK
SIGINFO = 128


class _Char(_SimpleCData):  # type: ignore[type-arg]
    _type_ = "c"


class _Int(_SimpleCData):  # type: ignore[type-arg]
    _type_ = "i"


class _Long(_SimpleCData):  # type: ignore[type-arg]
    _type_ = "l"


class _Function(CFuncPtr):
    """A function of the C library that returns an int. It takes an int as such, and bytes as char *."""

    _flags_ = FUNCFLAG_CDECL | FUNCFLAG_USE_ERRNO
    _restype_ = _Int


_libc = dlopen(None, os.RTLD_NOW)  # type: ignore[arg-type]
_unshare = _Function(dlsym(_libc, "unshare"))
_setns = _Function(dlsym(_libc, "setns"))
_mount = _Function(dlsym(_libc, "mount"))
_prctl = _Function(dlsym(_libc, "prctl"))
_signalfd = _Function(dlsym(_libc, "signalfd"))
_call = _Function(dlsym(_libc, "syscall"))


def unshare(flags: int) -> None:
    """unshare(2)."""
    _check(_unshare(flags), "unshare")


def join(path: str) -> None:
    """setns(2): enter the namespace at ``path``; does nothing if that is this process's user namespace."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if _setns(fd, 0) and get_errno() != errno.EINVAL:
            _check(-1, f"setns {path}")
    finally:
        os.close(fd)


def enter(fd: int) -> None:
    """setns(2): enter the namespace of the descriptor ``fd``."""
    _check(_setns(fd, 0), "setns")


def mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    """mount(2)."""
    words = (os.fsencode(word) for word in (source, target, kind))
    _check(_mount(*words, _Long(flags), os.fsencode(data)), f"mount {target}")


def tmpfs(**options: str) -> int:
    """A descriptor of the root of a new tmpfs (fsmount(2)), mounted nowhere yet; ``options``: tmpfs(5)."""
    context = _check(_syscall(_FSOPEN, b"tmpfs", _FSOPEN_CLOEXEC), "fsopen")
    try:
        for name, value in options.items():
            _check(_syscall(_FSCONFIG, context, _FSCONFIG_SET_STRING, name.encode(), value.encode(), 0), name)
        _check(_syscall(_FSCONFIG, context, _FSCONFIG_CMD_CREATE, None, None, 0), "create a tmpfs")
        flags = MS_NOSUID | MS_NODEV | MS_NOEXEC
        return _check(_syscall(_FSMOUNT, context, _FSMOUNT_CLOEXEC, flags), "fsmount")
    finally:
        os.close(context)


def clone_mount(directory: int, path: str) -> int:
    """A descriptor of ``path`` in ``directory`` as a mount of its own (open_tree(2)), for ``attach``."""
    flags = _OPEN_TREE_CLONE | _OPEN_TREE_CLOEXEC
    return _check(_syscall(_OPEN_TREE, directory, os.fsencode(path), flags), "open_tree")


def attach(mount: int, target: str) -> None:
    """Mount the result of ``tmpfs`` or ``clone_mount`` at ``target`` (move_mount(2))."""
    result = _syscall(_MOVE_MOUNT, mount, b"", _AT_FDCWD, os.fsencode(target), _MOVE_MOUNT_F_EMPTY_PATH)
    _check(result, f"mount {target}")


def die_with_parent(signal: int) -> None:
    """Have the kernel send ``signal`` to this process when its parent's thread ends (PR_SET_PDEATHSIG)."""
    _check(_prctl(_PR_SET_PDEATHSIG, _Long(signal)), "prctl")


def signal_of_parent() -> int:
    """The signal of ``die_with_parent``; 0 for none."""
    number = _Int(0)
    _check(_prctl(_PR_GET_PDEATHSIG, byref(number)), "prctl")
    return int(number.value)


def drop_from_bounding_set(capability: int) -> None:
    """Let no exec give ``capability`` any more (capabilities(7)); nothing if the kernel does not know it."""
    _prctl(_PR_CAPBSET_DROP, *map(_Long, (capability, 0, 0, 0)))


def undumpable() -> None:
    """Let no other process of this user look into this one, by ptrace(2) or /proc (PR_SET_DUMPABLE)."""
    _check(_prctl(_PR_SET_DUMPABLE, *map(_Long, (0, 0, 0, 0))), "prctl")


def signalfd(signals: Iterable[int]) -> int:
    """A descriptor that becomes readable at one of ``signals``, which must be blocked (signalfd(2))."""
    # sigset_t: a bit for each signal, in words of the machine's byte order; 1024 bits in every C library.
    mask = sum(1 << number - 1 for number in signals).to_bytes(8, sys.byteorder) + bytes(120)
    return _check(_signalfd(-1, mask, _SFD_FLAGS), "signalfd")


def memory(data: bytes) -> Any:
    """Memory with the content ``data``, for structures that contain an ``address``."""
    return (_Char * len(data)).from_buffer_copy(data)


def address(memory: Any) -> int:
    """The address of ``memory``, valid as long as the object is kept."""
    return addressof(memory)


def _syscall(number: int, *arguments: int | bytes | None) -> int:
    # Integers are passed as long: the variadic call would pass only the lower half of an int.
    passed = [_Long(each) if isinstance(each, int) else each for each in arguments]
    return int(_call(_Long(number), *passed))


def _check(result: int, what: str) -> int:
    if result < 0:
        number = get_errno()
        raise OSError(number, f"{os.strerror(number)} ({what})")
    return result
