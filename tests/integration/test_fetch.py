"""`trader fetch` as a whole: by REST and from the archive, every kind, many symbols, two at once, full disks, bad calls."""

from __future__ import annotations

import fcntl
import hashlib
import io
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from support.commands.command_line import CommandLine, Ran
from support.commands.in_process import Inside
from support.hosts.tape_host import answering, playing_now, serving

from trader_cli.cli.options import named_symbols
from trader_cli.core.errors import DataInvalid, DataMissing, ExchangeUnavailable, ExitCode, TraderError
from trader_cli.core.identity.manifests import ArtifactKey, Manifest
from trader_cli.core.market.timeframes import DAY_MS, Timeframe
from trader_cli.exchange.archive import download
from trader_cli.pipelines.stages.fetching import Fetched, FetchOptions, fetch_many
from trader_cli.settings import load_settings
from trader_cli.settings.workspace import workspace_of
from trader_cli.storage.artifacts import ArtifactStore
from trader_cli.venue.clocks import WallClock
from trader_cli.venue.server.archive_routes import BulkArchive
from trader_cli.venue.simulated_market.symbol_market import SymbolMarket
from trader_cli.venue.simulated_market.synthetic import synthetic_tape
from trader_cli.venue.simulated_market.tape import Tape

pytestmark = pytest.mark.slow

SYMBOLS = ("ETHUSDT", "BTCUSDT")
M1 = Timeframe.parse("1m")
Files = Callable[[str, bytes | None], Any]
"""From a path and the honest bytes of the archive to what is sent: bytes, `None` (404) or a `web.Response`."""


@cache
def tape() -> Tape:
    return playing_now(synthetic_tape(SYMBOLS, 110, 0.0, 5), 0.95)


@pytest.fixture(scope="module")
def host() -> Iterator[str]:
    """The REST routes only."""
    with serving(tape()) as url:
        yield url


@contextmanager
def archived(bend: Files = lambda _path, body: body) -> Iterator[str]:
    """The bulk archive of the tape, bent."""
    honest = BulkArchive({name: SymbolMarket(one) for name, one in tape().symbols.items()})

    async def answer(request: web.Request) -> web.StreamResponse:
        body = bend(request.path, honest.read(request.path, WallClock().now_ms()))
        if isinstance(body, web.StreamResponse):
            return body
        return web.Response(body=body) if body is not None else web.Response(status=404)

    with answering(answer) as url:
        yield url


def midnight(days_ago: int) -> int:
    now = WallClock().now_ms()
    return now - now % DAY_MS - days_ago * DAY_MS


def fetched(
    folder: Path, host: str, url: str | None = None, days: int = 75, **options: Any
) -> dict[str, Fetched | TraderError]:
    """Minutes from some days ago until the day before yesterday, in this process."""
    settings = load_settings(
        "paper",
        None,
        {
            "cache_dir": str(folder / "cache"),
            "state_dir": str(folder / "state"),
            "fetch": {"kinds": []},
            "binance_exchange": {"base_url": host, "archive_url": url},
        },
    )
    asked = FetchOptions(since_ms=midnight(days), until_ms=midnight(2) - 1, **options)
    return dict(fetch_many(workspace_of(settings), [SYMBOLS[0]], M1, asked))


def only(outcomes: dict[str, Fetched | TraderError]) -> Fetched:
    [outcome] = outcomes.values()
    if isinstance(outcome, TraderError):
        raise outcome
    return outcome


def stored(folder: Path, stage: str, timeframe: str = "1m", profile: str = "paper") -> Manifest:
    manifest = ArtifactStore(folder / "cache").current(ArtifactKey(profile, SYMBOLS[0], timeframe, stage))
    assert manifest is not None
    return manifest


@pytest.fixture(scope="module")
def by_rest(tmp_path_factory: pytest.TempPathFactory, host: str) -> Fetched:
    """What the exchange itself shows of the span."""
    return only(fetched(tmp_path_factory.mktemp("rest"), host, way="rest"))


def test_the_archive_can_be_elsewhere(tmp_path: Path, host: str, by_rest: Fetched) -> None:
    with archived() as url:
        elsewhere = only(fetched(tmp_path / "elsewhere", host, url))
    assert (elsewhere.digest, elsewhere.notes) == (by_rest.digest, ())
    assert elsewhere.archive_files > 0
    assert by_rest.archive_files == 0


def a_daily_file(path: str) -> bool:
    """The archive's file of one day in the middle of the span, not its check sum."""
    return path.endswith(f"{datetime.fromtimestamp(midnight(3) / 1000, UTC):%Y-%m-%d}.zip")


def spoilt(path: str, body: bytes | None) -> bytes | None:
    if a_daily_file(path):
        return b"nothing of use"
    if a_daily_file(path.removesuffix(".CHECKSUM")):
        name = path.rpartition("/")[2].removesuffix(".CHECKSUM")
        return f"{hashlib.sha256(b'nothing of use').hexdigest()}  {name}\n".encode()
    return body


TROUBLES: dict[str, tuple[Files, type[TraderError]]] = {
    "missing": (lambda path, body: None if a_daily_file(path) else body, DataMissing),
    "another check sum": (
        lambda path, body: body[:-1] + b"?" if body and a_daily_file(path) else body,
        ExchangeUnavailable,
    ),
    "out of order": (lambda path, body: web.Response(status=503) if a_daily_file(path) else body, ExchangeUnavailable),
    "no zip, as promised": (spoilt, DataInvalid),
}


@pytest.mark.parametrize("trouble", TROUBLES)
def test_a_file_that_cannot_be_had_is_asked_by_rest_or_named(
    tmp_path: Path, host: str, by_rest: Fetched, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    monkeypatch.setattr(download, "ATTEMPTS", 1)
    bend, error = TROUBLES[trouble]
    with archived(bend) as url:
        mended = only(fetched(tmp_path / "auto", host, url))
        refused = fetched(tmp_path / "archive", host, url, way="archive")[SYMBOLS[0]]
    assert mended.digest == by_rest.digest
    assert len(mended.notes) == 1, mended.notes
    assert f"{SYMBOLS[0]}-1m-" in mended.notes[0]
    assert "by REST instead" in mended.notes[0]
    if trouble != "missing":  # so young a file may come late: it is not missed yet
        assert isinstance(refused, error)
        assert f"{SYMBOLS[0]}-1m-" in refused.sentence


def test_bars_that_a_file_lacks_are_asked_by_rest(tmp_path: Path, host: str, by_rest: Fetched) -> None:
    markets = {name: SymbolMarket(one) for name, one in tape().symbols.items()}

    def thinned(path: str, body: bytes | None) -> bytes | None:
        """The day's file without some of its bars, the first and last among them, and the check sum that fits."""
        if not a_daily_file(path.removesuffix(".CHECKSUM")):
            return body
        honest = BulkArchive(markets).read(path.removesuffix(".CHECKSUM"), WallClock().now_ms())
        with zipfile.ZipFile(io.BytesIO(honest or b"")) as opened:
            [member] = opened.namelist()
            lines = opened.read(member).splitlines(keepends=True)
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as written:
            written.writestr(zipfile.ZipInfo(member), b"".join([lines[0], *lines[4:300], *lines[330:-1]]))
        name = Path(path).name.removesuffix(".CHECKSUM")
        digest = hashlib.sha256(packed.getvalue()).hexdigest()
        return f"{digest}  {name}\n".encode() if path.endswith(".CHECKSUM") else packed.getvalue()

    with archived(thinned) as url:
        ran = only(fetched(tmp_path, host, url))
    assert ran.archive_files
    assert (ran.digest, ran.gaps, ran.first_ms) == (by_rest.digest, (), by_rest.first_ms)


def test_what_is_missing_in_the_middle_is_named(tmp_path: Path, host: str) -> None:
    def without(path: str, body: bytes | None) -> bytes | None:
        return None if f"{datetime.fromtimestamp(midnight(5) / 1000, UTC):%Y-%m-%d}" in path else body

    with archived(without) as url:
        refused = fetched(tmp_path, host, url, days=8, way="archive")[SYMBOLS[0]]
        nothing = fetched(tmp_path / "none", host, url + "/nowhere", days=8, way="archive")[SYMBOLS[0]]
    assert isinstance(refused, DataMissing)
    assert "The archive has no ETHUSDT-1m-" in str(refused)
    assert isinstance(nothing, DataMissing)


def test_an_archive_that_does_not_answer_is_given_up(
    tmp_path: Path, host: str, by_rest: Fetched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "ATTEMPTS", 1)
    with archived() as url:
        pass
    ran = only(fetched(tmp_path, host, url))
    assert (ran.digest, ran.archive_files, len(ran.notes)) == (by_rest.digest, 0, 2)


def test_every_archived_kind_is_that_of_rest(tmp_path: Path, host: str) -> None:
    """Spot files tell microseconds, metrics come by day."""
    kinds = ("mark", "index", "spot", "open-interest")
    with archived() as url:
        only(fetched(tmp_path / "archive", host, url, days=9, kinds=kinds, way="archive"))
    only(fetched(tmp_path / "rest", host, days=9, kinds=kinds, way="rest"))
    for stage in ("bars", "mark", "index", "spot", "open_interest"):
        assert stored(tmp_path / "archive", stage) == stored(tmp_path / "rest", stage), stage


def test_a_damaged_file_of_long_ago_is_read_again_alone(tmp_path: Path, host: str, by_rest: Fetched) -> None:
    only(fetched(tmp_path, host, way="rest"))
    chunk = stored(tmp_path, "bars").chunks[1]
    file = ArtifactStore(tmp_path / "cache").chunk_path(chunk.key, chunk.content)
    file.write_bytes(b"?")
    seen: list[str] = []
    rest = load_settings(
        "paper",
        None,
        {
            "cache_dir": str(tmp_path / "cache"),
            "state_dir": str(tmp_path / "state"),
            "fetch": {"kinds": []},
            "binance_exchange": {"base_url": host},
        },
    )
    asked = FetchOptions(since_ms=midnight(75), until_ms=midnight(2) - 1, way="rest")
    again = only(
        dict(
            fetch_many(
                workspace_of(rest), [SYMBOLS[0]], M1, asked, progress=lambda what, done, total: seen.append(str(total))
            )
        )
    )
    assert again.digest == by_rest.digest
    assert again.new_bars == chunk.rows
    assert "missing or corrupt" in again.notes[0]
    assert str(chunk.rows) in seen


# many symbols


def outside(folder: Path, host: str) -> tuple[Inside, dict[str, str]]:
    return Inside(folder), {"TRADER_BINANCE_EXCHANGE__BASE_URL": host}


def test_one_unknown_symbol_does_not_stop_the_others(tmp_path: Path, host: str) -> None:
    cli, there = outside(tmp_path, host)
    ran = cli.run("fetch", "ETHUSDT", "NOSUCHUSDT", "BTCUSDT", "--timeframe", "1h", "--json", **there)
    assert ran.code == ExitCode.USAGE
    assert [one["symbol"] for one in ran.json["series"]] == ["ETHUSDT", "BTCUSDT"]
    [failed] = ran.json["failed"]
    assert failed["symbol"] == "NOSUCHUSDT"
    shown = cli.run("fetch", "ETHUSDT", "NOSUCHUSDT", "--timeframe", "1h", **there)
    assert "NOSUCHUSDT: " in shown.err
    assert "1 series of 1h bars" in shown.out


def test_symbols_come_from_a_file_and_by_volume(tmp_path: Path, host: str) -> None:
    cli, there = outside(tmp_path, host)
    (tmp_path / "symbols.txt").write_text("# mine\nethusdt # the one\n\nBTCUSDT\n")
    for words in (("--symbols-file", "symbols.txt"), ("--top", "2")):
        ran = cli.run("fetch", *words, "--timeframe", "1h", "--with", "mark", "--with", "index", "--json", **there)
        assert ran.code == 0, ran.err
        assert {one["symbol"] for one in ran.json["series"]} == set(SYMBOLS)
        assert all({"mark", "index"} <= set(one["kinds"]) for one in ran.json["series"])


FILES = {
    "a mark and CRLF": b"\xef\xbb\xbfETHUSDT\r\nBTCUSDT\r\n",
    "a mark before a comment": b"\xef\xbb\xbf# mine\r\nethusdt\r\nBTCUSDT",
    "UTF-16 of an editor": "ETHUSDT\r\nBTCUSDT\r\n".encode("utf-16"),
    "UTF-16, the other way round": b"\xfe\xff" + "ETHUSDT\nBTCUSDT".encode("utf-16-be"),
    "old ends of lines": b"ETHUSDT\rBTCUSDT\r",
    "two files, joined": b"\xef\xbb\xbfETHUSDT\n\xef\xbb\xbfBTCUSDT\n",
    "a spreadsheet's quotes": b'\xef\xbb\xbf"ETHUSDT";"BTCUSDT"\r\n',
    "a spreadsheet's tabs": b"ETHUSDT\tBTCUSDT\r\n",
    "blanks that do not break": "ETHUSDT\u00a0\r\nBTCUSDT\u00a0\r\n".encode(),
}


@pytest.mark.parametrize("how", FILES)
def test_a_file_of_symbols_is_read_as_editors_and_spreadsheets_write_it(tmp_path: Path, how: str) -> None:
    file = tmp_path / "symbols.txt"
    file.write_bytes(FILES[how])
    assert named_symbols(None, file, 0) == ["ETHUSDT", "BTCUSDT"]


def test_a_marked_file_of_symbols_is_fetched(tmp_path: Path, host: str) -> None:
    cli, there = outside(tmp_path, host)
    (tmp_path / "symbols.txt").write_bytes(FILES["a mark and CRLF"])
    ran = cli.run("fetch", "--symbols-file", "symbols.txt", "--timeframe", "1h", "--json", **there)
    assert ran.code == 0, ran.err
    assert [one["symbol"] for one in ran.json["series"]] == ["ETHUSDT", "BTCUSDT"]


def test_a_series_another_process_fetches_is_waited_for_and_the_others_go_on(tmp_path: Path, host: str) -> None:
    settings = load_settings(
        "paper",
        None,
        {
            "cache_dir": str(tmp_path / "cache"),
            "state_dir": str(tmp_path / "state"),
            "binance_exchange": {"base_url": host},
        },
    )
    first = only(dict(fetch_many(workspace_of(settings), [SYMBOLS[0]], Timeframe.parse("1h"), FetchOptions(limit=100))))
    [lock] = (tmp_path / "cache" / "locks").iterdir()
    said: list[str] = []
    with lock.open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)

        def heard(what: str, done: int, total: int) -> None:
            said.append(what)
            if what == "symbols" and done == 1:
                fcntl.flock(held, fcntl.LOCK_UN)

        outcomes = dict(
            fetch_many(
                workspace_of(settings), list(SYMBOLS), Timeframe.parse("1h"), FetchOptions(limit=100), progress=heard
            )
        )
    assert "waiting for another fetch of this series" in said
    again = outcomes[SYMBOLS[0]]
    assert isinstance(again, Fetched)
    assert again.digest == first.digest
    assert isinstance(outcomes[SYMBOLS[1]], Fetched)


def test_two_that_begin_at_opposite_ends_both_finish(tmp_path: Path, host: str) -> None:
    cli = CommandLine(tmp_path)
    both = [
        cli.start("fetch", *names, "--timeframe", "1h", "--json", TRADER_BINANCE_EXCHANGE__BASE_URL=host)
        for names in (SYMBOLS, SYMBOLS[::-1])
    ]
    ended = [process.communicate(timeout=120) for process in both]
    assert [process.returncode for process in both] == [0, 0], ended


# kinds, disks, calls

ALL = '["mark","index","spot","funding","open-interest","trades","depth","info"]'


def test_every_kind_is_stored_and_kept_up_to_date(sim: CommandLine) -> None:
    first = sim.run(
        "fetch",
        "ETHUSDT",
        "--timeframe",
        "1h",
        "--since",
        "2024-01-29",
        "--json",
        TRADER_FETCH__KINDS=ALL,
        TRADER_SIM__START="0.75",
    )
    assert first.code == 0, first.err
    series, snapshots = {"mark", "index", "spot", "funding", "open-interest", "trades"}, {"depth": 2000, "info": 1}
    taken = {name: counts["new"] for name, counts in first.json["kinds"].items() if name not in series}
    assert first.json["kinds"].keys() >= series
    assert taken == snapshots
    stages = ("mark", "index", "spot", "funding", "open_interest", "trades", "depth")
    cache = sim.folder / "cache"
    before = {stage: stored(sim.folder, stage, "1h", "sim") for stage in stages}
    ids = ArtifactStore(cache).read(before["trades"])["trade_id"]
    assert (ids.diff().drop_nulls() == 1).all()
    assert (cache / "refs" / "sim" / "ETHUSDT" / "1h" / "info.json").is_file()
    again = sim.run("fetch", "ETHUSDT", "--timeframe", "1h", "--since", "2024-01-29", "--json")
    new = {name: counts["new"] for name, counts in again.json["kinds"].items()}
    assert new == dict.fromkeys(series, 0), "order books are taken when they are asked for"
    plain = sim.run(
        "fetch", "ETHUSDT", "--timeframe", "2h", "--since", "2024-01-29", "--json", TRADER_FETCH__KINDS="[]"
    )
    assert plain.json["kinds"] == {}


def test_findings_are_listed_and_a_series_of_another_market_is_said_to_go(sim: CommandLine) -> None:
    words = ("fetch", "ETHUSDT", "--timeframe", "1h", "--limit", "600", "--json")
    first = sim.run(*words, "--report")
    assert {finding["kind"] for finding in first.json["quality_findings"]} == set(first.json["quality"])
    assert not any("another market" in note for note in first.json["notes"])
    other = sim.run(*words, TRADER_SIM__PLANTED_LEAD="0.0")
    assert f"{first.json['bars']} bars of another market, {first.json['source']}, are replaced." in other.json["notes"]


def test_one_damaged_series_does_not_keep_the_others_from_their_features(sim: CommandLine) -> None:
    both = {"TRADER_SIM__SYMBOLS": '["ETHUSDT", "SOLUSDT"]'}
    fetched = sim.run("fetch", "ETHUSDT", "SOLUSDT", "--timeframe", "1h", **both)
    assert fetched.code == 0, fetched.err
    (sim.folder / "cache" / "refs" / "sim" / "SOLUSDT" / "1h" / "bars.json").write_bytes(b"{")
    ran = sim.run("features", "--all", "--timeframe", "1h", "--json", **both)
    assert ran.code == ExitCode.DATA, ran.err
    assert [one["symbol"] for one in ran.json["series"]] == ["ETHUSDT"]
    assert [one["symbol"] for one in ran.json["failed"]] == ["SOLUSDT"]
    [line] = [line for line in sim.run("status", **both).out.splitlines() if line.startswith("SOLUSDT 1h")]
    assert "damaged" in line
    assert "1970" not in line


def test_a_full_disk_is_said_and_the_next_fetch_goes_on(tmp_path: Path, host: str, by_rest: Fetched) -> None:
    """A file may not grow beyond a megabyte: the first month of minutes does not fit."""
    span = (
        "--since",
        f"{datetime.fromtimestamp(midnight(75) / 1000, UTC):%Y-%m-%d}",
        "--until",
        f"{datetime.fromtimestamp(midnight(3) / 1000, UTC):%Y-%m-%d}",
    )
    words = ("fetch", "ETHUSDT", "--timeframe", "1m", *span, "--via", "rest", "--json")
    cli = CommandLine(tmp_path)
    there = {"TRADER_BINANCE_EXCHANGE__BASE_URL": host, "TRADER_FETCH__KINDS": "[]"}
    limited = ["bash", "-c", 'ulimit -f 1024; exec "$@"', "-", sys.executable, "-m", "trader_cli", *words]
    full = subprocess.run(
        limited, cwd=tmp_path, env=cli.environment(**there), capture_output=True, text=True, check=False
    )
    assert full.returncode == ExitCode.DATA, full.stderr
    assert "Cannot write" in full.stdout + full.stderr
    assert not cli.leftovers()
    mended = cli.run(*words, **there)
    assert (mended.code, mended.json["digest"]) == (0, by_rest.digest)


BAD = {
    "since after until": (("--since", "2026-02-01", "--until", "2026-01-01"), "after its end"),
    "a future since": (("--since", "2999-01-01"), "has closed since"),
    "no date": (("--since", "yesterday"), "--since wants a day or a time"),
    "no such day": (("--until", "2026-02-30"), "--until wants a day or a time"),
    "an unknown kind": (("--with", "mark,books"), "There is no kind of data 'books'"),
    "no such file": (("--symbols-file", "absent.txt"), "cannot be read"),
    "no symbol": (("--symbols-file", "empty.txt"), "No symbol is named"),
    "no text": (("--symbols-file", "binary.txt"), "cannot be read"),
    "since and limit": (("--since", "2026-01-01", "--limit", "9"), "Give one of the two"),
    "a bad name": (("ETH/USDT",), "is not a symbol"),
}


@pytest.mark.parametrize("what", BAD)
def test_a_bad_call_is_answered_with_a_sentence(tmp_path: Path, host: str, what: str) -> None:
    cli, there = outside(tmp_path, host)
    (tmp_path / "empty.txt").write_text("# none yet\n")
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x00")
    words, sentence = BAD[what]
    symbols = () if what in {"no symbol", "no such file", "no text"} else ("ETHUSDT",)
    ran: Ran = cli.run("fetch", *symbols, *words, "--timeframe", "1h", **there)
    assert ran.code == ExitCode.USAGE, ran.err
    assert sentence in " ".join(ran.err.split()), ran.err


def test_before_the_listing_there_is_nothing(tmp_path: Path, host: str) -> None:
    cli, there = outside(tmp_path, host)
    span = ("--since", "2019-01-01", "--until", "2019-02-01")
    ran = cli.run("fetch", "ETHUSDT", "--timeframe", "1h", *span, **there)
    assert ran.code == ExitCode.DATA
    assert "has no closed 1h bars of ETHUSDT from 2019-01-01" in " ".join(ran.err.split())
    early = cli.run("fetch", "ETHUSDT", "--timeframe", "1h", "--since", "2019-01-01", "--json", **there)
    assert early.code == 0
    assert early.json["first_ms"] >= tape().start_ms


def test_a_small_limit_is_enough_for_the_features(tmp_path: Path, host: str) -> None:
    cli, there = outside(tmp_path, host)
    ran = cli.run("fetch", "ETHUSDT", "--timeframe", "1h", "--limit", "1", "--json", **there)
    assert ran.code == 0
    assert ran.json["bars"] > 100
    assert "too few for the features" in ran.json["notes"][0]
