"""The stages as processes: by hand, chained, repeated, interrupted, and on input that is wrong."""

from __future__ import annotations

import asyncio
import random
import re
import shutil
import signal
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from aiohttp import web
from support.commands.command_line import CommandLine, Ran
from support.commands.shared_folders import made_for_all
from support.hosts.tape_host import Bend, playing_now, serving

from docs.generate import demo_output, readme_demo
from trader_cli.analyst import analyst as analyst_module
from trader_cli.analyst import model_terms, training
from trader_cli.analyst.analyst import Analyst
from trader_cli.core.errors import ExitCode
from trader_cli.core.identity.manifests import ArtifactKey
from trader_cli.core.market.bars import aggregate_bars, with_close_time
from trader_cli.core.market.timeframes import Timeframe
from trader_cli.core.money.orders import OrderRequest
from trader_cli.exchange.binance import BinanceExchange
from trader_cli.pipelines.stages import model_stages
from trader_cli.settings import as_settings
from trader_cli.settings.workspace import workspace_of
from trader_cli.storage.artifacts import ArtifactStore
from trader_cli.venue.clocks import FixedClock
from trader_cli.venue.simulated_market.synthetic import synthetic_tape

pytestmark = pytest.mark.slow

SERIES = ("ETHUSDT", "--timeframe", "15m")
M1, M15 = Timeframe.parse("1m"), Timeframe.parse("15m")


def chain(cli: CommandLine, *stages: str) -> list[Ran]:
    return [cli.run(*(("fetch", *SERIES) if stage == "fetch" else (stage,)), "--json") for stage in stages]


def already(sim: CommandLine, made_once: dict[str, Path], stage: str) -> None:
    """This stage and those before it have run."""
    shutil.copytree(made_once[stage], sim.folder, dirs_exist_ok=True)


def contents(folder: Path) -> dict[str, bytes]:
    """Every artifact by path; the block cache's database is not one."""
    files = [p for p in folder.rglob("*") if p.is_file() and "wavelet" not in p.parts and "locks" not in p.parts]
    return {str(p.relative_to(folder)): p.read_bytes() for p in files}


def test_real_bars_from_the_exchange_to_an_outcome_in_four_processes(tmp_path: Path, eth_tape: Path) -> None:
    cli = CommandLine(tmp_path, ("--profile", "sim", "--tape", str(eth_tape)))
    fetched, made, trained, analysed = chain(cli, "fetch", "features", "train", "analyze")
    assert [r.code for r in (fetched, made, trained)] == [0, 0, 0], fetched.err + made.err + trained.err
    store = ArtifactStore(tmp_path / "cache")
    manifest = store.current(ArtifactKey("sim", "ETHUSDT", "15m", "bars"))
    assert manifest is not None
    bars = store.read(manifest)
    minutes = with_close_time(pl.read_parquet(eth_tape), M1)
    wanted = aggregate_bars(minutes, M1, M15)
    span = pl.col("open_time").is_between(wanted["open_time"][0], bars["open_time"][-1])
    ours, theirs = bars.filter(span), wanted.filter(span)
    columns = ["open_time", "close_time", "open", "high", "low", "close"]
    assert ours.height > 3000
    assert ours.select(columns).equals(theirs.select(columns))
    assert (ours["volume"] - theirs["volume"].round(3)).abs().max() == 0
    assert made.json["columns"] > 60
    outcome = analysed.json
    assert analysed.code == (0 if outcome["signal"] else 8)
    assert outcome["price"] == bars["close"][-1]
    assert outcome["digests"]["bars"] == fetched.json["digest"]
    assert outcome["digests"]["features"] == made.json["digest"]
    assert trained.json["claim"]["edge"] or outcome["abstention"]["code"] in {"no_edge", "unhealthy_market"}
    again = chain(cli, "fetch", "features", "train", "analyze")
    assert [r.json.get("cache_hit", r.json.get("cached")) for r in again] == [True] * 4
    assert again[3].json == {**outcome, "cache_hit": True}


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> CommandLine:
    """A folder in which every stage has run on the built-in market: what the demo has left."""
    cli, left = CommandLine(tmp_path_factory.mktemp("planted"), ("--profile", "sim")), demo(tmp_path_factory)[0]
    shutil.copytree(left / "cache" / "demo", cli.folder / "cache")
    shutil.copytree(left / "state", cli.folder / "state")
    return cli


def demo(factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """(A folder in which the demo has run, what it printed)."""
    return made_for_all(factory, "demo", demo_output)


def test_the_built_in_market_ends_at_a_signal(planted: CommandLine) -> None:
    found = planted.run("analyze", "--wait", "96", "--json")
    assert found.code == ExitCode.DONE, found.err
    assert found.json["signal"]["side"] in {"long", "short"}
    assert found.json["claim"]["edge"]
    assert "synthetic" in found.json["source"]
    shown = planted.run("status")
    assert "edge" in shown.out
    assert "synthetic" in shown.out
    assert planted.run("status", "--json").json["series"][0]["outcome"] == found.json["signal"]["side"]


def test_training_and_analysis_are_given_the_stored_funding(
    planted: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trades are charged by the contract's own payments: all of them in training, the last ones in an analysis."""
    folders = {"cache_dir": str(planted.folder / "cache"), "state_dir": str(planted.folder / "state")}
    store = ArtifactStore(planted.folder / "cache")
    stored = store.read(store.require(ArtifactKey("sim", "ETHUSDT", "15m", "funding"), "fetch"))
    given: list[pl.DataFrame | None] = []

    def take(wanted: Any, *_: Any) -> Any:
        given.append(wanted.funding)
        raise Interrupt

    monkeypatch.setattr(training, "train", take)
    monkeypatch.setattr(analyst_module, "analyse", take)
    settings = as_settings({"mode": "sim", "analyst": {"trees": 11}, **folders})
    with pytest.raises(Interrupt):
        model_stages.train(workspace_of(settings), "ETHUSDT", M15)
    shown = planted.run("analyze", "--json").json
    asked = as_settings({"mode": "sim", **folders, "costs": {"funding_bps": 2}})
    monkeypatch.setattr(model_terms, "changed_since", lambda *_: None)
    with pytest.raises(Interrupt):
        Analyst(asked, clock=FixedClock(shown["decision_time_ms"])).analyse("ETHUSDT", M15)
    assert stored.height > 100
    assert all(frame is not None and frame.tail(20).equals(stored.tail(20)) for frame in given)
    assert given[0] is not None and given[0].equals(stored)


class Interrupt(Exception):
    """Enough was seen."""


def test_the_guides_analyst_gives_what_the_command_gave(planted: CommandLine) -> None:
    """`Analyst(config)`, `initialize`, `execute_analysis`, results and status, with a dict as configuration."""
    shown = planted.run("analyze", "--json").json
    config = {"mode": "sim", "cache_dir": str(planted.folder / "cache"), "state_dir": str(planted.folder / "state")}
    asked = {
        "symbol": "ETHUSDT",
        "timeframe": "15m",
        "limit": 100,
        "analysis_type": "technical",
        "include_indicators": True,
        "include_patterns": True,
    }

    async def use(analyst: Analyst) -> dict[str, Any]:
        assert await analyst.initialize()
        return await analyst.execute_analysis(asked)

    then = Analyst(config, clock=FixedClock(shown["decision_time_ms"]))
    result = asyncio.run(use(then))
    for name in ("signal", "abstention", "probabilities", "claim", "technical", "patterns", "levels"):
        assert result[name] == shown[name], name
    assert (result["health"], result["regime"], result["explanation"]) == (None, None, {}), "it was to be technical"
    assert len(then.get_analysis_results()) == (1 if shown["signal"] else 0)
    assert then.get_analysis_status()["analyses"] == 1
    now = Analyst(config)
    assert asyncio.run(use(now))["abstention"]["code"] == "bars_stale"
    assert now.get_analysis_results() == []


def test_the_same_inputs_and_seed_give_the_same_bytes(
    sim: CommandLine, tmp_path_factory: pytest.TempPathFactory
) -> None:
    twin = CommandLine(tmp_path_factory.mktemp("twin"), sim.base)
    for words in (("fetch", *SERIES), ("features",), ("train",), ("analyze",)):
        assert [cli.run_anew(*words, "--json").code in {0, 8} for cli in (sim, twin)] == [True, True]
    assert contents(sim.folder / "cache") == contents(twin.folder / "cache")


def test_without_the_lead_no_edge_is_claimed(sim: CommandLine) -> None:
    environment = {"TRADER_SIM__PLANTED_LEAD": "0", "TRADER_ANALYST__LEARNERS": "3"}
    for stage in (("fetch", *SERIES), ("features",), ("train",)):
        assert sim.run(*stage, **environment).code == 0
    abstained = sim.run("analyze", "--json", **environment)
    assert abstained.code == ExitCode.ABSTAINED
    assert abstained.json["abstention"]["code"] in {"no_edge", "unhealthy_market"}
    assert not abstained.json["claim"]["edge"]


def test_a_small_limit_fetches_what_the_warm_up_needs_and_says_so(sim: CommandLine) -> None:
    fetched = sim.run("fetch", "ETHUSDT", "--timeframe", "1h", "--limit", "100", "--json")
    assert fetched.code == 0
    assert "100 bars are too few for the features" in fetched.json["notes"][0]
    assert fetched.json["bars"] > 100


def test_stages_out_of_order_name_the_command_that_is_missing(sim: CommandLine) -> None:
    nothing = sim.run("features")
    assert (nothing.code, "trader fetch" in nothing.err) == (ExitCode.USAGE, True)
    unfetched = sim.run("features", *SERIES)
    assert (unfetched.code, "trader fetch ETHUSDT --timeframe 15m" in unfetched.err) == (ExitCode.DATA, True)
    assert sim.run("fetch", *SERIES).code == 0
    early = sim.run("train")
    assert (early.code, "trader features ETHUSDT --timeframe 15m" in early.err) == (ExitCode.DATA, True)
    assert sim.run("features").code == 0
    modelless = sim.run("analyze", "--json")
    assert modelless.code == ExitCode.DATA
    assert "trader train ETHUSDT --timeframe 15m" in modelless.json["error"]
    assert modelless.json["exit_code"] == 4


def test_too_few_bars_to_train_say_so(sim: CommandLine) -> None:
    for stage in (("fetch", *SERIES, "--limit", "1000"), ("features",)):
        assert sim.run(*stage).code == 0
    few = sim.run("train", TRADER_ANALYST__HORIZON_BARS="500")
    assert few.code == ExitCode.DATA
    assert "Too few bars to train" in few.err
    assert re.search(r"Run `trader fetch ETHUSDT --timeframe 15m --limit \d{4,} ", few.err)


BAD_WORDS: dict[str, tuple[tuple[str, ...], int, str]] = {
    "unknown symbol": (("fetch", "ETHUSTD", "-t", "15m"), 2, "Did you mean ETHUSDT"),
    "unknown time frame": (("fetch", "ETHUSDT", "-t", "14m"), 2, "Unknown time frame '14m'"),
    "unknown command": (("fecth",), 2, "fetch"),
    "unknown option": (("fetch", "ETHUSDT", "--frob"), 2, "--frob"),
    "zero limit": (("fetch", "ETHUSDT", "--limit", "0"), 2, "limit"),
    "missing tape": (("fetch", "ETHUSDT", "--tape", "absent.parquet"), 4, "does not exist"),
    "a tape in paper": (("fetch", "ETHUSDT", "--tape", "x.parquet", "--profile", "paper"), 2, "Add --profile sim"),
    "unknown profile": (("fetch", "ETHUSDT", "--profile", "smi"), 3, "Did you mean sim"),
    "missing configuration": (("fetch", "ETHUSDT", "--config", "absent.yaml"), 3, "Cannot read"),
    "bad clock": (("venue", "serve", "--clock", "sundial"), 2, "wall, driven or xN"),
}


@pytest.mark.parametrize("what", BAD_WORDS)
def test_a_bad_call_is_answered_with_a_sentence(tmp_path: Path, what: str) -> None:
    words, code, message = BAD_WORDS[what]
    base = () if "--profile" in words or words[0] in {"venue", "fecth"} else ("--profile", "sim")
    ran = CommandLine(tmp_path, base).run(*words, TRADER_SIM__DAYS="10", TRADER_SIM__SYMBOLS='["ETHUSDT"]')
    assert ran.code == code, ran.err
    assert message in ran.err
    assert not list(tmp_path.rglob("*.parquet"))


def write_tape(folder: Path, change: Callable[[pl.DataFrame], pl.DataFrame]) -> Path:
    """Twenty days of made-up minute bars, changed."""
    tape = synthetic_tape(("ETHUSDT",), 20, 0.0, 5).symbols["ETHUSDT"]
    frame = pl.DataFrame(
        {
            "open_time": pl.Series(tape.open_ms).cast(pl.Datetime("ms", "UTC")),
            **{n: getattr(tape, n) for n in ("open", "high", "low", "close", "volume")},
        }
    )
    path = folder / "ETHUSDT-1m.parquet"
    change(frame).write_parquet(path)
    return path


def at_row(row: int, column: str, value: float) -> Callable[[pl.DataFrame], pl.DataFrame]:
    cell = pl.when(pl.int_range(pl.len()) == row).then(value).otherwise(pl.col(column)).alias(column)
    return lambda frame: frame.with_columns(cell)


@pytest.mark.parametrize(
    ("column", "value"), [("close", float("nan")), ("low", -3.0), ("open", 0.0), ("volume", -1.0), ("high", 0.01)]
)
def test_a_tape_with_a_bad_number_is_refused_with_its_row(tmp_path: Path, column: str, value: float) -> None:
    tape = write_tape(tmp_path, at_row(7123, column, value))
    ran = CommandLine(tmp_path, ("--profile", "sim", "--tape", str(tape))).run("fetch", *SERIES)
    assert ran.code == ExitCode.DATA
    assert "row 7123" in ran.err
    assert not (tmp_path / "cache" / "refs").exists()


def test_a_corrupt_tape_is_refused(tmp_path: Path) -> None:
    tape = write_tape(tmp_path, lambda frame: frame)
    tape.write_bytes(tape.read_bytes()[:5000])
    ran = CommandLine(tmp_path, ("--profile", "sim", "--tape", str(tape))).run("fetch", *SERIES)
    assert (ran.code, "not a readable Parquet file" in ran.err) == (ExitCode.DATA, True)


def test_a_gap_stops_the_chain_and_may_be_allowed(tmp_path: Path) -> None:
    tape = write_tape(tmp_path, lambda f: pl.concat([f[:9000], f[9100:]]))
    cli = CommandLine(tmp_path, ("--profile", "sim", "--tape", str(tape)))
    stopped = cli.run("fetch", *SERIES)
    assert stopped.code == ExitCode.DATA
    assert "bars missing, 2024-01-07 06:00:00 UTC to 2024-01-07 07:15:00 UTC" in stopped.err
    assert "--allow-gaps" in stopped.err
    refused = cli.run("features", *SERIES)
    assert (refused.code, "gap" in refused.err) == (ExitCode.DATA, True)
    assert cli.run("fetch", *SERIES, "--allow-gaps").code == 0
    made = cli.run("features", "--allow-gaps", "--json").json
    assert (made["gaps"], made["missing_bars"]) == (1, 6)
    assert made["rows_lost"] == 6, "as many bars as were missing must follow"
    assert "1, 6 bars missing" in cli.run("features", "--allow-gaps").out


def test_a_corrupt_artifact_names_its_mend_and_the_mend_works(sim: CommandLine, made_once: dict[str, Path]) -> None:
    already(sim, made_once, "fetch")
    chunk = sorted((sim.folder / "cache" / "chunks").rglob("*.parquet"))[3]
    whole = chunk.read_bytes()
    chunk.write_bytes(whole[:-20] + b"x" * 20)
    broken = sim.run("features")
    assert (broken.code, "corrupt" in broken.err, "trader fetch ETHUSDT" in broken.err) == (ExitCode.DATA, True, True)
    assert "problem" in sim.run("status", "--json").out
    mended = sim.run("fetch", *SERIES, "--json")
    assert "Fetched again" in mended.json["notes"][0]
    assert chunk.read_bytes() == whole
    assert sim.run("features").code == 0


def test_a_bundle_with_a_changed_byte_is_refused_and_training_mends_it(
    sim: CommandLine, made_once: dict[str, Path]
) -> None:
    already(sim, made_once, "train")
    booster = next((sim.folder / "cache" / "models").rglob("side.txt"))
    whole = booster.read_bytes()
    booster.write_bytes(whole.replace(b"tree", b"tref", 1))
    refused = sim.run("analyze")
    assert (refused.code, "side.txt is not what was written" in refused.err) == (ExitCode.DATA, True)
    assert sim.run("train").code == 0
    assert booster.read_bytes() == whole
    assert sim.run("analyze").code in {0, 8}


def test_artifacts_of_another_tape_are_refused(sim: CommandLine) -> None:
    assert sim.run("fetch", *SERIES).code == 0
    other = sim.run("features", TRADER_SEED="8")
    assert other.code == ExitCode.DATA
    assert "are from synthetic-lead" in other.err
    assert "--tape and profile" in other.err


def test_other_feature_settings_are_noticed(sim: CommandLine, made_once: dict[str, Path]) -> None:
    already(sim, made_once, "features")
    stale = sim.run("train", TRADER_FEATURE_ENGINEERING_ORCHESTRATOR__WAVELET_WINDOW="32")
    assert (stale.code, "other feature settings" in stale.err) == (ExitCode.DATA, True)


def test_two_fetches_at_once_both_succeed_and_agree(sim: CommandLine) -> None:
    running = [sim.start("fetch", *SERIES, "--json") for _ in range(3)]
    outs = [process.communicate(timeout=120) for process in running]
    assert [process.returncode for process in running] == [0, 0, 0], outs
    digests = {Ran(0, out, err).json["digest"] for out, err in outs}
    assert len(digests) == 1
    assert sim.leftovers() == []
    assert sim.run("features").code == 0


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("stage", ["fetch", "features", "train", "analyze"])
def test_an_interrupted_stage_leaves_everything_whole(
    sim: CommandLine, made_once: dict[str, Path], stage: str, how: signal.Signals
) -> None:
    if stage != "fetch":
        already(sim, made_once, {"features": "fetch", "train": "features", "analyze": "train"}[stage])
    words = ("fetch", *SERIES) if stage == "fetch" else (stage,)
    rng = random.Random(f"{stage}{how}")
    stopped = 128 + how
    seen = set()
    for _ in range(2):
        process = sim.start(*words)
        time.sleep(rng.uniform(0.9, 2.4 if stage in {"fetch", "train"} else 1.4))  # Python itself must have begun
        process.send_signal(how)
        _, err = process.communicate(timeout=60)
        seen.add(process.returncode)
        killed_before_it_began = process.returncode == -how and not err
        assert process.returncode in {stopped, 0, 8} or killed_before_it_began, err
        assert "Traceback" not in err, err
        if process.returncode == stopped:
            assert "Everything on disk is whole" in err
        assert sim.leftovers() == []
    assert sim.run(*words).code in {0, 8}


def bend_path(path: str, bend: Bend) -> dict[str, Bend]:
    return {path: bend}


def html(_: Any) -> web.Response:
    return web.Response(text="<html><body>Bad gateway</body></html>", content_type="text/html")


def test_a_server_that_is_down_or_answers_html(trader: CommandLine) -> None:
    environment = {"TRADER_BINANCE_EXCHANGE__MAX_RETRIES": "1"}
    down = trader.run("fetch", *SERIES, TRADER_BINANCE_EXCHANGE__BASE_URL="http://127.0.0.1:9", **environment)
    assert (down.code, "exchange" in down.err) == (ExitCode.UNAVAILABLE, True)
    tape = playing_now(synthetic_tape(("ETHUSDT",), 20, 0.0, 5))
    for path in ("/fapi/v1/time", "/fapi/v1/exchangeInfo", "/fapi/v1/klines"):
        with serving(tape, {path: html}) as url:
            ran = trader.run("fetch", *SERIES, TRADER_BINANCE_EXCHANGE__BASE_URL=url, **environment)
        assert ran.code == ExitCode.UNAVAILABLE, ran.err
        assert "HTML page" in ran.err
    assert not list(trader.folder.rglob("*.parquet"))


def test_a_skewed_clock_is_a_matter_of_configuration(trader: CommandLine) -> None:
    with serving(playing_now(synthetic_tape(("ETHUSDT",), 20, 0.0, 5)), skew_ms=30_000) as url:
        ran = trader.run("fetch", *SERIES, TRADER_BINANCE_EXCHANGE__BASE_URL=url)
    assert ran.code == ExitCode.CONFIGURATION
    assert "30.0 s behind" in ran.err or "29.9 s behind" in ran.err
    assert "Set the clock" in ran.err


def test_bad_numbers_from_a_server_store_nothing(trader: CommandLine) -> None:
    def spoil(rows: list[Any]) -> list[Any]:
        rows[5][4] = "NaN"
        return rows

    with serving(playing_now(synthetic_tape(("ETHUSDT",), 20, 0.0, 5)), {"/fapi/v1/klines": spoil}) as url:
        ran = trader.run("fetch", *SERIES, TRADER_BINANCE_EXCHANGE__BASE_URL=url)
    assert (ran.code, "close that is not a positive number" in ran.err) == (ExitCode.DATA, True)
    assert not list(trader.folder.rglob("*.parquet"))


def test_paper_reads_a_separately_served_venue(trader: CommandLine) -> None:
    server = trader.begin("venue", "serve", "--port", "0", "--json", TRADER_SIM__DAYS="40")
    try:
        url = Ran(0, server.first_line(), "").json["url"]
        environment = {"TRADER_BINANCE_EXCHANGE__BASE_URL": url}
        codes = [trader.run(*words, **environment).code for words in (("fetch", *SERIES), ("features",), ("train",))]
        assert codes == [0, 0, 0]
        assert trader.run("analyze", **environment).code in {0, 8}
        age = trader.run("status", "--json", **environment).json["series"][0]["age_ms"]
        assert 0 <= age < M15.ms + 60_000
    finally:
        left = server.ended(signal.SIGTERM)
    assert left.code == ExitCode.TERMINATED, left.err


def test_a_served_account_goes_on_after_a_restart(trader: CommandLine) -> None:
    """A wallet opened by the settings, an order, kill -9, and the position is still there."""

    async def ask(url: str, work: Callable[[BinanceExchange], Any]) -> Any:
        keys = {"api_key": "sim-key", "api_secret": "sim-secret", "base_url": url}
        exchange = BinanceExchange({"mode": "demo", "binance_exchange": keys})
        await exchange.initialize()
        try:
            return await work(exchange)
        finally:
            await exchange.close()

    async def buy(exchange: BinanceExchange) -> Any:
        wallet = (await exchange.private.account()).wallet
        return wallet, await exchange.private.place(OrderRequest("a", "ETHUSDT", "BUY", Decimal("0.1")))

    async def look(exchange: BinanceExchange) -> Any:
        return [position.amount for position in await exchange.private.positions()]

    environment = {"TRADER_SIM__DAYS": "40", "TRADER_SIM__BALANCE": "777"}
    for work, wanted in ((buy, Decimal(777)), (look, [Decimal("0.1")])):
        server = trader.begin("venue", "serve", "--port", "0", "--json", **environment)
        try:
            found = asyncio.run(ask(Ran(0, server.first_line(), "").json["url"], work))
        finally:
            server.ended(signal.SIGKILL)
        assert (found[0] if work is buy else found) == wanted


def test_venue_status_and_reset(sim: CommandLine) -> None:
    assert sim.run("venue", "status", "--json").json["now_ms"] is None
    sim.run("fetch", *SERIES, "--limit", "100")
    assert sim.run("venue", "status", "--json").json["now_ms"] is not None
    assert sim.run("venue", "reset", "--json").json["was_played"] is True
    assert sim.run("venue", "status", "--json").json["now_ms"] is None


def test_config_shows_what_is_in_force_and_no_secret(sim: CommandLine) -> None:
    shown = sim.run("config", TRADER_BINANCE_EXCHANGE__API_SECRET="hunter2", TRADER_SEED="41")
    assert shown.code == 0
    assert "hunter2" not in shown.out + shown.err
    assert "TRADER_SIM__TAPE" in shown.out
    assert sim.run("config", "--json", TRADER_SEED="41").json["seed"] == 41


def test_version_and_help() -> None:
    here = CommandLine(Path.cwd())
    assert here.run("--version").out.startswith("trader 0.")
    for words in ((), ("fetch",), ("features",), ("train",), ("analyze",), ("status",), ("config",), ("venue",)):
        assert "Usage: trader" in here.run(*words, "--help").out


def test_the_readme_shows_what_the_demo_prints(tmp_path_factory: pytest.TempPathFactory) -> None:
    """All but digests, which name the library versions and the processor's last bits."""
    shown = readme_demo((Path(__file__).parents[2] / "README.md").read_text())
    digits = re.compile(r"[0-9a-f]{8}…|(?<=td-e-)[0-9a-f]+")
    assert digits.sub("#", demo(tmp_path_factory)[1]).split() == digits.sub("#", shown).split()


def edit_chunk(folder: Path, row: int) -> None:
    """Rewrite a features chunk as valid Parquet with another value in it."""
    for path in sorted((folder / "cache" / "chunks").rglob("*.parquet")):
        frame = pl.read_parquet(path)
        if "rsi_14" in frame.columns and frame.height > row:
            frame.with_columns(pl.lit(50.0).alias("rsi_14")).write_parquet(path)


def test_an_edited_features_chunk_is_made_anew_and_never_used(sim: CommandLine, made_once: dict[str, Path]) -> None:
    already(sim, made_once, "fetch")
    first = sim.run("features", "--json").json
    edit_chunk(sim.folder, 0)
    refused = sim.run("train")
    assert (refused.code, "corrupt" in refused.err) == (ExitCode.DATA, True)
    again = sim.run("features", "--json").json
    assert 0 < again["made"] < first["made"]
    assert again["digest"] == first["digest"]


def test_damaged_references_are_mended_by_their_commands(sim: CommandLine, made_once: dict[str, Path]) -> None:
    already(sim, made_once, "train")
    assert sim.run("analyze").code in {0, 8}
    refs = [
        sim.folder / "cache" / "refs" / "sim" / "ETHUSDT" / "15m" / f"{stage}.json"
        for stage in ("bars", "features", "model", "analysis", "market", "funding")
    ]
    whole = [ref.read_bytes() for ref in refs]
    for ref in refs:
        ref.write_bytes(b"")
    early = sim.run("features")
    assert (early.code, "Run `trader fetch ETHUSDT --timeframe 15m --profile sim` again" in early.err) == (
        ExitCode.DATA,
        True,
    ), early.err
    for words in (("fetch", *SERIES), ("features",), ("train",), ("analyze",)):
        assert sim.run(*words).code in {0, 8}
    assert [ref.read_bytes() for ref in refs] == whole


def test_a_gap_that_the_exchange_fills_later_is_filled(trader: CommandLine) -> None:
    tape, holes = playing_now(synthetic_tape(("ETHUSDT",), 40, 0.0, 5)), [5]

    def without_some(rows: list[Any]) -> list[Any]:
        if holes and len(rows) > 400:
            del rows[300 : 300 + holes.pop()]
        return rows

    with serving(tape, {"/fapi/v1/klines": without_some}) as url:
        first = trader.run("fetch", *SERIES, TRADER_BINANCE_EXCHANGE__BASE_URL=url)
        again = trader.run("fetch", *SERIES, "--repair", "--json", TRADER_BINANCE_EXCHANGE__BASE_URL=url)
    assert (first.code, "5 bars missing" in first.err) == (ExitCode.DATA, True)
    assert (again.code, again.json["gaps"]) == (0, [])


def test_pages_that_stop_early_are_noticed(trader: CommandLine) -> None:
    calls: list[int] = []

    def second_page_empty(rows: list[Any]) -> list[Any]:
        calls.append(1)
        return [] if len(calls) > 1 else rows

    with serving(playing_now(synthetic_tape(("ETHUSDT",), 40, 0.0, 5)), {"/fapi/v1/klines": second_page_empty}) as url:
        ran = trader.run("fetch", *SERIES, TRADER_BINANCE_EXCHANGE__BASE_URL=url)
    assert (ran.code, "has closed since" in ran.err) == (ExitCode.DATA, True)


def test_another_market_behind_the_same_address_replaces_the_bars(trader: CommandLine) -> None:
    tapes = [playing_now(synthetic_tape(("ETHUSDT",), 12, 0.0, seed)) for seed in (5, 6)]
    with serving(tapes[0]) as url:
        first = trader.run("fetch", *SERIES, "--json", TRADER_BINANCE_EXCHANGE__BASE_URL=url).json
        port = url.rpartition(":")[2]
    with serving(tapes[1], port=int(port)) as url:
        second = trader.run("fetch", *SERIES, "--json", TRADER_BINANCE_EXCHANGE__BASE_URL=url).json
    assert "stored rows were replaced" in second["notes"][0]
    assert second["new_bars"] == second["bars"]
    assert second["digest"] != first["digest"]


@pytest.mark.parametrize(
    ("path", "bend"),
    [
        ("/fapi/v1/ticker/24hr", lambda b: {**b, "highPrice": "inf"}),
        ("/fapi/v1/ticker/24hr", lambda b: {**b, "symbol": "BTCUSDT"}),
        ("/fapi/v1/depth", lambda b: {**b, "bids": [["inf", "1"]]}),
        ("/fapi/v1/premiumIndex", lambda b: {**b, "markPrice": "NaN"}),
        ("/fapi/v1/premiumIndex", lambda b: {**b, "markPrice": "-5"}),
        ("/fapi/v1/openInterest", lambda b: {**b, "openInterest": "-3"}),
        ("/fapi/v1/fundingRate", lambda b: [{**b[0], "fundingRate": "NaN"}]),
        ("/fapi/v1/exchangeInfo", lambda b: {**b, "symbols": []}),
    ],
)
def test_numbers_that_cannot_be_true_are_refused_everywhere(trader: CommandLine, path: str, bend: Bend) -> None:
    with serving(playing_now(synthetic_tape(("ETHUSDT",), 12, 0.0, 5)), {path: bend}) as url:
        environment = {"TRADER_BINANCE_EXCHANGE__BASE_URL": url, "TRADER_BINANCE_EXCHANGE__MAX_RETRIES": "0"}
        ran = trader.run("fetch", *SERIES, **environment)
    assert ran.code in {ExitCode.UNAVAILABLE, ExitCode.DATA}, ran.err


def test_a_long_ban_ends_the_command_and_names_the_wait(trader: CommandLine) -> None:
    def ban(_: Any) -> web.Response:
        body = {"code": -1003, "msg": "banned"}
        return web.json_response(body, status=418, headers={"Retry-After": "1000"})

    with serving(playing_now(synthetic_tape(("ETHUSDT",), 12, 0.0, 5)), {"/fapi/v1/klines": ban}) as url:
        ran = trader.run("fetch", *SERIES, TRADER_BINANCE_EXCHANGE__BASE_URL=url)
    assert ran.code == ExitCode.UNAVAILABLE
    assert re.search(r"no request for (9\d\d|1000) s", ran.err), ran.err


def test_folders_that_cannot_be_used_are_named(sim: CommandLine) -> None:
    (sim.folder / "cache").write_text("a file")
    blocked = sim.run("fetch", *SERIES)
    assert (blocked.code, "cache" in blocked.err) == (ExitCode.DATA, True)
    (sim.folder / "cache").unlink()
    assert sim.run("fetch", *SERIES).code == 0
    (sim.folder / "cache" / "wavelet").write_text("a file")
    assert sim.run("features").code == ExitCode.DATA
    (sim.folder / "cache" / "wavelet").unlink()
    assert sim.run("features").code == 0
    (sim.folder / "state" / "trials.sqlite").write_bytes(b"garbage" * 100)
    garbage = sim.run("train")
    assert (garbage.code, "trial ledger" in garbage.err) == (ExitCode.DATA, True)


def test_a_model_of_other_settings_is_refused(sim: CommandLine, made_once: dict[str, Path]) -> None:
    already(sim, made_once, "train")
    features = "FEATURE_ENGINEERING_ORCHESTRATOR__"
    for name, value in (
        ("ANALYST__HORIZON_BARS", "12"),
        (f"{features}WAVELET_WINDOW", "16"),
        (f"{features}ENABLE_AUTOENCODER_FEATURES", "false"),
        (f"{features}AUTOENCODER_BOTTLENECK", "5"),
    ):
        assert sim.run("features", **{f"TRADER_{name}": value}).code == 0
        refused = sim.run("analyze", **{f"TRADER_{name}": value})
        assert (refused.code, "other label or feature settings" in refused.err) == (ExitCode.DATA, True), refused.err


def test_a_claim_after_other_costs_gives_no_signal_and_names_the_training(sim: CommandLine) -> None:
    """Nobody has shown an edge after these costs, without that model, from this seed."""
    chain(sim, "fetch", "features", "train")
    for name, value in (
        ("COSTS__TAKER_FEE_BPS", "9"),
        ("COSTS__SLIPPAGE_BPS", "9"),
        ("COSTS__FUNDING_BPS", "9"),
        ("ANALYST__ENABLE_DUAL_MODEL_SYSTEM", "false"),
        ("ANALYST__CLAIM_PROBABILITY", "0.999"),
    ):
        refused = sim.run("analyze", **{f"TRADER_{name}": value})
        assert (refused.code, refused.out) == (ExitCode.DATA, ""), refused.err
        assert "claim does not hold" in refused.err
        assert "trader train ETHUSDT --timeframe 15m" in refused.err
    dear = {"TRADER_COSTS__TAKER_FEE_BPS": "9"}
    assert not sim.run("train", "--json", **dear).json["cached"]
    assert sim.run("analyze", **dear).code in {ExitCode.DONE, ExitCode.ABSTAINED}


def test_trials_count_whatever_the_tape_or_seed_is_called(tmp_path: Path, eth_tape: Path) -> None:
    copy = tmp_path / "ETHUSDT-renamed.parquet"
    copy.write_bytes(eth_tape.read_bytes())
    counted = []
    for tape, seed in ((eth_tape, "7"), (copy, "8")):
        cli = CommandLine(tmp_path, ("--profile", "sim", "--tape", str(tape)))
        trained = [
            cli.run(*words, TRADER_SEED=seed, TRADER_ANALYST__TREES="10")
            for words in (("fetch", *SERIES), ("features",), ("train", "--json"))
        ][-1]
        counted.append(trained.json["claim"]["trials"])
    assert counted == [4, 8], "three horizons and the act model, each time"


def test_json_is_one_object_whatever_happens(sim: CommandLine) -> None:
    for words in (
        ("fetch", "ETHUSDT", "--limit", "0"),
        ("fetch",),
        ("fetch", "../../x"),
        ("train", "ETHUSDT", "-t", "1H"),
    ):
        ran = sim.run(*words, "--json")
        assert ran.json["exit_code"] == ran.code == 2
    assert not list(sim.folder.rglob("*.lock"))


def test_a_served_venue_says_how_to_reach_it_and_ends_quietly(sim: CommandLine) -> None:
    server = CommandLine(sim.folder).start("venue", "serve", "--port", "0", "--clock", "x60", "--json")
    assert server.stdout is not None
    shown = Ran(0, server.stdout.readline(), "").json
    assert shown["environment"].endswith("TRADER_BINANCE_EXCHANGE__CLOCK=venue")
    server.send_signal(signal.SIGINT)
    out, _ = server.communicate(timeout=30)
    assert (server.returncode, out) == (130, "")


def test_named_commands_carry_the_options_of_the_call(tmp_path: Path, eth_tape: Path) -> None:
    ran = CommandLine(tmp_path, ("--profile", "sim", f"--tape={eth_tape}")).run("features", *SERIES)
    assert f"`trader fetch ETHUSDT --timeframe 15m --profile sim --tape {eth_tape}`" in ran.err
