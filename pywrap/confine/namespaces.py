"""The network that the program gets: new namespaces, and ``lo`` with every address of the world on it.

A new network namespace has nothing but a loopback interface that is down. With ``lo`` up, and a local default
route to it for each family (AnyIP, as the kernel's developers call that), the kernel takes every address for
its own: a packet to anywhere comes back in through ``lo``, where the packet filter (``ruleset``) meets it.

An ordinary user gets there by a user namespace, with nothing in it but itself under its own number. It has
all capabilities in there until it executes a program, and none afterwards. Root, which can make namespaces as
it is, loses those capabilities for good with which it could leave: see ``_LEADING_OUT``.
"""

from __future__ import annotations

import os
import struct
from _socket import AF_INET, AF_INET6

from pywrap.confine import kernel, netlink, ruleset
from pywrap.confine.netlink import CREATE, EXCLUSIVE, acknowledged, attribute, message
from pywrap.errors import ConfigError

# linux/rtnetlink.h
_NEW_LINK, _NEW_ADDRESS, _NEW_ROUTE = 16, 20, 24
_UP = 1
# A new namespace numbers from 1, and lo is first.
_LO = 1
_NO_DUPLICATE_DETECTION = 2
_LOCAL_TABLE, _LOCAL_ROUTE, _BOOT, _HOST_SCOPE = 255, 2, 3, 254
_ADDRESS, _LOCAL, _CACHE_INFO = 1, 2, 6
_FOR_EVER = 0xFFFFFFFF
_OUT_INTERFACE, _PREFERRED_SOURCE = 4, 7

# How often a SYN is sent again: at most what the kernel takes.
_MOST_RETRIES = 127

_SYSCTLS_4 = (
    # A packet from one of our own addresses comes in: from lo, and it is meant.
    *(("conf/all/accept_local", "1"), ("conf/lo/accept_local", "1")),
    *(("conf/all/rp_filter", "0"), ("conf/lo/rp_filter", "0")),
    # Answers of the broker to sockets on 127.0.0.1 come from addresses that are not there.
    *(("conf/all/route_localnet", "1"), ("conf/lo/route_localnet", "1")),
)
_SYSCTLS_6 = (
    *(("conf/all/disable_ipv6", "0"), ("conf/lo/disable_ipv6", "0")),
    # A server may bind the machine's addresses, as it may those of IPv4, all of which are local here.
    ("ip_nonlocal_bind", "1"),
)

# linux/capability.h: what could undo the namespaces, reach into processes outside, load code into the
# kernel, or touch hardware. A file that wants one of them cannot be executed (ping, of some distributions).
_LEADING_OUT = {
    "CAP_DAC_READ_SEARCH": 2,  # open_by_handle_at(): any file, whatever is mounted over it
    "CAP_NET_ADMIN": 12,
    "CAP_NET_RAW": 13,
    "CAP_SYS_MODULE": 16,
    "CAP_SYS_RAWIO": 17,
    "CAP_SYS_PTRACE": 19,
    "CAP_SYS_ADMIN": 21,  # setns(), mount()
    "CAP_SYS_BOOT": 22,
    "CAP_MKNOD": 27,
    "CAP_PERFMON": 38,
    "CAP_BPF": 39,
    "CAP_CHECKPOINT_RESTORE": 40,
}


def enter() -> None:
    """Take this process, which has one thread, into namespaces of its own.

    Raises:
        OSError: that is forbidden (``remedies`` tells why).
    """
    uid, gid = os.geteuid(), os.getegid()
    wanted = kernel.CLONE_NEWNET | kernel.CLONE_NEWNS
    if uid == 0:
        try:
            kernel.unshare(wanted)
            return
        except PermissionError:
            # Root of a container, without its capabilities.
            pass
    kernel.unshare(wanted | kernel.CLONE_NEWUSER)
    # Without it, a group that takes a permission away (user_namespaces(7)) could be left.
    _write("/proc/self/setgroups", "deny")
    _write("/proc/self/uid_map", f"{uid} {uid} 1")
    _write("/proc/self/gid_map", f"{gid} {gid} 1")


def set_up(timeout: float, unprivileged_port: str) -> bool:
    """Give the namespace its addresses, routes and rules; tell whether it has IPv6.

    ``timeout``: seconds after which a connect() that is never answered shall fail. ``unprivileged_port``:
    what the outside has in the sysctl of that name.

    Raises:
        OSError: the kernel refuses.
    """
    for name, value in _SYSCTLS_4:
        _write(f"/proc/sys/net/ipv4/{name}", value)
    ipv6 = os.path.exists("/proc/sys/net/ipv6")
    if ipv6:
        for name, value in _SYSCTLS_6:
            _write(f"/proc/sys/net/ipv6/{name}", value)
    _limit_retries(timeout)
    if unprivileged_port:
        _write("/proc/sys/net/ipv4/ip_unprivileged_port_start", unprivileged_port)
    netlink.send(netlink.ROUTE, _links(ipv6), "set up lo")
    netlink.send(netlink.NETFILTER, ruleset.batch(ipv6), "set up the packet filter")
    return ipv6


def unprivileged_port() -> str:
    """The first port here that needs no privilege; "" when the kernel has no such setting."""
    try:
        fd = os.open("/proc/sys/net/ipv4/ip_unprivileged_port_start", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        # Not open(), whose first text file imports a codec: a millisecond, for which the program waits.
        return os.read(fd, 16).decode("ascii").strip()
    finally:
        os.close(fd)


def give_up_capabilities() -> None:
    """As root: have the program executed without what leads out of its namespaces."""
    if os.geteuid() == 0:
        for number in _LEADING_OUT.values():
            kernel.drop_from_bounding_set(number)


def given_up() -> str:
    """The same as ``give_up_capabilities``, as setpriv(1) reads it."""
    return ",".join(f"-{name.removeprefix('CAP_').lower()}" for name in _LEADING_OUT)


def refuse_foreign_sockets() -> None:
    """Make sure that the program inherits no socket of the network outside.

    One of those can be disconnected, and connected to anywhere (connect(2), AF_UNSPEC).

    Raises:
        ConfigError: it would.
    """
    for name in os.listdir("/proc/self/fd"):
        fd = int(name)
        try:
            is_socket = os.readlink(f"/proc/self/fd/{fd}").startswith("socket:")
            inherited = is_socket and os.get_inheritable(fd)
        except OSError:
            # That of the listing itself.
            continue
        if inherited and _family(fd) not in _HARMLESS:
            raise ConfigError(
                f"descriptor {fd} is a socket of the network outside, through which the program could leave",
                "pass it a pipe or a Unix socket instead, or let it listen itself (`--publish`)",
            )


_AF_UNIX = 1
_HARMLESS = (_AF_UNIX,)


def _family(fd: int) -> int:
    from socket import SO_DOMAIN, SOL_SOCKET, socket

    with socket(fileno=os.dup(fd)) as sock:
        return sock.getsockopt(SOL_SOCKET, SO_DOMAIN)


def _limit_retries(timeout: float) -> None:
    """Have the kernel give up a connect() soon after ``timeout``, rather than after two minutes.

    A SYN goes out again every second (tcp_syn_linear_timeouts, Linux 6.5), so many times. That it does not
    any more tells the broker that no program waits for the connection.
    """
    if os.path.exists(f"/proc/sys/net/ipv4/{LINEAR}"):
        _write(f"/proc/sys/net/ipv4/{LINEAR}", str(_MOST_RETRIES))
        _write("/proc/sys/net/ipv4/tcp_syn_retries", str(min(max(1, round(timeout)), _MOST_RETRIES)))


LINEAR = "tcp_syn_linear_timeouts"


def _links(ipv6: bool) -> list[bytes]:
    messages = [message(_NEW_LINK, 0, struct.pack("=BxHiII", 0, 0, _LO, _UP, _UP))]
    for family, address in ((AF_INET, ruleset.OWN_4), (AF_INET6, ruleset.OWN_6)):
        if family == AF_INET6 and not ipv6:
            continue
        bits = len(address) * 8
        head = struct.pack("=BBBBI", family, bits, _NO_DUPLICATE_DETECTION, 0, _LO)
        both = attribute(_LOCAL, address) + attribute(_ADDRESS, address)
        if family == AF_INET6:
            # Deprecated (RFC 4862): preferred for no time, and valid for ever. Of a name with addresses of
            # both families, the C library then sorts the IPv4 ones to the front (RFC 6724 rule 3).
            both += attribute(_CACHE_INFO, struct.pack("=IIII", 0, _FOR_EVER, 0, 0))
        messages.append(message(_NEW_ADDRESS, CREATE | EXCLUSIVE, head + both))
        route = struct.pack("=BBBBBBBBI", family, 0, 0, 0, _LOCAL_TABLE, _BOOT, _HOST_SCOPE, _LOCAL_ROUTE, 0)
        attempt = attribute(_OUT_INTERFACE, struct.pack("=I", _LO)) + attribute(_PREFERRED_SOURCE, address)
        messages.append(message(_NEW_ROUTE, CREATE | EXCLUSIVE, route + attempt))
    return acknowledged(messages)


def _write(path: str, text: str) -> None:
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, text.encode("ascii"))
        finally:
            os.close(fd)
    except OSError as err:
        raise OSError(err.errno, f"{os.strerror(err.errno or 0)} (write {path})") from err
