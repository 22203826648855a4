"""Two backtests held against each other: what of the one is another's, what each difference is worth in money, and the
first decision it changed.

Each cause is exchanged alone, in the order of `backtest_recipe.CAUSES`: the first backtest is run again with that part
of the second. What all of them together come to beyond the sum is the interaction; where the code is another one, that
is in it. No run of a comparison is stored, and none is a trial.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import polars as pl

from trader_cli.backtest.records import framed
from trader_cli.core.errors import TraderError, UsageError
from trader_cli.core.market.gaps import utc_text
from trader_cli.core.ports import silent
from trader_cli.pipelines.backtests.backtest_differences import differences
from trader_cli.pipelines.backtests.backtest_recipe import Recipe, prepare, workspace_for
from trader_cli.pipelines.backtests.backtest_request import FRICTIONS, WALK_FORWARD
from trader_cli.pipelines.backtests.fold_backtest import fold_trading, trade_folds
from trader_cli.pipelines.backtests.prepared_backtest import trade
from trader_cli.pipelines.stages.code_digest import code_digest

if TYPE_CHECKING:
    from trader_cli.core.json_values import JsonObject
    from trader_cli.core.ports import Progress
    from trader_cli.pipelines.backtests.backtest_store import StoredBacktest
    from trader_cli.settings import Workspace
    from trader_cli.storage.artifacts import ArtifactStore

_DECIDED = ("time", "symbol", "kind", "code", "sentence", "probability")


@dataclass(frozen=True)
class FirstDecision:
    """Where two runs parted: what each decided then, "nothing" where it did not."""

    time_ms: int
    symbol: str
    before: str
    after: str


@dataclass(frozen=True)
class Cause:
    """One difference: what is another, in sentences; what it is worth alone in the quote asset; what it changed first.

    `refused` says why it could not be exchanged alone, and `worth` is then null: it is in the interaction.
    """

    cause: str
    differences: tuple[str, ...]
    worth: float | None
    first_decision: FirstDecision | None
    refused: str | None = None


@dataclass(frozen=True)
class Comparison:
    """`profits` are those of both; the worths of the causes and the interaction add up to their difference."""

    names: tuple[str, str]
    profits: tuple[float, float]
    causes: tuple[Cause, ...]
    other_code: str | None
    interaction: float
    first_decision: FirstDecision | None
    remark: str | None = None
    """Where only their span was chosen otherwise, that."""

    @property
    def difference(self) -> float:
        """Profit of the second less that of the first."""
        return self.profits[1] - self.profits[0]

    def as_dict(self) -> JsonObject:
        """The JSON shape."""
        return {**asdict(self), "difference": self.difference}


def compare(
    workspace: Workspace,
    store: ArtifactStore,
    first: StoredBacktest,
    second: StoredBacktest,
    progress: Progress = silent,
) -> Comparison:
    """Hold two stored backtests against each other.

    Raises `UsageError` where they trade other symbols or bars of another length: nothing of one would fit the other.
    """
    one, two = Recipe.of(first.manifest), Recipe.of(second.manifest)
    if (one.request.symbols, one.request.timeframe) != (two.request.symbols, two.request.timeframe):
        raise UsageError(
            f"{first.name} trades {', '.join(one.request.symbols)} {one.request.timeframe}, {second.name}"
            f" {', '.join(two.request.symbols)} {two.request.timeframe}: nothing of one fits the other.",
            hint="Compare backtests of the same symbols and bars.",
        )
    if bool(one.folds) != bool(two.folds):
        raise UsageError(
            "One of them traded the folds of a model, the other models on later bars: nothing of one fits the other.",
            hint="Compare two backtests with --folds, or two without.",
        )
    found = one.differing(two)
    decided = (_decisions(first, store), _decisions(second, store))
    profits = (_profit(first), _profit(second))
    start = (profits[0], decided[0]) if one.code == code_digest() or not found else _run(one, workspace, store)
    causes = []
    for done, cause in enumerate(found):
        progress("runs with one cause exchanged", done, len(found))
        causes.append(_cause(cause, (one, two), start, workspace, store))
    told = sum(cause.worth or 0.0 for cause in causes)
    return Comparison(
        (first.name, second.name),
        profits,
        tuple(causes),
        None if one.code == two.code else f"{one.code} → {two.code}",
        profits[1] - profits[0] - told,
        first_changed(*decided),
        of_the_span(one, two, found),
    )


def of_the_span(one: Recipe, two: Recipe, found: list[str]) -> str | None:
    """Where two differ in their span, and in models made for no other reason than that: a sentence with both spans."""
    is_walk = one.request.model == two.request.model == WALK_FORWARD and one.request.refit_ms == two.request.refit_ms
    if "span" not in found or not set(found) <= {"span", *(["model"] if is_walk else [])}:
        return None
    spans = [f"{utc_text(since)} to {utc_text(until)}" for since, until in (one.span, two.span)]
    since, until = max(one.span[0], two.span[0]), min(one.span[1], two.span[1])
    both = f"both trade {utc_text(since)} to {utc_text(until)}" if since < until else "no close is in both"
    models = "; models were trained anew at other times, because the span begins elsewhere" if "model" in found else ""
    return f"They differ in nothing but their span, {spans[0]} and {spans[1]}: {both}{models}."


def _profit(done: StoredBacktest) -> float:
    return done.figures.final_equity - done.figures.balance


def _decisions(done: StoredBacktest, store: ArtifactStore) -> pl.DataFrame:
    found = done.part(store, "decisions")
    return framed({})["decisions"] if found is None else found


def _run(recipe: Recipe, workspace: Workspace, store: ArtifactStore) -> tuple[float, pl.DataFrame]:
    """(profit, decisions) of a recipe."""
    if recipe.folds:
        own = workspace_for(recipe, workspace)
        frictions = tuple(friction for friction in FRICTIONS if getattr(recipe, friction))
        frames, balance = trade_folds(own, fold_trading(own, store, recipe.folds), frictions)
        return float(frames["equity"]["equity"][-1]) - balance, frames["decisions"]
    prepared = prepare(recipe, workspace, store)
    account = trade(prepared)
    frames = account.records.frames()
    return float(frames["equity"]["equity"][-1]) - prepared.workspace.settings.sim.balance, frames["decisions"]


def _cause(
    cause: str,
    recipes: tuple[Recipe, Recipe],
    start: tuple[float, pl.DataFrame],
    workspace: Workspace,
    store: ArtifactStore,
) -> Cause:
    one, two = recipes
    told = differences(cause, one, two, workspace.mode, store)
    try:
        profit, decided = _run(one.taking(cause, two), workspace, store)
    except TraderError as error:
        return Cause(cause, told, None, None, str(error))
    return Cause(cause, told, profit - start[0], first_changed(start[1], decided))


def first_changed(before: pl.DataFrame, after: pl.DataFrame) -> FirstDecision | None:
    """The first row in which two frames of DECISIONS differ, by time."""
    rows = [frame.select(_DECIDED).with_columns(pl.col("time").dt.epoch("ms")).rows() for frame in (before, after)]
    at = next((n for n, (x, y) in enumerate(zip(*rows, strict=False)) if x != y), min(map(len, rows)))
    found = [one[at] if at < len(one) else None for one in rows]
    known = [row for row in found if row is not None]
    if not known:
        return None
    time_ms = min(row[0] for row in known)
    symbol = next(row[1] for row in known if row[0] == time_ms)
    said = [_said(row) if row is not None and row[0] == time_ms and row[1] == symbol else "nothing" for row in found]
    return FirstDecision(int(time_ms), str(symbol), said[0], said[1])


def _said(row: tuple[object, ...]) -> str:
    _, _, kind, code, sentence, probability = row
    chance = "" if not isinstance(probability, float) else f", probability {probability:.4f}"
    return f"{kind} ({code}{chance}): {sentence}"
