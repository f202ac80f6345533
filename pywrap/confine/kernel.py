"""The system calls that Python 3.11 does not have: unshare, mount, prctl, capabilities, signalfd.

They are called by ctypes, whose import takes 5 ms and happens only in the launcher. Each function raises
OSError with the errno, and with its arguments in the text.
"""

from __future__ import annotations

import ctypes
import errno
import os

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

_libc = ctypes.CDLL(None, use_errno=True)


def unshare(flags: int) -> None:
    """unshare(2)."""
    _check(_libc.unshare(flags), "unshare")


def join(path: str) -> None:
    """setns(2): enter the namespace at ``path``; does nothing if that is this process's user namespace."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if _libc.setns(fd, 0) and ctypes.get_errno() != errno.EINVAL:
            _check(-1, f"setns {path}")
    finally:
        os.close(fd)


def enter(fd: int) -> None:
    """setns(2): enter the namespace of the descriptor ``fd``."""
    _check(_libc.setns(fd, 0), "setns")


def mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    """mount(2)."""
    words = (os.fsencode(word) for word in (source, target, kind))
    _check(_libc.mount(*words, ctypes.c_ulong(flags), os.fsencode(data)), f"mount {target}")


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
    _check(_libc.prctl(_PR_SET_PDEATHSIG, signal, 0, 0, 0), "prctl")


def signal_of_parent() -> int:
    """The signal of ``die_with_parent``; 0 for none."""
    number = ctypes.c_int(0)
    _check(_libc.prctl(_PR_GET_PDEATHSIG, ctypes.byref(number), 0, 0, 0), "prctl")
    return number.value


def drop_from_bounding_set(capability: int) -> None:
    """Let no exec give ``capability`` any more (capabilities(7)); nothing if the kernel does not know it."""
    _libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)


def undumpable() -> None:
    """Let no other process of this user look into this one, by ptrace(2) or /proc (PR_SET_DUMPABLE)."""
    _check(_libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0), "prctl")


def signalfd(signals: set[int]) -> int:
    """A descriptor that becomes readable at one of ``signals``, which must be blocked (signalfd(2))."""
    # sigset_t: a bit for each signal, of at least 1024 bits in every C library.
    mask = (ctypes.c_uint64 * 16)(sum(1 << number - 1 for number in signals))
    return _check(_libc.signalfd(-1, ctypes.byref(mask), _SFD_FLAGS), "signalfd")


def _syscall(number: int, *arguments: int | bytes | None) -> int:
    # Integers are passed as long: the variadic call would pass only the lower half of an int.
    passed = [ctypes.c_long(each) if isinstance(each, int) else each for each in arguments]
    return int(_libc.syscall(ctypes.c_long(number), *passed))


def _check(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{os.strerror(number)} ({what})")
    return result
