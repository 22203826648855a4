"""A headless Chromium, told what to do through a pipe (the DevTools protocol): pictures of a page, and its console.

No port is opened and nothing is fetched: pages are files, and the browser's own updates and reports are switched off.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import signal
import tempfile
from contextlib import contextmanager, suppress
from time import monotonic
from typing import TYPE_CHECKING

from trader_cli.core.errors import ConfigurationError
from trader_cli.core.json_values import number_of, object_of, objects_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from trader_cli.core.json_values import JsonObject

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
_OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--disable-breakpad",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)
_PATIENCE_S = 30.0
_TALL = 16_000
"""Pixels: no picture is higher."""


def chromium() -> str | None:
    """Where a Chromium is installed, if one is."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


def require_chromium() -> str:
    """Where it is. Raises `ConfigurationError` naming what to install."""
    found = chromium()
    if found is None:
        raise ConfigurationError(
            "A picture of the report is taken by Chromium, and none is installed.",
            hint="Install one (Debian: `apt-get install chromium`), or leave out --png and open the page.",
        )
    return found


@contextmanager
def headless(program: str) -> Iterator[Browser]:
    """A browser of its own, with an empty profile, that has ended and left nothing behind afterwards."""
    with tempfile.TemporaryDirectory(prefix="trader-browser-", ignore_cleanup_errors=True) as profile:
        to_browser, from_us = _pipe()
        to_us, from_browser = _pipe()
        pid = _spawned([program, *_OPTIONS, f"--user-data-dir={profile}", "about:blank"], to_browser, from_browser)
        os.close(to_browser)
        os.close(from_browser)
        try:
            yield Browser(to_us, from_us)
        finally:
            os.close(from_us)
            os.close(to_us)
            _end(pid)


def _failed(sentence: str) -> ConfigurationError:
    return ConfigurationError(
        sentence, hint="Open the page in your own browser; another Chromium may take the picture."
    )


def _pipe() -> tuple[int, int]:
    """Both ends, out of the way of 3 and 4, where the browser wants its own."""
    ends = os.pipe()
    moved = tuple(fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in ends)
    for end in ends:
        os.close(end)
    return moved[0], moved[1]


def _spawned(command: list[str], reads: int, writes: int) -> int:
    nowhere = (
        (os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0),
        (os.POSIX_SPAWN_OPEN, 2, "/dev/null", os.O_WRONLY, 0),
    )
    pipes = (os.POSIX_SPAWN_DUP2, reads, 3), (os.POSIX_SPAWN_DUP2, writes, 4)
    return os.posix_spawn(command[0], command, os.environ, file_actions=[*nowhere, *pipes], setpgroup=0)


def _end(pid: int) -> None:
    """The browser and whatever it has started: they are a group of their own."""
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


class Browser:
    """One page of a browser."""

    def __init__(self, reads: int, writes: int) -> None:
        self.complaints: list[str] = []
        self._reads, self._writes = reads, writes
        self._number, self._left = 0, b""
        self._session: str | None = None
        shown = objects_of(self.call("Target.getTargets")["targetInfos"])
        target = next(one["targetId"] for one in shown if one["type"] == "page")
        self._session = str(self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"])
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: object) -> JsonObject:
        """Tell it something; what it answers. Raises `ConfigurationError`."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._writes, json.dumps(message).encode() + b"\0")
        until = monotonic() + _PATIENCE_S
        while True:
            answer = self._next(until)
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise _failed(f"The browser refused {method}: {answer['error']}.")
                return object_of(answer["result"])

    def _next(self, until: float) -> JsonObject:
        while b"\0" not in self._left:
            if not select.select([self._reads], [], [], max(until - monotonic(), 0))[0]:
                raise _failed(f"The browser has not answered for {_PATIENCE_S:.0f} s.")
            read = os.read(self._reads, 1 << 20)
            if not read:
                raise _failed("The browser has ended by itself.")
            self._left += read
        line, _, self._left = self._left.partition(b"\0")
        answer = dict(json.loads(line))
        self._hear(answer)
        return answer

    def _hear(self, event: JsonObject) -> None:
        """Keep what it complains of."""
        method, told = event.get("method"), object_of(event.get("params", {}))
        if method == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(told["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled" and told["type"] in {"error", "warning", "assert"}:
            self.complaints.append(json.dumps(told["args"]))
        elif method == "Log.entryAdded" and object_of(told["entry"])["level"] in {"error", "warning"}:
            self.complaints.append(json.dumps(told["entry"]))

    def open(self, file: Path, width: int, *, height: int = 900, dark: bool = False) -> None:
        """Show a page of `trader report` in a window so wide, and wait until it is drawn."""
        phone = width < 600
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=2 if phone else 1,
            mobile=phone,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Page.navigate", url=file.resolve().as_uri())
        until = monotonic() + _PATIENCE_S
        while self.value("document.documentElement?.dataset.ready ?? ''") == "":
            if monotonic() > until:
                raise _failed(f"The page {file} was not drawn within {_PATIENCE_S:.0f} s.")

    def value(self, expression: str) -> object:
        """What an expression of the page comes to, promises waited for. Raises `ConfigurationError` where it throws."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise _failed(f"{expression} failed: {answer['exceptionDetails']}.")
        return object_of(answer["result"]).get("value")

    def picture(self, height: int | None = None) -> bytes:
        """The page from its top as PNG, `height` pixels of it; None: all of it."""
        size = object_of(self.call("Page.getLayoutMetrics")["cssContentSize"])
        whole = number_of(size["height"])
        tall = min(height or whole, whole, _TALL)
        clip = {"x": 0, "y": 0, "width": size["width"], "height": tall, "scale": 1}
        shot = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
        return base64.b64decode(str(shot["data"]))


def take_picture(file: Path, picture: Path, *, width: int = 1280, height: int | None = None) -> None:
    """A PNG of a page. Raises `ConfigurationError` where no Chromium is installed."""
    from trader_cli.storage.files import write_atomic

    with headless(require_chromium()) as browser:
        browser.open(file, width)
        write_atomic(picture, browser.picture(height))
