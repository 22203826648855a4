"""A backtest from what is stored: bars, features and funding as fetched, models as they could have been trained."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from trader_cli.analyst.bundled import from_bundle, refuse_other_kind
from trader_cli.analyst.trained_rule import TrainedRule
from trader_cli.backtest.model_spans import ModelSchedule, ModelSpan
from trader_cli.backtest.stored_analyses import SymbolHistory
from trader_cli.core.errors import DataInvalid, DataMissing, DataStale, TooFewBars, UsageError
from trader_cli.core.market.gaps import utc_text
from trader_cli.core.market.schemas import milliseconds
from trader_cli.core.ports import silent
from trader_cli.pipelines.backtests.backtest_request import CURRENT, WALK_FORWARD
from trader_cli.pipelines.backtests.backtest_store import save
from trader_cli.pipelines.backtests.declared_listing import proof_of
from trader_cli.pipelines.backtests.later_listings import entering
from trader_cli.pipelines.backtests.prepared_backtest import PreparedBacktest, trade
from trader_cli.pipelines.backtests.span_hints import nothing_stored, too_few_before
from trader_cli.pipelines.backtests.stored_tape import no_longer_traded, played_digests, tape_of
from trader_cli.pipelines.backtests.universe import membership
from trader_cli.pipelines.stages.model_life import find_model
from trader_cli.pipelines.stages.model_stages import training_data
from trader_cli.pipelines.stages.model_training import train_on
from trader_cli.pipelines.stages.rule_training import prepare_rule
from trader_cli.storage.artifacts import ArtifactStore, stage_key
from trader_cli.storage.bundles import BundleStore

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trader_cli.core.ports import Progress
    from trader_cli.features.rule import BarSignals
    from trader_cli.pipelines.backtests.backtest_request import BacktestRequest
    from trader_cli.pipelines.backtests.backtest_store import StoredBacktest
    from trader_cli.pipelines.backtests.declared_listing import Listed
    from trader_cli.pipelines.backtests.universe import Member
    from trader_cli.pipelines.stages.training_inputs import TrainingData
    from trader_cli.settings import Workspace


def run_backtest(
    workspace: Workspace, request: BacktestRequest, progress: Progress = silent, listed: Sequence[Listed] = ()
) -> StoredBacktest:
    """Trade the span, store what came of it. Raises `DataMissing` or `UsageError` for one that cannot be traded.

    `listed`: what was tradable when, if a person says so; what of it is stored over the span is traded.
    """
    store = ArtifactStore(workspace.cache_dir, remembered_bytes=0)  # each is read once
    if request.model not in {WALK_FORWARD, CURRENT}:
        request = replace(request, model=find_model(workspace, request.model))
    ended = no_longer_traded(workspace, request.symbols)
    if listed:
        request, by_list = _declared(workspace, store, request, listed)
        ended |= by_list
    series = [training_data(workspace, store, symbol, request.timeframe) for symbol in request.symbols]
    late = {one.symbol for one in listed if one.from_ms > (request.since_ms or 0)}
    if request.survivors:
        series, request, by_bars = _reaching(series, request, ended)
        late |= by_bars
    span = since, until = _span([one for one in series if one.symbol not in late], request, ended)
    tried = {s.symbol: entering(workspace, store, s, span, request.refit_ms) for s in series if s.symbol in late}
    entered = {symbol: at_ms for symbol, at_ms in tried.items() if at_ms is not None}
    series = [one for one in series if one.symbol in entered or one.symbol not in late]
    member = membership({one.symbol: one.bars for one in series}, request, span, entered)
    series = [one for one in series if member[one.symbol] != ()]
    request = replace(request, symbols=tuple(one.symbol for one in series))
    _refuse_short(series, span)
    histories = {s.symbol: _history(workspace, store, s, request, span, member[s.symbol], progress) for s in series}
    histories = {symbol: replace(one, begins_ms=entered.get(symbol, 0)) for symbol, one in histories.items()}
    frames = {one.fast.timeframe for one in series if one.fast is not None}
    gone, fast = ended & set(request.symbols), next(iter(frames), None)
    tape = tape_of(workspace, store, request.symbols, request.timeframe, gone, since, fast)
    known, played = replace(request, since_ms=since, until_ms=until), played_digests(workspace, store, series)
    prepared = PreparedBacktest(workspace, known, histories, tape, played)
    return save(prepared, store, trade(prepared, progress))


def _refuse_short(series: Sequence[TrainingData], span: tuple[int, int]) -> None:
    """Raises `DataMissing` where bars that time entries do not reach over what there is of the span."""
    for one in series:
        if one.fast is None:
            continue
        frame, opened = one.fast.timeframe, milliseconds(one.fast.bars["open_time"])
        first, last = int(opened[0]) + frame.ms, int(opened[-1]) + frame.ms
        bars = milliseconds(one.bars["open_time"])  # a symbol may be listed later, and end before
        since, until = max(span[0], int(bars[0]) + one.timeframe.ms), min(span[1], int(bars[-1]) + one.timeframe.ms)
        if first > since or last < until:
            raise DataMissing(
                f"The bars of {one.symbol} {frame}, which time entries, go from {utc_text(first)} to {utc_text(last)};"
                f" what is traded goes from {utc_text(since)} to {utc_text(until)}.",
                hint=f"Run `trader fetch {one.symbol} --timeframe {frame}` for more, or trade a shorter span.",
            )


def _declared(
    workspace: Workspace, store: ArtifactStore, request: BacktestRequest, listed: Sequence[Listed]
) -> tuple[BacktestRequest, set[str]]:
    """Of the symbols that were tradable when the span began those that are stored over it, and whether that is all.

    And which of the listed have ended, as far as they are stored.
    """
    timeframe, closes = request.timeframe, dict[str, tuple[int, int]]()
    if request.since_ms is None:
        raise UsageError("A file that says when symbols were tradable needs a span.", hint="Add --since DAY.")
    for one in listed:
        bars = store.current(stage_key(workspace.mode, one.symbol, timeframe, "bars"))
        if bars is not None and bars.rows and bars.source == workspace.source:
            closes[one.symbol] = (bars.first_ms or 0) + timeframe.ms, (bars.last_ms or 0) + timeframe.ms
    last = max((until for _, until in closes.values()), default=0)
    until = last if request.until_ms is None else min(last, timeframe.floor(request.until_ms + 1))
    proof = proof_of(listed, closes, (request.since_ms, until))
    here = [one.symbol for one in listed if one.holds(request.since_ms) and one.symbol not in proof.absent]
    if here and request.model == WALK_FORWARD:
        here += [one.symbol for one in listed if one.comes_within((request.since_ms, until), closes.get(one.symbol))]
    if not here:
        raise DataMissing(f"None of the {proof.tradable} symbols that were tradable then is stored over the span.")
    ended = {one.symbol for one in listed if one.symbol in closes and one.has_ended(closes[one.symbol][1])}
    return replace(request, symbols=tuple(here), survivors=bool(proof.absent), listing=proof), ended


def _reaching(
    series: list[TrainingData], request: BacktestRequest, ended: set[str]
) -> tuple[list[TrainingData], BacktestRequest, set[str]]:
    """Those whose bars reach to the end of the span, or to where they ended; and who of them begins only within it.

    Where the span is not said to begin, it does in the middle of what is stored of those that are traded still.
    """
    closes = {s.symbol: milliseconds(s.bars["open_time"]) + request.timeframe.ms for s in series}
    last = max(int(found[-1]) for found in closes.values())
    until = last if request.until_ms is None else min(last, request.timeframe.floor(request.until_ms + 1))
    going_on = [symbol for symbol, found in closes.items() if found[-1] >= until] or list(closes)
    first = max(int(closes[symbol][0]) for symbol in going_on)
    since = request.timeframe.floor((first + until) // 2) if request.since_ms is None else request.since_ms
    whole = [s for s in series if s.symbol in going_on or s.symbol in ended]
    begun = {s.symbol for s in whole if closes[s.symbol][0] <= since < closes[s.symbol][-1]}
    later = {s.symbol for s in whole if since < closes[s.symbol][0] < until and request.model == WALK_FORWARD}
    known = replace(request, since_ms=since)
    return ([s for s in whole if s.symbol in begun | later], known, later) if begun else (series, known, set())


def _span(series: Sequence[TrainingData], request: BacktestRequest, ended: set[str]) -> tuple[int, int]:
    """The closes (first, last) to be traded, within what is stored of every symbol; of those that ended, of one."""
    bar_ms = request.timeframe.ms
    closes = {s.symbol: milliseconds(s.bars["open_time"]) + bar_ms for s in series}
    lasts = {symbol: int(found[-1]) for symbol, found in closes.items()}
    going_on = [at_ms for symbol, at_ms in lasts.items() if symbol not in ended]
    first, last = max(int(c[0]) for c in closes.values()), min(going_on or [max(lasts.values())])
    until = last if request.until_ms is None else min(last, request.timeframe.floor(request.until_ms + 1))
    since = request.since_ms if request.since_ms is not None else request.timeframe.floor((first + until) // 2)
    if request.until_ms is not None and request.since_ms is not None and since >= request.until_ms:
        raise UsageError(f"--since {utc_text(since)} is not before --until {utc_text(request.until_ms)}.")
    if since >= min(lasts.values()) or until <= first:
        raise DataMissing(
            f"No bars of {', '.join(request.symbols)} {request.timeframe} are stored in that span: they go from"
            f" {utc_text(first)} to {utc_text(min(lasts.values()))}.",
            hint=nothing_stored(
                request.symbols, request.timeframe, (first, min(lasts.values())), (request.since_ms, request.until_ms)
            ),
        )
    return max(since, first), until


def _history(
    workspace: Workspace,
    store: ArtifactStore,
    series: TrainingData,
    request: BacktestRequest,
    span: tuple[int, int],
    member: Member,
    progress: Progress,
) -> SymbolHistory:
    models = _models(workspace, store, series, request, span, member, progress)
    digests = {
        "bars": series.bars_manifest.digest,
        "features": series.features_manifest.digest,
        "costs": workspace.settings.costs.digest,
    }
    stored, signals = series.stored_features, signals_of(workspace, store, series, models)
    history = SymbolHistory(
        series.symbol, series.timeframe, series.bars, stored, series.funding, models, digests, signals, member
    )
    if series.fast is not None:
        fast = series.fast
        of_fast = {"fast_bars": fast.bars_manifest.digest, "fast_features": fast.features_manifest.digest}
        history = history.timed_by(fast.timeframe, fast.bars, fast.stored_features, fast.funding, of_fast)
    if len(request.symbols) > 1:
        history.let_features_go()
    return history


def _models(
    workspace: Workspace,
    store: ArtifactStore,
    series: TrainingData,
    request: BacktestRequest,
    span: tuple[int, int],
    member: Member,
    progress: Progress,
) -> ModelSchedule:
    since, until = span
    if request.model != WALK_FORWARD:
        return ModelSchedule((given_model(workspace, store, series, request.model, since),))
    spans = []
    ends = int(milliseconds(series.bars["open_time"])[-1])
    cuts = range(since, min(until, ends), request.refit_ms) if member is None else [begin for begin, _ in member]
    for number, cut in enumerate(cuts):
        progress(f"training the models of {series.symbol}", number, len(cuts))
        try:
            made = train_on(workspace, store, series, until_ms=cut)
        except TooFewBars as error:
            wanted = cut if request.since_ms is None else request.since_ms
            error.hint = too_few_before(series, error, (cut, until), wanted, workspace.settings.analyst)
            raise
        spans.append(ModelSpan(made.trained, cut, made.digest))
    return ModelSchedule(tuple(spans))


def given_model(workspace: Workspace, store: ArtifactStore, series: TrainingData, name: str, since: int) -> ModelSpan:
    """The current model of the series, or the bundle of this digest. Raises `DataMissing` or `DataInvalid`."""
    symbol, timeframe = series.symbol, series.timeframe
    digest = store.pointed(stage_key(workspace.mode, symbol, timeframe, "model")) if name == CURRENT else name
    if digest is None:
        raise DataMissing(
            f"There is no model of {symbol} {timeframe} in profile {workspace.mode}.",
            hint=f"Run `trader train {symbol} --timeframe {timeframe}`, or leave out --model.",
        )
    model = from_bundle(*BundleStore(store.root / "models").load(digest))
    command, fast = f"train {symbol} --timeframe {timeframe}", workspace.settings.analyst.fast_timeframe
    refuse_other_kind(model, workspace.settings.rule.name, fast, command)
    if (model.symbol, model.timeframe) != (symbol, timeframe.name):
        raise DataInvalid(
            f"The model {digest[:12]} is of {model.symbol} {model.timeframe}, not of {symbol} {timeframe}."
        )
    return ModelSpan(model, since, digest)


def signals_of(
    workspace: Workspace, store: ArtifactStore, series: TrainingData, models: ModelSchedule
) -> BarSignals | None:
    """What the configured rule says of the series, if one decides. Raises `DataStale` for claims of another."""
    if workspace.settings.rule.name is None:
        return None
    rule = prepare_rule(workspace, store, series)
    for span in models.spans:
        other = span.model.differs_from(rule.named) if isinstance(span.model, TrainedRule) else None
        if other is not None:
            raise DataStale(f"The claim {span.digest[:12]} does not hold: {other}.", hint="Leave out --model.")
    return rule.signals
