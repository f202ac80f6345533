"""Why a program cannot be confined on this machine, and what its administrator or its user can do.

The kernel's error is mostly EPERM. The cause is found in the settings by which machines forbid namespaces;
the first that applies is named.
"""

from __future__ import annotations

import errno
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_HELP = "--confine off refuses such programs as well; patched Python programs need no confinement"

_SWITCHES = (
    # The file below /proc/sys, its text where namespaces are forbidden, the cause, and the remedy.
    (
        "user/max_user_namespaces",
        "0",
        "user namespaces are switched off (user.max_user_namespaces is 0)",
        "sysctl user.max_user_namespaces=15000, as root",
    ),
    (
        "kernel/unprivileged_userns_clone",
        "0",
        "user namespaces are for root alone (kernel.unprivileged_userns_clone is 0)",
        "sysctl kernel.unprivileged_userns_clone=1, as root",
    ),
    (
        "kernel/apparmor_restrict_unprivileged_userns",
        "1",
        "AppArmor restricts user namespaces (kernel.apparmor_restrict_unprivileged_userns is 1)",
        "install etc/apparmor/pysocksify as /etc/apparmor.d/pysocksify and reload AppArmor, as root",
    ),
    (
        "user/max_net_namespaces",
        "0",
        "network namespaces are switched off (user.max_net_namespaces is 0)",
        "sysctl user.max_net_namespaces=15000, as root",
    ),
)

_FORBIDDEN = (errno.EPERM, errno.EACCES, errno.ENOSPC, errno.EUSERS)
# Errors of a kernel that lacks a feature.
_MISSING = (errno.ENOENT, errno.EOPNOTSUPP, errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT, errno.ENOSYS)


def explain(error: OSError, read: Callable[[str], str] | None = None) -> tuple[str, str]:
    """The cause of ``error``, and a hint what to do. ``read(path)``: the text of a file, "" without one."""
    read = read or _read
    number = error.errno or 0
    if number in _FORBIDDEN:
        for path, forbids, cause, remedy in _SWITCHES:
            concerns_root = path == "user/max_net_namespaces"
            if (os.geteuid() or concerns_root) and read(f"/proc/sys/{path}").strip() == forbids:
                return cause, remedy
        if _seccomp(read("/proc/self/status")):
            return (
                "a seccomp filter forbids namespaces, as those of containers do",
                "docker run --security-opt seccomp=unconfined --cap-add SYS_ADMIN --cap-add NET_ADMIN "
                "--security-opt apparmor=unconfined",
            )
        if _is_chroot():
            return "namespaces cannot be made in a chroot", "run it outside, or use pivot_root(2)"
        return f"the kernel forbids it: {error.strerror}", _HELP
    if number == errno.EINVAL and "mount /" in str(error.strerror):
        return "namespaces cannot be made in a chroot: its root is no mount", "mount --bind DIR DIR before it"
    if number in _MISSING:
        return (
            f"this kernel lacks a part of it: {error.strerror}",
            "needed: Linux 5.10 with user and network namespaces, nf_tables with nft_tproxy and nft_socket, "
            "packet sockets, tmpfs",
        )
    return f"{error.strerror}", _HELP


def _seccomp(status: str) -> bool:
    """Whether a filter of system calls is active: 2 is SECCOMP_MODE_FILTER (proc_pid_status(5))."""
    return any(line.split() == ["Seccomp:", "2"] for line in status.splitlines())


def _is_chroot() -> bool:
    """Whether this process has another root directory than its mount namespace (chroot(2))."""
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as lines:
            return not any(line.split()[4] == "/" for line in lines)
    except OSError:
        return False


def _read(path: str) -> str:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read()
    except OSError:
        return ""
