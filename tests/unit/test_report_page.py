"""The report page: what it packs comes back, what it says is what the run came to, and nothing in the data can act."""

from __future__ import annotations

import base64
import json
import re
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.backtest.made_up_run import MadeUpRun

from trader_cli.analyst.model_card import ModelCard
from trader_cli.core.errors import ConfigurationError
from trader_cli.report.browser import Browser, chromium, headless, require_chromium
from trader_cli.report.chart_data import MOST_BARS, coarser
from trader_cli.report.drawings import histogram
from trader_cli.report.money_panels import monthly_returns
from trader_cli.report.packing import MISSING, packed, packed_words
from trader_cli.report.page import LICENCES, SECTIONS, is_a_page, page
from trader_cli.report.run_report import RunReport
from trader_cli.report.trust_panels import reliability, said_and_won
from trader_cli.report.verdict import sentence
from trader_cli.report.written import number, percent, signed

LARGEST = 1_200_000
NASTY = '</script><img src=x onerror="document.title=1"><b>&'


def unpacked(column: dict[str, Any]) -> np.ndarray:
    """What `assets/unpack.js` does."""
    planes = np.frombuffer(zlib.decompress(base64.b64decode(column["z"])), np.uint8).reshape(4, -1)
    whole = np.ascontiguousarray(planes.T).view(np.int32).ravel().astype(np.int64)
    if column["steps"]:
        whole = ((np.cumsum(whole) + 2**31) % 2**32) - 2**31
    return np.where(whole == MISSING, np.nan, whole / 10.0 ** column["places"])


@given(st.lists(st.one_of(st.integers(-(2**31) + 2, 2**31 - 2), st.just(float("nan")))), st.booleans())
def test_what_is_packed_comes_back_whole(values: list[float], steps: bool) -> None:
    assert np.array_equal(unpacked(packed(values, 0, steps=steps)), np.array(values, dtype=float), equal_nan=True)


@given(st.lists(st.integers(0, 10**9), min_size=1), st.integers(0, 6))
def test_prices_keep_every_digit(ticks: list[int], places: int) -> None:
    prices = np.array(ticks) / 10.0**places
    column = packed(prices)
    wanted = prices if np.max(prices) * 10**places <= 2**31 - 2 else None
    if wanted is not None:
        assert np.array_equal(unpacked(column), wanted)
        assert column["places"] <= places


def test_what_32_bits_do_not_hold_is_refused() -> None:
    with pytest.raises(ValueError, match="decimals"):
        packed([3e9], 0)
    assert unpacked(packed([3e5 + 0.123456789]))[0] == pytest.approx(3e5 + 0.123456789, abs=1e-3)


def test_words_come_back() -> None:
    column = packed_words(["stop", None, "time", "stop"])
    assert column["words"] == ["stop", "time"]
    assert np.array_equal(unpacked(column["at"]), [0, np.nan, 1, 0], equal_nan=True)


def test_a_year_of_quarter_hours_with_500_trades_is_small() -> None:
    run = MadeUpRun().report()
    assert (run.frames["equity"].height, run.frames["trades"].height) == (35_040, 500)
    assert len(page(run).encode()) < LARGEST


def test_minute_bars_of_a_year_are_drawn_coarser_and_stay_small() -> None:
    bars = MadeUpRun(bars=100, trades=0).bars
    wide = pl.concat([bars.with_columns(pl.col("open_time").dt.offset_by(f"{n * 25}h")) for n in range(4)])
    joined = coarser(wide, 3_600_000)
    assert joined["high"].max() == wide["high"].max()
    assert joined["low"].min() == wide["low"].min()
    assert joined["volume"].sum() == pytest.approx(wide["volume"].sum())
    assert joined.height == wide.height // 4
    assert MOST_BARS >= 35_040


@pytest.fixture(scope="module")
def run() -> RunReport:
    return MadeUpRun(bars=4000, trades=60).report()


def test_the_same_run_gives_the_same_bytes(run: RunReport) -> None:
    assert page(run) == page(MadeUpRun(bars=4000, trades=60).report())


def test_its_panels_stand_in_their_order_and_say_whose_charts_they_are(run: RunReport) -> None:
    html = page(run)
    places = [html.index(f'<section id="{name}"') for name, _ in SECTIONS]
    assert places == sorted(places)
    assert all(name.split(".")[0].split("-")[0] in html for name in LICENCES)
    for line in ("Apache License", "Copyright (c) 2022 Leon Sorokin", "https://www.tradingview.com/"):
        assert line in html


def test_figures_on_the_page_are_those_of_the_run(run: RunReport) -> None:
    found = dict(re.findall(r'data-figure="([\w.]+)" data-value="([^"]+)"', page(run)))
    assert len(found) >= 11
    for name, written in found.items():
        value: Any = run.figures.as_dict()
        for part in name.split("."):
            value = value[part]
        assert float(written) == value, name


def test_nothing_in_the_data_can_act(run: RunReport) -> None:
    told = replace(run, name=NASTY, symbols=("ETHUSDT", NASTY), assumptions={NASTY: NASTY}, made_from={NASTY: NASTY})
    frames = {
        name: frame.with_columns(pl.lit(NASTY).alias("symbol"))
        for name, frame in run.frames.items()
        if "symbol" in frame
    }
    reasons = frames["trades"].with_columns(pl.lit(NASTY).alias("reason"))
    html = page(replace(told, frames={**run.frames, **frames, "trades": reasons}))
    assert "<img" not in html
    assert "<b>&" not in html
    assert html.count("</script>") == page(run).count("</script>")


def test_a_run_without_trades_bars_or_probabilities_is_a_page_too(run: RunReport) -> None:
    quiet = MadeUpRun(bars=400, trades=0).report()
    assert "Nothing was traded in 4.2 days; what it said most often is no_edge" in sentence(quiet)
    assert "Nothing to compare" in page(quiet)
    silent = run.frames["decisions"].with_columns(pl.lit(None, dtype=pl.Float64).alias("probability"))
    account = replace(run, kind="account", frames={**run.frames, "decisions": silent})
    assert "none of the plans in its ledger says what it promised" in page(account)
    bare = replace(run, bars={})
    assert "are not stored" in page(bare)
    frames = {**run.frames, "decisions": run.frames["decisions"].clear(), "levels": run.frames["levels"].clear()}
    assert "was refused" in page(replace(run, frames=frames))


def test_of_many_symbols_the_most_traded_are_drawn(run: RunReport) -> None:
    names = tuple(f"AAA{n}USDT" for n in range(30))
    trades = run.frames["trades"].with_columns(pl.Series("symbol", [names[n % 20] for n in range(60)]))
    wide = replace(
        run, symbols=names, bars=dict.fromkeys(names, run.bars["ETHUSDT"]), frames={**run.frames, "trades": trades}
    )
    assert wide.title == "AAA0USDT, AAA1USDT, AAA2USDT, AAA3USDT and 26 more"
    assert wide.drawn == names[:12]
    assert len(page(wide).encode()) < LARGEST
    quiet = replace(wide, frames={**run.frames, "trades": trades.clear()})
    assert quiet.drawn == names[:1]
    assert replace(wide, bars={}).drawn == ()


def test_months_compound_to_the_whole(run: RunReport) -> None:
    months = monthly_returns(run.frames["equity"], run.figures.balance)
    assert len(months) == 2
    assert np.prod([1 + share for share in months.values()]) - 1 == pytest.approx(run.figures.risk.total_return)


def test_the_reliability_counts_every_trade_once(run: RunReport) -> None:
    said = said_and_won(run)
    groups = reliability(said)
    assert sum(group.count for group in groups) == said.height == run.figures.trades.count
    assert sum(group.count * group.won for group in groups) == pytest.approx(said["won"].sum())
    assert all(0 <= group.low <= group.won <= group.high <= 1 for group in groups)


def card(**changes: Any) -> ModelCard:
    """Of a model with figures and a reliability."""
    metrics: dict[str, object] = {
        "brier": 0.48,
        "brier_base_rates": 0.5,
        "slope": 0.91,
        "ece": 0.02,
        "ece_floor": 0.019,
    }
    given: dict[str, Any] = {
        "bundle": "ab12" * 8,
        "kind": "model",
        "schema": 6,
        "symbol": "ETHUSDT",
        "timeframe": "15m",
        "source": "tape",
        "learned_from_ms": 1_704_067_200_000,
        "learned_to_ms": 1_714_067_200_000,
        "valid_until_ms": 1_717_955_200_000,
        "data": {},
        "features": ("a",),
        "labels": {"horizon_bars": 4},
        "made_with": {},
        "seed": 7,
        "metrics": {**metrics, "auc": 0.57},
        "reliability": [[0.45, 0.44, 300.0], [0.55, 0.57, 300.0]],
        "claim": {"edge": True, "reason": "measured"},
        "act": None,
        "rule": None,
        "producer": "trader",
        "outdated": None,
    }
    return ModelCard(**{**given, **changes})


def test_the_models_behind_a_run_are_told_with_their_reliability(run: RunReport) -> None:
    told = page(replace(run, models=(card(bundle="cd34" * 8), card(learned_to_ms=1_715_067_200_000))))
    panel = told[told.index('<section id="models">') :]
    panel = panel[: panel.index("</section>")]
    assert panel.count("<tr>") == 1 + 2 + 1 + 2, "a line a model, a line a group, and their headings"
    assert ("ab12ab12ab12" in panel, "cd34cd34cd34" in panel, "2024-06-09" in panel) == (True, True, True)
    assert "0.4800 (+4.00%)" in panel
    assert panel.count('<circle class="dot"') == 2
    assert "No model that is stored" in page(run)
    nasty = page(replace(run, models=(card(symbol=NASTY, claim={"edge": False, "reason": NASTY}),)))
    assert NASTY not in nasty


def test_a_histogram_of_one_value_is_drawn() -> None:
    assert "<rect" in histogram(np.full(10, 0.2), 0.2, str, "one")


def test_numbers_are_written_alike() -> None:
    assert (percent(-0.1234), number(-0.001), signed(0.001), signed(1234.5), number(None)) == (
        "−12.34%",
        "0.00",
        "0.00",
        "+1,234.50",
        "–",
    )


def test_without_a_browser_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ConfigurationError, match="none is installed"):
        require_chromium()


# --- drawn by a real browser ---

needs_a_browser = pytest.mark.skipif(chromium() is None, reason="no Chromium is installed (Debian: chromium)")
DRAWN = """(() => { const shown = c => { if (!c.width || !c.height) return 0;
  const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data; const seen = new Set();
  for (let i = 0; i < d.length; i += 4) if (d[i + 3]) seen.add(d[i] << 16 | d[i + 1] << 8 | d[i + 2]); return seen.size; };
  return Object.fromEntries(['equity-chart', 'drawdown-chart', 'exposure-chart', 'price-chart'].map(id =>
    [id, Math.max(...[...document.getElementById(id).querySelectorAll('canvas')].map(shown))])); })()"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with headless(require_chromium()) as opened:
        yield opened


@pytest.fixture(scope="module")
def file(run: RunReport, tmp_path_factory: pytest.TempPathFactory) -> Path:
    written = tmp_path_factory.mktemp("page") / "a page.html"
    written.write_text(page(run))
    assert is_a_page(written)
    return written


@needs_a_browser
@pytest.mark.slow
@pytest.mark.parametrize(("width", "dark"), [(1280, False), (360, True)])
def test_a_browser_draws_it_without_complaint(browser: Browser, file: Path, width: int, dark: bool) -> None:
    browser.open(file, width, dark=dark)
    assert browser.value("document.documentElement.dataset.ready") == "yes"
    assert browser.complaints == []
    colours = browser.value(DRAWN)
    assert isinstance(colours, dict)
    assert all(count >= 4 for count in colours.values()), colours
    assert browser.value("document.documentElement.scrollWidth") == width
    assert browser.value("performance.getEntriesByType('resource').length") == 0
    panels = browser.value("[...document.querySelectorAll('section')].map(s => s.innerText.trim().length)")
    assert isinstance(panels, list)
    assert len(panels) == len(SECTIONS)
    assert min(panels) > 60


@needs_a_browser
@pytest.mark.slow
def test_what_a_browser_unpacks_is_what_the_run_holds(browser: Browser, run: RunReport, file: Path) -> None:
    browser.open(file, 1280)
    told = json.loads(str(browser.value("JSON.stringify({...traderReport, charts: null})")))
    trades, equity = run.frames["trades"], run.frames["equity"]
    assert np.allclose(told["equity"]["equity"], equity["equity"].to_numpy(), atol=0.005)
    assert told["trades"]["net"] == pytest.approx(trades["net"].to_list(), abs=1e-6)
    assert told["trades"]["reason"] == trades["reason"].to_list()
    for name in ("open", "high", "low", "close"):
        assert [row[name] for row in told["bars"][0]["rows"]] == run.bars["ETHUSDT"][name].to_list()
    assert [row["time"] for row in told["bars"][0]["rows"]] == run.bars["ETHUSDT"]["open_time"].dt.epoch("s").to_list()
    assert len(told["fills"]["trade"]) == run.frames["fills"].height
    shown = browser.value("[...document.querySelectorAll('[data-value]')].map(e => [e.dataset.figure, e.innerText])")
    assert ["risk.total_return", f"{100 * run.figures.risk.total_return:+.2f}%".replace("-", "−")] in shown  # type: ignore[operator]


@needs_a_browser
@pytest.mark.slow
def test_trades_are_sorted_filtered_and_found_in_the_chart_by_keyboard(
    browser: Browser, run: RunReport, file: Path
) -> None:
    browser.open(file, 1280)
    net, sides = run.frames["trades"]["net"].to_list(), run.frames["trades"]["side"].to_list()
    table = "document.getElementById('trades-panel')"

    def numbers() -> Any:
        return browser.value(f"[...{table}.querySelectorAll('tbody tr')].map(r => Number(r.dataset.trade))")

    assert numbers() == list(range(len(net)))
    browser.value(f"[...{table}.querySelectorAll('thead button')].find(b => b.textContent === 'net').click()")
    assert [net[n] for n in numbers()] == sorted(net, reverse=True)
    browser.value(
        f"{{ const s = {table}.querySelector('[name=side]'); s.value = 'short'; s.dispatchEvent(new Event('input')); }}"
    )
    assert {sides[n] for n in numbers()} == {"short"}
    assert len(numbers()) == sides.count("short")
    first = numbers()[0]
    browser.value(f"{table}.querySelector('tbody tr button').focus()")
    for kind in ("keyDown", "keyUp"):
        browser.call(
            "Input.dispatchKeyEvent", type=kind, key="Enter", code="Enter", windowsVirtualKeyCode=13, text="\r"
        )
    chart = "traderReport.charts.chart"
    assert browser.value(f"{chart}.overlay.chosen") == first
    assert browser.value("document.activeElement.id") == "price-chart"
    browser.value("new Promise(drawn => requestAnimationFrame(() => requestAnimationFrame(drawn)))")
    whole = browser.value(f"{{ const r = {chart}.chart.timeScale().getVisibleLogicalRange(); r.to - r.from }}")
    assert isinstance(whole, float | int)
    assert whole < 200
    browser.call("Input.dispatchKeyEvent", type="keyDown", key="n", code="KeyN", text="n", windowsVirtualKeyCode=78)
    assert browser.value(f"{chart}.overlay.chosen") == first + 1
    assert browser.complaints == []
