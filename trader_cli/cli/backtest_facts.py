"""What a backtest came to, as lines and rows that a person reads."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from trader_cli.cli.show import rounded, utc
from trader_cli.core.errors import DataInvalid
from trader_cli.core.json_values import number_of, object_of
from trader_cli.core.market.timeframes import DAY_MS
from trader_cli.pipelines.backtests.backtest_request import FOLDS, ON_BARS, WALK_FORWARD

if TYPE_CHECKING:
    from trader_cli.backtest.figures import Figures
    from trader_cli.backtest.performance import Risk, TradeFigures
    from trader_cli.cli.show import Facts
    from trader_cli.core.json_values import JsonObject
    from trader_cli.pipelines.backtests.backtest_listing import ListedBacktest
    from trader_cli.pipelines.backtests.backtest_store import StoredBacktest

LISTED = ("name", "made (UTC)", "series", "from", "to", "models", "return", "Sharpe", "trades", "beside the one before")
_TOLD = 3
"""Differences that a row names."""


def facts_of(done: StoredBacktest, untraded: str | None, tries_now: float | None) -> Facts:
    """Its figures, and why nothing was traded, if so; with the tries on its data that count by now, where known."""
    f, risk, request = done.figures, done.figures.risk, done.request
    return {
        "span": f"{utc(request.since_ms or 0)} to {utc(request.until_ms or 0)}",
        "models": _models(done),
        "leverage brackets": _brackets(done),
        "for research only": done.on_bars,
        "return": _return(risk),
        "Sharpe": f"{_number(risk.sharpe)} (365 d, ddof 1, rf 0); {_number(risk.sharpe_252)} by 252 d;"
        f" Sortino {_number(risk.sortino)}, Calmar {_number(risk.calmar)}",
        "95 % interval": _intervals(f),
        "is it luck": f"deflated Sharpe probability {f.claim.deflated_sharpe_probability:.2f};"
        f" {_tries(f.claim.trials, tries_now)}",
        "edge": _edge(done),
        "same exposure held": f"{_percent(f.held_return)}, {_percent(f.mean_exposure)} of the equity on average",
        "drawdown": f"{_percent(risk.drawdown)}, at the longest {risk.drawdown_ms / DAY_MS:.1f} days",
        "trades": _trades(f),
        "why": _why_not(done, untraded),
        "profit": _expectancy(f.trades),
        "costs": f"fees {f.costs.fees:.2f}, slippage {f.costs.slippage:.2f}, funding {f.costs.funding:.2f}; turnover"
        f" {f.turnover:.1f} times the equity",
        "without full cover": f"{f.unprotected_ms / 1000:.3f} s, the longest {f.longest_unprotected_ms / 1000:.3f} s",
        "in the market": f"{f.time_in_market:.1%} of the bars",
        "halted": f.halted,
        "equity": f"{f.balance:.2f} to {f.final_equity:.2f}",
    }


def fold_facts(done: StoredBacktest) -> Facts:
    """What the trades behind a claim came to, in shares of the notional of each."""
    f, told, request = done.figures, done.folds or {}, done.request
    as_claimed = "" if request.frictions else ": as the bundle claims"
    return {
        "span": f"{utc(request.since_ms or 0)} to {utc(request.until_ms or 0)}",
        "models": _models(done),
        "market": f"ideal, but for {', '.join(request.frictions)}"
        if request.frictions
        else "ideal: no latency or impact",
        "trades": _trades(f),
        "gain": f"{_percent(number_of(told['gain']))} of the notional of each trade, {number_of(told['notional']):.0f}",
        "Sharpe a bar": f"{number_of(told['sharpe_per_bar']):.6f} over {told['bars']} bars{as_claimed}",
    }


def _why_not(done: StoredBacktest, untraded: str | None) -> str | None:
    if not done.on_bars:
        return untraded
    traded = done.figures.trades.count or done.figures.still_open
    return None if traded else "nothing traded: the rule's side changed to long or short nowhere in the span"


def _tries(counted: float, now: float | None) -> str:
    """As its figures hold them; those that came later are named beside."""
    told = f"{rounded(counted)} {'try' if counted == 1 else 'tries'} on these data counted when it was last made"
    return told if now is None or now == counted else f"{told}, {rounded(now)} by now"


def _brackets(done: StoredBacktest) -> str | None:
    """Where a file of leverage brackets was named: which symbols it was not used for, and why."""
    file = object_of(object_of(done.manifest.notes["settings"]).get("backtest", {})).get("brackets")
    market = object_of(done.manifest.notes.get("market", {}))
    if file is None:
        return None
    if done.on_bars or "sim" in market:
        kind = "on bare bars nothing has any" if done.on_bars else "it is for a real market, and this one is simulated"
        return f"{file} is not used: {kind}"
    known = object_of(market.get("brackets", {}))
    lacking = [s for s in done.request.symbols if not _is_of_file(object_of(known.get(s, {})))]
    if not lacking:
        return f"of {file}"
    stand_in = "what an account was told, else the simulated exchange's"
    return f"{file} holds none of {', '.join(lacking)}: {stand_in}"


def _is_of_file(known: JsonObject) -> bool:
    return str(known.get("origin", "")).startswith("of the file ")


def _edge(done: StoredBacktest) -> str | None:
    """The claim; none of a rule on bare bars, and of what was refused for want of one, how often."""
    claim = done.figures.claim
    if done.on_bars:
        return None
    return "yes" if claim.edge else f"no: {claim.reason}"


def _intervals(f: Figures) -> str | None:
    """By resamples of blocks of returns."""
    shown = (("return", f.intervals.total_return, _percent), ("Sharpe", f.intervals.sharpe, _number))
    told = [f"{name} {write(i.low)} to {write(i.high)}" for name, i, write in shown if i.low is not None]
    return ", ".join(told) or None


def _trades(f: Figures) -> str:
    ends = ", ".join(f"{count} by {why}" for why, count in f.exits.items())
    won = f"; {f.trades.win_rate:.0%} won" if f.trades.win_rate is not None else ""
    return f"{f.trades.count} ended{': ' if ends else ''}{ends}{won}; {f.still_open} open"


def _expectancy(trades: TradeFigures) -> str | None:
    if trades.expectancy is None:
        return None
    low, high = _number(trades.expectancy_low), _number(trades.expectancy_high)
    factor = _number(trades.profit_factor)
    return f"{trades.expectancy:.2f} a trade, 95 % interval {low} to {high}; profit factor {factor}"


def _return(risk: Risk) -> str:
    """Over the span, and a year where the span is one at least."""
    span = _percent(risk.total_return)
    if risk.annual_return is None or risk.is_short:
        return span
    return f"{span}, {_percent(risk.annual_return)} a year"


def row_of(listed: ListedBacktest) -> tuple[str, ...]:
    """Of the table of all; what another version wrote has no figures here."""
    done, request = listed.done, listed.done.request
    more = len(listed.differs) - _TOLD
    beside = ", ".join(listed.differs[:_TOLD]) + (f" and {more} more" if more > 0 else "")
    head = (done.name, _minute(listed.made_ms), f"{', '.join(request.symbols)} {request.timeframe}")
    try:
        f = done.figures
    except DataInvalid:
        return (*head, *("–" * 2), "of another version", *("–" * 3), beside)
    span = (_minute(request.since_ms or 0), _minute(request.until_ms or 0))
    figures = (_percent(f.risk.total_return), _number(f.risk.sharpe), str(f.trades.count))
    return (*head, *span, _models(done), *figures, beside)


def _minute(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M")


def _models(done: StoredBacktest) -> str:
    request, how = done.request, "trained" if done.rule is None else f"rule {done.rule}; judged"
    if request.model == ON_BARS:
        return f"rule {done.rule} on bare bars"
    if request.model.startswith(FOLDS):
        return request.model[: len(FOLDS) + 12]
    return f"{how} anew every {request.refit_ms / DAY_MS:g} d" if request.model == WALK_FORWARD else request.model[:12]


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:+.2%}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"
