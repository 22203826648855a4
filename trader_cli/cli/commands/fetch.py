"""`trader fetch`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from trader_cli.cli import options as o
from trader_cli.cli.show import (
    failure_bodies,
    print_facts,
    print_json,
    print_table,
    progress_bar,
    say,
    say_failures,
    utc,
)

if TYPE_CHECKING:
    from trader_cli.core.errors import TraderError
    from trader_cli.core.json_values import JsonObject
    from trader_cli.pipelines.stages.fetching import Fetched

    Findings = dict[str, list[JsonObject]]

app = typer.Typer()


@app.command()
def fetch(
    symbols: Annotated[
        list[str] | None, typer.Argument(help="Symbols as the exchange writes them.", show_default=False)
    ] = None,
    timeframe: o.FetchTimeframe = "1h",
    limit: Annotated[
        int | None, typer.Option("--limit", "-n", min=1, help="Bars; default: fetch.history_bars.", show_default=False)
    ] = None,
    since: Annotated[
        str | None, typer.Option("--since", help="From this UTC day or time on: 2022-01-01.", show_default=False)
    ] = None,
    until: Annotated[
        str | None, typer.Option("--until", help="Up to this UTC day (inclusive) or time.", show_default=False)
    ] = None,
    kinds: Annotated[
        list[str] | None,
        typer.Option(
            "--with",
            help="Besides bars, now and later: mark, index, spot, funding, open-interest, trades, depth, info.",
            show_default=False,
        ),
    ] = None,
    top: Annotated[
        int,
        typer.Option(
            "--top", min=0, max=500, help="And the so many most traded USDT perpetuals, TradFi (gold, stocks) too."
        ),
    ] = 0,
    symbols_file: o.SymbolsFile = None,
    via: Annotated[
        Literal["auto", "rest", "archive"], typer.Option("--via", help="Whichever is sooner done, or just one.")
    ] = "auto",
    repair: Annotated[
        bool, typer.Option("--repair", help="Read all of it again; fill holes, replace what differs.")
    ] = False,
    report: Annotated[
        bool, typer.Option("--report", help="And list what the data-quality report found, with times.")
    ] = False,
    allow_gaps: o.AllowGaps = False,
    profile: o.Profile = None,
    config: o.Config = None,
    tape: o.Tape = None,
    json: o.Json = False,
) -> None:
    """Fetch closed bars and the state of the market, of one symbol or many.

    What is stored already is not fetched again, and what a killed fetch had is kept. A limit too small for one row of
    features is raised to what that takes. Each bar is checked, and a data-quality report is stored with them.
    """
    from trader_cli.core.errors import Finished, TraderError
    from trader_cli.core.market.timeframes import Timeframe
    from trader_cli.pipelines.stages.fetching import FetchOptions
    from trader_cli.pipelines.stages.fetching import fetch_many as run
    from trader_cli.pipelines.stages.stored_status import quality_findings

    parsed = Timeframe.parse(timeframe)
    workspace = o.workspace_from(profile, config, tape, o.gaps_allowed(allow_gaps))
    named = o.named_symbols(symbols, symbols_file, top)
    wanted = tuple(word for words in kinds or () for word in words.split(",") if word)
    span = o.time_of(since, "--since"), o.time_of(until, "--until", end=True)
    options = FetchOptions(limit, *span, kinds=wanted, way=via, repair=repair)
    with progress_bar() as progress:
        outcomes = run(workspace, named, parsed, options, top=top, progress=progress, say=say)
    found = {symbol: quality_findings(workspace, symbol, parsed) for symbol, _ in outcomes} if report else {}
    if len(outcomes) > 1:
        _show_many(outcomes, parsed.name, found, json=json)
    elif isinstance(outcomes[0][1], TraderError):
        _show_findings({} if json else found)
        raise outcomes[0][1]
    else:
        _show_one(outcomes[0][1], found, json=json)
    failed = [outcome for _, outcome in outcomes if isinstance(outcome, TraderError)]
    if failed:
        raise Finished(max(error.exit_code for error in failed))


def _show_findings(found: Findings) -> None:
    rows = [
        (symbol, str(finding["kind"]).replace("_", " "), str(finding["severity"]), str(finding["sentence"]))
        for symbol, listed in found.items()
        for finding in listed
    ]
    if found:
        print_table("Data quality, some of each kind", ("symbol", "kind", "severity", "what"), rows)


def _show_one(done: Fetched, found: Findings, *, json: bool) -> None:
    if json:
        print_json({**_body(done), **({"quality_findings": found[done.symbol]} if found else {})})
        return
    others = (f"{counts['rows']} {kind} ({counts['new']} new)" for kind, counts in done.kinds.items())
    print_facts(
        f"{done.symbol} {done.timeframe}: {done.bars} bars",
        {
            "new": "none, up to date (cache hit)" if done.new_bars == 0 else done.new_bars,
            "span": f"{utc(done.first_ms)} to {utc(done.last_ms)}",
            "gaps": "; ".join(map(str, done.gaps[:5])) + f" … ({len(done.gaps)})" * (len(done.gaps) > 5) or "none",
            "quality": _quality(done) or "nothing found",
            "besides": ", ".join(others) or None,
            "archive": f"{done.archive_files} files" if done.archive_files else None,
            "market": done.source,
            "artifact": done.digest,
            "note": " ".join(done.notes[:5]) + f" … ({len(done.notes)} notes)" * (len(done.notes) > 5) or None,
        },
    )
    _show_findings(found)


def _quality(done: Fetched) -> str:
    """Findings besides gaps, which have a line of their own."""
    return ", ".join(f"{bars} {kind.replace('_', ' ')}" for kind, bars in sorted(done.quality.items()) if kind != "gap")


def _body(done: Fetched) -> JsonObject:
    return {**asdict(done), "cache_hit": done.new_bars == 0}


def _show_many(
    outcomes: list[tuple[str, Fetched | TraderError]], timeframe: str, found: Findings, *, json: bool
) -> None:
    from trader_cli.core.errors import TraderError

    done = [outcome for _, outcome in outcomes if not isinstance(outcome, TraderError)]
    failed = {symbol: outcome for symbol, outcome in outcomes if isinstance(outcome, TraderError)}
    if json:
        series = [_body(one) for one in done]
        body = {"timeframe": timeframe, "series": series, "failed": failure_bodies(failed)}
        print_json({**body, **({"quality_findings": found} if found else {})})
        return
    rows = [
        [
            d.symbol,
            str(d.bars),
            str(d.new_bars),
            f"{utc(d.first_ms)} to {utc(d.last_ms)}",
            str(len(d.gaps)),
            _quality(d) or "–",
        ]
        for d in done
    ]
    print_table(f"{len(done)} series of {timeframe} bars", ("symbol", "bars", "new", "span", "gaps", "quality"), rows)
    noted = [(one.symbol, note) for one in done for note in one.notes]
    for note in dict.fromkeys(note for _, note in noted):
        say(f"{', '.join(symbol for symbol, said in noted if said == note)}: {note}")
    _show_findings(found)
    say_failures(failed)
