"""Fetches URL twice with each library, by a cassette of vcrpy: replay.py URL FOLDER; prints what it got."""

from __future__ import annotations

import json
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path

import httpx
import requests
import vcr

URL, FOLDER = sys.argv[1], Path(sys.argv[2])

LIBRARIES: dict[str, Callable[[], str]] = {
    "urllib": lambda: urllib.request.urlopen(URL).read().decode(),
    "requests": lambda: requests.get(URL).text,
    "httpx": lambda: httpx.get(URL).text,
}

found = {}
for name, fetch in LIBRARIES.items():
    with vcr.use_cassette(str(FOLDER / name)):
        recorded = fetch()
    with vcr.use_cassette(str(FOLDER / name), record_mode="none") as cassette:
        found[name] = [recorded, fetch(), cassette.play_count]
    found[f"{name}, afterwards"] = [fetch()]
print(json.dumps(found))
