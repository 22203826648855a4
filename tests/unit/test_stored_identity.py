"""Stored things know what they are: whose, of what, made with what, by which version; and are nobody else's to read."""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

from trader_cli.analyst.claim_basis import PRODUCER, changed_since, library_versions, made_with
from trader_cli.analyst.trained_model import TrainedModel
from trader_cli.core.answers import Answer
from trader_cli.core.errors import DataInvalid, DataStale, UsageError
from trader_cli.core.identity.digests import canonical_json, digest_value
from trader_cli.core.identity.manifests import MANIFEST_SCHEMA, ArtifactKey, Manifest
from trader_cli.core.market.schemas import TIME
from trader_cli.core.money.assets import Flow
from trader_cli.core.types import Abstention, Analysis
from trader_cli.execution.orphan_orders import halt_where_lost
from trader_cli.pipelines.trading.run_summary import booked_since
from trader_cli.settings import Settings, as_settings
from trader_cli.settings.places import host_source
from trader_cli.settings.room_options import TrainingOptions
from trader_cli.settings.workspace import workspace_of
from trader_cli.storage.artifacts import ArtifactStore
from trader_cli.storage.ledger import Ledger
from trader_cli.storage.ledger_books import other_ledgers, second_ledger
from trader_cli.storage.ledger_lock import lock_file
from trader_cli.storage.ledger_reading import LedgerReading
from trader_cli.storage.ledger_rows import Intent
from trader_cli.storage.state import Trial, TrialLedger, VenueState
from trader_cli.tactician.tactician import Tactician
from trader_cli.venue.engine.venue_journal import Journal

KEY = ArtifactKey("paper", "ETHUSDT", "15m", "bars")
OTHERS = (
    ArtifactKey("live", "ETHUSDT", "15m", "bars"),
    ArtifactKey("paper", "BTCUSDT", "15m", "bars"),
    ArtifactKey("paper", "ETHUSDT", "1h", "bars"),
    ArtifactKey("paper", "ETHUSDT", "15m", "features"),
)
README = (Path(__file__).parents[2] / "README.md").read_text("utf-8")


def stored(root: Path) -> tuple[ArtifactStore, Manifest]:
    """A store with the bars of `KEY`, of the real exchange."""
    store = ArtifactStore(root)
    chunk = store.put_chunk("ab" * 16, pl.DataFrame({"open_time": pl.Series([0]).cast(TIME), "close": [1.0]}))
    manifest = Manifest("bars", "test", "binance-um", "ETHUSDT", "15m", "none", chunks=(chunk,), rows=1)
    store.publish(KEY, manifest)
    return store, manifest


def copied(store: ArtifactStore, key: ArtifactKey) -> None:
    """The reference of `KEY` where that of another key belongs."""
    there = store.reference_path(key)
    there.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(store.reference_path(KEY), there)


@pytest.mark.parametrize("other", OTHERS, ids=str)
def test_a_reference_that_was_moved_is_refused_and_its_command_mends_it(tmp_path: Path, other: ArtifactKey) -> None:
    store, manifest = stored(tmp_path)
    copied(store, other)
    with pytest.raises(DataInvalid, match=r"ETHUSDT/15m/bars.*trader .* again"):
        store.current(other)
    assert store.current(KEY) == manifest
    store.point(other, manifest.digest)
    assert store.pointed(other) == manifest.digest


@pytest.mark.parametrize("other", OTHERS[1:], ids=str)
def test_a_moved_reference_of_an_earlier_version_is_told_by_what_it_names(tmp_path: Path, other: ArtifactKey) -> None:
    store, manifest = stored(tmp_path)
    store.reference_path(KEY).write_bytes(canonical_json({"digest": manifest.digest}))
    assert store.current(KEY) == manifest
    copied(store, other)
    with pytest.raises(DataInvalid, match="names the bars of ETHUSDT 15m"):
        store.current(other)


def test_a_reference_knows_its_market(tmp_path: Path) -> None:
    store, manifest = stored(tmp_path)
    assert store.pointed(KEY, "binance-um") == store.pointed(KEY) == manifest.digest
    with pytest.raises(DataStale, match="is of binance-um; the settings name binance-demo"):
        store.pointed(KEY, "binance-demo")
    store.point(KEY, manifest.digest, "binance-demo")
    assert store.pointed(KEY, "binance-demo") == manifest.digest


@pytest.mark.parametrize(
    ("schema", "said"), [(0, "an earlier version"), (MANIFEST_SCHEMA + 1, "a later version"), (None, "an earlier")]
)
def test_a_manifest_of_another_version_is_called_that(tmp_path: Path, schema: int | None, said: str) -> None:
    store, manifest = stored(tmp_path)
    body = {**manifest.as_dict(), "schema": schema, "whatever": 1}
    digest = digest_value(body)
    (tmp_path / "manifests" / f"{digest}.json").write_bytes(canonical_json(body))
    store.point(KEY, digest)
    with pytest.raises(DataInvalid, match=rf"written by {said}.*trader fetch ETHUSDT --timeframe 15m"):
        store.current(KEY)


@pytest.mark.parametrize(("schema", "said"), [(2, "an earlier version"), (99, "a later version")])
def test_a_bundle_of_another_version_is_called_that(schema: int, said: str) -> None:
    described = {"schema": schema, "symbol": "ETHUSDT", "timeframe": "15m"}
    with pytest.raises(DataInvalid, match=rf"made by {said}.*trader train ETHUSDT --timeframe 15m"):
        TrainedModel.from_bundle({}, described)


CHANGES: tuple[tuple[dict[str, Any], str], ...] = (
    ({"costs": {"taker_fee_bps": 9}}, "costs taker_fee_bps"),
    ({"costs": {"slippage_bps": 9}}, "costs slippage_bps"),
    ({"costs": {"funding_bps": 9}}, "costs funding_bps"),
    ({"seed": 99}, "seed"),
    ({"analyst": {"enable_dual_model_system": False}}, "enable_dual_model_system"),
    ({"analyst": {"claim_probability": 0.99}}, "claim_probability"),
)


@pytest.mark.parametrize(("change", "named"), CHANGES, ids=str)
def test_what_a_claim_rests_on_is_missed_when_it_changes(change: dict[str, Any], named: str) -> None:
    made = made_with(TrainingOptions.of(as_settings({})))
    assert changed_since(made, PRODUCER, TrainingOptions.of(as_settings({}))) is None
    assert named in str(changed_since(made, PRODUCER, TrainingOptions.of(as_settings(change))))


@pytest.mark.parametrize("library", sorted(library_versions()))
def test_a_library_of_another_version_is_named(library: str) -> None:
    now = made_with(TrainingOptions.of(as_settings({})))
    made = {**now, "libraries": {**now["libraries"], library: "0.1"}}
    assert f"libraries {library} 0.1" in str(changed_since(made, PRODUCER, TrainingOptions.of(as_settings({}))))
    assert "trader 0.0.1" in str(changed_since(now, "trader 0.0.1", TrainingOptions.of(as_settings({}))))
    assert changed_since({}, PRODUCER, TrainingOptions.of(as_settings({}))) is not None


def tactics_of(settings: Settings) -> Answer:
    return asyncio.run(Tactician(settings).execute_tactics({"symbol": "ETHUSDT", "timeframe": "15m"}))


def test_an_analysis_after_other_costs_or_of_another_market_is_not_acted_on(tmp_path: Path) -> None:
    def at(host: str, **costs: float) -> Settings:
        folders = {"cache_dir": str(tmp_path / "cache"), "state_dir": str(tmp_path / "state")}
        return as_settings({**folders, "costs": costs, "binance_exchange": {"base_url": f"http://{host}:1"}})

    ours = at("127.0.0.1")
    made = Analysis("ETHUSDT", "15m", 0, 1.0, Abstention("no_edge", "none"), digests={"costs": ours.costs.digest})
    store = ArtifactStore(ours.cache_dir)
    key = ArtifactKey(ours.mode, "ETHUSDT", "15m", "analysis")
    store.point(key, store.put_document(made.as_dict()), host_source(ours))
    for settings, said in (
        (at("127.0.0.1", taker_fee_bps=9), "other costs. Run `trader train ETHUSDT --timeframe 15m`"),
        (at("example.org"), "is of 127.0.0.1-1; the settings name example.org-1"),
    ):
        answer = tactics_of(settings)
        assert (bool(answer), said in answer["sentence"]) == (False, True), answer["sentence"]
    with pytest.raises(UsageError, match="not initialised"):  # it is read, and goes on to the exchange
        tactics_of(at("localhost"))


@pytest.mark.parametrize(
    ("urls", "source"),
    [
        (
            (
                "http://127.0.0.1:8787",
                "http://localhost:8787",
                "http://LOCALHOST:8787/",
                "http://localhost.:8787",
                "http://[::1]:8787",
                "http://127.0.0.2:8787",
                "http://0.0.0.0:8787",
                "http://[::ffff:127.0.0.1]:8787",
            ),
            "127.0.0.1-8787",
        ),
        (("http://localhost", "http://localhost:80", "http://127.0.0.1:80"), "127.0.0.1-http"),
        (("https://example.org", "https://example.org:443", "https://EXAMPLE.org./"), "example.org-https"),
        (("https://localhost.example.org",), "localhost.example.org-https"),
        (
            ("https://fapi.binance.com", "https://fapi.binance.com:443/", "https://FAPI.binance.com.", None),
            "binance-um",
        ),
        (("https://demo-fapi.binance.com", "https://testnet.binancefuture.com"), "binance-demo"),
        (("http://fapi.binance.com:8443",), "fapi.binance.com-8443"),
    ],
)
def test_a_host_by_any_of_its_names_is_one_market(urls: tuple[str | None, ...], source: str) -> None:
    found = {host_source(as_settings({"binance_exchange": {"base_url": url}})) for url in urls}
    assert found == {source}


LOCAL, SPELLED = "binance-um", "fapi.binance.com-https"


def live_at(folder: Path, url: str | None) -> Settings:
    exchange = {"api_key": "k", "api_secret": "s", **({} if url is None else {"base_url": url})}
    return as_settings({"mode": "live", "state_dir": str(folder), "binance_exchange": exchange})


def test_a_ledger_under_an_earlier_name_of_the_exchange_is_the_one_in_use(tmp_path: Path) -> None:
    """However the address is spelt: one ledger, and a halt in it is seen."""
    today, earlier = workspace_of(live_at(tmp_path, None)).ledgers.files("live")
    assert (today.parent.name, earlier.parent.name) == (LOCAL, SPELLED)
    assert today.name != earlier.name, "the fingerprint holds the market's name"
    with Ledger.opened(earlier) as ledger:
        ledger.halt("loss of the day", 1)
    for url in (None, "https://fapi.binance.com", "https://fapi.binance.com/"):
        settings = live_at(tmp_path, url)
        assert workspace_of(settings).ledger_path == earlier
        assert second_ledger(workspace_of(settings).ledgers) is None
        with LedgerReading.shown(workspace_of(settings).ledger_path) as shown:
            assert shown is not None and shown.halted() == "loss of the day"


def test_two_ledgers_of_one_account_are_said_and_halt(tmp_path: Path) -> None:
    settings = live_at(tmp_path, None)
    for path in workspace_of(settings).ledgers.files("live"):
        with Ledger.opened(path) as ledger:
            ledger.intend(Intent("a", "d", "ETHUSDT", "entry", "BUY", Decimal(1), 1))
    assert "two ledgers" in str(second_ledger(workspace_of(settings).ledgers))
    assert "two ledgers" in " ".join(other_ledgers(workspace_of(settings).ledgers)), "and so nobody may walk away"
    exchange = SimpleNamespace(workspace=workspace_of(settings), server_now_ms=lambda: 5, protection=None)
    with Ledger.opened(workspace_of(settings).ledger_path) as ledger:
        refused = asyncio.run(halt_where_lost(exchange, ledger))  # type: ignore[arg-type]
        assert refused is not None and refused.code == "two_ledgers"
        assert "two ledgers" in str(ledger.halted())


@pytest.fixture
def open_umask() -> Iterator[None]:
    """What most systems begin with: everybody may read what is made."""
    before = os.umask(0o022)
    yield
    os.umask(before)


def readable_by_others(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("*") if path.is_file() and stat.S_IMODE(path.stat().st_mode) & 0o077]


@pytest.mark.usefixtures("open_umask")
def test_state_is_its_users_alone_also_what_an_earlier_version_left(tmp_path: Path) -> None:
    settings = as_settings({"mode": "sim", "state_dir": str(tmp_path / "state"), "cache_dir": str(tmp_path / "cache")})
    for n in range(2):
        TrialLedger(tmp_path / "state").record(Trial("a", "b", "ETHUSDT", 0, 1, 0.5))
        state = VenueState(tmp_path / "state")
        state.save_time("market", 7 + n)
        Journal(state.accounts("market", "virtual")).close()
        path = workspace_of(settings).ledger_path
        with Ledger.opened(path) as ledger:
            ledger.halt("tried", 1)
            assert set(readable_by_others(tmp_path / "state")) <= {"backup.sqlite"}
            ledger.backup(tmp_path / "state" / "backup.sqlite")
        assert lock_file(path).exists()
        files = [path for path in (tmp_path / "state").rglob("*") if path.is_file()]
        assert len(files) >= 6
        assert readable_by_others(tmp_path / "state") == []
        for file in files:
            file.chmod(0o644)


def test_what_is_booked_late_belongs_to_no_later_window() -> None:
    one, late, again = (Flow(at, Decimal(amount), "USDT", "USDT") for at, amount in ((100, -1), (150, 7), (250, 3)))
    assert booked_since([one], [one, late, again, again], 200) == {"USDT": 6}
    assert booked_since([one, again], [one, again, again], 200) == {"USDT": 3}
    assert booked_since([again], [again], 200) == {}
    in_bnb = Flow(200, Decimal(5), "BNB", "USDT")
    assert booked_since([], [in_bnb, again], 200) == {"USDT": 3, "BNB": 5}


def test_the_crontab_of_the_readme_keeps_the_cache_small() -> None:
    assert [line for line in README.splitlines() if "* * *" in line and "trader cache gc" in line]
