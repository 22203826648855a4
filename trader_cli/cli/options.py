"""Options that several commands share, and how they become settings."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trader_cli.core.errors import DataInvalid, DataMissing, ExitCode, UsageError

if TYPE_CHECKING:
    from trader_cli.core.identity.manifests import ArtifactKey
    from trader_cli.core.json_values import JsonObject
    from trader_cli.core.market.timeframes import Timeframe
    from trader_cli.settings import Settings, Workspace
    from trader_cli.storage.artifacts import ArtifactStore


def one_symbol(text: str | None) -> str | None:
    """As the exchange writes it. Raises `UsageError` for what cannot be a symbol."""
    from trader_cli.core.market.symbols import symbol_of

    return None if text is None else symbol_of(text)


def each_symbol(texts: list[str] | None) -> list[str] | None:
    """The same for several."""
    from trader_cli.core.market.symbols import symbol_of

    return None if texts is None else [symbol_of(text) for text in texts]


Symbol = Annotated[str, typer.Argument(help="Symbol as the exchange writes it, such as ETHUSDT.", callback=one_symbol)]
MaybeSymbol = Annotated[
    str | None,
    typer.Argument(help="Symbol; default: the one fetched last.", show_default=False, callback=one_symbol),
]
Symbols = Annotated[
    list[str] | None,
    typer.Argument(help="Symbols; default: the one fetched last.", show_default=False, callback=each_symbol),
]
FetchTimeframe = Annotated[str, typer.Option("--timeframe", "-t", help="Bar length: 1m, 5m, 15m, 1h, 4h, 1d …")]
MaybeTimeframe = Annotated[
    str | None, typer.Option("--timeframe", "-t", help="Bar length; default: the one fetched last.", show_default=False)
]
Profile = Annotated[
    str | None,
    typer.Option("--profile", "-p", help="paper (default), sim, demo, live, or a YAML overlay.", show_default=False),
]
Config = Annotated[
    Path | None, typer.Option("--config", "-c", help="Your own YAML file of settings.", show_default=False)
]
Tape = Annotated[
    Path | None,
    typer.Option("--tape", help="sim: Parquet bars to play; default: the synthetic market.", show_default=False),
]
SymbolsFile = Annotated[
    Path | None,
    typer.Option("--symbols-file", help="And those in a file, one a line, # begins a comment.", show_default=False),
]
NewFile = Annotated[Path, typer.Argument(help="A file that is not there yet.")]
PlanFile = Annotated[
    Path | None,
    typer.Option("--plan", help="A plan as `tactics --json` printed it; default: the last.", show_default=False),
]
JunitFile = Annotated[Path | None, typer.Option("--junit", help="Write a JUnit XML file, too.", show_default=False)]
ForTime = Annotated[
    str | None,
    typer.Option("--for", help="At most so long: 90s, 15m, 4h, 1d; default: until flat.", show_default=False),
]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout; everything else on stderr.")]
AllowUnproven = Annotated[
    bool,
    typer.Option("--allow-unproven", help="A signal without a claimed edge, at the smallest size; never in live."),
]
RuleName = Annotated[
    str | None,
    typer.Option(
        "--rule",
        help="A rule decides: sma_cross, channel_breakout, my_rule.py:MyRule; default: rule.name.",
        show_default=False,
    ),
]
Parameters = Annotated[
    list[str] | None, typer.Option("--set", help="A parameter of the rule, such as fast=10.", show_default=False)
]
AllowGaps = Annotated[bool, typer.Option("--allow-gaps", help="Go on where bars are missing.")]


def settings_from(
    profile: str | None, config: Path | None, tape: Path | None = None, overrides: JsonObject | None = None
) -> Settings:
    """The settings of a command called with these options. Raises `UsageError` for a tape outside of sim."""
    from trader_cli.settings import load_settings

    tree = dict(overrides or {})
    if tape is not None:
        tree["sim"] = {"tape": str(tape)}
    settings = load_settings(profile, config, tree)
    if tape is not None and settings.mode != "sim":
        raise UsageError(f"--tape is played in the sim profile; this is {settings.mode}.", hint="Add --profile sim.")
    return settings


def workspace_from(
    profile: str | None, config: Path | None, tape: Path | None = None, overrides: JsonObject | None = None
) -> Workspace:
    """What these options mean: their settings, and market, account and places by them, resolved here and only here.

    Raises what `settings_from` raises, and `DataMissing` for a tape that is not there.
    """
    from trader_cli.settings import workspace_of

    return workspace_of(settings_from(profile, config, tape, overrides))


def gaps_allowed(allow: bool) -> JsonObject:
    """The override behind --allow-gaps."""
    return {"fetch": {"allow_gaps": True}} if allow else {}


def unproven_allowed(allow: bool) -> JsonObject:
    """The override behind --allow-unproven."""
    return {"analyst": {"allow_unproven": True}} if allow else {}


def rule_named(rule: str | None, parameters: list[str] | None) -> JsonObject:
    """The override behind --rule and --set. Raises `UsageError` for a parameter that is not written name=number."""
    import json

    given: JsonObject = {}
    for text in parameters or []:
        name, equals, value = text.partition("=")
        try:
            given[name] = json.loads(value) if equals else None
        except ValueError:
            given[name] = None
        if not isinstance(given[name], bool | int | float):
            raise UsageError(f"--set wants a parameter of the rule, such as fast=10 or short=false; found {text!r}.")
    if given and rule is None:
        raise UsageError("--set is a parameter of a rule, and none is named.", hint="Add --rule NAME.")
    named: JsonObject = {} if rule is None else {"name": rule}
    return {"rule": {**named, **({"parameters": given} if given else {})}} if named or given else {}


def series(workspace: Workspace, symbol: str | None, timeframe: str | None) -> tuple[str, Timeframe]:
    """The symbol and time frame meant: as given, else those fetched last. Raises `UsageError`."""
    from trader_cli.core.market.timeframes import Timeframe
    from trader_cli.storage.artifacts import ArtifactStore

    last = ArtifactStore(workspace.cache_dir).last_series(workspace.mode)
    if (symbol is None or timeframe is None) and last is None:
        raise UsageError(
            f"Nothing was fetched yet in profile {workspace.mode}, so name a symbol and --timeframe.",
            hint="Or run `trader fetch` first.",
        )
    found_symbol, found_timeframe = last or ("", "")
    return (symbol or found_symbol).upper(), Timeframe.parse(timeframe or found_timeframe)


def several(
    workspace: Workspace, symbols: list[str] | None, timeframe: str | None, *, everything: bool = False
) -> tuple[list[str], Timeframe]:
    """The symbols and time frame meant; `everything`: all that were fetched in it from this market."""
    from trader_cli.storage.artifacts import ArtifactStore

    if not everything:
        wanted: list[str | None] = list(symbols) if symbols else [None]
        named = [series(workspace, symbol, timeframe) for symbol in wanted]
        return list(dict.fromkeys(name for name, _ in named)), named[0][1]
    _, frame = series(workspace, "ANY", timeframe)
    store, source = ArtifactStore(workspace.cache_dir), workspace.source
    wanted_keys = (
        key
        for key in store.references()
        if (key.profile, key.timeframe, key.stage) == (workspace.mode, frame.name, "bars")
    )
    found = [key.symbol for key in wanted_keys if _is_of(store, key, source)]
    if not found:
        raise DataMissing(
            f"No {frame} bars were fetched yet in profile {workspace.mode}.", hint="Run `trader fetch` first."
        )
    return found, frame


def _is_of(store: ArtifactStore, key: ArtifactKey, source: str) -> bool:
    """Whether the bars are of this market; a damaged reference may be, and is told of where it is read."""
    try:
        bars = store.current(key)
    except DataInvalid:
        return True
    return bars is not None and bars.source == source


def one_of_several(names: list[str], *, forever: bool) -> None:
    """Raises `UsageError` for several symbols in one pass."""
    if not forever and len(names) > 1:
        raise UsageError("One pass is over one symbol.", hint="Add --forever for several.")


def live_meant(workspace: Workspace, *, live: bool) -> None:
    """Raises `UsageError` for `--live` where the profile is another: whoever gives it means real money."""
    if live and workspace.mode != "live":
        raise UsageError(
            f"--live is for the profile live; this is {workspace.mode}.", hint="Leave it out, or give --profile live."
        )


def named_symbols(symbols: list[str] | None, file: Path | None, top: int) -> list[str]:
    """Symbols given as arguments and in a file, each once. Raises `UsageError` where none is named at all."""
    listed = list(symbols or [])
    if file is not None:
        from trader_cli.pipelines.stages.symbol_lines import symbol_lines

        listed += [line.symbol(word) for line in symbol_lines(file) for word in line.words]
    named = list(dict.fromkeys(name.upper() for name in listed))
    if not named and not top:
        raise UsageError("No symbol is named.", hint="Name some, such as ETHUSDT, or use --top or --symbols-file.")
    return named


def time_of(text: str | None, option: str, *, end: bool = False) -> int | None:
    """UTC ms of a day or time in any ISO 8601 spelling; `end`: a day alone means its last millisecond.

    `2024-01-31`, `20240131`, `2024-W05-3`, `2024-01-31T12:00`, `20240131T1200Z`, `2024-01-31 12:00+01:00`. A number of
    other than a day's eight digits is refused: it may be meant as seconds since 1970.
    """
    import re
    from datetime import UTC, date, datetime, timedelta

    if text is None:
        return None
    days, times = r"[0-9]{8}|[0-9]{4}-[0-9]{2}-[0-9]{2}|[0-9]{4}-?W[0-9]{2}-?[0-9]", r"[0-9:.,]+(?:[Zz]|[+-][0-9:]+)?"
    spelled = re.fullmatch(f"({days})(?:[Tt ]({times}))?", text)
    try:
        if spelled is None:
            raise ValueError
        day, clock = date.fromisoformat(spelled[1]), spelled[2]
        at = datetime.fromisoformat(f"{day}T{(clock or '00:00').upper()}")
    except ValueError:
        raise UsageError(
            f"{option} wants a day or a time, such as 2024-01-31 or 2024-01-31T12:00; found {text!r}."
        ) from None
    at = at.replace(tzinfo=UTC) if at.tzinfo is None else at
    since_1970_ms = (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
    return since_1970_ms + (86_400_000 - 1 if end and clock is None else 0)


def duration(text: str | None, option: str, *, or_zero: bool = False) -> float | None:
    """Seconds of `90s`, `15m`, `4h`, `1d`; `or_zero` allows `0s`. Raises `UsageError`."""
    if text is None:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text)
    if found is None or (float(found[1]) == 0 and not or_zero):
        raise UsageError(f"{option} is a time such as 90s, 15m, 4h or 1d; found {text!r}.")
    return float(found[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86_400}[found[2]]


def code_of(why: str, otherwise: ExitCode) -> ExitCode:
    """The exit code of a refusal or an abstention by its own code; the stage that mends stale data is named in it."""
    stale = dict.fromkeys(("bars_stale", "analysis_stale", "model_changed"), ExitCode.DATA)
    return {"halted": ExitCode.HALTED, **stale}.get(why, otherwise)
