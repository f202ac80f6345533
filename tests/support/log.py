"""Reads what ``--log`` has written, and holds each line against the schema in the package."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import jsonschema

import pywrap

SCHEMA = Path(pywrap.__file__).parent / "log" / "schema.json"


@functools.cache
def validator() -> Any:
    schema = json.loads(SCHEMA.read_text())
    made = jsonschema.validators.validator_for(schema)
    made.check_schema(schema)
    return made(schema)


def read(path: Path) -> list[dict[str, Any]]:
    """The lines of the log at ``path``, each of them valid."""
    return valid(path.read_text("ascii"))


def valid(text: str) -> list[dict[str, Any]]:
    lines = []
    for text_of_line in text.splitlines():
        line = json.loads(text_of_line)
        error = jsonschema.exceptions.best_match(validator().iter_errors(line))
        assert error is None, f"{error.message} in {text_of_line}"
        lines.append(line)
    return lines


def of(kind: str, lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The lines of one kind."""
    return [line for line in lines if line["event"] == kind]
