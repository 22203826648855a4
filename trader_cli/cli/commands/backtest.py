"""`trader backtest`."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from trader_cli.cli import options as o
from trader_cli.cli.run_by_default import RunByDefault
from trader_cli.cli.show import print_facts, print_json, print_table, progress_bar, say, utc
from trader_cli.core.errors import DataInvalid, UsageError
from trader_cli.pipelines.backtests.backtest_request import ON_BARS, WALK_FORWARD, BacktestRequest, Speed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trader_cli.cli.show import Facts
    from trader_cli.core.market.timeframes import Timeframe
    from trader_cli.pipelines.backtests.backtest_comparison import Comparison, FirstDecision
    from trader_cli.pipelines.backtests.backtest_store import StoredBacktest
    from trader_cli.pipelines.backtests.declared_listing import Listed
    from trader_cli.settings import Workspace


app = typer.Typer(
    cls=RunByDefault,
    help="Trade what is stored, as it would have been traded, and show what came of it: `trader backtest ETHUSDT`."
    " Its options are those of `run`, below.",
)


@app.command()
def run(
    symbols: o.Symbols = None,
    timeframe: o.MaybeTimeframe = None,
    since: Annotated[
        str | None, typer.Option("--since", help="From this UTC day or time on; default: halfway.", show_default=False)
    ] = None,
    until: Annotated[
        str | None, typer.Option("--until", help="Up to this UTC day (inclusive) or time.", show_default=False)
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            help="`current`, a bundle's digest, or what `models export` wrote; default: trained on the way.",
            show_default=False,
        ),
    ] = None,
    folds: Annotated[
        str | None,
        typer.Option(
            "--folds",
            help="The trades behind the claim of a bundle: `current`, its digest, or what `models export` wrote.",
            show_default=False,
        ),
    ] = None,
    friction: Annotated[
        list[str] | None,
        typer.Option(
            "--friction",
            help="With --folds: latency, impact or compounding is on all the same; repeat it for more of them.",
            show_default=False,
        ),
    ] = None,
    refit: Annotated[str, typer.Option("--refit", help="How often models are trained anew on the way.")] = "30d",
    rule: o.RuleName = None,
    parameters: o.Parameters = None,
    symbols_file: Annotated[
        str | None,
        typer.Option(
            "--symbols-file",
            help="A file with one symbol a line, and the first and last day it was traded, if known of all.",
            show_default=False,
        ),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every symbol that is stored.")] = False,
    top: Annotated[
        int | None,
        typer.Option("--top", min=1, help="The largest so many by volume, chosen at each refit.", show_default=False),
    ] = None,
    speed: Annotated[
        Speed,
        typer.Option("--speed", help="From one possible event to the next, or every look: the same trades."),
    ] = "fast",
    on_bars: Annotated[
        bool, typer.Option("--on-bars", help="The rule alone on bare bars, filled at the next open: for research.")
    ] = False,
    stake: Annotated[
        float | None,
        typer.Option("--stake", help="With --on-bars: share of the wallet behind each trade; default: 1."),
    ] = None,
    leverage: Annotated[
        float | None, typer.Option("--leverage", help="With --on-bars: leverage of each trade; default: 1.")
    ] = None,
    allow_gaps: o.AllowGaps = False,
    allow_unproven: o.AllowUnproven = False,
    profile: o.Profile = None,
    config: o.Config = None,
    tape: o.Tape = None,
    json: o.Json = False,
) -> None:
    """Trade stored bars by the very decisions that trade live, on the simulated exchange's engine.

    Each model trades only bars after those it was trained on; the last close is held to, and not decided. The result is
    stored; see `list` and `show`.
    With --on-bars nothing of that decides but a rule: its side is filled at the next open, one position at a time.
    With --folds a model's own walk-forward is traded again: each bar by the model that had seen nothing later, at a
    fixed notional, without latency, spread or impact. These are the trades of its claim, and no further try.
    """
    overrides = {**o.gaps_allowed(allow_gaps), **o.unproven_allowed(allow_unproven), **o.rule_named(rule, parameters)}
    workspace = o.workspace_from(profile, config, tape, overrides)
    if folds is not None:
        others = {
            "--since": since,
            "--until": until,
            "--model": model,
            "--rule": rule,
            "--symbols-file": symbols_file,
            "--top": top,
            "--all": everything or None,
            "--on-bars": on_bars or None,
            "--stake": stake,
            "--leverage": leverage,
        }
        _print(workspace, _of_folds(workspace, folds, symbols, timeframe, others, friction or []), json=json)
        return
    if friction:
        raise UsageError("--friction goes with --folds: any other backtest has all of them.")
    names, parsed, survivors, listed = _chosen(workspace, symbols, timeframe, symbols_file, top, everything=everything)
    refit_s = o.duration(refit, "--refit")
    assert refit_s is not None
    request = BacktestRequest(
        tuple(names),
        parsed,
        o.time_of(since, "--since"),
        o.time_of(until, "--until", end=True),
        model or WALK_FORWARD,
        round(refit_s * 1000),
        speed,
        top=top,
        survivors=survivors,
    )
    if on_bars:
        stakes = (1.0 if given is None else given for given in (stake, leverage))
        done = _on_bars(workspace, replace(request, model=ON_BARS, refit_ms=0), *stakes)
    elif stake is not None or leverage is not None:
        raise UsageError("--stake and --leverage go with --on-bars: else the tactician decides both.")
    else:
        from trader_cli.pipelines.backtests.backtest_run import run_backtest

        with progress_bar() as progress:
            done = run_backtest(workspace, request, progress, listed)
    _print(workspace, done, json=json)


def _of_folds(
    workspace: Workspace,
    name: str,
    symbols: list[str] | None,
    timeframe: str | None,
    others: Mapping[str, object],
    frictions: list[str],
) -> StoredBacktest:
    """The folds of a bundle, traded again. Raises `UsageError` for options that would choose what the bundle says."""
    from trader_cli.pipelines.backtests.backtest_request import CURRENT, frictions_of
    from trader_cli.pipelines.backtests.fold_backtest import run_fold_backtest
    from trader_cli.pipelines.stages.model_life import current_model

    wrong = [option for option, given in others.items() if given is not None]
    if wrong or (symbols and name != CURRENT):
        told = wrong or [", ".join(symbols or [])]
        raise UsageError(f"--folds trades what its bundle was trained on; {told[0]} does not go with it.")
    if name == CURRENT:
        [symbol], parsed = o.several(workspace, symbols, timeframe)
        name = current_model(workspace, symbol, parsed)
    with progress_bar() as progress:
        return run_fold_backtest(workspace, name, frictions_of(frictions), progress)


def _chosen(
    workspace: Workspace,
    symbols: list[str] | None,
    timeframe: str | None,
    symbols_file: str | None,
    top: int | None,
    *,
    everything: bool,
) -> tuple[list[str], Timeframe, bool, tuple[Listed, ...]]:
    """(The symbols, their time frame, whether they are what is stored, when each was tradable if a file says so)."""
    from pathlib import Path

    from trader_cli.pipelines.backtests.universe import refuse_unstored, symbols_in

    if bool(symbols) + (symbols_file is not None) + everything > 1:
        raise UsageError("Name symbols, a --symbols-file, or --all: one of them.")
    stored = everything or (top is not None and not symbols and symbols_file is None)
    named, listed = (symbols, ()) if symbols_file is None else symbols_in(Path(symbols_file))
    names, parsed = o.several(workspace, named, timeframe, everything=stored)
    if symbols_file is not None and not listed:
        refuse_unstored(workspace, Path(symbols_file), parsed)
    return names, parsed, stored, listed


def _on_bars(workspace: Workspace, request: BacktestRequest, stake: float, leverage: float) -> StoredBacktest:
    from trader_cli.pipelines.backtests.bar_backtest import Stake, run_bar_backtest

    if workspace.settings.rule.name is None:
        raise UsageError("--on-bars tries a rule, and none is named.", hint="Add --rule sma_cross, or set rule.name.")
    with progress_bar() as progress:
        return run_bar_backtest(workspace, request, Stake(stake, leverage), progress)


@app.command("list")
def list_(profile: o.Profile = None, config: o.Config = None, tape: o.Tape = None, json: o.Json = False) -> None:
    """List the backtests that are stored, the oldest first, each with what was chosen otherwise than before it."""
    from trader_cli.cli.backtest_facts import LISTED, row_of
    from trader_cli.pipelines.backtests.backtest_listing import listed
    from trader_cli.storage.artifacts import ArtifactStore

    workspace = o.workspace_from(profile, config, tape)
    found = listed(workspace, ArtifactStore(workspace.cache_dir))
    if json:
        print_json({"backtests": [one.as_dict() for one in found]})
        return
    print_table("backtests", LISTED, [row_of(one) for one in found])


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="The backtest, or how its name begins.")],
    profile: o.Profile = None,
    config: o.Config = None,
    tape: o.Tape = None,
    json: o.Json = False,
) -> None:
    """Show what a backtest came to."""
    from trader_cli.pipelines.backtests.backtest_store import find
    from trader_cli.storage.artifacts import ArtifactStore

    workspace = o.workspace_from(profile, config, tape)
    _print(workspace, find(workspace, ArtifactStore(workspace.cache_dir), name), json=json)


@app.command()
def compare(
    first: Annotated[str, typer.Argument(help="A backtest, or how its name begins.")],
    second: Annotated[str, typer.Argument(help="Another one.")],
    profile: o.Profile = None,
    config: o.Config = None,
    tape: o.Tape = None,
    json: o.Json = False,
) -> None:
    """Name what of two backtests differs, the money each difference is worth, and the first decision it changed.

    The first is run again with one part of the second at a time: bars, features, models, settings, costs, seed. What
    they come to together beyond their sum is the interaction. Nothing of it is stored, and none is a trial. Backtests
    on bare bars (--on-bars) are not compared: nothing was decided in them.
    """
    from trader_cli.pipelines.backtests import backtest_comparison as comparison
    from trader_cli.pipelines.backtests.backtest_store import find
    from trader_cli.storage.artifacts import ArtifactStore

    workspace = o.workspace_from(profile, config, tape)
    store = ArtifactStore(workspace.cache_dir)
    both = [find(workspace, store, name) for name in (first, second)]
    with progress_bar() as progress:
        done = comparison.compare(workspace, store, both[0], both[1], progress)
    if json:
        print_json(done.as_dict())
        return
    print_facts(f"{done.names[0]} → {done.names[1]}: {done.difference:+.8f}", _compared(done))
    if done.remark:
        say(done.remark)


@app.command()
def export(
    name: Annotated[str, typer.Argument(help="The backtest, or how its name begins.")],
    folder: Annotated[str, typer.Argument(help="A folder that is not there yet: one CSV file a part.")],
    profile: o.Profile = None,
    config: o.Config = None,
    tape: o.Tape = None,
    json: o.Json = False,
) -> None:
    """Write decisions, orders, fills, trades, levels, equity and the per-bar book of a backtest as CSV files."""
    from pathlib import Path

    from trader_cli.pipelines.backtests.backtest_store import PARTS, find
    from trader_cli.storage.artifacts import ArtifactStore

    workspace, target = o.workspace_from(profile, config, tape), Path(folder)
    if target.exists():
        raise UsageError(f"{target} is there already.", hint="Name a folder that is not.")
    store = ArtifactStore(workspace.cache_dir)
    found = find(workspace, store, name)
    target.mkdir(parents=True)
    written: dict[str, int] = {}
    for part in PARTS:
        frame = found.part(store, part)
        if frame is not None:
            frame.write_csv(target / f"{part}.csv")
            written[f"{target / part}.csv"] = frame.height
    if json:
        print_json({"backtest": found.name, "rows": written})
        return
    for file, rows in written.items():
        say(f"{file}: {rows} rows")


def _compared(done: Comparison) -> Facts:
    facts: dict[str, object] = {}
    for found in done.causes:
        worth = f"{found.worth:+.8f}" if found.worth is not None else f"not by itself: {found.refused}"
        facts[found.cause] = "\n".join([worth, *found.differences, *_first(found.first_decision)])
    facts["code"] = done.other_code
    facts["interaction"] = f"{done.interaction:+.8f}"
    facts["first decision that differs"] = "\n".join(_first(done.first_decision)) or "none"
    return facts


def _first(found: FirstDecision | None) -> list[str]:
    return [] if found is None else [f"{utc(found.time_ms)} {found.symbol}", f"- {found.before}", f"+ {found.after}"]


def _print(workspace: Workspace, done: StoredBacktest, *, json: bool) -> None:
    """What it came to; of its decisions why nothing was traded, of the trial ledger how many tries there are by now."""
    from trader_cli.backtest.records import framed
    from trader_cli.backtest.untraded import lapsed, reasons, why_not
    from trader_cli.cli.backtest_facts import facts_of, fold_facts
    from trader_cli.pipelines.backtests.backtest_store import tries_now
    from trader_cli.storage.artifacts import ArtifactStore

    found, now = done.part(ArtifactStore(workspace.cache_dir), "decisions"), None
    decisions = framed({})["decisions"] if found is None else found
    with suppress(DataInvalid):  # what was stored is shown all the same
        now = tries_now(workspace, done.request)
    if json:
        print_json({**done.as_dict(), "not_traded": reasons(decisions), "lapsed": lapsed(decisions), "tries_now": now})
        return
    request, why = done.request, why_not(decisions)
    if done.folds is not None:
        print_facts(f"backtest {done.name}: {', '.join(request.symbols)} {request.timeframe}", fold_facts(done))
        return
    print_facts(f"backtest {done.name}: {', '.join(request.symbols)} {request.timeframe}", facts_of(done, why, now))
