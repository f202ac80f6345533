"""The program's network: new namespaces, and ``lo`` with every address of the world on it.

A new network namespace has nothing but a loopback interface that is down. With ``lo`` up, and a local default
route to it for each family (AnyIP, as the kernel's developers call that), the kernel takes every address for
its own: a packet to any destination comes back in through ``lo``, where the packet filter (``ruleset``) gets
it.

An ordinary user needs a user namespace for that, in which only the user itself exists, with its own number.
The process has all capabilities in that namespace until it executes a program, and none afterwards. Root can
make the other namespaces without it, and gives up for good the capabilities by which it could leave them
(``_LEADING_OUT``).
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
# The index of lo: a new namespace numbers its interfaces from 1, and lo is the first.
_LO = 1
_NO_DUPLICATE_DETECTION = 2
_LOCAL_TABLE, _LOCAL_ROUTE, _BOOT, _HOST_SCOPE = 255, 2, 3, 254
_ADDRESS, _LOCAL, _CACHE_INFO = 1, 2, 6
_FOR_EVER = 0xFFFFFFFF
_OUT_INTERFACE, _PREFERRED_SOURCE = 4, 7

# How often a SYN may be sent again: the largest value that the kernel accepts.
_MOST_RETRIES = 127

_SYSCTLS_4 = (
    # Accept packets that come in with one of our own addresses as their source: here all packets do, through
    # lo.
    *(("conf/all/accept_local", "1"), ("conf/lo/accept_local", "1")),
    *(("conf/all/rp_filter", "0"), ("conf/lo/rp_filter", "0")),
    # Accept the broker's answers to sockets on 127.0.0.1, whose source addresses are not of loopback.
    *(("conf/all/route_localnet", "1"), ("conf/lo/route_localnet", "1")),
    # On lo no packet is lost, and there is no queue. BBR, the default of some machines, would only slow
    # connections down by its pacing. Each kernel has Reno, and any network namespace may choose it.
    ("tcp_congestion_control", "reno"),
)
_SYSCTLS_6 = (
    *(("conf/all/disable_ipv6", "0"), ("conf/lo/disable_ipv6", "0")),
    # Let servers bind the machine's IPv6 addresses, as they can its IPv4 ones, all of which are local here.
    ("ip_nonlocal_bind", "1"),
)

# linux/capability.h: capabilities that could undo the namespaces, reach into processes outside, load code
# into the kernel, or touch hardware. A file that requires one of them cannot be executed (ping, of some
# distributions).
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
        OSError: that is forbidden (``remedies`` finds the cause).
    """
    uid, gid = os.geteuid(), os.getegid()
    wanted = kernel.CLONE_NEWNET | kernel.CLONE_NEWNS
    if uid == 0:
        try:
            kernel.unshare(wanted)
            return
        except PermissionError:
            # Root in a container, without the capability: try a user namespace.
            pass
    kernel.unshare(wanted | kernel.CLONE_NEWUSER)
    # Required before an ordinary user may write gid_map: a process could otherwise leave a group that takes a
    # permission away (user_namespaces(7)).
    _write("/proc/self/setgroups", "deny")
    _write("/proc/self/uid_map", f"{uid} {uid} 1")
    _write("/proc/self/gid_map", f"{gid} {gid} 1")


def set_up(timeout: float, unprivileged_port: str) -> bool:
    """Give the namespace its addresses, routes and rules; return whether it has IPv6.

    ``timeout``: seconds after which a connect() that is never answered shall fail. ``unprivileged_port``: the
    value of the sysctl ip_unprivileged_port_start outside.

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
    """The first port that needs no privilege (ip_unprivileged_port_start); "" if the setting is missing."""
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
    """As root: give up the capabilities that lead out of the namespaces, for the exec as well."""
    if os.geteuid() == 0:
        for number in _LEADING_OUT.values():
            kernel.drop_from_bounding_set(number)


def given_up() -> str:
    """The capabilities of ``give_up_capabilities``, as a value for an option of setpriv(1)."""
    return ",".join(f"-{name.removeprefix('CAP_').lower()}" for name in _LEADING_OUT)


def refuse_foreign_sockets() -> None:
    """Make sure that the program inherits no socket of the network outside.

    Such a socket can be disconnected, and connected to any address (connect(2), AF_UNSPEC).

    Raises:
        ConfigError: the program would inherit one.
    """
    for name in os.listdir("/proc/self/fd"):
        fd = int(name)
        try:
            is_socket = os.readlink(f"/proc/self/fd/{fd}").startswith("socket:")
            inherited = is_socket and os.get_inheritable(fd)
        except OSError:
            # The descriptor by which the folder was listed.
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

    A SYN is sent again every second (tcp_syn_linear_timeouts, Linux 6.5), as many times as this sets. When no
    more come, the broker knows that no program waits for the connection.
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
            # A deprecated address (RFC 4862): preferred for 0 seconds, and valid for ever. The C library then
            # sorts the IPv4 addresses of a name before its IPv6 ones (RFC 6724 rule 3).
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
