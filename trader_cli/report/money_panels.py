"""Panels about money: what trading cost by kind, what each month brought, and how far a figure may be chance."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from trader_cli.backtest.resampling import drawdowns, drawn_blocks, joined_returns, paths, shuffled
from trader_cli.report.drawings import histogram
from trader_cli.report.written import figure, lines, number, percent, signed, signed_percent, text, tone

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from trader_cli.report.run_report import RunReport

    Floats = NDArray[np.float64]

_FEWEST = 10
_CENT = 0.005
_ORDERS = 500
_MONTHS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()  # noqa: SIM905


def costs_panel(run: RunReport) -> str:
    """From what the prices brought to what is left: a line a cost."""
    f, costs = run.figures, run.figures.costs
    unrealised = f.final_equity - f.balance - (f.realised - costs.fees - costs.funding)
    rows = [
        ("At the prices orders were sent at", "", f.realised + costs.slippage),
        ("Slippage: half the spread, depth of the book, gaps", "costs.slippage", -costs.slippage),
        ("Taker fees", "costs.taker_fees", -costs.taker_fees),
        ("Maker fees", "costs.maker_fees", -costs.maker_fees),
        ("Funding", "costs.funding", -costs.funding),
        ("Taken at liquidation", "costs.liquidation", -costs.liquidation),
        ("Open positions at their mark", "", unrealised),
    ]
    shown = [
        row for row in rows if abs(row[2]) >= _CENT or row[1] in {"costs.slippage", "costs.taker_fees", "costs.funding"}
    ]
    largest = max((abs(amount) for _, _, amount in shown), default=0.0) or 1.0
    traded = float((run.frames["fills"]["price"] * run.frames["fills"]["quantity"]).sum())
    total = f.final_equity - f.balance
    body = lines(_cost_row(name, path, amount, largest, traded) for name, path, amount in shown)
    return f"""<section id="costs"><h2>Costs by kind</h2>
<p class="note">What is traded over and over pays over and over: {number(traded, 0)} were bought and sold,
{figure("turnover", f.turnover, number(f.turnover, 1))} times the equity.</p>
<table class="ledger"><thead><tr><th scope="col"></th><th scope="col" class="size"></th><th scope="col">amount</th>
<th scope="col">bps of what was traded</th></tr></thead><tbody>{body}</tbody>
<tfoot><tr><th scope="row">What is left</th><td class="size"></td><td>{signed(total)}</td>
<td>{_bps(total, traded)}</td></tr></tfoot></table></section>"""


def _cost_row(name: str, path: str, amount: float, largest: float, traded: float) -> str:
    half = 50 * abs(amount) / largest
    left = 50 if amount > 0 else 50 - half
    bar = f'<div class="track"><i class="{tone(amount)}" style="left:{left:.2f}%;width:{half:.2f}%"></i></div>'
    shown = figure(path, -amount, signed(amount)) if path else text(signed(amount))
    return (
        f'<tr><th scope="row">{text(name)}</th><td class="size">{bar if amount else ""}</td>'
        f'<td class="{tone(amount)}">{shown}</td><td class="soft">{_bps(amount, traded)}</td></tr>'
    )


def _bps(amount: float, traded: float) -> str:
    return text(signed(1e4 * amount / traded, 1)) if traded else ""


def months_panel(run: RunReport) -> str:
    """Return by month, compounded by year."""
    months = monthly_returns(run.frames["equity"], run.figures.balance)
    years = sorted({year for year, _ in months})
    largest = max((abs(share) for share in months.values()), default=0.0) or 1.0
    head = "".join(f'<th scope="col">{name}</th>' for name in (*_MONTHS, "year"))
    rows = lines(_year_row(year, months, largest) for year in years)
    return f"""<section id="months"><h2>Monthly returns</h2>
<p class="note">Of equity, open positions included; by UTC months, the first and last as far as the span goes.</p>
<div class="scroll"><table class="months"><thead><tr><td class="none"></td>{head}</tr></thead>
<tbody>{rows}</tbody></table></div></section>"""


def monthly_returns(equity: pl.DataFrame, balance: float) -> dict[tuple[int, int], float]:
    """(year, month) → return, of the last equity of each month over that of the one before."""
    time = pl.col("time")
    last = equity.group_by(time.dt.year().alias("y"), time.dt.month().alias("m"), maintain_order=True).last()
    levels = [balance, *last["equity"].to_list()]
    keys = zip(last["y"].to_list(), last["m"].to_list(), strict=True)
    return {key: after / before - 1 for key, before, after in zip(keys, levels, levels[1:], strict=False)}


def _year_row(year: int, months: dict[tuple[int, int], float], largest: float) -> str:
    found = [months.get((year, month)) for month in range(1, 13)]
    total = float(np.prod([1 + share for share in found if share is not None])) - 1
    cells = "".join(_month_cell(share, largest) for share in found)
    return f'<tr><th scope="row">{year}</th>{cells}<td class="year {tone(total)}">{signed_percent(total, 1)}</td></tr>'


def _month_cell(share: float | None, largest: float) -> str:
    if share is None:
        return '<td class="none"></td>'
    strength = 10 + 55 * min(abs(share) / largest, 1.0)
    colour = f"color-mix(in srgb, var(--{tone(share) or 'hair'}) {strength:.0f}%, var(--card))"
    return f'<td style="background:{colour}">{signed_percent(share, 1)}</td>'


def chance_panel(run: RunReport) -> str:
    """Monte Carlo: the same trades in other orders, and blocks of the same returns drawn again."""
    closed = run.frames["trades"].filter(pl.col("closed").is_not_null())
    returns = joined_returns(run.book.gains)
    if closed.height < _FEWEST or len(returns) < _FEWEST:
        inside = f'<p class="empty">Fewer than {_FEWEST} trades have ended: nothing can be drawn from them.</p>'
    else:
        inside = f'<div class="columns">{_orders(run, closed["net"].to_numpy())}{_draws(returns)}</div>'
    return f"""<section id="chance"><h2>What else might have come of it</h2>
<p class="note">The line is what happened. Luck in the order of the trades shows in the drawdown; luck in which days
there were, in the return.</p>{inside}</section>"""


def _orders(run: RunReport, net: Floats) -> str:
    balance = run.figures.balance
    levels = balance + np.cumsum(shuffled(net, 0, _ORDERS), axis=1)
    found = drawdowns(np.concatenate([np.full((len(levels), 1), balance), levels], axis=1))
    mine = float(drawdowns(np.concatenate([[balance], balance + np.cumsum(net)])[None, :])[0])
    worse, bad = float(np.mean(found < mine)), float(np.quantile(found, 0.05))
    return f"""<div><h3>Deepest drawdown, trades in another order</h3>
{histogram(found, mine, lambda v: percent(v, 1), "Deepest drawdown of trades in other orders")}
<p class="hint">{_ORDERS} orders of the {len(net):,} trades, by closed trades alone. One in twenty falls below
{percent(bad, 1)}; {percent(worse, 0)} are worse than what happened.</p></div>"""


def _draws(returns: Floats) -> str:
    levels = paths(drawn_blocks(returns, 0))
    found, mine = levels[:, -1] - 1, float(np.prod(1 + returns)) - 1
    lost, deep = float(np.mean(found < 0)), float(np.quantile(drawdowns(levels), 0.05))
    low, high = np.quantile(found, [0.05, 0.95]).tolist()
    return f"""<div><h3>Return, blocks of returns drawn again</h3>
{histogram(found, mine, lambda v: signed_percent(v, 1), "Return of resampled blocks")}
<p class="hint">{len(found):,} resamples. Nine in ten lie between {signed_percent(low, 1)} and
{signed_percent(high, 1)}; {percent(lost, 0)} lose money.
One in twenty falls by more than {percent(-deep, 1)} on its way.</p></div>"""
