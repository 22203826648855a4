"""One self-contained page of a run: figures as text, charts by scripts inside it. It asks no network for anything.

Its policy (`Content-Security-Policy`) lets a browser load nothing at all, whatever a name or a note in the data says.
"""

from __future__ import annotations

import json
from importlib import resources
from typing import TYPE_CHECKING

from trader_cli.report.chart_data import chart_data
from trader_cli.report.model_panel import model_panel
from trader_cli.report.money_panels import chance_panel, costs_panel, months_panel
from trader_cli.report.trust_panels import assumptions_panel, calibration_panel, cover_panel, exposure_panel
from trader_cli.report.verdict import verdict
from trader_cli.report.written import day, lasting, lines, text

if TYPE_CHECKING:
    from pathlib import Path

    from trader_cli.core.json_values import JsonObject
    from trader_cli.report.run_report import RunReport

POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:"
SECTIONS = (
    ("verdict", "Verdict"),
    ("equity", "Equity"),
    ("price", "Price"),
    ("costs", "Costs"),
    ("calibration", "Calibration"),
    ("models", "Models"),
    ("months", "Months"),
    ("exposure", "Exposure"),
    ("trades-panel", "Trades"),
    ("chance", "Chance"),
    ("cover", "Cover"),
    ("assumptions", "Assumptions"),
)
"""Panels in their order, and what the page's own list of contents calls them."""
LIBRARIES = ("lightweight-charts-5.2.1.js", "uPlot-1.6.32.js")
SCRIPTS = ("unpack.js", "curves.js", "price.js", "trades.js", "main.js")
LICENCES = ("lightweight-charts.NOTICE", "lightweight-charts.LICENSE", "uPlot.LICENSE")


def page(run: RunReport) -> str:
    """The whole page. The same run gives the same bytes."""
    styles = f"{_charting('uPlot-1.6.32.css')}\n{_own('page.css')}"
    scripts = lines(f"<script>{source}</script>" for source in [*map(_charting, LIBRARIES), lines(map(_own, SCRIPTS))])
    contents = "".join(f'<li><a href="#{name}">{title}</a></li>' for name, title in SECTIONS)
    title = f"{run.title} {run.timeframe}"
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<meta name="generator" content="trader report">
<meta name="color-scheme" content="light dark">
<title>{text(title)}: {run.kind} {text(run.name)}</title>
<style>{styles}</style>
</head>
<body>
<a class="skip" href="#verdict">To the verdict</a>
<header><p class="what">trader · {run.kind} {text(run.name)}</p>
<h1>{text(run.title)}<small>{text(run.timeframe)}</small></h1>
<p class="span">{day(run.since_ms)} to {day(run.until_ms)}, {lasting(run.until_ms - run.since_ms)}</p></header>
<nav aria-label="Panels"><ul>{contents}</ul></nav>
<main>
{lines(_panels(run))}
</main>
{_footer()}
<script type="application/json" id="report-data">{_as_script(chart_data(run))}</script>
{scripts}
</body>
</html>
"""


def is_a_page(file: Path) -> bool:
    """Whether a file is a page that was made here."""
    with file.open("rb") as opened:
        return b'<meta name="generator" content="trader report">' in opened.read(2000)


def _panels(run: RunReport) -> list[str]:
    return [
        verdict(run),
        _own("equity.html"),
        _own("price.html") if run.drawn else _no_bars(),
        costs_panel(run),
        calibration_panel(run),
        model_panel(run),
        months_panel(run),
        exposure_panel(run),
        _own("trades.html"),
        chance_panel(run),
        cover_panel(run),
        assumptions_panel(run),
    ]


def _no_bars() -> str:
    return (
        '<section id="price"><h2>Price</h2><p class="empty">The bars of this span are not stored, so there is no chart:'
        " `trader fetch` them and make the report again.</p></section>"
    )


def _footer() -> str:
    licences = "\n\n".join(_charting(name) for name in LICENCES)
    return f"""<footer>Charts: <a href="https://www.tradingview.com/">TradingView Lightweight Charts™</a> (Apache-2.0,
© TradingView, Inc.) and uPlot (MIT, © Leon Sorokin). What happened says nothing sure about what will.
<details><summary>Licences</summary><pre>{text(licences)}</pre></details></footer>"""


def _as_script(body: JsonObject) -> str:
    """JSON that cannot end the element it stands in."""
    return json.dumps(body, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c").replace("\u2028", "\\u2028")


def _own(name: str) -> str:
    return _package_text("assets", name)


def _charting(name: str) -> str:
    return _package_text("charting", name)


def _package_text(folder: str, name: str) -> str:
    return resources.files("trader_cli.report").joinpath(folder, name).read_text("utf-8")
