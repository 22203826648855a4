"""The page of an account, or of its last session, from the ledger: what was traded, with the bars that are stored."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING

from trader_cli.backtest.exposure_held import Closes
from trader_cli.backtest.figures import FigureBasis, figures_of
from trader_cli.core.errors import DataError, DataMissing
from trader_cli.core.market.gaps import utc_text
from trader_cli.core.market.schemas import BARS, rows_between
from trader_cli.core.market.timeframes import DAY_MS, HOUR_MS, Timeframe
from trader_cli.core.money.assets import margin_asset_of
from trader_cli.core.types import Tries
from trader_cli.report.ledger_frames import frames_of, trades_of
from trader_cli.report.model_panel import cards_of
from trader_cli.report.run_report import RunReport
from trader_cli.storage.artifacts import stage_key

if TYPE_CHECKING:
    from collections.abc import Mapping

    import polars as pl

    from trader_cli.report.run_report import RunKind
    from trader_cli.storage.artifacts import ArtifactStore
    from trader_cli.storage.ledger_reading import LedgerReading

PAUSE_MS = HOUR_MS
"""A session begins where nothing was written for longer than this before."""
_BEFORE_DAYS = 2


def ledger_report(
    ledger: LedgerReading, store: ArtifactStore, kind: RunKind, profile: str, claim_probability: float
) -> RunReport:
    """Of everything the ledger holds, or of its last session. Raises `DataMissing` where it has seen no equity."""
    plans = [made.plan for made in ledger.decisions() if made.kind == "plan"]
    times = _times(ledger)
    if not plans or not times:
        raise DataMissing(
            f"The ledger {ledger.path} holds no plan and no equity yet.", hint="It begins with `trader run`."
        )
    asset = Counter(margin_asset_of(plan.symbol) for plan in plans).most_common(1)[0][0]
    timeframe = Timeframe.parse(Counter(plan.timeframe for plan in plans).most_common(1)[0][0])
    span = (times[0] if kind == "account" else _last_session(times), times[-1])
    trades = trades_of(ledger, *span, asset)
    frames = frames_of(ledger, trades, timeframe, span, asset)
    if frames["equity"].is_empty():
        raise DataMissing(f"The ledger {ledger.path} has seen no equity in {asset} yet.", hint="See `trader status`.")
    symbols = tuple(dict.fromkeys(trade.plan.symbol for trade in trades)) or (plans[-1].symbol,)
    bars = {symbol: _stored_bars(store, profile, symbol, timeframe, span) for symbol in symbols}
    start = float(frames["equity"]["equity"][0])
    closes = {symbol: Closes.of(frame, timeframe) for symbol, frame in bars.items() if not frame.is_empty()}
    basis = FigureBasis(start, timeframe.ms, closes, claim_probability, lambda sharpe: Tries.alone([sharpe]))
    return RunReport(
        kind=kind,
        name=ledger.path.stem,
        symbols=symbols,
        timeframe=timeframe,
        since_ms=span[0],
        until_ms=span[1],
        figures=figures_of(frames, basis, ledger.halted()),
        frames=frames,
        bars=bars,
        assumptions=_assumptions(kind, span, asset),
        is_made_up=ledger.path.parent.name.startswith("synthetic"),
        made_from={"ledger": str(ledger.path), "journal": ledger.journal_digest()},
        models=cards_of(store, [plan.lineage for plan in plans if plan.decision_ms >= span[0]], 0),
    )


def _times(ledger: LedgerReading) -> list[int]:
    """When anything was decided, sent or seen, in order."""
    decided = [made.decision_ms for made in ledger.decisions()]
    filled = [fill.time_ms for fill in ledger.fills()]
    seen = [level.time_ms for _, _, level in ledger.levels()]
    return sorted([*decided, *(intent.at_ms for intent in ledger.intents()), *filled, *seen])


def _last_session(times: list[int]) -> int:
    begins = [after for before, after in pairwise(times) if after - before > PAUSE_MS]
    return begins[-1] if begins else times[0]


def _stored_bars(
    store: ArtifactStore, profile: str, symbol: str, timeframe: Timeframe, span: tuple[int, int]
) -> pl.DataFrame:
    """Bars of the span and of a little before; none where they are not stored or cannot be read."""
    try:
        found = store.current(stage_key(profile, symbol, timeframe, "bars"))
        frame = BARS.empty() if found is None else store.read(found)
    except DataError:
        return BARS.empty()
    return rows_between(frame, span[0] - _BEFORE_DAYS * DAY_MS, span[1])


def _assumptions(kind: str, span: tuple[int, int], asset: str) -> Mapping[str, str]:
    return {
        "span": f"{utc_text(span[0])} to {utc_text(span[1])}"
        + (", since nothing was written for an hour before" if kind == "session" else ""),
        "money": f"in {asset}; what was paid in or out meanwhile is taken out of the equity",
        "equity": "as last seen at each bar's close",
        "slippage": "of entries against the mark price of their plan, of stops and targets against their trigger;"
        " of other exits it is not known",
        "maker": "not told apart: all fees are shown as taker's",
        "claim": "the models' own; what is said of an edge here counts this record as one trial",
    }
