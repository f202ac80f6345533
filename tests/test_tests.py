"""What the tests keep to: a test module for each module, helpers in one place, programs in code."""

from __future__ import annotations

import ast
import functools
from textwrap import dedent

import pytest

from tests.support.run import ROOT, TESTS

PACKAGE = ROOT / "pywrap"

# All tests are parsed once for each rule, which is most of what a rule costs.
parsed = functools.cache(ast.parse)

# ---------------------------------------------------------------- a test module for each module

# Modules without a test module of their name, by the reason, and which tests hold them.
ELSEWHERE = {
    "Without behaviour of their own: tables, values, messages. Their readers' tests read every row.": {
        "config/arguments": "config/test_settings_env.py test_cli.py",
        "config/directives": "test_documents.py config/test_proxychains.py",
        "config/options": "test_documents.py config/test_partial_settings.py test_cli.py",
        "config/settings": "config/test_settings_env.py",
        "config/values": "config/test_partial_settings.py config/test_proxychains.py test_cli.py",
        "config/file_lines": "config/test_show.py launch/init/test_text.py",
        "config/file_parser": "config/test_proxychains.py config/test_torsocks.py config/test_tsocks.py",
        "help": "test_cli.py test_documents.py",
        "intercept/user_messages": "test_programs.py test_udp_programs.py",
        "intercept/originals": "intercept/test_install.py intercept/test_own_socket.py",
        "intercept/udp/flow_state": "intercept/udp/test_flow.py",
        "launch/launch_error": "test_cli.py launch/test_program.py",
        "server/option_table": "test_documents.py server/test_command_line.py server/test_chosen_options.py",
        "server/record": "server/test_stderr_log.py",
    },
    "What a start does: it shows in a child alone, and in each interpreter.": {
        "auto": "test_programs.py",
        "green_patches": "intercept/patches/test_green.py",
        "intercept/child_policy": "confine/test_shared_confinement.py",
        "config/config_error": "test_errors.py test_cli.py",
        "tunnel/shared_file": "tunnel/test_round_robin.py tunnel/test_name_list.py",
        "intercept/child_starts": "intercept/patches/test_spawn.py confine/test_shared_confinement.py",
        "intercept/derived_class": "intercept/udp/test_datagram_methods.py intercept/bind/test_listener.py",
        "intercept/fork": "intercept/udp/test_datagram_methods.py intercept/test_lock.py",
        "launch/archives": "test_archive.py",
        "intercept/loading": "intercept/test_reentrance.py test_no_tax.py",
        "intercept/patch_on_import": "intercept/test_install.py intercept/test_reentrance.py",
        "intercept/watched_import": "intercept/test_import_hook.py intercept/test_reentrance.py",
        "intercept/patches/accept": "intercept/bind/test_listener.py",
        "intercept/patches/cffi": "intercept/test_unsupported.py",
        "intercept/patches/asyncio": "intercept/tcp/test_in_loop.py test_programs.py",
        "intercept/patches/implementations": "intercept/test_reentrance.py",
        "intercept/patches/replaced_functions": "test_no_tax.py intercept/test_install.py",
        "intercept/patches/lifecycle": (
            "intercept/tcp/test_nonblocking.py intercept/udp/test_datagram_methods.py"
        ),
        "intercept/patches/listen": "intercept/bind/test_listener.py",
        "intercept/patches/multiprocessing": "intercept/patches/test_getpeername.py test_udp_programs.py",
        "intercept/patches/psycopg2": "intercept/patches/test_psycopg.py",
        "intercept/patches/rloop": "intercept/loops/test_streams.py intercept/loops/test_names.py",
        "intercept/patches/sendto": "test_leaks.py intercept/udp/test_datagram_methods.py",
        "intercept/patches/sockopt": "intercept/test_multicast.py intercept/bind/test_listener.py",
        "intercept/patches/trio": "test_programs.py",
        "intercept/call_recorder": "log/test_runs.py",
        "intercept/runtime": "intercept/test_install.py intercept/test_reentrance.py",
        "intercept/socks_libraries": "test_own_proxies.py",
        "launch/argv": "launch/test_secrets.py",
        "launch/bootstrap": "launch/test_launch.py",
        "launch/target_settings": "launch/test_launch.py launch/test_secrets.py",
        "launch/child_broker": "confine/test_shared_confinement.py",
        "launch/patch_or_confine": "test_cli.py",
        "launch/confined": "confine/test_launching.py test_cli.py",
        "launch/embedded": "launch/test_launch.py",
        "launch/environment": "launch/test_launch.py launch/test_secrets.py launch/test_shell.py",
        "launch/join": "confine/test_shared_confinement.py",
        "launch/joiner": "confine/test_shared_confinement.py",
        "launch/scripts": "launch/test_wrappers.py",
        "launch/startup/sitecustomize": "launch/test_launch.py test_interpreters.py",
        "programs/cover": "launch/test_launch.py confine/test_programs.py",
        "programs/isolated": "launch/test_program.py",
        "programs/joining": "confine/test_shared_confinement.py",
        "programs/private_folder": "launch/test_secrets.py confine/test_notes.py",
        "programs/python": "launch/test_program.py test_interpreters.py",
    },
    "Parts of one machine, which is driven from its end: a relay, a flow, a check.": {
        "intercept/bind/accepting": "intercept/bind/test_listener.py intercept/bind/test_peers.py",
        "intercept/bind/listener_descriptors": "intercept/bind/test_listener.py",
        "intercept/bind/eligibility": "intercept/bind/test_listener.py",
        "intercept/bind/listener_methods": "intercept/bind/test_listener.py",
        "intercept/bind/request": "intercept/bind/test_listener.py intercept/bind/test_states.py",
        "intercept/forward/libpq": "intercept/patches/test_psycopg.py",
        "intercept/forward/own_peer": "intercept/patches/test_psycopg.py",
        "intercept/forward/pair": "intercept/patches/test_psycopg.py intercept/patches/test_pycurl.py",
        "intercept/forward/library_dialogue": (
            "intercept/patches/test_psycopg.py intercept/patches/test_pycurl.py"
        ),
        "intercept/loops/registrations": "intercept/loops/test_streams.py",
        "intercept/tcp/blocking": "intercept/tcp/test_nonblocking.py intercept/test_interrupted_connect.py",
        "intercept/tcp/tunnels_for_copies": "intercept/tcp/test_nonblocking.py",
        "intercept/udp/association_setup": "intercept/udp/test_flow.py test_udp_failures.py",
        "intercept/udp/closing": "intercept/udp/test_kernel_socket.py intercept/udp/test_datagram_methods.py",
        "intercept/udp/header_and_channel": (
            "intercept/udp/test_datagram_methods.py intercept/test_remote_names.py"
        ),
        "launch/check/hop_requests": "launch/check/test_dialer.py",
        "launch/check/probe_half_close": "launch/check/test_probes.py",
        "launch/check/progress": "launch/check/test_check.py",
        "launch/check/proxy_under_test": "launch/check/test_probes.py",
        "launch/watch/judge": "launch/watch/test_watch.py",
        "launch/watch/runs": "launch/watch/test_watch.py",
        "tunnel/straight_road": "intercept/tcp/test_straight.py confine/test_connections.py",
        "relay/kerberos": "server/test_gssapi.py confine/test_secured.py",
        "relay/pumps": "relay/test_relay.py",
        "relay/securing": "confine/test_secured.py server/test_secured_upstream.py",
        "relay/tls": "server/test_tls.py confine/test_secured.py",
        "relay/wrapped": "server/test_tls.py server/test_gssapi.py",
        "server/commands/bind_onward": "server/test_upstream.py",
        "server/commands/connect": "server/test_server.py server/tcp/test_dial.py",
        "server/commands/two_replies": "server/commands/test_bind.py server/test_upstream.py",
        "server/counters": "server/test_operation.py",
        "server/explain": "server/test_access_rules.py",
        "server/onward": "server/test_upstream.py",
        "server/systemd": "server/test_operation.py",
        "server/udp/udp_relay": "server/commands/test_associate.py",
        "server/udp/peer_names": "server/commands/test_associate.py server/tcp/test_dial.py",
        "server/udp/outbound": "server/commands/test_associate.py",
        "server/workers": "server/test_operation.py",
        "socks/kerberized": "socks/test_gssapi.py server/test_secured_upstream.py",
    },
    "The kernel's part of a confinement: only programs inside show what it does.": {
        "confine/attempts": "confine/test_connections.py",
        "confine/broker": "confine/test_launching.py",
        "confine/check": "launch/check/test_check.py",
        "confine/udp_flows": "confine/test_udp.py confine/test_hostile.py",
        "confine/syn_gate": "confine/test_connections.py confine/test_hostile.py",
        "confine/kernel": "confine/test_launching.py",
        "confine/launcher": "confine/test_launching.py confine/test_forbidden.py",
        "confine/left_behind": "confine/test_launching.py",
        "confine/supervisor": "confine/test_launching.py",
        "confine/listeners": "confine/test_publish.py",
        "confine/mounts": "confine/test_names.py",
        "confine/name_server": "confine/test_names.py confine/test_dns_modes.py",
        "confine/name_stream": "confine/test_names.py",
        "confine/namespaces": "confine/test_forbidden.py",
        "confine/netlink": "confine/test_loopback.py",
        "confine/outside": "confine/test_publish.py confine/test_connections.py",
        "confine/broker_recorder": "log/test_runs.py",
        "confine/ruleset": "confine/test_connections.py confine/test_loopback.py",
        "confine/inside_sockets": "confine/test_connections.py confine/test_udp.py",
        "confine/kerberos_tickets": "confine/test_secured.py",
        "confine/relay_socket": "confine/test_udp.py confine/test_udp_channel.py",
    },
}


def modules() -> set[str]:
    """The modules of the package, as paths below it without ``.py``."""
    found = [path.relative_to(PACKAGE).with_suffix("") for path in PACKAGE.rglob("*.py")]
    return {str(path) for path in found if path.name not in ("__init__", "__main__")}


def has_tests(module: str) -> bool:
    folder, _, name = module.rpartition("/")
    return (TESTS / folder / f"test_{name}.py").exists()


def test_each_module_has_a_test_module_of_its_name_or_a_reason():
    without = {module for module in modules() if not has_tests(module)}
    assert without == {module for held in ELSEWHERE.values() for module in held}


def test_the_tests_that_hold_a_module_instead_exist():
    places = {place for held in ELSEWHERE.values() for places in held.values() for place in places.split()}
    assert {place for place in places if not (TESTS / place).exists()} == set()


# ---------------------------------------------------------------- docstrings


def undocumented(source: str) -> list[str]:
    """The public functions, classes and methods of ``source`` that have no docstring."""
    found = []

    def visit(body: list[ast.stmt], prefix: str) -> None:
        for node in body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                if node.name.startswith("_"):
                    continue
                name = prefix + node.name
                if ast.get_docstring(node) is None:
                    found.append(name)
                if isinstance(node, ast.ClassDef):
                    visit(node.body, f"{name}.")

    visit(ast.parse(source).body, "")
    return found


def test_what_is_public_has_a_docstring():
    found = {
        str(path.relative_to(PACKAGE)): names
        for path in sorted(PACKAGE.rglob("*.py"))
        if (names := undocumented(path.read_text()))
    }
    # What a file of patches installs, its first line says.
    patches = {path: names for path, names in found.items() if path.startswith("intercept/patches/")}
    assert {name for names in patches.values() for name in names} <= {"install"}
    assert found == patches


def test_each_module_begins_with_a_docstring():
    without = [path for path in PACKAGE.rglob("*.py") if not ast.get_docstring(ast.parse(path.read_text()))]
    assert without == []


def test_a_function_without_a_docstring_is_noticed():
    source = 'class A:\n    """A."""\n    def f(self): ...\n    def _g(self): ...\n\nasync def h(): ...'
    assert undocumented(source) == ["A.f", "h"]


# ---------------------------------------------------------------- helpers


def imports_of_tests(source: str) -> list[str]:
    """What ``source`` imports of a test module or a conftest, which pytest alone loads."""
    found = []
    for node in ast.walk(parsed(source)):
        if isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        for name in names:
            words = name.split(".")
            if words[0] == "tests" and any(
                w == "conftest" or w.startswith("test_") for w in words[1:-1] + words[-1:]
            ):
                found.append(name)
    return found


@functools.cache
def sources() -> list[tuple[str, str]]:
    """The path below ``tests``, and the text, of each file there."""
    return [(str(path.relative_to(TESTS)), path.read_text()) for path in sorted(TESTS.rglob("*.py"))]


def test_no_helper_is_imported_from_a_test_module():
    assert {path: found for path, source in sources() if (found := imports_of_tests(source))} == {}


@pytest.mark.parametrize(
    "source",
    [
        "from tests.server.conftest import receive",
        "from tests.test_chains import swallower",
        "def late():\n    import tests.tunnel.test_routes",
    ],
)
def test_an_import_from_a_test_module_is_noticed(source):
    assert len(imports_of_tests(source)) == 1


# ---------------------------------------------------------------- programs

# Lines that a program may have in a string.
MOST = 3

# What looks like one, and is the text that is tested.
TEXTS = {
    "test_layers.py": "sources that the rules for imports are tried on",
    "test_readme.py": "a document's example",
    "test_tests.py": "what this is tried on",
    "programs/start_children.py": "what its children get by -c, as a file and as a package",
    "programs/start_every_way.py": "what its children get, likewise, and by pip as a build backend",
    "launch/test_lazy_imports.py": "imports are lazy at the top of a module only, and in a grammar of 3.15",
    "test_interpreters.py": "a script with a coding line, whose text is what matters",
}


def programs(source: str) -> list[int]:
    """The lines of ``source`` where a string is a program of more than MOST lines."""
    nodes = list(ast.walk(parsed(source)))
    pieces = {id(piece) for node in nodes if isinstance(node, ast.JoinedStr) for piece in node.values}
    strings = [
        node for node in nodes if isinstance(node, ast.Constant | ast.JoinedStr) and id(node) not in pieces
    ]
    return [node.lineno for node in strings if is_program(text_of(node))]


def text_of(node: ast.AST) -> str:
    """The text of a string; what an f-string inserts is a name."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=values):
            return "".join(str(v.value) if isinstance(v, ast.Constant) else "inserted" for v in values)
    return ""


def is_program(text: str) -> bool:
    text = dedent(text).strip("\n")
    if text.count("\n") < MOST:
        return False
    try:
        tree = ast.parse(text)
    except SyntaxError:
        return False
    # Prose can be parsed too: each line is a name then, or an annotation.
    kinds = ast.Import | ast.ImportFrom | ast.Call
    return len(tree.body) > 1 and any(isinstance(node, kinds) for node in ast.walk(tree))


def test_programs_are_no_strings():
    found = {path: lines for path, source in sources() if (lines := programs(source))}
    assert {path: lines for path, lines in found.items() if path not in TEXTS} == {}
    assert TEXTS.keys() <= found.keys(), "it is no exception any more"


PROGRAM = """
import socket
sock = socket.socket()
sock.listen()
print(sock)
"""


@pytest.mark.parametrize(
    "source", [f"X = {PROGRAM!r}", f"def f():\n    run('''{PROGRAM}''')", f"X = f'''{PROGRAM}{{1}}'''"]
)
def test_a_program_in_a_string_is_noticed(source):
    assert len(programs(source)) == 1


def test_a_text_that_is_no_program_is_allowed():
    assert programs("X = '''\nstrict_chain\n[ProxyList]\nsocks5 a 1\nsocks5 b 2\n'''") == []
    assert programs("X = '''\nhosts: files\nservices: files\nprotocols: files\nnetworks: files\n'''") == []
