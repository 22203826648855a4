"""`trader backtest --folds`: the trades behind a model's claim, made again by the fast backtest on an ideal market.

What is traded are out-of-sample probabilities: of each bar those of the model that had seen nothing later, as the
bundle keeps it. Without latency, spread and impact and at a fixed notional these are the trades of the claim, which is
checked.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING

import numpy as np

from trader_cli.analyst.book import filled_book
from trader_cli.analyst.bundled import from_bundle
from trader_cli.analyst.claim_basis import changed_since
from trader_cli.analyst.feature_inputs import stored_funding
from trader_cli.analyst.fold_models import folds_of, said_again
from trader_cli.analyst.statistics import sharpe
from trader_cli.analyst.trained_model import TrainedModel
from trader_cli.analyst.training import Fitting, TrainingInput
from trader_cli.backtest.backtest_account import AccountOptions
from trader_cli.backtest.exposure_held import Closes, book_frame
from trader_cli.backtest.ideal_backtest import NOTIONAL, IdealTerms, filled_of, trade_ideally
from trader_cli.core.errors import DataError, DataMissing, DataStale, UsageError
from trader_cli.core.market.schemas import check_features, milliseconds
from trader_cli.core.market.timeframes import Timeframe
from trader_cli.core.ports import silent
from trader_cli.exchange.latency import USUAL_LATENCY_MS, Latency
from trader_cli.pipelines.backtests.backtest_recipe import row_for_row
from trader_cli.pipelines.backtests.backtest_request import FOLDS, BacktestRequest
from trader_cli.pipelines.backtests.backtest_store import Traded, save_traded
from trader_cli.pipelines.stages.model_life import find_model
from trader_cli.settings.room_options import (
    AnalysisOptions,
    ExecutionOptions,
    ManagementOptions,
    PlanningOptions,
    TrainingOptions,
)
from trader_cli.storage.artifacts import ArtifactStore, stage_key
from trader_cli.storage.bundles import BundleStore
from trader_cli.storage.stored_columns import StoredColumns

if TYPE_CHECKING:
    import polars as pl

    from trader_cli.analyst.book import Book, FilledTrades, Forecasts
    from trader_cli.analyst.decision import Costs
    from trader_cli.core.json_values import JsonObject
    from trader_cli.core.ports import Progress
    from trader_cli.features.bar_arrays import BarSeries
    from trader_cli.pipelines.backtests.backtest_request import Friction
    from trader_cli.pipelines.backtests.backtest_store import StoredBacktest
    from trader_cli.settings import Workspace

_NEARLY = 1e-9


@dataclass(frozen=True)
class FoldTrading:
    """What a claim was made of: rows of bars to the last there was, what the folds' models said of them, and the costs.

    `span`: rows of the first and the last bar of the book.
    """

    model: TrainedModel
    digest: str
    fitting: Fitting
    said: Forecasts
    costs: Costs
    span: tuple[int, int]
    inputs: dict[str, str]

    @property
    def bars(self) -> BarSeries:
        """The bars."""
        return self.fitting.bars

    @property
    def timeframe(self) -> Timeframe:
        """Of the bars."""
        return Timeframe.parse(self.model.timeframe)

    def book(self, trades: FilledTrades) -> Book:
        """The claim's book of trades."""
        return filled_book(trades, self.bars.close, self.span, self.costs)


def run_fold_backtest(
    workspace: Workspace, name: str, frictions: tuple[Friction, ...] = (), progress: Progress = silent
) -> StoredBacktest:
    """Trade the folds of a bundle again and store what came of it; no trial: the training was it.

    With `frictions` the trades are others than the claim's. Raises `UsageError` for a bundle without folds of its own,
    `DataMissing` where what it was trained on is gone, `DataStale` where the trades are not those of the claim.
    """
    store = ArtifactStore(workspace.cache_dir, remembered_bytes=0)
    given = fold_trading(workspace, store, name)
    progress("trading the folds", 0, 1)
    frames, balance = trade_folds(workspace, given, frictions)
    book = given.book(filled_of(frames["fills"], given.bars, given.timeframe))
    if not frictions:
        _refuse_another(given.model, book)
    closes = {given.model.symbol: Closes(given.bars.open_ms + given.timeframe.ms, given.bars.close)}
    frames["book"] = book_frame(frames["equity"], frames["fills"], closes)
    told, market = _told(book), _market(given)
    done = Traded(frames, given.inputs, closes, market, settings=told, is_trial=False, balance=balance)
    return save_traded(workspace, store, _request(given, frictions), done)


def trade_folds(
    workspace: Workspace, given: FoldTrading, frictions: tuple[Friction, ...]
) -> tuple[dict[str, pl.DataFrame], float]:
    """(Frames of what was traded, what the account began with)."""
    terms = _terms(workspace, given.costs, frictions)
    account = trade_ideally(
        given.model.symbol, given.timeframe, given.bars, given.said, terms, seed=workspace.settings.seed
    )
    return account.records.frames(), float(terms.balance)


def fold_trading(workspace: Workspace, store: ArtifactStore, name: str) -> FoldTrading:
    """What the claim of a bundle was made of, said again by the models it keeps."""
    digest = find_model(workspace, name)
    model = from_bundle(*BundleStore(store.root / "models").load(digest))
    if not isinstance(model, TrainedModel):
        raise UsageError(
            f"The bundle {digest[:12]} is a pair or a rule: no models of folds are kept of it.",
            hint="Give --folds the bundle of a model of one series.",
        )
    folds, config = folds_of(model.folds), TrainingOptions.of(workspace.settings)
    changed = changed_since(model.made_with, model.producer, config)
    if changed is not None:
        raise DataStale(
            f"The claim of {digest[:12]} is of other settings: {changed}.", hint="Run `trader train` again."
        )
    training = _input(workspace, store, model, folds.last_bar_ms)
    shape = {"horizon_bars": (folds.longest_horizon,), "barrier_width": model.barrier_width}
    analyst = config.analyst.model_copy(update={**shape, "volatility_span": model.volatility_span})
    fitting = Fitting.of(training, replace(config, analyst=analyst))
    data, costs = fitting.labelled(model.horizon_bars), training.costs(config.costs)
    by_act = model.act is not None and model.act.decides
    of_trades = costs.of_trades(data.start, model.horizon_bars)
    out, acted = said_again(folds.models, fitting.bars, data, of_trades, by_act=by_act)
    own = analyst.model_copy(update={"horizon_bars": (model.horizon_bars,)})
    judged = data.start[out.judged]
    span = int(judged[0]) + 1, int(judged[-1]) + folds.longest_horizon
    inputs = {f"{stage} {model.symbol}": model.inputs[stage] for stage in ("bars", "features")}
    inputs[f"folds {model.symbol}"] = digest
    return FoldTrading(model, digest, fitting, fitting.forecasts(own, out, acted), costs, span, inputs)


def _input(workspace: Workspace, store: ArtifactStore, model: TrainedModel, last_bar_ms: int) -> TrainingInput:
    """The series a model was trained on. Raises `DataMissing` where it is not kept any more."""
    timeframe = Timeframe.parse(model.timeframe)
    if model.source != workspace.source:
        raise DataMissing(
            f"The model is of the market {model.source}; this profile's is {workspace.source}.",
            hint="Name the profile it was trained in: --profile.",
        )
    try:
        of_bars, of_features = (
            store.manifest(model.inputs[stage], stage_key(workspace.mode, model.symbol, timeframe, stage))
            for stage in ("bars", "features")
        )
        bars = store.read(of_bars)
        features = row_for_row(bars, check_features(store.read(of_features)))
    except (DataError, KeyError) as error:
        raise DataMissing(
            f"The bars and features that {model.symbol} {timeframe} was trained on are not there any more: {error}",
            hint=f"Run `trader train {model.symbol} --timeframe {timeframe}` again.",
        ) from error
    rows = int(np.searchsorted(milliseconds(bars["open_time"]), last_bar_ms, side="right"))
    funding = stored_funding(store, workspace.mode, model.symbol, timeframe, of_bars)
    return TrainingInput(
        model.key,
        model.source,
        model.symbol,
        timeframe,
        bars[:rows],
        StoredColumns.of(features[:rows]),
        model.inputs,
        funding,
    )


def _terms(workspace: Workspace, costs: Costs, frictions: tuple[Friction, ...] = ()) -> IdealTerms:
    """A side costs what the claim's costs; where prices are no longer ideal slippage is had from them."""
    settings, assumed = workspace.settings, workspace.settings.backtest
    options = PlanningOptions.of(settings), ExecutionOptions.of(workspace), ManagementOptions.of(settings)
    terms = IdealTerms(AccountOptions(*options), AnalysisOptions.of(settings), Decimal(repr(costs.per_side)))
    if "latency" in frictions:
        median_ms = USUAL_LATENCY_MS if assumed.latency_ms is None else assumed.latency_ms
        terms = replace(terms, latency=Latency(median_ms, assumed.latency_spread, settings.seed))
    if "impact" in frictions:
        looks = settings.position_monitoring_interval, settings.tactician.tactics_interval
        fee = Decimal(str(settings.costs.taker_fee_bps)) / 10_000
        terms = replace(terms, fee=fee, impact=(round(looks[0] * 1000), max(1, round(looks[1] * 1000))))
    return replace(terms, compounds="compounding" in frictions)


def _refuse_another(model: TrainedModel, book: Book) -> None:
    """Raises `DataStale` where the book is not that of the claim."""
    claim, found = model.claim, sharpe(book.gains)
    if (book.trades, len(book.gains)) == (claim.trades, claim.bars) and abs(found - claim.sharpe_per_bar) <= _NEARLY:
        return
    raise DataStale(
        f"The folds trade otherwise than for the claim: {book.trades} trades on {len(book.gains)} bars with a Sharpe"
        f" ratio of {found:.6f} a bar, not {claim.trades} on {claim.bars} with {claim.sharpe_per_bar:.6f}. Settings of"
        " plans or exits, or the funding that is stored, are others than they were.",
        hint="Run `trader train` again.",
    )


def _request(given: FoldTrading, frictions: tuple[Friction, ...]) -> BacktestRequest:
    since, until = (int(given.bars.open_ms[row]) + given.timeframe.ms for row in (given.said.rows[0], -1))
    name = f"{FOLDS}{given.digest}"
    return BacktestRequest((given.model.symbol,), given.timeframe, since, until, name, 0, frictions=frictions)


def _market(given: FoldTrading) -> JsonObject:
    return {"source": given.model.source, "played": "the bars that were learned from, without funding"}


def _told(book: Book) -> JsonObject:
    """What the claim's book came to, in shares of the notional."""
    gains = book.gains
    told = {"trades": book.trades, "bars": len(gains), "gain": float(gains.sum()), "sharpe_per_bar": sharpe(gains)}
    return {"folds": {"notional": NOTIONAL, **told}}
