"""Mounts for the program: its own ``/etc/resolv.conf``, and empty folders over the sockets of resolvers.

A resolver that programs ask over a Unix socket runs outside and would ask name servers there. So the sockets
of systemd-resolved, nscd and Avahi are hidden, and the C library uses plain DNS, which the broker answers.
``/etc/hosts`` stays the user's. Later mounts outside are visible inside; mounts inside are not visible
outside.
"""

from __future__ import annotations

import os

from pywrap.confine import kernel

# The address of the name server: any would do, since the broker answers at port 53 of every address. The
# search list is the root alone: that of the file outside, or without one the domain of the host's name,
# belongs to the local network. A chain of proxies may be slow: the longest timeout of the C library is 30 s.
NAME_SERVER = "100.64.0.53"
RESOLV_CONF = f"""\
# pysocksify: port 53 of every address is answered by it, as --dns says.
nameserver {NAME_SERVER}
search .
options timeout:30 attempts:2
"""

# Folders with the sockets of resolvers outside; behind each, the programs that ask there.
RESOLVERS = (
    "/run/systemd/resolve",  # nss-resolve, resolvectl (varlink)
    "/run/nscd",  # the C library; also unscd and nsncd
    "/var/run/nscd",  # where /var/run is a folder of its own
    "/run/avahi-daemon",  # nss-mdns
    "/var/run/avahi-daemon",
)

_RESOLV_CONF_PATH = "/etc/resolv.conf"


def set_up() -> None:
    """Make these mounts; called in a mount namespace of this process's own.

    Raises:
        OSError: the kernel refuses.
    """
    kernel.mount("none", "/", "", kernel.MS_REC | kernel.MS_SLAVE)
    directory = kernel.tmpfs(size="65536", mode="0755")
    try:
        _create(directory, "resolv.conf", RESOLV_CONF)
        os.mkdir("empty", 0o755, dir_fd=directory)
        # Resolved before the folders are hidden: on many machines it is a link to a file in one of them.
        target = os.path.realpath(_RESOLV_CONF_PATH)
        hidden = {os.path.realpath(path) for path in RESOLVERS if os.path.isdir(path)}
        for folder in sorted(hidden):
            if os.path.dirname(target) == folder:
                name = os.path.basename(target)
                os.mkdir("resolver", 0o755, dir_fd=directory)
                _create(directory, f"resolver/{name}", RESOLV_CONF)
                _put(directory, "resolver", folder)
            else:
                _put(directory, "empty", folder)
        if os.path.isfile(target) and os.path.dirname(target) not in hidden:
            _put(directory, "resolv.conf", target)
    finally:
        os.close(directory)


def _create(directory: int, name: str, text: str) -> None:
    fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644, dir_fd=directory)
    try:
        # Set here, since the user's umask may have removed bits.
        os.fchmod(fd, 0o644)
        os.write(fd, text.encode("ascii"))
    finally:
        os.close(fd)


def _put(directory: int, name: str, target: str) -> None:
    mount = kernel.clone_mount(directory, name)
    try:
        kernel.attach(mount, target)
    finally:
        os.close(mount)
