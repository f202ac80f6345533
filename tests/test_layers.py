"""Imports go downwards only, and what runs in the target process imports little.

Read from the source, also inside functions and below TYPE_CHECKING: a type that a lower floor has to know
of a higher one is the same knot.
"""

from __future__ import annotations

import ast
import functools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

PACKAGE = Path(__file__).parent.parent / "pywrap"

# From the top. A part is a module, or a package with all that is in it.
FLOORS = (
    ("pywrap", "pywrap.auto", "pywrap.cli", "pywrap.help", "pywrap.__main__"),
    ("pywrap.launch",),
    ("pywrap.confine",),
    ("pywrap.intercept",),
    ("pywrap.tunnel", "pywrap.server"),
    ("pywrap.relay",),
    ("pywrap.socks",),
    ("pywrap.programs", "pywrap.log"),
    (
        *("pywrap.archive", "pywrap.config", "pywrap.errors", "pywrap.frozen", "pywrap.green_patches"),
        *("pywrap.marker", "pywrap.messages"),
    ),
)
# On one floor, and not to know each other.
STRANGERS = {"pywrap.tunnel", "pywrap.server"}

# Its parent runs before every other module of ours anyway, and this is all that it has for them.
FREE_FOR_ALL = ("pywrap", "__version__")

# The launcher's own process is never patched: of `launch`, only what runs in the target may patch.
BOOTSTRAP = "pywrap.launch.bootstrap"
TARGET_SETTINGS = "pywrap.launch.target_settings"
START_UP = "pywrap.launch.startup.sitecustomize"

# What is imported in the target process: before the program, or with its first connection.
TARGET = (
    "pywrap",
    "pywrap.archive",
    "pywrap.launch",
    START_UP,
    BOOTSTRAP,
    "pywrap.intercept.*",
    "pywrap.tunnel.*",
    "pywrap.socks.*",
    "pywrap.programs.*",
    "pywrap.log.*",
    "pywrap.errors",
    "pywrap.frozen",
    "pywrap.green_patches",
    "pywrap.marker",
    "pywrap.messages",
    "pywrap.config",
    "pywrap.config.config_error",
    "pywrap.config.matching",
    "pywrap.config.settings",
    "pywrap.config.settings_env",
    "pywrap.config.variables",
    "pywrap.launch.secrets",
    "pywrap.launch.settings_file",
    TARGET_SETTINGS,
)
# These read configuration files, in a program that asked for it: `pywrap.install()`.
READERS = {
    *("pywrap.config.arguments", "pywrap.config.search", "pywrap.config.url_security"),
    *("pywrap.launch.environment", "pywrap.launch.log_file"),
}

# The one that ours hides, if there is one.
HIDDEN = "sitecustomize"

# Milliseconds each, and some are modules that a program wants to patch before they are imported.
HEAVY = {
    *("re", "json", "logging", "typing", "dataclasses", "ipaddress", "threading", "asyncio"),
    *("argparse", "collections", "contextlib", "enum", "functools", "inspect", "pathlib", "subprocess"),
}


class Import(NamedTuple):
    importer: str
    imported: str
    name: str  # what is taken out of it, "" for all
    line: int
    lazy: bool = False  # in a function
    for_types: bool = False  # below TYPE_CHECKING, so never executed

    def __str__(self) -> str:
        return f"{self.importer}, line {self.line}: {self.imported}"


# ---------------------------------------------------------------- reading


def modules(package: Path) -> dict[str, Path]:
    """The modules of ``package`` and their files."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package.parent).with_suffix("").parts
        found[".".join(parts).removesuffix(".__init__")] = path
    return found


@functools.cache
def statements(source: str) -> list[tuple[ast.Import | ast.ImportFrom, bool, bool]]:
    """What ``Reader`` finds in ``source``: read once for all rules."""
    reader = Reader()
    reader.visit(ast.parse(source))
    return reader.found


def imports(package: Path) -> list[Import]:
    """Every import statement in ``package``."""
    known = modules(package)
    found = []
    for module, path in known.items():
        inside = module if path.name == "__init__.py" else module.rpartition(".")[0]
        for node, lazy, for_types in statements(path.read_text()):
            for imported, name in names(node, inside, known):
                found.append(Import(module, imported, name, node.lineno, lazy, for_types))
    return found


class Reader(ast.NodeVisitor):
    """Collects import statements: (node, whether in a function, whether below TYPE_CHECKING)."""

    def __init__(self) -> None:
        self.found: list[tuple[ast.Import | ast.ImportFrom, bool, bool]] = []
        self._lazy = False
        self._for_types = False

    def visit_Import(self, node: ast.Import | ast.ImportFrom) -> None:
        self.found.append((node, self._lazy, self._for_types))

    visit_ImportFrom = visit_Import

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        before, self._lazy = self._lazy, True
        self.generic_visit(node)
        self._lazy = before

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_If(self, node: ast.If) -> None:
        if ast.unparse(node.test) not in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            self.generic_visit(node)
            return
        before, self._for_types = self._for_types, True
        for child in node.body:
            self.visit(child)
        self._for_types = before
        for child in node.orelse:
            self.visit(child)


def names(
    node: ast.Import | ast.ImportFrom, inside: str, known: dict[str, Path]
) -> Iterator[tuple[str, str]]:
    """The modules that one statement imports, and what it takes out of each."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield alias.name, ""
        return
    source = node.module or ""
    if node.level:
        above = inside.split(".")[: len(inside.split(".")) - node.level + 1]
        source = ".".join([*above, source]).removesuffix(".")
    for alias in node.names:
        submodule = f"{source}.{alias.name}"
        if submodule in known:
            yield submodule, ""
        else:
            yield source, alias.name


# ---------------------------------------------------------------- rules


def part_of(module: str) -> str:
    """The part of ``FLOORS`` that ``module`` is in."""
    top, _, rest = module.partition(".")
    found = f"{top}.{rest.partition('.')[0]}" if rest else top
    assert any(found in floor for floor in FLOORS), f"{module} is on no floor: add it to FLOORS"
    return found


def floor_of(part: str) -> int:
    return next(number for number, floor in enumerate(FLOORS) if part in floor)


def is_ours(module: str) -> bool:
    return module.partition(".")[0] == "pywrap"


def patches_the_broker(found: Import) -> bool:
    """The broker is never patched either."""
    return (
        part_of(found.importer) == "pywrap.confine"
        and is_ours(found.imported)
        and part_of(found.imported) == "pywrap.intercept"
    )


def goes_up(found: Import) -> bool:
    """Does it import from a floor above, or from a stranger on its own?"""
    if not is_ours(found.imported) or (found.imported, found.name) == FREE_FOR_ALL:
        return False
    importer, imported = part_of(found.importer), part_of(found.imported)
    if importer != imported and {importer, imported} <= STRANGERS:
        return True
    return floor_of(imported) < floor_of(importer)


def patches_the_launcher(found: Import) -> bool:
    if found.imported in (BOOTSTRAP, TARGET_SETTINGS):
        return found.importer != START_UP
    importer, imported = found.importer, found.imported
    return (
        part_of(importer) == "pywrap.launch"
        and importer not in (BOOTSTRAP, TARGET_SETTINGS)
        and is_ours(imported)
        and part_of(imported) == "pywrap.intercept"
    )


def in_target(module: str) -> bool:
    return module in TARGET or any(
        pattern.endswith(".*") and (module + ".").startswith(pattern[:-1]) for pattern in TARGET
    )


# Modules of Python's own library that the interpreter of the tests may be too old for.
NEWER = ("_pyrepl",)


def leaves_the_target(found: Import) -> bool:
    """Would the target import a third party's module, or one of ours that is not made for it?"""
    if not in_target(found.importer) or found.for_types or found.imported == HIDDEN:
        return False
    if not is_ours(found.imported):
        return found.imported.partition(".")[0] not in {*sys.stdlib_module_names, *NEWER}
    return not in_target(found.imported) and not (found.importer == "pywrap" and found.imported in READERS)


def is_heavy(found: Import) -> bool:
    """Would the target import this without being asked to?"""
    if not in_target(found.importer) or found.lazy or found.for_types:
        return False
    return found.imported.partition(".")[0] in HEAVY


RULES: tuple[Callable[[Import], bool], ...] = (
    goes_up,
    patches_the_launcher,
    patches_the_broker,
    leaves_the_target,
    is_heavy,
)


def broken(package: Path, rule: Callable[[Import], bool]) -> list[str]:
    return [str(found) for found in imports(package) if rule(found)]


# ---------------------------------------------------------------- tests


@pytest.mark.parametrize("rule", RULES)
def test_every_import_keeps_to(rule):
    assert "\n".join(broken(PACKAGE, rule)) == ""


def circles(package: Path) -> list[str]:
    """The files of one package that import each other, type-only imports included."""
    graph: dict[str, set[str]] = {module: set() for module in modules(package)}
    for found in imports(package):
        same_package = found.importer.split(".")[:2] == found.imported.split(".")[:2]
        if same_package and found.imported in graph and found.imported != found.importer:
            graph[found.importer].add(found.imported)
    return sorted(
        " -> ".join(circle) for module in graph if (circle := circle_through(graph, module)) is not None
    )


def circle_through(graph: dict[str, set[str]], start: str) -> list[str] | None:
    """The shortest way from ``start`` back to it."""
    ways = [[start]]
    seen = set()
    while ways:
        way = ways.pop(0)
        for following in sorted(graph[way[-1]]):
            if following == start:
                return [*way, start]
            if following not in seen:
                seen.add(following)
                ways.append([*way, following])
    return None


def test_there_is_no_circle_among_the_files_of_a_package():
    assert "\n".join(circles(PACKAGE)) == ""


def test_a_circle_is_noticed(tmp_path):
    package = small_package(tmp_path)
    (package / "socks/v5.py").write_text("if TYPE_CHECKING:\n    from pywrap.socks.wire import Send\n")
    (package / "socks/wire.py").write_text("def late():\n    from pywrap.socks import v5\n")
    assert circles(package) == [
        "pywrap.socks.v5 -> pywrap.socks.wire -> pywrap.socks.v5",
        "pywrap.socks.wire -> pywrap.socks.v5 -> pywrap.socks.wire",
    ]


def _files_of_one_name(package: Path) -> dict[str, list[str]]:
    """Modules by their name without packages, where there are several. Python itself wants the two others."""
    found: dict[str, list[str]] = {}
    for path in sorted(package.rglob("*.py")):
        if path.name not in ("__init__.py", "__main__.py"):
            found.setdefault(path.name, []).append(str(path.relative_to(package)))
    return {name: paths for name, paths in found.items() if len(paths) > 1}


def test_no_two_files_have_one_name():
    assert not _files_of_one_name(PACKAGE)


def test_two_files_of_one_name_are_noticed(tmp_path):
    for place in ("a", "b"):
        (tmp_path / place).mkdir()
        for name in ("__init__.py", "options.py"):
            (tmp_path / place / name).touch()
    assert _files_of_one_name(tmp_path) == {"options.py": ["a/options.py", "b/options.py"]}


def test_something_was_read():
    found = imports(PACKAGE)
    assert Import("pywrap.socks.v5", "pywrap.socks.wire", "Endpoint", 0) in {
        each._replace(line=0) for each in found
    }
    assert any(each.lazy and not each.for_types for each in found)
    assert any(each.for_types for each in found)
    # Each floor is a thing that exists.
    assert {part for floor in FLOORS for part in floor} == {part_of(module) for module in modules(PACKAGE)}


@pytest.mark.parametrize(
    "rule, file, source",
    [
        (goes_up, "config/url.py", "from pywrap.socks import v5"),
        (goes_up, "config/url.py", "import pywrap.socks.v5"),
        (goes_up, "config/url.py", "from ..socks.v5 import connect"),
        (goes_up, "config/url.py", "from .. import socks"),
        (goes_up, "errors.py", "def late():\n    from pywrap.tunnel import chain"),
        (goes_up, "errors.py", "class A:\n    async def late(self):\n        from pywrap import cli"),
        (
            goes_up,
            "socks/v5.py",
            "if TYPE_CHECKING:\n    from pywrap.tunnel import chain",
        ),
        (goes_up, "socks/v5.py", "try:\n    pass\nexcept OSError:\n    import pywrap.tunnel.chain"),
        (goes_up, "socks/v5.py", "from pywrap import install"),
        (goes_up, "tunnel/chain.py", "from pywrap.intercept import originals"),
        (goes_up, "tunnel/chain.py", "from pywrap.server import server"),
        (goes_up, "relay/loop.py", "from pywrap.server import server"),
        (goes_up, "server/loop.py", "import pywrap.tunnel"),
        (goes_up, "intercept/originals.py", "from pywrap.launch import command"),
        (patches_the_launcher, "launch/patch_or_confine.py", "from pywrap.intercept import originals"),
        (patches_the_launcher, "launch/patch_or_confine.py", "from pywrap.launch import bootstrap"),
        (patches_the_launcher, "cli.py", "import pywrap.launch.bootstrap"),
        (patches_the_broker, "confine/syn_gate.py", "from pywrap.intercept import originals"),
        (leaves_the_target, "tunnel/chain.py", "import python_socks"),
        (leaves_the_target, "tunnel/chain.py", "def late():\n    import socks.client"),
        (leaves_the_target, "config/settings_env.py", "from pywrap.config import url"),
        (leaves_the_target, "launch/bootstrap.py", "def late():\n    import psutil"),
        (leaves_the_target, "intercept/originals.py", "from pywrap.relay import loop"),
        (leaves_the_target, "launch/bootstrap.py", "from pywrap.config.search import load"),
        (is_heavy, "messages.py", "import re"),
        (is_heavy, "messages.py", "from collections.abc import Callable"),
        (is_heavy, "config/settings.py", "class A:\n    import json.decoder"),
        (
            is_heavy,
            "socks/v5.py",
            "if TYPE_CHECKING:\n    pass\nelse:\n    import typing",
        ),
    ],
)
def test_rule_is_broken_by(tmp_path, rule, file, source):
    package = small_package(tmp_path)
    (package / file).write_text(source + "\n")
    assert len(broken(package, rule)) == 1


def test_what_is_allowed(tmp_path):
    package = small_package(tmp_path)
    (package / "server/dial.py").write_text("from pywrap import __version__\nfrom pywrap.socks import v5\n")
    (package / "launch/bootstrap.py").write_text("from pywrap import intercept\nimport os\n")
    (package / "launch/startup/sitecustomize.py").write_text("from pywrap.launch import bootstrap\n")
    (package / "tunnel/chain.py").write_text("from . import dial\n\ndef late():\n    import threading\n")
    (package / "__init__.py").write_text("def install():\n    from pywrap.config import search\n")
    assert [line for rule in RULES for line in broken(package, rule)] == []


def test_module_without_a_floor_is_noticed(tmp_path):
    package = small_package(tmp_path)
    (package / "helpers.py").write_text("from pywrap.errors import ConfigError\n")
    with pytest.raises(AssertionError, match="pywrap.helpers is on no floor"):
        broken(package, goes_up)


def small_package(directory: Path) -> Path:
    """A package with the floors of ours and nothing in it."""
    package = directory / "pywrap"
    for path in modules(PACKAGE).values():
        copy = package / path.relative_to(PACKAGE)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.touch()
    return package
