"""Libraries that have sockets of their own in C, C++ or Rust, with nothing in them to patch.

Those that can be patched are in ``patches``. For the others a line on stderr warns that their traffic leaves
directly, whatever the verbosity: nothing else shows that leak. ``--foreign refuse`` refuses them instead,
``--foreign quiet`` prints nothing. In a confinement the kernel covers all of them.

Functions of the C library that a program looks up by ctypes or cffi are treated likewise.

gevent's resolver in C, which asks name servers over UDP, is refused as if it were not installed, unless names
are resolved on this machine anyway. gevent then uses its usual resolver, which calls getaddrinfo() in a
thread.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pywrap.intercept.runtime import Runtime

REFUSED = {
    "gevent.resolver.cares": "gevent's `ares` asks name servers past the proxy; its `thread` is covered"
}

_ALL = "its connections and name look-ups"
_REQUESTS = "its requests and name look-ups"
_STORES = "its requests to object stores and web servers"

_STREAMS = "connections and name look-ups of the streams that it opens"

# The traffic that leaves directly, in words, by the module. ``import_hook.FOREIGN`` has the same names in a
# module that costs less at a program's start.
LEAVES = {
    "adbc_driver_manager": "connections and name look-ups of its drivers",
    "av": _STREAMS,
    "awscrt": _REQUESTS,
    "confluent_kafka": _ALL,
    "curl_cffi": _REQUESTS,
    "cv2": _STREAMS,
    "deltalake": _STORES,
    "duckdb": "downloads of its extensions, and by them",
    "glide": _ALL,
    "grpc": _ALL,
    "hf_xet": _REQUESTS,
    "libtorrent": "its connections, datagrams and name look-ups",
    "MySQLdb": _ALL,
    "nis": "its questions to NIS servers",
    "obstore": _STORES,
    "polars": _STORES,
    "primp": _REQUESTS,
    "pulsar": _ALL,
    "pyarrow._azurefs": _STORES,
    "pyarrow._flight": _ALL,
    "pyarrow._gcsfs": _STORES,
    "pyarrow._hdfs": _STORES,
    "pyarrow._s3fs": _STORES,
    "pygit2": "its fetches and pushes",
    "pymssql": _ALL,
    "pyodbc": _ALL,
    "wreq": _REQUESTS,
    "zmq": _ALL,
}

# Functions of the C library that start programs, connect, send, or ask for names.
SYMBOLS = frozenset(
    {
        *("system", "popen", "posix_spawn", "posix_spawnp", "execl", "execle", "execlp", "execv", "execve"),
        *("execvp", "execvpe", "execveat", "fexecve", "wordexp", "connect", "sendto", "sendmsg", "sendmmsg"),
        *("getaddrinfo", "getaddrinfo_a", "gethostbyname", "gethostbyname2", "gethostbyaddr", "getnameinfo"),
        *("gethostbyname_r", "gethostbyname2_r", "gethostbyaddr_r", "getnetbyname", "getnetbyaddr"),
        *("res_query", "res_search", "res_nquery", "res_nsearch", "res_send", "res_nsend"),
        *("__res_query", "__res_search", "__res_nquery", "__res_nsearch", "__res_send", "__res_nsend"),
        *("rcmd", "rcmd_af", "rexec", "rexec_af", "clnt_create"),
    }
)

# The libraries of which the user was warned: one line for each, even if several of its modules are imported.
_told: set[str] = set()


def check(runtime: Runtime, name: str) -> None:
    """Warn of the module ``name``, which is about to be imported, or refuse it.

    Raises:
        ModuleNotFoundError: it is refused.
    """
    if runtime.is_confined:
        # A confinement covers their sockets.
        return
    library = name.partition(".")[0]
    if name in REFUSED:
        if runtime.settings.dns != "local":
            _refuse(runtime, name, REFUSED[name])
    elif runtime.settings.foreign == "refuse":
        _refuse(runtime, name, f"{library} has sockets of its own (--foreign)")
    elif runtime.settings.foreign == "warn" and library not in _told:
        _told.add(library)
        runtime.messages.say(
            -1,
            f"warning: {library} has sockets of its own: {LEAVES[name]} leave directly, past the proxies "
            "(--confine on sends them through)",
        )


def check_symbol(runtime: Runtime, name: str, library: str) -> None:
    """Warn of ``name``, one of ``SYMBOLS`` looked up by ``library`` (ctypes, cffi), or refuse it.

    Raises:
        AttributeError: it is refused.
    """
    if runtime.is_confined:
        # A confinement covers what the function does.
        return
    if runtime.settings.foreign == "refuse":
        what = f"`{name}` of the C library (--foreign)"
        runtime.messages.say(1, f"refused: {what}")
        raise AttributeError(f"pysocksify refused: {what}", name=name)
    if runtime.settings.foreign == "warn" and name not in _told:
        _told.add(name)
        runtime.messages.say(
            -1,
            f"warning: the program looks up `{name}` of the C library ({library}): what it does by that "
            "leaves directly, past the proxies (--confine on sends it through)",
        )


def _refuse(runtime: Runtime, name: str, why: str) -> None:
    runtime.messages.say(1, f"refused: {why}")
    raise ModuleNotFoundError(f"pysocksify refused: {why}", name=name)
