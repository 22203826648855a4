"""The page of a backtest: its rows and figures as stored, the bars it was made from, and what it assumed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from trader_cli.backtest.figures import Figures
from trader_cli.backtest.records import framed
from trader_cli.core.json_values import items_of, number_of, object_of, texts_of, whole_of
from trader_cli.core.market.gaps import utc_text
from trader_cli.core.market.schemas import rows_between
from trader_cli.core.market.timeframes import DAY_MS, Timeframe
from trader_cli.exchange.latency import USUAL_LATENCY_MS
from trader_cli.report.model_panel import cards_of
from trader_cli.report.run_report import RunReport
from trader_cli.storage.artifacts import stage_key
from trader_cli.storage.inventory import BACKTEST
from trader_cli.venue.engine.margin import MAKER_FEE, TAKER_FEE

if TYPE_CHECKING:
    from trader_cli.analyst.model_card import ModelCard
    from trader_cli.core.identity.manifests import Manifest
    from trader_cli.core.json_values import JsonObject
    from trader_cli.storage.artifacts import ArtifactStore

_ON_BARS = "A rule on bare bars, for research: none of what decides, sizes and protects in live is in it."
_SURVIVORS = "Survivors only: its symbols were chosen of those that are stored today"
_BEFORE_DAYS = 2
"""Days of bars that are shown before the span."""


def backtest_report(store: ArtifactStore, profile: str, manifest: Manifest) -> RunReport:
    """Of a stored backtest. Raises `DataInvalid` where part of it is damaged, or it is of another version."""
    request = object_of(manifest.notes["request"])
    symbols, timeframe = texts_of(request["symbols"]), Timeframe.parse(str(request["timeframe"]))
    since, until = whole_of(request["since_ms"]), whole_of(request["until_ms"])
    return RunReport(
        kind="backtest",
        name=manifest.stage.removeprefix(BACKTEST),
        symbols=symbols,
        timeframe=timeframe,
        since_ms=since,
        until_ms=until,
        figures=Figures.from_dict(object_of(manifest.notes["figures"])),
        frames=_frames(store, manifest),
        bars={symbol: _bars(store, profile, manifest, symbol, timeframe) for symbol in symbols},
        assumptions=_assumptions(manifest, request),
        made_from=_made_from(manifest),
        is_made_up=manifest.source.startswith("synthetic"),
        remark=_remark(request, _ended(manifest)),
        models=_models(store, manifest),
    )


def _models(store: ArtifactStore, manifest: Manifest) -> tuple[ModelCard, ...]:
    """The cards of the models that traded."""
    analyst = object_of(object_of(manifest.notes["settings"]).get("analyst", {}))
    named = [digest for name, digest in manifest.inputs.items() if name.startswith("model ")]
    return cards_of(store, named, number_of(analyst.get("max_model_age", 0)))


def _ended(manifest: Manifest) -> dict[str, int]:
    """When those of its symbols that were delisted within the span were, UTC ms."""
    market = object_of(manifest.notes.get("market", {}))
    told = {symbol: whole_of(at_ms) for symbol, at_ms in object_of(market.get("ended", {})).items()}
    return {symbol: at_ms for symbol, at_ms in told.items() if at_ms <= (manifest.last_ms or 0)}


def _remark(request: JsonObject, ended: dict[str, int]) -> str:
    among = f", {', '.join(ended)} among them, which ended on the way" if ended else ""
    chosen = f"{_SURVIVORS}{among}." if "listing" not in request else f"Survivors only: {_listing(request)}."
    said = {_ON_BARS: request["model"] == "on-bars", chosen: bool(request.get("survivors"))}
    return " ".join(sentence for sentence, holds in said.items() if holds)


def _frames(store: ArtifactStore, manifest: Manifest) -> dict[str, pl.DataFrame]:
    frames = framed({})
    for name in frames:
        parts = [store.read_chunk(chunk) for chunk in manifest.chunks if chunk.part == name]
        frames[name] = pl.concat([frames[name], *parts])
    return frames


def _bars(store: ArtifactStore, profile: str, manifest: Manifest, symbol: str, timeframe: Timeframe) -> pl.DataFrame:
    """BARS of the span and of a little before."""
    found = store.manifest(manifest.inputs[f"bars {symbol}"], stage_key(profile, symbol, timeframe, "bars"))
    first, last = manifest.first_ms or 0, manifest.last_ms or 0
    return rows_between(store.read(found), first - _BEFORE_DAYS * DAY_MS, last)


def _assumptions(manifest: Manifest, request: JsonObject) -> dict[str, str]:
    settings = object_of(manifest.notes["settings"])
    costs, first = object_of(settings["costs"]), utc_text(manifest.first_ms or 0)
    on_bars = object_of(settings.get("on_bars", {}))
    trials = number_of(object_of(object_of(manifest.notes["figures"])["claim"])["trials"])
    return {
        "market": manifest.source,
        "span": f"{first} to {utc_text(manifest.last_ms or 0)}, {request['timeframe']} bars",
        "decided by": _decided_by(request, object_of(settings.get("rule", {}))),
        "money at first": f"{number_of(settings['balance']):,.2f}",
        "symbols": _chosen(request),
        **_endings(_ended(manifest)),
        **_entries(manifest),
        "costs assumed": f"taker fee {costs['taker_fee_bps']} bps, slippage {costs['slippage_bps']} bps,"
        f" funding {costs['funding_bps']} bps where a symbol's own is not known",
        **(_bare_fills(on_bars) if on_bars else _engine_fills(manifest, settings)),
        "seed": str(manifest.notes["seed"]),
        "trials counted": f"{trials:,.3g} on these data when it was made; later ones are no part of this page",
        "made by": manifest.producer,
    }


def _entries(manifest: Manifest) -> dict[str, str]:
    """Which symbols were listed within the span, and from which refit on they are traded; those that are stored."""
    entered = object_of(object_of(manifest.notes.get("market", {})).get("entered", {}))
    told = ", ".join(f"{symbol} {utc_text(whole_of(at_ms))}" for symbol, at_ms in entered.items())
    return {"listed later": f"{told}: from the first refit on with enough to train on, of those stored"} if told else {}


def _chosen(request: JsonObject) -> str:
    """Which, and by what."""
    largest = "" if request.get("top") is None else f"the {request['top']} largest by volume at each refit, of "
    if "listing" in request:
        told = "of what was listed later, what is stored enters at a refit"
        return f"{largest}{_listing(request)}; {told}"
    stored = " stored today: survivors only" if request.get("survivors") else ""
    return f"{largest}{len(texts_of(request['symbols']))}{stored}" if largest or stored else "as named"


def _endings(ended: dict[str, int]) -> dict[str, str]:
    told = [f"{symbol} {utc_text(at_ms)}" for symbol, at_ms in ended.items()]
    how = "settled at the mark price, and nobody had heard of it before"
    return {"delisted": f"{', '.join(told)}: {how}"} if told else {}


def _listing(request: JsonObject) -> str:
    """How many of what was tradable when the span began are in it, by the list that was given."""
    proof = object_of(request["listing"])
    absent, digest = texts_of(proof["absent"]), str(proof["digest"])[:12]
    which = f"{proof['tradable']} symbols that were tradable when the span began, by the list {digest}"
    return f"of {which}, {len(absent)} are not stored over it: {', '.join(absent)}" if absent else f"all {which}"


def _decided_by(request: JsonObject, rule: JsonObject) -> str:
    """Models or a rule, and how often they were made or judged anew."""
    given = [f"{name} {value}" for name, value in rule.items() if name not in {"name", "source"}]
    named = f"the rule {', '.join([str(rule['name']), *given])}" if rule else ""
    if request["model"] == "walk-forward":
        how = "judged" if rule else "trained"
        each = f"{how} anew every {whole_of(request['refit_ms']) / DAY_MS:g} days on what was before"
        return f"{named or 'models'}, {each}"
    if request["model"] == "on-bars":
        return f"{named} alone: no claim, no plan, no looks, no loss limits; for research only"
    return f"{named or 'one bundle, trained before the span'}: {request['model']}"


def _bare_fills(on_bars: JsonObject) -> dict[str, str]:
    return {
        "fills": "at the next open, one position at a time; in a bar that holds both, the stop before the target",
        "stake": f"{on_bars['share']} of the wallet at leverage {on_bars['leverage']}",
        "funding": str(on_bars["funding"]),
    }


def _engine_fills(manifest: Manifest, chosen: JsonObject) -> dict[str, str]:
    is_real = "sim" not in object_of(manifest.notes.get("market", {}))
    has_rates = is_real and any(name.startswith("funding ") for name in manifest.inputs)
    return {
        "fees charged": _fees(chosen) if is_real else f"taker {float(TAKER_FEE):.3%}, maker {float(MAKER_FEE):.3%}",
        "orders arrive": _latency(object_of(chosen.get("backtest", {})), is_real=is_real),
        "fills": "by the simulated exchange's engine, along a seeded path within each bar that shows no high or low"
        " before its time",
        "book": "made from past volume and range, since none was recorded; what takes walks it",
        "mark price": _mark(manifest),
        "margin": _margin(
            object_of(manifest.notes.get("market", {})), texts_of(object_of(manifest.notes["request"])["symbols"])
        ),
        "funding": "by the rates that were paid; derived, near 0.01 % each eight hours, where none was recorded"
        if has_rates
        else "derived, near 0.01 % each eight hours",
    }


def _mark(manifest: Manifest) -> str:
    """By which prices stops are triggered, positions valued and liquidated, of the symbols that are played."""
    symbols = [name.removeprefix("bars ") for name in sorted(manifest.inputs) if name.startswith("bars ")]
    without = [symbol for symbol in symbols if f"mark {symbol}" not in manifest.inputs]
    if len(without) == len(symbols):
        return "the last price, since none was recorded"
    told = "as recorded, along the path of its bars; the last price in bars without one"
    return f"{told}, and of {', '.join(without)}, of which none was recorded" if without else told


def _margin(market: JsonObject, symbols: tuple[str, ...]) -> str:
    """Whose leverage and maintenance margin by notional stand behind positions and liquidations."""
    known = object_of(market.get("brackets", {}))
    origins = {symbol: str(object_of(each)["origin"]) for symbol, each in known.items()}
    told = [
        f"{origin} ({', '.join(s for s in origins if origins[s] == origin)})"
        for origin in dict.fromkeys(origins.values())
    ]
    usual = "those of the simulated exchange, one table for every symbol"
    return f"leverage brackets {'; '.join(told if len(known) == len(symbols) else [*told, usual])}"


def _fees(chosen: JsonObject) -> str:
    """As charged: by the tier of a table, with its date and source, or the account's own."""
    assumed = object_of(chosen["backtest"])
    if assumed.get("fee_tier") is None:
        return f"taker {object_of(chosen['costs'])['taker_fee_bps']} bps, maker {assumed['maker_fee_bps']} bps"
    tier, table = whole_of(assumed["fee_tier"]), object_of(assumed["fee_tiers"])
    taker, maker = (items_of(table[name])[tier] for name in ("taker_bps", "maker_bps"))
    return f"taker {taker} bps, maker {maker} bps, those of tier {tier} as of {table['as_of']} ({table['source']})"


def _latency(assumed: JsonObject, *, is_real: bool) -> str:
    """In words; what is not set is what `settings.model.BacktestSettings` says."""
    given = assumed.get("latency_ms")
    median = number_of(given) if given is not None else USUAL_LATENCY_MS if is_real else 0
    if not median:
        return "at once"
    return f"after {median:g} ms in the median, log-normal, σ {assumed.get('latency_spread')}"


def _made_from(manifest: Manifest) -> dict[str, str]:
    return {"backtest": manifest.digest, "settings": manifest.settings, **dict(sorted(manifest.inputs.items()))}
