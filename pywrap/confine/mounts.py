"""What the program finds of the resolvers outside: an own ``/etc/resolv.conf``, and no sockets of theirs.

A resolver that is asked over a Unix socket sits outside and would ask the network there: the sockets of
systemd-resolved, nscd and Avahi are hidden, and the C library goes on to plain DNS, which is the broker's.
``/etc/hosts`` stays the user's. Mounts of the outside that come later are seen, own ones are not seen there.
"""

from __future__ import annotations

import os

from pywrap.confine import kernel

# Any address would do: port 53 of all of them is the broker's. Only the root is searched: the search list of
# the file outside, or the domain of the host's name without one, is another network's. A chain of proxies may
# take its time: the C library's most are 30 s.
NAME_SERVER = "100.64.0.53"
RESOLV_CONF = f"""\
# pysocksify: port 53 of every address is answered by it, as --dns says.
nameserver {NAME_SERVER}
search .
options timeout:30 attempts:2
"""

# Folders of sockets through which a resolver outside answers, and what asks there.
RESOLVERS = (
    "/run/systemd/resolve",  # nss-resolve, resolvectl (varlink)
    "/run/nscd",  # the C library; also unscd and nsncd
    "/var/run/nscd",  # where /var/run is a folder of its own
    "/run/avahi-daemon",  # nss-mdns
    "/var/run/avahi-daemon",
)

_RESOLV_CONF_PATH = "/etc/resolv.conf"


def set_up() -> None:
    """Mount them, in a mount namespace of this process's own.

    Raises:
        OSError: the kernel refuses.
    """
    kernel.mount("none", "/", "", kernel.MS_REC | kernel.MS_SLAVE)
    directory = kernel.tmpfs(size="65536", mode="0755")
    try:
        _create(directory, "resolv.conf", RESOLV_CONF)
        os.mkdir("empty", 0o755, dir_fd=directory)
        # Before the folders: on many machines it is a link to a file in one of them.
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
        # Whatever the user's umask.
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
