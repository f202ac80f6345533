"""A headless Chromium, told what to do by its DevTools protocol over two pipes: no driver, no web socket."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")

# Seconds for one command.
PATIENCE = 60.0


def find() -> str | None:
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Page:
    """One page. Errors that its script did not catch, and what the console says, are in ``complaints``."""

    def __init__(self, write: int, read: int) -> None:
        self._write = write
        self._read = os.fdopen(read, "rb", closefd=False)
        self._number = 0
        self._session = ""
        self.complaints: list[str] = []
        self.requests: list[str] = []
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self._call(f"{domain}.enable")

    def _call(self, method: str, **params: Any) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]

    def _next(self) -> dict[str, Any]:
        data = bytearray()
        while (byte := self._read.read(1)) != b"\0":
            assert byte, "the browser has ended"
            data += byte
        message = json.loads(data)
        method, params = message.get("method"), message.get("params", {})
        if method == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(params["exceptionDetails"]))
        elif method == "Log.entryAdded":
            self.complaints.append(params["entry"]["text"])
        elif method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        return message

    def open(self, path: Path, width: int = 1280, height: int = 900) -> None:
        """Open the file ``path``, and wait until it is loaded."""
        self._call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        self._call("Page.navigate", url=path.as_uri())
        end = time.monotonic() + PATIENCE
        while self.run("document.readyState") != "complete":
            assert time.monotonic() < end, "not loaded"

    def run(self, expression: str) -> Any:
        """The value of a JavaScript ``expression``."""
        answer = self._call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def texts(self, selector: str) -> list[str]:
        """The texts of the elements that match."""
        return self.run(f"[...document.querySelectorAll({json.dumps(selector)})].map(each => each.innerText)")

    def click(self, selector: str) -> None:
        """Click with the mouse on the middle of the first element that matches."""
        place = self.run(
            f"(() => {{ const each = document.querySelector({json.dumps(selector)});"
            " each.scrollIntoView({block: 'nearest'});"
            " const box = each.getBoundingClientRect();"
            " return [box.left + box.width / 2, box.top + box.height / 2]; })()"
        )
        self.mouse("mousePressed", *place)
        self.mouse("mouseReleased", *place)

    def mouse(self, kind: str, x: float, y: float) -> None:
        button = {"button": "left", "clickCount": 1, "buttons": 1}
        self._call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **button)

    def type(self, text: str) -> None:
        self._call("Input.insertText", text=text)

    def press(self, key: str) -> None:
        """Press a key, by its name in JavaScript: "ArrowDown", "/"."""
        code = {"ArrowDown": 40, "ArrowUp": 38, "Enter": 13, "Escape": 27, "End": 35, "Home": 36, "Tab": 9}
        more = {"windowsVirtualKeyCode": code[key]} if key in code else {"text": key}
        self._call("Input.dispatchKeyEvent", type="keyDown", key=key, **more)
        self._call("Input.dispatchKeyEvent", type="keyUp", key=key, **more)

    def media(self, kind: str = "", **features: str) -> None:
        """Pretend to be ``kind`` ("print"), and to prefer ``features``: prefers_color_scheme="dark"."""
        wanted = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]
        self._call("Emulation.setEmulatedMedia", media=kind, features=wanted)

    def screenshot(self) -> bytes:
        """A PNG of what is seen."""
        return base64.b64decode(self._call("Page.captureScreenshot", format="png")["data"])

    def pdf(self) -> bytes:
        return base64.b64decode(self._call("Page.printToPDF", printBackground=False)["data"])


@contextlib.contextmanager
def browser(program: str) -> Iterator[Page]:
    """A page of a new ``program``, with a profile of its own."""
    to_it, ours = os.pipe()
    from_it, theirs = os.pipe()

    def pipes() -> None:
        # As numbers 3 and 4, however these are numbered here.
        first, second = os.dup(to_it), os.dup(theirs)
        os.dup2(first, 3)
        os.dup2(second, 4)

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        words = [
            *(program, "--headless", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu"),
            *("--disable-dev-shm-usage", "--no-first-run", f"--user-data-dir={profile}", "about:blank"),
        ]
        process = subprocess.Popen(
            words, preexec_fn=pipes, close_fds=False, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        os.close(to_it)
        os.close(theirs)
        try:
            yield Page(ours, from_it)
        finally:
            process.terminate()
            process.wait()
            os.close(ours)
            os.close(from_it)
