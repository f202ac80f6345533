"""The messages that README explains are those that the code has."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

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


def table(readme: str) -> Iterator[str]:
    """The messages in the first column of the tables, one by one."""
    section = readme.partition("\n## Messages and exit codes\n")[2].partition("\n## ")[0]
    for line in section.splitlines():
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
    messages = list(table((ROOT / "README.md").read_text()))
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
