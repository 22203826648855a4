"""Panels about whether to believe it: were probabilities right, what was held, what kept it out, what stood bare."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from trader_cli.report.drawings import Reliability, reliability_drawing
from trader_cli.report.written import day, facts, figure, lines, number, percent, signed, text

if TYPE_CHECKING:
    from trader_cli.report.run_report import RunReport

_GROUPS, _EACH = 6, 8
"""At most so many points of the reliability, each of at least so many trades."""
_MOST_REASONS = 8
_MOST_DIGESTS = 24
_Z = 1.959964


def calibration_panel(run: RunReport) -> str:
    """What the model said of its trades against how many were won."""
    said = said_and_won(run)
    if said.height < 2 * _EACH:
        inside = f'<p class="empty">Nothing to compare: {_why_not(run, said.height)}.</p>'
    else:
        inside = _reliability(said)
    return f"""<section id="calibration"><h2>Calibration</h2>
<p class="note">The probability the model gave each trade to end in profit, and the share that did. On the diagonal it
was right; below it, it promised too much.</p>{inside}</section>"""


def _why_not(run: RunReport, count: int) -> str:
    """Why so few trades, or none, have both a stated probability and an end."""
    entered = run.frames["decisions"].filter(pl.col("kind") == "entered")
    if run.kind != "backtest" and entered.height and entered["probability"].is_null().all():
        return "none of the plans in its ledger says what it promised: no model did, or an earlier version wrote them"
    which = "none of its trades has" if count == 0 else f"only {count} of its trades have"
    return f"{which} both a stated probability and an end, and it takes {2 * _EACH}"


def said_and_won(run: RunReport) -> pl.DataFrame:
    """Columns `probability` and `won` of the trades that have both, in order of probability."""
    entered = run.frames["decisions"].filter(pl.col("kind") == "entered", pl.col("probability").is_not_null())
    ended = run.frames["trades"].filter(pl.col("closed").is_not_null())
    both = ended.join(entered.unique("plan", keep="last").select("plan", "probability"), on="plan", how="inner")
    return both.select("probability", (pl.col("net") > 0).alias("won")).sort("probability")


def _reliability(said: pl.DataFrame) -> str:
    groups = reliability(said)
    mean, won = float(said["probability"].to_numpy().mean()), float(said["won"].to_numpy().mean())
    brier = float(np.mean((said["probability"].to_numpy() - said["won"].to_numpy()) ** 2))
    always = won * (1 - won)
    rows = lines(
        f"<tr><td>{percent(g.said, 1)}</td><td>{percent(g.won, 1)}</td>"
        f'<td class="soft">{percent(g.low, 0)} to {percent(g.high, 0)}</td><td>{g.count}</td></tr>'
        for g in groups
    )
    drawing = reliability_drawing(groups, "Stated probability against the share won")
    return f"""<div class="columns"><div>{drawing}</div><div>
<table class="ledger"><thead><tr><th scope="col">said</th><th scope="col">won</th><th scope="col">95 %</th>
<th scope="col">trades</th></tr></thead><tbody>{rows}</tbody>
<tfoot><tr><td>{percent(mean, 1)}</td><td>{percent(won, 1)}</td><td></td><td>{said.height}</td></tr></tfoot></table>
<p class="hint">Brier score {number(brier, 4)}; {number(always, 4)} by saying {percent(won, 1)} every time. A trade that
was managed on its way (trailing stop, scale-down) may end otherwise than the model's own barriers would have.</p>
</div></div>"""


def reliability(said: pl.DataFrame) -> list[Reliability]:
    """Groups of equally many trades by stated probability."""
    parts = np.array_split(np.arange(said.height), max(1, min(_GROUPS, said.height // _EACH)))
    return [_group(said[part.tolist()]) for part in parts]


def _group(part: pl.DataFrame) -> Reliability:
    """With Wilson's interval."""
    n, won = part.height, float(part["won"].to_numpy().mean())
    middle = (won + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    half = _Z / (1 + _Z**2 / n) * math.sqrt(won * (1 - won) / n + _Z**2 / (4 * n**2))
    return Reliability(float(part["probability"].to_numpy().mean()), won, middle - half, middle + half, n)


def exposure_panel(run: RunReport) -> str:
    """What was held, and what kept it out of the market."""
    f = run.figures
    kept = facts(
        {
            "in the market": f"{percent(f.time_in_market, 1)} of the bars",
            "net, on average": f"{percent(f.mean_exposure, 1)} of the equity",
            "long and short together": f"{percent(f.mean_gross_exposure, 1)} of the equity",
            "highest": f"{percent(float(run.book.gross.max(initial=0.0)), 1)} of the equity",
        }
    )
    return f"""<section id="exposure"><h2>Exposure</h2>
<p class="note">Longs less shorts as a share of equity, bar by bar.</p>
<div id="exposure-chart" class="plot"></div>
<div class="columns below"><div><h3>Held</h3>{kept}</div>
<div><h3>What kept it out</h3>{_reasons(run)}</div></div></section>"""


def _reasons(run: RunReport) -> str:
    """Refusals and abstentions, counted by their code."""
    decisions = run.frames["decisions"].filter(pl.col("kind") != "entered")
    if decisions.is_empty():
        return '<p class="empty">Nothing: no signal was refused, and no bar abstained.</p>'
    counted = decisions.group_by("kind", "code").len().sort(["len", "code"], descending=[True, False])
    shown = counted.head(_MOST_REASONS)
    rows = lines(
        f"<tr><td>{text(code)}</td><td>{text(kind)}</td><td>{count:,}</td></tr>"
        for kind, code, count in shown.iter_rows()
    )
    rest = counted.height - shown.height
    more = f'<p class="hint">and {rest} more</p>' if rest else ""
    return f"""<table class="ledger"><thead><tr><th scope="col">reason</th><th scope="col"></th>
<th scope="col">times</th></tr></thead><tbody>{rows}</tbody></table>{more}"""


def cover_panel(run: RunReport) -> str:
    """Seconds without full cover."""
    f, trades = run.figures, run.frames["trades"]
    bare = trades.filter(pl.col("unprotected_ms") > 0).sort("unprotected_ms", descending=True)
    total = figure("unprotected_ms", f.unprotected_ms, f"{f.unprotected_ms / 1000:,.3f} s")
    if trades.is_empty():
        said = "There was no position."
    elif bare.is_empty():
        said = f"Each of the {trades.height:,} positions was behind a stop from its first fill to its end."
    else:
        said = (
            f"{bare.height:,} of {trades.height:,} positions; at the longest {f.longest_unprotected_ms / 1000:,.3f} s."
        )
    rows = lines(
        f"<tr><td>{day(row['opened'].timestamp() * 1000)} {text(row['symbol'])} {text(row['side'])}</td>"
        f"<td>{row['unprotected_ms'] / 1000:,.3f} s</td><td>{signed(row['net'])}</td></tr>"
        for row in bare.head(5).iter_rows(named=True)
    )
    longest = (
        f'<table class="ledger"><thead><tr><th scope="col">longest</th><th scope="col">bare</th>'
        f'<th scope="col">net</th></tr></thead><tbody>{rows}</tbody></table>'
        if rows
        else ""
    )
    return f"""<section id="cover"><h2>Seconds without full cover</h2>
<p class="note">From the exchange's fill time until a stop for the whole position rests there.</p>
<div class="columns"><div><p class="big">{total}</p><p class="soft">{text(said)}</p></div>
<div>{longest}</div></div></section>"""


def assumptions_panel(run: RunReport) -> str:
    """What the run rests on, and the digests of everything it was made from."""
    conventions = {
        "Sharpe, Sortino": "simple returns a bar, no risk-free rate, years of 365 days, ddof 1;"
        f" by years of 252 days the Sharpe ratio is {number(run.figures.risk.sharpe_252)}",
        "year": "returns a year compound over elapsed time, years of 365.25 days"
        + ("; this span is shorter than one" if run.figures.risk.is_short else ""),
        "drawdown": "of equity with open positions at their mark, the starting money being the first peak",
        "intervals, band": "circular block bootstrap, blocks of about the cube root of the count, seeded",
        "same exposure": "each symbol's average share of equity held all along, at no cost",
        "slippage": "against the trigger's price, else the last price when the order was sent",
    }
    return f"""<section id="assumptions"><h2>Assumptions and digests</h2>
<p class="note">What the figures rest on, and what to name when two runs differ.</p><div class="columns">
<div><h3>The run</h3>{facts(run.assumptions)}</div><div><h3>How figures are counted</h3>{facts(conventions)}</div></div>
<details class="below"{"" if len(run.made_from) > _MOST_DIGESTS else " open"}><summary>Made from {len(run.made_from)}
artifacts</summary>{facts(run.made_from)}</details></section>"""
