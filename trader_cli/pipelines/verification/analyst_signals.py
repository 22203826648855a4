"""Analyst ML model signal generation: numbers that add up, gates that hold, silence where there is nothing to say."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from trader_cli.core.errors import DataInvalid
from trader_cli.core.market.snapshot import MarketSnapshot
from trader_cli.core.market.timeframes import HOUR_MS
from trader_cli.features.bar_arrays import BarSeries
from trader_cli.pipelines.stages.model_stages import analyze
from trader_cli.pipelines.verification.analysed_rows import (
    LAST_ROWS,
    bundle_of,
    code_of,
    first_signal,
    recent_analyses,
    study_model,
)
from trader_cli.pipelines.verification.analyst_claims import claim_is_bound, claim_obeys_its_numbers
from trader_cli.pipelines.verification.checks import (
    LINES,
    Check,
    Finding,
    at_least,
    at_most,
    equal,
    holds,
    near,
)
from trader_cli.pipelines.verification.lab import SYMBOL, TIMEFRAME
from trader_cli.storage.artifacts import stage_key

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trader_cli.pipelines.verification.lab import Lab, Study


def probabilities_sum_to_one(lab: Lab) -> Iterator[Finding]:
    """Of the analysis, and of many rows."""
    model, study = study_model(lab), lab.study
    base = study.features.tail(LAST_ROWS).select(model.base_features).to_numpy().astype(np.float64)
    x = model.widened(BarSeries.of(study.bars), base, np.arange(study.bars.height)[-LAST_ROWS:])
    p = model.side.predict(x)
    yield equal("shape of the probabilities of the last rows", (LAST_ROWS, 3), p.shape)
    yield near("furthest sum from one", 1.0, float(p.sum(axis=1)[np.abs(p.sum(axis=1) - 1).argmax()]), 1e-12)
    yield equal("probabilities inside [0, 1]", p.size, int(((p >= 0) & (p <= 1)).sum()))
    said = study.analysis.probabilities
    assert said is not None
    yield near("sum in the analysis", 1.0, said.up + said.down + said.flat, 1e-12)
    yield equal("probabilities of the analysis: those of the last row", tuple(p[-1]), (said.up, said.down, said.flat))


def barriers_as_stated(lab: Lab) -> Iterator[Finding]:
    """Stop and target at C·exp(±width·σ·√horizon), σ from the closes; break-even from mean gains and the costs."""
    study, signal = lab.study, first_signal(lab)
    options, costs = study.settings.analyst, study.settings.costs
    close = study.bars["close"].to_numpy()
    returns = np.diff(np.log(close))[-options.volatility_span :]
    sigma, horizon, pays = math.sqrt(float(np.mean(returns**2))), signal.horizon_bars, study_model(lab).side.payoffs
    distance = sigma * max(options.barrier_width * math.sqrt(horizon), math.sqrt(8 / math.pi))
    up = 1 if signal.side == "long" else -1
    yield equal("price", float(close[-1]), study.analysis.price)
    yield near("target", close[-1] * math.exp(up * distance), signal.take_profit_price, 1e-6)
    yield near("stop", close[-1] * math.exp(-up * distance), signal.stop_price, 1e-6)
    yield holds("bars to the vertical barrier: one of those that are set", horizon in options.horizon_bars)
    yield equal("bars to the vertical barrier: those of the model", study_model(lab).horizon_bars, horizon)
    cost = 2e-4 * (costs.taker_fee_bps + costs.slippage_bps) + max(0.0, up * _funding_of_a_long(study, horizon))
    long = (pays.long_win, pays.long_loss), (pays.short_win, pays.short_loss)
    gain, loss = (size * sigma * math.sqrt(horizon) for size in long[0 if up > 0 else 1])
    yield near("mean gain", gain, signal.mean_win or 0.0, 1e-9)
    yield near("mean loss", loss, signal.mean_loss or 0.0, 1e-9)
    yield near("win rate that returns nothing", (loss + cost) / (gain + loss), signal.break_even_probability, 1e-9)


def _funding_of_a_long(study: Study, horizon: int) -> float:
    """Over the horizon, on a market of 8 hours: the next payment at the rate that is told, others as the last three."""
    store, settings = study.store, study.settings
    paid = store.require(stage_key(settings.mode, SYMBOL, TIMEFRAME, "funding"), "fetch")
    digest = str(store.pointed(stage_key(settings.mode, SYMBOL, TIMEFRAME, "market")))
    market = MarketSnapshot.from_dict(store.require_document(digest))
    start = int(study.bars["open_time"].to_physical()[-1]) + TIMEFRAME.ms
    end, each = start + horizon * TIMEFRAME.ms, 8 * HOUR_MS
    stamps = [at for at in range(start // each * each, end + 1, each) if at > start]
    usual = float(store.read(paid)["funding_rate"].tail(3).to_numpy().mean())
    return sum(market.funding_rate if at == market.next_funding_ms else usual for at in stamps)


def gates_hold(lab: Lab) -> Iterator[Finding]:
    """At each of the last bars: a signal is above every gate, an abstention names one it is below."""
    wrong, signals = [], 0
    for analysis in recent_analyses(lab):
        signal = analysis.signal
        signals += signal is not None
        if signal is not None and not (
            signal.expected_value_bps > 0 and signal.probability_act > signal.break_even_probability
        ):
            wrong.append((analysis.decision_time_ms, signal))
    yield equal("signals below a gate", [], wrong)
    yield at_least("signals on a market with a planted lead", 1, signals)
    signal = first_signal(lab)
    p = lab.study.analysis.probabilities
    assert p is not None
    likelier = "long" if p.up > p.down else "short"
    yield equal("side of the signal: the likelier one", likelier, signal.side)


def null_market_is_silent(lab: Lab) -> Iterator[Finding]:
    """A market in which price is a martingale."""
    study = lab.null_study
    yield holds("no edge claimed on a market without one", not study.trained.claim.edge)
    code = code_of(study.analysis.outcome)
    yield equal("outcome", code if code == "unhealthy_market" else "no_edge", code)


def stale_bars_abstain(lab: Lab) -> Iterator[Finding]:
    """The same artifacts, asked for later."""
    study = lab.study
    last_close = int(study.bars["open_time"].to_physical()[-1]) + TIMEFRAME.ms
    allowed = round(study.settings.analyst.max_bar_age * TIMEFRAME.ms)
    for late, code in ((allowed, False), (allowed + 1, True), (10 * allowed, True)):
        outcome = analyze(study.workspace, SYMBOL, TIMEFRAME, last_close + late).analysis.outcome
        yield equal(f"stale {late / 60_000:g} min after the close", code, code_of(outcome) == "bars_stale")


def damaged_model_is_refused(lab: Lab) -> Iterator[Finding]:
    """One byte of the side model changed."""
    study = lab.study
    path = study.store.root / "models" / study.trained.digest / "side.txt"
    whole = path.read_bytes()
    path.write_bytes(whole[:-40] + bytes([whole[-40] ^ 1]) + whole[-39:])
    try:
        bundle_of(study)
        refused = "loaded as if nothing had happened"
    except DataInvalid as error:
        refused = "refused, and named" if "side.txt" in error.sentence else error.sentence
    finally:
        path.write_bytes(whole)
    yield equal("a model with one wrong byte", "refused, and named", refused)
    without = set(study_model(lab).base_features) - set(study.features.columns)
    yield at_most("features of the model without a column", 0, len(without))


_TRAIN = "Run `trader train` again; see analyst and costs in the settings."
CHECKS = (
    Check(
        "probabilities_sum_to_one",
        LINES[2],
        "calibrated probabilities of up, down and flat sum to 1 within 1e-12",
        _TRAIN,
        probabilities_sum_to_one,
    ),
    Check(
        "barriers_as_stated",
        LINES[2],
        "stop and target lie the stated width around the price",
        "See analyst.barrier_width, analyst.volatility_span and costs.",
        barriers_as_stated,
    ),
    Check("gates_hold", LINES[2], "a signal is worth something after costs and above break-even", _TRAIN, gates_hold),
    Check(
        "claim_obeys_its_numbers",
        LINES[2],
        "an edge is claimed only by its statistics; without a claim no signal",
        "See analyst.claim_probability; run `trader train` again.",
        claim_obeys_its_numbers,
    ),
    Check(
        "claim_is_bound",
        LINES[2],
        "a claim holds for the costs, act model and seed it was made with, and no others",
        _TRAIN,
        claim_is_bound,
    ),
    Check(
        "null_market_is_silent",
        LINES[2],
        "on a market without an edge none is claimed and none traded",
        "See costs and analyst.claim_probability: they may be too kind.",
        null_market_is_silent,
    ),
    Check(
        "stale_bars_abstain",
        LINES[2],
        "a bar that is too old gives no signal",
        "See analyst.max_bar_age; run `trader fetch` before `trader analyze`.",
        stale_bars_abstain,
    ),
    Check(
        "damaged_model_is_refused",
        LINES[2],
        "a model bundle that was changed on disk is refused",
        _TRAIN,
        damaged_model_is_refused,
    ),
)
