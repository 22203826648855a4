"""`trader status`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from trader_cli.cli import options as o
from trader_cli.cli.show import age, print_facts, print_json, print_table, quality_line, utc
from trader_cli.core.errors import ExitCode
from trader_cli.core.money.assets import QUOTE
from trader_cli.core.proofs.assurance import QUESTION

if TYPE_CHECKING:
    from trader_cli.pipelines.stages.stored_status import SeriesStatus, Status, TrainedStatus
    from trader_cli.pipelines.trading.account_status import AccountStatus, HeldStatus

app = typer.Typer()

_COLUMNS = ("series", "bars", "last close", "age", "features", "model", "last analysis")


@app.command()
def status(
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help="Leave with code 12 where one cannot walk away, as for cron.")
    ] = False,
    profile: o.Profile = None,
    config: o.Config = None,
    tape: o.Tape = None,
    json: o.Json = False,
) -> None:
    """Show what we hold, what protects it, what is wrong, whether one can walk away; and what the stages have left."""
    from trader_cli.pipelines.stages.stored_status import status as run
    from trader_cli.pipelines.trading.account_status import account_status, begin_snapshot

    workspace = o.workspace_from(profile, config, tape)
    asking = begin_snapshot(workspace)
    done, account = run(workspace, asking), account_status(workspace, asking)
    if json:
        print_json({**asdict(done), "account": asdict(account)})
    else:
        _show(done, account)
    if exit_code and not account.walk_away:
        raise typer.Exit(ExitCode.LOOK)


def _show(done: Status, account: AccountStatus) -> None:
    print_facts(f"account {account.account}", _account_facts(account))
    now = "not begun" if done.now_ms is None else utc(done.now_ms)
    print_facts(f"profile {done.profile}", {"market": done.source, "time": now})
    if not done.series:
        print_facts("nothing fetched yet", {"begin with": "trader fetch ETHUSDT --timeframe 15m"})
        return
    print_table("", _COLUMNS, [_row(series) for series in done.series])
    for series in done.series:
        if series.trained is not None:
            print_facts(f"{series.symbol} {series.timeframe}: model {_trained_line(series.trained)}", {})
        found = quality_line(series.quality, gaps=False)
        if found is not None:
            print_facts(f"{series.symbol} {series.timeframe}: of its bars {found}", {})
    for problem in dict.fromkeys(problem for series in done.series for problem in series.problems):
        having = [f"{series.symbol} {series.timeframe}" for series in done.series if problem in series.problems]
        print_facts(f"! {', '.join(having)}: {problem}", {})


def _row(s: SeriesStatus) -> tuple[str, ...]:
    shown = "?" if s.age_ms is None else age(s.age_ms)
    bars, last = (str(s.bars), utc(s.last_close_ms)) if s.bars else ("damaged", "?")
    return f"{s.symbol} {s.timeframe}", bars, last, shown, s.features, s.model, s.outcome


def _trained_line(trained: TrainedStatus) -> str:
    until = f"valid until {utc(trained.valid_until_ms)}{': too old to open by' if trained.too_old else ''}"
    span = f"on {utc(trained.learned_from_ms)} to {utc(trained.learned_to_ms)}"
    closed = f". {trained.opens_nothing}" if trained.opens_nothing else ""
    return f"{trained.digest[:8]}…, trained {span}, {until}{_watched_line(trained)}{closed}"


def _watched_line(trained: TrainedStatus) -> str:
    known = trained.watched
    if known is None:
        return ""
    against = f"evidence against {known['forecasts']} forecasts {known['evidence']:.1f} to 1"
    return f"; since then {against}, {known['moved']:.0%} of its features moved"


def _account_facts(account: AccountStatus) -> dict[str, str | None]:
    return {
        QUESTION: account.verdict,
        **{p.symbol: _held_line(p) for p in account.held},
        "not ours": ", ".join(account.foreign) or None,
        "halted": account.halted,
        **{f"latched {symbol}": why for symbol, why in account.latched.items()},
        "process": f"at work on this ledger: {account.owner}" if account.owner else None,
        "trades": None if account.trades is None else f"{account.trades}, {_profit(account)} after costs",
        "not traded": ", ".join(f"{code} {count}" for code, count in account.refusals.items()) or None,
        "seen by": account.seen,
    }


def _profit(account: AccountStatus) -> str:
    """Each asset by itself: what fees cost in another one is named beside the profit, never left out."""
    if set(account.profits) <= {QUOTE}:
        return f"{account.profit} quote"
    return " and ".join(f"{net} {asset}" for asset, net in account.profits.items())


def _held_line(p: HeldStatus) -> str:
    now = f", mark {p.mark_price}, profit {p.profit}" if p.mark_price else ""
    levels = {"stop": p.stop, "backstop": p.backstop, "take profit": p.take_profit}
    stops = ", ".join(f"{name} {level}" for name, level in levels.items() if level) or "NO stop"
    differs = f"; the exchange shows {p.shown}" if p.shown not in {None, p.amount} else ""
    return f"{p.amount} at {p.entry_price}{now}; {stops}{differs}"
