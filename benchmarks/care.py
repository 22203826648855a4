"""Care of positions, against the commit before it was made to bear slow answers: it is to be no slower.

Both versions trade at the same simulated exchange (today's), each at one of its own in a process of its own, in turns.
Without that commit in the repository only `trader status` is timed.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from benchmarks.timing import report
from benchmarks.versions import ROOT, checked_out

if TYPE_CHECKING:
    from collections.abc import Iterator

BEFORE = "9257dc4"
CHILD = Path(__file__).with_name("care_child.py")
ENTRIES, STATUSES = 60, 7
TIME, POSITIONS, PAST = "/fapi/v1/time", "/fapi/v3/positionRisk", "/fapi/v1/allOrders"
ASKED = (TIME, POSITIONS, "/fapi/v1/openAlgoOrders", "/fapi/v1/openOrders", PAST)
"""What `trader status` asks; the last only where the ledger does not explain a position."""
FAULTS = ("slow", "trickling", "hanging")
SLOW_S = 1.5


def run() -> None:
    """Entries and looks now against then, and `trader status`."""
    with tempfile.TemporaryDirectory() as folder:
        then = checked_out(BEFORE, Path(folder) / "then")
        if then is None:
            print(f"care against {BEFORE}: left out, that commit is not in this repository")
        else:
            _entries(then, Path(folder))
            for number in (1, 3):
                _looks(then, number)
        _status(Path(folder))


@contextmanager
def _child(tree: Path, *words: str) -> Iterator[subprocess.Popen[str]]:
    """The measuring process, with this version of the product."""
    command = [sys.executable, str(CHILD), *words]
    process = subprocess.Popen(
        command, env={**os.environ, "PYTHONPATH": str(tree)}, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=30)


@contextmanager
def _venue(state: Path) -> Iterator[str]:
    """A simulated exchange in a process of its own; yields its URL."""
    command = [sys.executable, "-m", "trader_cli", "venue", "serve", "--port", "0", "--json"]
    environment = {**os.environ, "TRADER_STATE_DIR": str(state), "TRADER_SIM__DAYS": "12"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())["url"]
    finally:
        process.terminate()
        process.communicate(timeout=30)


# --- entries ---


def _entries(then: Path, folder: Path) -> None:
    """Many entries of both, in turns."""
    trees, said = {"now": ROOT, "then": then}, dict[str, list[dict[str, Any]]](now=[], then=[])
    with ExitStack() as open_here:
        children = {}
        for name, tree in trees.items():
            url = open_here.enter_context(_venue(folder / f"venue-{name}"))
            children[name] = open_here.enter_context(_child(tree, "entries", url))
        for turn in range(ENTRIES + 1):
            for name in sorted(children, reverse=turn % 2 == 1):
                said[name].append(_said(children[name]))
    for what, limit in (("protected_ms", "at most 1.1"), ("entered_ms", "")):
        now, before = (statistics.median(one[what] for one in said[n][1:]) for n in ("now", "then"))
        name = "entry sent to both stops resting" if what == "protected_ms" else "  the whole of `enter`"
        report(f"{name}, median of {ENTRIES}", now, before, "ms", limit)
    first = {name: Counter(rows[0]["requests"]) for name, rows in said.items()}
    counts = {name: max(sum(row["requests"].values()) for row in rows) for name, rows in said.items()}
    report("requests of an entry, the most there were", counts["now"], counts["then"], "", "at most two more")
    weights = {name: max(row["weight"] for row in rows) for name, rows in said.items()}
    report("  their weight", weights["now"], weights["then"], "")
    _by_endpoint(first["now"], first["then"])


def _said(child: subprocess.Popen[str]) -> dict[str, Any]:
    """What it measured of one entry."""
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write("enter\n")
    child.stdin.flush()
    return dict(json.loads(child.stdout.readline()))


def _by_endpoint(now: Counter[str], then: Counter[str]) -> None:
    for route in sorted({*now, *then}):
        print(f"    {route:34} {now[route]:4} now {then[route]:4} then")


# --- looks ---


def _looks(then: Path, number: int) -> None:
    """Quiet looks of both: in virtual time, so that the counts are exact."""
    found = {}
    for name, tree in {"now": ROOT, "then": then}.items():
        with _child(tree, "looks", str(number)) as child:
            found[name] = json.loads(child.communicate()[0])
    now, before = found["now"], found["then"]
    what = f"a quiet look at {number} position{'s' if number > 1 else ''}"
    report(f"requests of {what}, mean", now["mean_requests"], before["mean_requests"], "", "at most 1")
    report(f"weight of {what}, mean", now["mean_weight"], before["mean_weight"], "", "at most 1")
    _by_endpoint(Counter(now["by_endpoint"]), Counter(before["by_endpoint"]))


# --- status ---


@dataclass
class Door:
    """A host before the exchange. What is asked at `path` ("": anything) meets the fault."""

    url: str
    fault: str = ""
    path: str = ""


@contextmanager
def _door(venue: str) -> Iterator[Door]:
    """Opened in a thread of its own; honest until it is told otherwise."""
    door, ended = Door(""), threading.Event()

    class Behind(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            meets = door.fault if door.path in {"", self.path.partition("?")[0]} else ""
            with suppress(OSError):
                _meet(self, meets, venue, ended)

        def log_message(self, *_: Any) -> None:
            """Nothing is printed."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Behind)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    door.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield door
    finally:
        ended.set()
        server.shutdown()
        server.server_close()


def _meet(asked: BaseHTTPRequestHandler, fault: str, venue: str, ended: threading.Event) -> None:
    """Answer as the exchange does, late, a byte at a time, or not at all."""
    if fault == "hanging":
        ended.wait(20)
        return
    if fault == "trickling":
        asked.send_response(200)
        asked.send_header("Content-Length", "100000")
        asked.end_headers()
        while not ended.wait(0.05):
            asked.wfile.write(b" ")
            asked.wfile.flush()
        return
    if fault == "slow":
        ended.wait(SLOW_S)
    headers = {"X-MBX-APIKEY": asked.headers["X-MBX-APIKEY"]} if asked.headers["X-MBX-APIKEY"] else {}
    try:
        with urlopen(Request(venue + asked.path, headers=headers)) as reply:  # noqa: S310
            status, body = 200, reply.read()
    except HTTPError as error:
        status, body = error.code, error.read()
    asked.send_response(status)
    asked.send_header("Content-Length", str(len(body)))
    asked.end_headers()
    asked.wfile.write(body)


def _status(folder: Path) -> None:
    """`trader status` as a whole process, over a position whose ledger is lost: then it asks everything there is."""
    with _venue(folder / "venue-status") as venue, _door(venue) as door:
        with _child(ROOT, "open", venue) as child:
            child.communicate()
        quiet = statistics.median(_status_s(venue, folder) for _ in range(STATUSES))
        report(f"trader status, quiet, median of {STATUSES}", quiet, 1.0, "s", "under 1 s")
        longest = dict[str, float]()
        for fault in FAULTS:
            for path in (*ASKED, ""):
                door.fault, door.path = fault, path
                longest[f"{fault} {path or 'everything'}"] = _status_s(door.url, folder)
    for name, seconds in longest.items():
        print(f"    {name:34} {seconds:6.2f} s")
    report("trader status, the longest of these", max(longest.values()), 3.0, "s", "under 3 s")


def _status_s(url: str, folder: Path) -> float:
    """Seconds of one `trader status`, start to end."""
    environment = {
        **os.environ,
        "TRADER_MODE": "demo",
        "TRADER_STATE_DIR": str(folder / "none"),
        "TRADER_CACHE_DIR": str(folder / "cache"),
        "TRADER_BINANCE_EXCHANGE__BASE_URL": url,
        "TRADER_BINANCE_EXCHANGE__API_KEY": "sim-key",
        "TRADER_BINANCE_EXCHANGE__API_SECRET": "sim-secret",
        "TRADER_RECORD": "0",
    }
    began = time.perf_counter()
    said = subprocess.run(
        [sys.executable, "-m", "trader_cli", "status", "--json"],
        env=environment,
        check=False,
        capture_output=True,
        text=True,
    )
    took = time.perf_counter() - began
    assert '"walk_away": false' in said.stdout, said
    return took
