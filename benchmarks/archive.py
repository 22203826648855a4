"""`trader fetch` from the bulk archive, against a bare loop that downloads, inflates, parses and writes the same files.

Both are processes of their own, start to end, and read the same zips from one small file server, every zip made once
by the simulated exchange. `python -m benchmarks archive-full`: two years of ten symbols, 10.5 million minute bars.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.timing import report
from trader_cli.core.identity.anchors import blocks_between, floor_block
from trader_cli.core.market.timeframes import DAY_MS, Timeframe
from trader_cli.exchange.archive.catalogue import ArchiveFile
from trader_cli.venue.server.archive_routes import BulkArchive
from trader_cli.venue.simulated_market.symbol_market import SymbolMarket
from trader_cli.venue.simulated_market.synthetic import synthetic_tape

if TYPE_CHECKING:
    from collections.abc import Iterator

SYMBOLS = tuple(f"{name}USDT" for name in ("ETH", "BTC", "SOL", "BNB", "XRP", "ADA", "DOT", "LTC", "TRX", "UNI"))
MINUTE = Timeframe.parse("1m")
SERVER = """
import sys
from pathlib import Path
from aiohttp import web
async def announce(app):
    print("ready", flush=True)
app = web.Application()
app.router.add_static("/data", Path(sys.argv[1]) / "data")
app.on_startup.append(announce)
web.run_app(app, host="127.0.0.1", port=int(sys.argv[2]), print=None, access_log=None)
"""
BARE = """
import asyncio, io, sys, zipfile
from pathlib import Path
import aiohttp
import polars as pl
async def main(url, into, paths):
    async with aiohttp.ClientSession() as session:
        for path in paths:
            async with session.get(f"{url}/{path}") as reply:
                body = await reply.read()
            with zipfile.ZipFile(io.BytesIO(body)) as opened:
                text = opened.read(opened.namelist()[0])
            frame = pl.read_csv(text)
            frame.write_parquet(into / (path.replace("/", "-") + ".parquet"), compression="lz4")
asyncio.run(main(sys.argv[1], Path(sys.argv[2]), sys.stdin.read().split()))
"""


@dataclass(frozen=True)
class Took:
    """Seconds by the clock and of CPU, and peak resident memory (MB), of a finished process."""

    seconds: float
    cpu_s: float
    peak_mb: float


def run(symbols: int = 2, months: int = 6) -> None:
    """Ours against the bare loop, each the better of two turns."""
    first_ms, end_ms = _span(months)
    names = SYMBOLS[:symbols]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        paths = [path for name in names for path in _zips(root, name, first_ms, end_ms)]
        with _serving(root) as archive, _venue(root, names) as venue:
            turns = [
                (_bare(root, archive, paths, turn), _ours(root, archive, venue, names, first_ms, end_ms, turn))
                for turn in range(2)
            ]
    bare, ours = (min(took, key=lambda one: one.seconds) for took in zip(*turns, strict=True))
    bars = (end_ms - first_ms) // MINUTE.ms * symbols
    what = f"{bars / 1e6:.1f} M archived minute bars, {len(paths)} files"
    report(what, ours.seconds, bare.seconds, "s", "at most 2")
    report("  CPU of the process", ours.cpu_s, bare.cpu_s, "s")
    report("  peak memory of the process", ours.peak_mb, bare.peak_mb, "MB", "below 1000 MB")


def full() -> None:
    """Two years of ten symbols."""
    run(10, 24)


def _span(months: int) -> tuple[int, int]:
    """The last so many months that the archive has as files by now, [first, end) in UTC ms."""
    end = floor_block(time.time_ns() // 1_000_000 - 10 * DAY_MS, "month")
    first = end
    for _ in range(months):
        first = floor_block(first - DAY_MS, "month")
    return first, end


def _zips(root: Path, symbol: str, first_ms: int, end_ms: int) -> list[str]:
    """Make a symbol's zips and check sums; their paths."""
    tape = synthetic_tape((symbol,), (end_ms - first_ms) // DAY_MS, 0.0, 1)
    shifted = tape.shifted(first_ms - tape.start_ms)
    archive = BulkArchive({symbol: SymbolMarket(shifted.symbols[symbol])})
    paths = []
    for start, _ in blocks_between(first_ms, end_ms - 1, "month"):
        date = datetime.fromtimestamp(start / 1000, UTC).date()
        file = ArchiveFile("futures/um", "monthly", "klines", symbol, MINUTE.name, date)
        for path in (file.path, f"{file.path}.CHECKSUM"):
            body = archive.read(f"/{path}", end_ms + 60 * DAY_MS)
            assert body is not None
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_bytes(body)
        paths.append(file.path)
    return paths


@contextmanager
def _serving(root: Path) -> Iterator[str]:
    """The file server; yields its URL."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with _until_left([sys.executable, "-c", SERVER, str(root), str(port)], {}):
        yield f"http://127.0.0.1:{port}"


@contextmanager
def _venue(root: Path, symbols: tuple[str, ...]) -> Iterator[str]:
    """A simulated exchange that lists the symbols; yields its URL."""
    environment = {
        "TRADER_SIM__SYMBOLS": json.dumps(symbols),
        "TRADER_SIM__DAYS": "12",
        "TRADER_STATE_DIR": str(root / "venue"),
    }
    command = [sys.executable, "-m", "trader_cli", "venue", "serve", "--port", "0", "--json"]
    with _until_left(command, environment) as line:
        yield json.loads(line)["url"]


@contextmanager
def _until_left(command: list[str], environment: dict[str, str]) -> Iterator[str]:
    """A server process that has written its first line, ended in the end."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **environment})
    try:
        assert process.stdout is not None
        yield process.stdout.readline()
    finally:
        process.terminate()
        process.communicate(timeout=30)


def _bare(root: Path, url: str, paths: list[str], turn: int) -> Took:
    into = root / f"bare-{turn}"
    into.mkdir()
    return _measured([sys.executable, "-c", BARE, url, str(into)], "\n".join(paths), {})


def _ours(
    root: Path, archive: str, venue: str, symbols: tuple[str, ...], first_ms: int, end_ms: int, turn: int
) -> Took:
    environment = {
        "TRADER_BINANCE_EXCHANGE__BASE_URL": venue,
        "TRADER_BINANCE_EXCHANGE__ARCHIVE_URL": archive,
        "TRADER_CACHE_DIR": str(root / f"ours-{turn}"),
        "TRADER_STATE_DIR": str(root / "state"),
    }
    since, until = (datetime.fromtimestamp(at / 1000, UTC).isoformat() for at in (first_ms, end_ms - 1))
    words = ("--timeframe", "1m", "--since", since, "--until", until, "--profile", "paper", "--json")
    return _measured([sys.executable, "-m", "trader_cli", "fetch", *symbols, *words], "", environment)


def _measured(command: list[str], text: str, environment: dict[str, str]) -> Took:
    """Run to the end. Raises if that is no success."""
    began = time.perf_counter()
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=said,
            stderr=said,
            text=True,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "", **environment},
        )
        assert process.stdin is not None
        process.stdin.write(text)
        process.stdin.close()
        _, status, usage = os.wait4(process.pid, 0)
        took = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            said.seek(0)
            raise RuntimeError(f"{command[:4]} ended with {process.returncode}: {said.read()[-2000:]}")
    return Took(took, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)
