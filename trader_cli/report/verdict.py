"""What a run shows, in one sentence, and its first figures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trader_cli.report.written import (
    NONE,
    figure,
    lasting,
    lines,
    number,
    percent,
    signed,
    signed_percent,
    text,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from trader_cli.backtest.figures import Figures
    from trader_cli.backtest.resampling import Interval
    from trader_cli.report.run_report import RunReport

_SURE = 0.9995
TOO_FEW = 30
"""Ended trades below which nothing is said of an edge."""


def verdict(run: RunReport) -> str:
    """The panel."""
    kind, stamp = _stamp(run)
    remark = f'<p class="remark">{text(run.remark)}</p>' if run.remark else ""
    halted = f'<p class="halted">Trading halted itself: {text(run.figures.halted)}.</p>' if run.figures.halted else ""
    return f"""<section id="verdict" class="{kind}" aria-label="Verdict">
<p class="stamp">{text(stamp)}</p>
<p class="sentence">{text(sentence(run))}</p>
{remark}{halted}
{_tiles(run)}
</section>"""


def _stamp(run: RunReport) -> tuple[str, str]:
    f = run.figures
    if f.trades.count < TOO_FEW:
        return "thin", "Too few trades to tell"
    return ("yes", "An edge is shown") if f.claim.edge else ("no", "No edge is shown")


def sentence(run: RunReport) -> str:
    """Claim, trials counted, and the same exposure held, in one."""
    f, span = run.figures, lasting(run.until_ms - run.since_ms)
    if not f.trades.count and not f.still_open:
        return f"Nothing was traded in {span}{_most_said(run)}."
    said = f"{signed_percent(f.risk.total_return)} in {span} and {_many(f.trades.count, 'trade')}"
    held = f"the same exposure held all along would have brought {signed_percent(f.held_return)}"
    market = " on a market made up from a seed" if run.is_made_up else ""
    return f"{said}{market}; {_why(f)}; {held}."


def _why(f: Figures) -> str:
    better = f"with {_many(f.claim.trials, 'trial')} counted, the chance that this is better than luck is"
    if f.trades.count < TOO_FEW:
        return f"{_many(f.claim.trials, 'trial')} counted"
    likely = f.claim.deflated_sharpe_probability
    chance = f"{better} {'over 99.9%' if likely > _SURE else percent(likely, 1)}"
    if f.claim.edge or f.claim.reason.startswith("deflated"):
        return chance
    return (
        f"{chance}, but it is {f.claim.reason}"
        if f.claim.reason.startswith("no better")
        else f"{chance}, but {f.claim.reason}"
    )


def _many(count: float, what: str) -> str:
    said = f"{count:,.1f}".removesuffix(".0")
    return f"{said} {what}" if count == 1 else f"{said} {what}s"


def _most_said(run: RunReport) -> str:
    """The reason given most often for not trading."""
    said = run.frames["decisions"].filter(run.frames["decisions"]["kind"] != "entered")
    if said.is_empty():
        return ""
    why = said["code"].value_counts(sort=True)["code"][0]
    return f"; what it said most often is {why}"


def _tiles(run: RunReport) -> str:
    f = run.figures
    risk, trades = f.risk, f.trades
    tiles = (
        (
            "Return",
            "risk.total_return",
            risk.total_return,
            signed_percent,
            _interval(f.intervals.total_return, _rounded),
        ),
        ("Sharpe ratio", "risk.sharpe", risk.sharpe, number, _interval(f.intervals.sharpe, number)),
        (
            "Deepest drawdown",
            "risk.drawdown",
            risk.drawdown,
            percent,
            f"below its peak for up to {lasting(risk.drawdown_ms)}",
        ),
        (
            "Same exposure held",
            "held_return",
            f.held_return,
            signed_percent,
            f"{percent(f.mean_exposure, 1)} of equity, net",
        ),
        (
            "Trades won",
            "trades.win_rate",
            trades.win_rate,
            _share,
            f"of {trades.count:,}; profit factor {number(trades.profit_factor)}",
        ),
        ("Profit a trade", "trades.expectancy", trades.expectancy, signed, _expectancy(f)),
    )
    return f'<dl class="tiles">{lines(_tile(*tile) for tile in tiles)}</dl>'


def _rounded(value: float | None) -> str:
    return signed_percent(value, 1)


def _share(value: float | None) -> str:
    return percent(value, 0)


def _tile(name: str, path: str, value: float | None, write: Callable[[float | None], str], aside: str) -> str:
    coloured = path in {"risk.total_return", "trades.expectancy"}
    shown = figure(path, value, write(value), coloured=coloured)
    return f'<div><dt>{text(name)}</dt><dd>{shown}</dd><dd class="aside">{text(aside)}</dd></div>'


def _interval(found: Interval, write: Callable[[float | None], str]) -> str:
    return NONE if found.low is None else f"95 %: {write(found.low)} to {write(found.high)}"


def _expectancy(f: Figures) -> str:
    low, high = f.trades.expectancy_low, f.trades.expectancy_high
    return NONE if low is None else f"95 %: {signed(low)} to {signed(high)}"
