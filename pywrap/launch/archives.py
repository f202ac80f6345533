"""Writes the archives of ``pywrap.archive``: the modules that each stage of a run needs, with their code.

Every run checks whether the archives exist. If not, it writes them, provided that the user may write into the
package's folder. In a package of the system, only root may: it has archives once root has run the command.

The code in an archive has no docstrings and no annotations of functions. Nothing here needs them at run time,
and reading them would take a quarter of the time that reading an archive takes.
"""

from __future__ import annotations
import __future__

import ast
import marshal
import os
import sys
from _frozen_importlib_external import MAGIC_NUMBER

from pywrap import archive

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import CodeType

# By stage, in the order of a run. A module that is missing here is loaded from its own file.
STAGES: dict[str, tuple[str, ...]] = {
    "launcher": (
        *("", "cli", "config", "config.arguments", "config.config_error", "config.formats", "config.host"),
        "config.options",
        *("config.partial_settings", "config.route_rules", "config.search"),
        *("config.url_security", "config.settings"),
        *("config.settings_env", "config.url", "config.values", "config.variables", "config.words"),
        *("frozen", "launch"),
        *("launch.patch_or_confine", "launch.environment", "launch.launch_error"),
        *("launch.program", "launch.settings_file", "programs", "programs.cover", "programs.python"),
        *("tunnel", "tunnel.shared_file"),
    ),
    # Read when the configuration is a file in pysocksify's own format.
    "file": ("config.directives", "config.file_parser", "config.proxychains"),
    # Read for a command that begins with another program than a Python.
    "wrapper": ("launch.scripts", "launch.wrappers"),
    # Read for a confined program: before the launcher forks, then in the child, and in the launcher.
    "confined": ("confine", "confine.launcher", "launch.confined", "messages"),
    "namespaces": (
        *("confine.inside_sockets", "confine.kernel", "confine.mounts", "confine.namespaces"),
        *("confine.netlink", "confine.ruleset"),
    ),
    "broker": (
        *("config.matching", "errors", "tunnel.round_robin"),
        *("confine.attempts", "confine.broker", "confine.dns_message"),
        *("confine.inside_sockets", "confine.kernel", "confine.last_bytes", "confine.left_behind"),
        *("confine.listeners", "confine.name_server", "confine.name_stream", "confine.netlink"),
        *("confine.outside", "confine.packets", "confine.processes", "confine.ruleset"),
        *("confine.supervisor", "confine.syn_gate", "confine.kerberos_tickets", "confine.happy_eyeballs"),
        *("confine.relay_socket", "confine.udp_channel", "confine.udp_flows", "relay", "tunnel.request_port"),
        *("relay.descriptor_reserve", "relay.loop", "relay.pumps", "relay.relay", "relay.securing"),
        *("relay.timers", "relay.wrapped", "server", "server.tcp", "server.tcp.dial", "server.threads"),
        *("socks", "socks.address_scope", "socks.datagram", "socks.dns"),
        *("socks.reply_errno", "socks.v4", "socks.v5", "socks.wire"),
        *("tunnel.association", "tunnel.attempt", "tunnel.background", "tunnel.chain"),
        *("tunnel.deadline", "tunnel.first_hop", "tunnel.hop_probes", "tunnel.hops", "tunnel.isolation"),
        *("tunnel.liveness", "tunnel.lookups", "tunnel.name_list", "tunnel.own_addresses"),
        *("tunnel.pipelining_probe", "tunnel.placeholders", "tunnel.policy_choice", "tunnel.resolver"),
        *("tunnel.retry_policy", "tunnel.routes", "tunnel.selection", "tunnel.shared_names"),
        *("tunnel.sockopts", "tunnel.straight_road", "tunnel.strict_policy"),
    ),
    # The first one is read by ``launch/startup/sitecustomize`` itself.
    "start": (
        *("archive", "", "intercept", "intercept.import_hook", "intercept.loading", "intercept.patches"),
        *("intercept.patches.spawn", "launch", "launch.bootstrap"),
    ),
    # A start whose settings are in a file.
    "secrets": ("launch.settings_file", "launch.target_settings"),
    # The first child of a program.
    "child": (
        *("intercept.child_policy", "intercept.child_starts", "programs", "programs.cover"),
        "programs.python",
    ),
    "socket": (
        *("intercept.epoll", "intercept.fork", "intercept.lock", "intercept.originals"),
        *(
            "intercept.patch_on_import",
            "intercept.patching",
            "intercept.registry",
            "intercept.watched_import",
        ),
        "intercept.patches.accept",
        *("intercept.patches.c_socket", "intercept.patches.lifecycle"),
        "intercept.patches.replaced_functions",
        *("intercept.patches.getpeername", "intercept.patches.sockopt", "intercept.socket_inodes", "marker"),
    ),
    "connection": (
        *("config", "config.config_error", "config.matching", "config.settings", "config.settings_env"),
        *("errors", "frozen", "launch.target_settings", "tunnel.shared_file"),
        *("messages", "intercept.addresses", "intercept.audit"),
        *("intercept.user_messages", "intercept.hand_over"),
        *("intercept.own_socket", "intercept.remote_names", "intercept.runtime"),
        *("intercept.patches.connecting", "intercept.patches.getaddrinfo"),
        *("intercept.patches.implementations", "intercept.tcp", "intercept.tcp.blocking"),
        *("intercept.tcp.connected_errno", "intercept.tcp.straight", "intercept.tcp.unconnected", "socks"),
        *("socks.reply_errno", "socks.v5", "socks.wire"),
        *("tunnel", "tunnel.attempt", "tunnel.chain", "tunnel.deadline"),
        *("tunnel.first_hop", "tunnel.hop_probes", "tunnel.hops", "tunnel.lookups", "tunnel.name_list"),
        *("tunnel.own_addresses", "tunnel.placeholders", "tunnel.policy_choice", "tunnel.round_robin"),
        *("tunnel.routes", "tunnel.selection", "tunnel.shared_names", "tunnel.sockopts"),
        *("tunnel.straight_road", "tunnel.strict_policy"),
    ),
}


def write() -> None:
    """Write the archives that are missing, or all of them when a module of the launcher has changed."""
    if sys.dont_write_bytecode or not sys.implementation.cache_tag:
        return
    for stage, names in STAGES.items():
        path = archive.path_of(stage)
        if archive.missing or not os.path.exists(path):
            try:
                _write(path, names)
            except OSError:
                # The folder is another user's, or its file system is read-only or full. Then each module is
                # loaded from its own file, as Python does it without .pyc files.
                return


def _write(path: str, names: Sequence[str]) -> None:
    entries = {}
    for name in names:
        module = f"pywrap.{name}".rstrip(".")
        file = name.replace(".", "/")
        if os.path.isdir(os.path.join(archive.FOLDER, file)):
            file = os.path.join(file, "__init__")
        source = os.path.join(archive.FOLDER, f"{file}.py")
        status = os.stat(source)
        with open(source, "rb") as opened:
            code = _code(opened.read(), source)
        entries[module] = (f"{file}.py", status.st_mtime_ns, status.st_size, code)
    # Written to a temporary file and renamed, so that another process reads a whole archive or none.
    new = f"{path}.{os.getpid()}"
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    try:
        with open(fd, "wb") as opened:
            opened.write(MAGIC_NUMBER + marshal.dumps((archive.FOLDER, entries)))
        os.replace(new, path)
    except OSError:
        os.unlink(new)
        raise


def _code(source: bytes, name: str) -> CodeType:
    bare = _Bare()
    tree = bare.visit(ast.parse(source, name))
    code: CodeType = compile(tree, name, "exec", flags=bare.features, dont_inherit=True)
    return code


class _Bare(ast.NodeTransformer):
    """Leaves out docstrings and annotations. Those of a class's fields stay: ``frozen`` reads them.

    And the imports of ``__future__``: what they ask for (``features``) is done when a module is compiled.
    """

    def __init__(self) -> None:
        self.features = 0

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST | None:
        if node.module != "__future__":
            return node
        for feature in node.names:
            self.features |= getattr(__future__, feature.name).compiler_flag
        return None

    def visit_Module(self, node: ast.Module) -> ast.AST:
        return self._without_docstring(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        return self._without_docstring(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        return self._without_docstring(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        node.returns = None
        return self._without_docstring(node)

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None
        return node

    def _without_docstring(
        self, node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    ) -> ast.AST:
        self.generic_visit(node)
        first = node.body[0] if node.body else None
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
            node.body[:1] = [] if node.body[1:] else [ast.copy_location(ast.Pass(), first)]
        return node
