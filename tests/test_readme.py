"""docs/messages.md explains the messages that the code has; README is short, and its commands work."""

from __future__ import annotations

import ast
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.namespaces import alone
from tests.support.run import run

ROOT = Path(__file__).parent.parent
HOLE = "…"


def templates(source: str) -> Iterator[str]:
    """The one-line strings of ``source`` but its docstrings, with a HOLE for each value that is put in."""
    tree = ast.parse(source)
    statements = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        text = _text(node)
        # The help has more lines.
        if text and "\n" not in text.strip() and id(node) not in statements:
            yield text


def _text(node: ast.AST) -> str:
    match node:
        case ast.Constant(str(value)):
            return value
        case ast.JoinedStr(values):
            return "".join(_text(value) or HOLE for value in values)
        case ast.BinOp(left, ast.Add(), right) if _text(left) and _text(right):
            return _text(left) + _text(right)
    return ""


def table(page: str) -> Iterator[str]:
    """The messages in the first column of the tables, one by one."""
    for line in page.splitlines():
        if line.startswith("|") and not line.startswith(("|---", "| before the program", "| in the program")):
            first = re.split(r"(?<!\\)\|", line)[1]
            yield from first.replace(r"\|", "|").strip().split(" · ")


def is_said(message: str, said: list[str]) -> bool:
    """Whether ``message`` is what one of ``said`` may look like.

    A HOLE in it stands for anything. Text in parentheses at its end is a remark, and the name of a variable
    of ours is a value in the code. Each part between colons may come from elsewhere, as one message is often
    the reason in another.
    """
    message = re.sub(r" \([^()]*\)$", "", message).removeprefix("FILE:LINE: ")
    parts = re.sub(r"PYSOCKSIFY_[A-Z]+", HOLE, message).split(": ")
    patterns = [".*".join(map(re.escape, part.split(HOLE))) for part in parts]
    return all(any(re.search(pattern, text) for text in said) for pattern in patterns)


@pytest.fixture(scope="module")
def said():
    return [text for path in (ROOT / "pywrap").rglob("*.py") for text in templates(path.read_text())]


def test_every_message_of_the_table_is_one_of_ours(said):
    messages = list(table((ROOT / "docs" / "messages.md").read_text()))
    assert len(messages) > 100
    assert [message for message in messages if not is_said(message, said)] == []


def test_a_message_that_changed_is_found_out(said):
    assert is_said("FILE:LINE: … contradicts line …", said)
    assert is_said("proxy …: connection refused (often)", said)
    assert not is_said("FILE:LINE: … contradicts page …", said)
    assert not is_said("proxy …: connection declined", said)


def test_a_docstring_and_the_help_are_no_messages():
    source = (
        'HELP = "usage:\\n  more"\ndef f():\n    """Fail."""\n    raise E(f"{a} is " + "wrong", not f"{b}")'
    )
    assert set(templates(source)) == {"… is wrong", "… is ", " is ", "wrong", "…"}


# ---------------------------------------------------------------- README


def test_readme_can_be_read_in_a_few_minutes():
    assert len((ROOT / "README.md").read_text().split()) < 1300


@pytest.mark.parametrize(
    "page", sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]), ids=lambda path: path.name
)
def test_every_link_leads_somewhere(page):
    for target, _, anchor in (
        link.partition("#") for link in re.findall(r"\]\(([^):]+)\)", page.read_text())
    ):
        file = page.parent / target
        assert file.exists(), f"{target} in {page.name}"
        assert not anchor or anchor in anchors(file.read_text()), f"{target}#{anchor} in {page.name}"


def anchors(text: str) -> set[str]:
    """The names of headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def examples(readme: str) -> list[tuple[str, str]]:
    """The commands that README says are run here, and what each prints; nothing for one in the background."""
    block = readme.partition("<!-- tests/test_readme.py runs these. -->\n```console\n")[2].partition("```")[0]
    found = []
    for each in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        # A command ends with its line, or with the one that closes its quote.
        command = re.match(r"(?:[^'\n]|'[^']*')*\n", each)
        assert command, each
        found.append((command[0], each[command.end() :]))
    return found


def without_numbers(text: str) -> str:
    """Process ids, ports chosen by the kernel and times differ from run to run."""
    text = re.sub(r"\[\d+\]:", "[PID]:", text)
    text = re.sub(r"\d+ ms", "N ms", text)
    return re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:PORT", text)


# 4321 in /proc/net/tcp, where 0A is LISTEN.
LISTENING = "until grep -q ':10E1 .* 0A ' /proc/net/tcp; do :; done\n"


@pytest.mark.parametrize("number", range(1, 4))
def test_a_command_of_the_readme_works_as_pasted(number, tmp_path):
    commands = examples((ROOT / "README.md").read_text())
    assert len(commands) == 4
    bin_directory = os.path.dirname(sys.executable)
    env = {"PATH": f"{bin_directory}:{os.environ['PATH']}", "HOME": str(tmp_path)}
    command, printed = commands[number]
    words: tuple[str, ...] = ()
    if number == 1:
        # Another test may have the port that the page names.
        words = alone()
        command = f"{commands[0][0]}{LISTENING}{command}"
    ran = run(*words, "sh", "-c", f"exec 2>&1\n{command}", env=env, cwd=tmp_path)
    assert sorted(without_numbers(ran.out).splitlines()) == sorted(without_numbers(printed).splitlines())
