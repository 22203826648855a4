"""The trading commands as processes: chained, repeated, halted; and bad input, each with its exit code and sentence."""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from support.commands.command_line import SMALL_SIM, CommandLine, Ran
from support.commands.in_process import Inside
from support.commands.shared_folders import made_for_all

from trader_cli.core.errors import ExitCode
from trader_cli.report.ledger_report import ledger_report
from trader_cli.storage.artifacts import ArtifactStore
from trader_cli.storage.bundles import BundleStore
from trader_cli.storage.ledger import Ledger
from trader_cli.storage.ledger_reading import LedgerReading

pytestmark = pytest.mark.slow

SERIES = ("ETHUSDT", "--timeframe", "15m")


@pytest.fixture(scope="module")
def small() -> Any:
    """The small market for everything in this module."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in SMALL_SIM.items():
            patch.setenv(name, value)
        yield


def of(folder: Path, *, inside: bool = True) -> CommandLine:
    """The command line in a folder, on the small market."""
    return (Inside if inside else CommandLine)(folder, ("--profile", "sim"))


@pytest.fixture(scope="module")
def analysed(small: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    """A folder in which the stages up to the signal have run, each in a process of its own; what they said."""

    def make(folder: Path) -> list[dict[str, Any]]:
        cli = of(folder, inside=False)
        done = [
            cli.run(stage, *rest, "--json", **SMALL_SIM)
            for stage, *rest in (("fetch", *SERIES), ("features",), ("train",), ("analyze", "--wait", "96"))
        ]
        assert [r.code for r in done] == [0] * 4, [r.err for r in done]
        return [r.json for r in done]

    return made_for_all(tmp_path_factory, "analysed", make)


@pytest.fixture
def fresh(analysed: tuple[Path, list[dict[str, Any]]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CommandLine:
    """A copy of that folder, just before tactics."""
    for name, value in SMALL_SIM.items():
        monkeypatch.setenv(name, value)
    shutil.copytree(analysed[0], tmp_path / "copy")
    return of(tmp_path / "copy")


def ledger_of(folder: Path) -> Path:
    """The one ledger."""
    (found,) = folder.glob("state/ledgers/*/*.sqlite")
    return found


def sent(folder: Path) -> list[tuple[str, str]]:
    """(method, path) of the commands the simulated exchange accepted for orders."""
    (journal,) = folder.glob("state/**/journal.sqlite")
    with contextlib.closing(sqlite3.connect(journal)) as db:
        rows = db.execute("SELECT method, path FROM commands ORDER BY number").fetchall()
    return [row for row in rows if row[1] in {"/fapi/v1/order", "/fapi/v1/algoOrder"}]


def entries(folder: Path) -> int:
    """How many orders that are no stops were sent."""
    return sent(folder).count(("POST", "/fapi/v1/order"))


def artifacts(folder: Path) -> dict[str, bytes]:
    """What the references point to, by stage."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in (folder / "cache" / "refs").rglob("*.json")}


def test_the_chain_and_the_pipeline_decide_and_do_the_same(
    analysed: tuple[Path, list[dict[str, Any]]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in SMALL_SIM.items():
        monkeypatch.setenv(name, value)
    shutil.copytree(analysed[0], tmp_path / "chain")
    (tmp_path / "run").mkdir()
    chain = of(tmp_path / "chain", inside=False)
    planned, entered, cared = (chain.run(stage, "--json") for stage in ("tactics", "enter", "monitor"))
    assert [r.code for r in (planned, entered, cared)] == [0, 0, 0], planned.err + entered.err + cared.err
    assert cared.json["open"] == {}
    whole = of(tmp_path / "run", inside=False).run_anew("run", *SERIES, "--wait", "96", "--json")
    assert whole.code == 0, whole.err
    said = whole.json
    assert said["plan"] == planned.json["plan"]
    assert said["signal"] == analysed[1][3]["signal"]
    assert said["trade"]["order"] == entered.json["client_id"]
    assert said["profit"]["relative_difference"] == 0
    with LedgerReading.shown(ledger_of(chain.folder)) as ledger:
        assert ledger is not None
        assert ledger.journal_digest() == said["journal"]
        assert ledger.net_income() == Decimal(said["profit"]["ledger"]) == Decimal(said["profit"]["account"])
        told = ledger_report(ledger, ArtifactStore(chain.folder / "cache"), "account", "sim", 0.95).figures
        assert told.final_equity - told.balance == pytest.approx(float(ledger.net_income()), rel=1e-9)
    assert artifacts(tmp_path / "chain") == artifacts(tmp_path / "run")
    assert sent(tmp_path / "chain") == sent(tmp_path / "run")


@pytest.mark.parametrize(
    "command", [("tactics",), ("monitor",), ("run", *SERIES), ("run", *SERIES, "--forever", "--for", "1m")]
)
@pytest.mark.parametrize("is_open", [True, False], ids=["open", "flat"])
def test_over_orders_of_ours_a_new_ledger_is_halted_by_whatever_command_makes_it(
    fresh: CommandLine, command: tuple[str, ...], *, is_open: bool
) -> None:
    assert [fresh.run(stage).code for stage in ("tactics", "enter")] == [0, 0]
    if not is_open:
        assert fresh.run("flatten").code == 0
    ledger_of(fresh.folder).unlink()
    done = fresh.run(*command, "--json")
    assert (
        done.code == {"tactics": 9, "monitor": 5 if is_open else 0, "run": 0 if "--for" in command else 9}[command[0]]
    )
    assert "This ledger is new" in done.err
    assert "`trader ledger rebuild`" in done.err
    with LedgerReading.shown(ledger_of(fresh.folder)) as ledger:
        assert ledger is not None
        assert (ledger.halted() or "").startswith("ledger_lost: This ledger is new")
        assert not ledger.client_ids()
    assert fresh.run("ledger", "rebuild", SERIES[0], "--json").json["fills"] == {SERIES[0]: 1 if is_open else 2}


def test_tactics_and_enter_repeated_send_no_second_order(fresh: CommandLine) -> None:
    def both() -> tuple[Ran, Ran]:
        return fresh.run("tactics", "--json"), fresh.run("enter", "--json")

    first, done = both()
    assert (first.code, done.code, done.json["fresh"]) == (0, 0, True)
    open_commands = sent(fresh.folder)
    again, repeated = both()
    assert again.json == first.json
    assert (repeated.code, repeated.json["fresh"]) == (0, False)
    assert repeated.json["stops"] == done.json["stops"]
    assert "was entered before; no order was sent" in fresh.run("enter").out
    assert sent(fresh.folder) == open_commands
    assert fresh.run("flatten", "--json").json["closed"] == {"ETHUSDT": done.json["quantity"]}
    count = entries(fresh.folder)
    again, repeated = both()
    assert (again.json, repeated.json["fresh"]) == (first.json, False)
    assert repeated.json["quantity"] == done.json["quantity"]
    assert entries(fresh.folder) == count == 2
    assert fresh.run("flatten", "--json").json["closed"] == {}
    assert fresh.run("monitor", "--json").json["open"] == {}
    assert entries(fresh.folder) == 2


def test_a_dry_run_prints_the_requests_and_changes_nothing(fresh: CommandLine) -> None:
    assert fresh.run("tactics").code == 0
    shown = fresh.run("enter", "--dry-run", "--json")
    assert (shown.code, shown.json["refused"]) == (0, None)
    assert [r["path"] for r in shown.json["requests"]].count("/fapi/v1/algoOrder") == 3
    assert list(fresh.folder.glob("state/**/journal.sqlite")) == [] or sent(fresh.folder) == []
    assert fresh.run("enter").code == 0
    assert fresh.run("monitor", "--for", "10h", "--json").json["open"] == {}, "funding was paid on the way"
    before = ledger_of(fresh.folder).read_bytes(), sent(fresh.folder)
    rehearsed = fresh.run("enter", "--dry-run", "--json")
    assert rehearsed.code == 7, rehearsed.err
    assert (ledger_of(fresh.folder).read_bytes(), sent(fresh.folder)) == before


def test_what_is_stale_is_a_matter_of_data_for_every_command(fresh: CommandLine) -> None:
    """Code 4, as for all data that are missing, stale or invalid: the stage that mends it is named."""
    (now,) = fresh.folder.glob("state/venue/*/now_ms.json")
    now.write_text(json.dumps(json.loads(now.read_text()) + 1000))  # the signal may be of the moment of the close
    done = fresh.run("analyze", TRADER_ANALYST__MAX_BAR_AGE="1e-9")
    assert (done.code, "bars_stale" in done.out, "`trader fetch" in done.out) == (4, True, True), done.out
    assert fresh.run("analyze").code == 0
    short = {"TRADER_TACTICIAN__PLAN_VALIDITY": "1e-9"}
    for command in (("tactics",), ("enter",), ("run", *SERIES)):
        done = fresh.run(*command, **short)
        assert (done.code, "analysis_stale" in done.out) == (4, True), (command, done.out, done.err)
    assert sent(fresh.folder) == []


def test_after_a_flatten_without_a_ledger_rebuild_and_reset_lead_back_to_yes(fresh: CommandLine) -> None:
    assert [fresh.run(stage).code for stage in ("tactics", "enter")] == [0, 0]
    ledger_of(fresh.folder).unlink()
    gone = fresh.run("flatten")
    assert gone.code == 0, gone.err
    said = fresh.run("status", "--json").json["account"]
    assert (said["walk_away"], "`trader ledger rebuild`, then `trader reset`" in said["verdict"]) == (False, True), said
    assert fresh.run("ledger", "rebuild", "--json").json["fills"] == {SERIES[0]: 2}
    assert fresh.run("reset").code == 0
    said = fresh.run("status", "--json").json["account"]
    assert (said["walk_away"], said["halted"], said["trades"]) == (True, None, 1), said["verdict"]
    assert fresh.run("tactics", "--json").code == 0


@pytest.mark.parametrize("is_left", [True, False], ids=["left", "open"])
def test_a_dry_run_of_a_plan_that_was_carried_out_shows_no_request(fresh: CommandLine, *, is_left: bool) -> None:
    assert [fresh.run(stage).code for stage in ("tactics", "enter")] == [0, 0]
    if is_left:
        assert fresh.run("flatten").code == 0
    shown = fresh.run("enter", "--dry-run", "--json")
    assert (shown.code, shown.json["refused"]["code"], shown.json["requests"]) == (7, "entered_before", [])
    assert ("left since: flatten" in shown.json["refused"]["sentence"]) == is_left
    assert "POST" not in fresh.run("enter", "--dry-run").out


def test_halted_nothing_is_opened_until_a_person_resets(fresh: CommandLine) -> None:
    assert fresh.run("halt", "--reason", "test").code == 0
    planned = fresh.run("tactics", "--json")
    assert (planned.code, planned.json["code"]) == (9, "halted")
    assert "test" in planned.json["sentence"]
    assert fresh.run("enter", "--json").code == 9
    assert fresh.run("reset", "--json").json["was_halted"] == "test"
    assert fresh.run("tactics").code == 0
    fresh.run("halt", "--reason", "again")
    halted = fresh.run("enter", "--json")
    assert (halted.code, halted.json["code"]) == (9, "halted")
    assert sent(fresh.folder) == []
    fresh.run("reset")
    assert fresh.run("enter").code == 0
    fresh.run("halt")
    assert fresh.run("flatten").code == 0, "no halt stops what reduces risk"
    assert fresh.run("monitor", "--json").json["open"] == {}
    ran = fresh.run("run", "--json")
    assert ran.code in {8, 9}, ran.err
    assert "trade" not in ran.json, "the trade that ended before is none of this run"


@pytest.mark.parametrize("is_open", [True, False])
def test_flatten_says_that_it_has_halted_and_names_no_process_where_none_is_at_work(
    fresh: CommandLine, *, is_open: bool
) -> None:
    if is_open:
        assert [fresh.run(stage).code for stage in ("tactics", "enter")] == [0, 0]
    halting = fresh.run("flatten", "--halt")
    assert (halting.code, "halted: no position is opened until `trader reset`" in halting.out) == (0, True), halting.err
    assert fresh.run("reset", "--json").json["was_halted"] == "flatten"
    if is_open:
        assert [fresh.run(stage).code for stage in ("tactics", "enter")] == [0, 0]
    plain = fresh.run("flatten")
    assert "may enter again" not in plain.out + plain.err
    assert "halted" not in plain.out + plain.err
    assert fresh.run("flatten", "--halt", "--json").json == {"closed": {}, "halted": True}
    wrong = fresh.run("flatten", "FOOUSDT", "--halt")
    assert (wrong.code, "Entries are halted until `trader reset" in wrong.err) == (2, True), wrong.err


def edited(cli: CommandLine, **changes: Any) -> str:
    """The plan of the last tactics as a file, changed."""
    body = cli.run("tactics", "--json").json
    body["plan"].update(changes)
    file = cli.folder / "plan.json"
    file.write_text(json.dumps(body))
    return str(file)


def test_plans_that_are_not_entered(fresh: CommandLine) -> None:
    good = edited(fresh)
    ledger = ledger_of(fresh.folder)

    def refused(code: int, *words: str, symbol: str = "ETHUSDT", file: str = good, **extra: str) -> None:
        done = fresh.run("enter", symbol, "--timeframe", "15m", "--plan", file, **extra)
        assert done.code == code, done.out + done.err
        assert all(word in done.out + done.err for word in words), done.out + done.err

    refused(7, "other_symbol", symbol="BTCUSDT")
    refused(7, "other_account", TRADER_BINANCE_EXCHANGE__API_KEY="sim-read-key")
    refused(7, "plan_changed", "quantity", file=edited(fresh, quantity="400"))
    refused(7, "plan_changed", "stop_price", file=edited(fresh, stop_price="1"))
    turned = {"long": "short", "short": "long"}[json.loads((fresh.folder / good).read_text())["plan"]["side"]]
    refused(4, "does not match its id", file=edited(fresh, side=turned))
    refused(4, "cannot be read", file=edited(fresh, quantity="many"))
    broken = fresh.folder / "broken.json"
    broken.write_text("{")
    refused(4, "is no plan", file=str(broken))
    broken.write_text("[]")
    refused(4, "is no plan", file=str(broken))
    refused(4, "no_such.json", file="no_such.json")
    assert sent(fresh.folder) == []
    edited(fresh)
    with Ledger.opened(ledger):
        refused(11, "Another trader process")
        assert fresh.run("monitor").code == 11
    assert sent(fresh.folder) == []


TAKING_A_SYMBOL = [
    ("fetch",),
    ("features",),
    ("train",),
    ("analyze",),
    ("tactics",),
    ("enter",),
    ("run",),
    ("flatten",),
    ("unlock",),
    ("ledger", "settle"),
    ("ledger", "rebuild"),
]


@pytest.mark.parametrize("command", TAKING_A_SYMBOL, ids=" ".join)
@pytest.mark.parametrize("symbol", ["../../x", "a b", "", "ETH/USDT"])
def test_what_cannot_be_a_symbol_is_said_and_names_no_file(
    tmp_path: Path, command: tuple[str, ...], symbol: str
) -> None:
    done = of(tmp_path).run(*command, symbol)
    assert (done.code, "is not a symbol" in done.err) == (2, True), done.out + done.err
    assert not [file for file in tmp_path.rglob("*") if file.is_file() and file.stat().st_size]


@pytest.mark.parametrize(
    "command", [c for c in TAKING_A_SYMBOL if c[0] in {"run", "flatten", "unlock", "ledger"}], ids=" ".join
)
@pytest.mark.parametrize("is_traded", [False, True])
def test_a_symbol_nobody_lists_is_said_and_changes_nothing(
    fresh: CommandLine, command: tuple[str, ...], *, is_traded: bool
) -> None:
    if is_traded:
        assert [fresh.run(stage).code for stage in ("tactics", "enter")] == [0, 0]
    before = {file: file.read_bytes() for file in fresh.folder.glob("state/ledgers/*/*.sqlite")}
    extra = ("--timeframe", "15m") if command == ("run",) else ()
    done = fresh.run(*command, "FOOUSDT", *extra)
    is_without = command == ("ledger", "settle") and not is_traded
    assert done.code == (4 if is_without else 2), done.out + done.err
    if is_without or (command == ("ledger", "rebuild") and is_traded):
        assert "There is no ledger" in done.err or "is not empty" in done.err
    else:
        assert "FOOUSDT" in done.err
        assert "never held back" in done.err if command == ("unlock",) else "does not list" in done.err
    assert {file: file.read_bytes() for file in before} == before
    assert json.loads(next(fresh.folder.glob("cache/refs/sim/last.json")).read_text())["symbol"] == "ETHUSDT"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("tactics", *SERIES, "--leverage", "0"), 2, "leverage"),
        (("tactics", *SERIES, "--position-size", "nan"), 2, "must be above 0"),
        (("tactics", *SERIES, "--risk-level", "huge"), 2, "risk_level is one of"),
        (("tactics", "BTCUSDT", "--timeframe", "15m"), 4, "trader analyze BTCUSDT"),
        (("enter", "BTCUSDT", "--timeframe", "15m"), 4, "trader tactics BTCUSDT"),
        (("monitor", "--for", "soon"), 2, "--for is a time"),
    ],
)
def test_input_that_is_wrong(fresh: CommandLine, arguments: tuple[str, ...], code: int, words: str) -> None:
    done = fresh.run(*arguments)
    assert done.code == code, done.out + done.err
    assert words in done.out + done.err


def test_requests_only_lower_the_plan(fresh: CommandLine, tmp_path: Path) -> None:
    def asked(*arguments: str) -> dict[str, Any]:
        copy = tmp_path / f"asked{len(list(tmp_path.iterdir()))}"
        shutil.copytree(fresh.folder, copy)
        return dict(of(copy).run("tactics", "--json", *arguments).json["plan"])

    plain = asked()
    least = asked("--position-size", "0.01", "--leverage", "1", "--risk-level", "low")
    most = asked("--position-size", "1000", "--leverage", "100", "--risk-level", "high")
    assert (most["quantity"], most["leverage"]) == (plain["quantity"], plain["leverage"])
    assert (Decimal(least["quantity"]), least["leverage"], least["binding"]) == (Decimal("0.01"), 1, "request")


def test_what_a_model_decided_that_is_retired_or_replaced_opens_nothing(fresh: CommandLine) -> None:
    """Neither its signal nor its plan; what is open stays cared for, and is left, as before."""
    model = fresh.run("models", "list", "--json").json["models"][0]["bundle"]
    assert [fresh.run("tactics").code, fresh.run("models", "retire", *SERIES).code] == [0, 0]
    for command in (("enter",), ("enter", "--dry-run"), ("tactics",), ("enter",)):
        done = fresh.run(*command)
        assert (done.code in {ExitCode.ABSTAINED, ExitCode.REFUSED}, "model_retired" in done.out) == (True, True), (
            command,
            done.out,
            done.err,
        )
        assert "trader analyze ETHUSDT --timeframe 15m" in done.out
    store = ArtifactStore(fresh.folder / "cache")
    bundles = BundleStore(store.root / "models")
    files, description = bundles.load(model)
    del description["files"]
    other = bundles.save(files, {**description, "seed": 99})
    assert fresh.run("models", "promote", other, *SERIES).code == 0
    for command in (("tactics",), ("enter",)):
        done = fresh.run(*command)
        assert (done.code, "model_changed" in done.out) == (4, True), (command, done.out, done.err)
    assert sent(fresh.folder) == []
    assert fresh.run("models", "promote", model, *SERIES).code == 0
    assert [fresh.run("tactics").code, fresh.run("enter").code] == [0, 0], "its own model is back"
    assert fresh.run("models", "retire", *SERIES).code == 0
    again = fresh.run("enter", "--json")
    assert (again.code, again.json["fresh"]) == (0, False), "what is open is covered as ever"
    assert fresh.run("monitor", "--for", "5m").code == 0
    assert fresh.run("flatten").code == 0
