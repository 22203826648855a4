"""In what two backtests differ, in sentences: which candle, which column, which file of a bundle, which key."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from trader_cli.core.errors import DataError
from trader_cli.core.json_values import object_of
from trader_cli.core.market.gaps import utc_text
from trader_cli.core.market.schemas import milliseconds
from trader_cli.pipelines.backtests.backtest_request import FRICTIONS
from trader_cli.pipelines.backtests.model_names import FIRST
from trader_cli.pipelines.backtests.stored_tape import FINEST
from trader_cli.storage.artifacts import stage_key
from trader_cli.storage.bundles import BundleStore

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from trader_cli.pipelines.backtests.backtest_recipe import Recipe
    from trader_cli.storage.artifacts import ArtifactStore

_SHORT = 12


def differences(cause: str, one: Recipe, two: Recipe, profile: str, store: ArtifactStore) -> tuple[str, ...]:
    """What of a cause is another in `two`."""
    if cause == "span":
        return (f"{_span(one)} → {_span(two)}",)
    if cause in FRICTIONS:
        return (f"{cause} {_switch(getattr(one, cause))} → {_switch(getattr(two, cause))}",)
    if cause == "seed":
        return (f"seed {one.seed} → {two.seed}",)
    if cause in {"setting", "cost"}:
        part = "settings" if cause == "setting" else "costs"
        prefix = "" if cause == "setting" else "costs."
        return tuple(f"{prefix}{line}" for line in changed_keys(getattr(one, part), getattr(two, part)))
    if cause == "model":
        return tuple(_models(one, two, store))
    return tuple(_frames(cause, one, two, profile, store))


def _switch(on: object) -> str:
    return "on" if on else "off"


def _span(recipe: Recipe) -> str:
    return f"{utc_text(recipe.span[0])} to {utc_text(recipe.span[1])}"


def changed_keys(one: Mapping[str, object], two: Mapping[str, object], within: str = "") -> Iterator[str]:
    """`tactician.risk_per_trade 0.01 → 0.02`, for each key that is another."""
    for name in sorted({*one, *two}):
        before, after = one.get(name), two.get(name)
        if before == after:
            continue
        if isinstance(before, dict) and isinstance(after, dict):
            yield from changed_keys(object_of(before), object_of(after), f"{within}{name}.")
        else:
            yield f"{within}{name} {before} → {after}"


def _models(one: Recipe, two: Recipe, store: ArtifactStore) -> Iterator[str]:
    bundles = BundleStore(store.root / "models")
    if one.folds != two.folds:
        which = f"folds of {_short(one.folds)} → {_short(two.folds)}"
        yield f"{which}{_changed_files(bundles, one.folds, two.folds)}"
    for name in sorted({*one.models, *two.models}):
        before, after = one.models.get(name), two.models.get(name)
        if before != after:
            symbol, from_ms = name
            since = "" if from_ms == FIRST else f" from {utc_text(from_ms)} on"
            which = f"model of {symbol}{since}: {_short(before)} → {_short(after)}"
            files = _changed_files(bundles, before, after) if before and after else ""
            yield f"{which}{files}"


def _changed_files(bundles: BundleStore, before: str, after: str) -> str:
    """Which files of two bundles differ, if they can be read."""
    try:
        one, two = (object_of(bundles.description(digest)["files"]) for digest in (before, after))
    except (DataError, KeyError, TypeError):
        return ""
    changed = [name for name in sorted({*one, *two}) if one.get(name) != two.get(name)]
    return f" ({', '.join(changed)})" if changed else ""


def _short(digest: str | None) -> str:
    return "none" if digest is None else digest[:_SHORT]


def _frames(cause: str, one: Recipe, two: Recipe, profile: str, store: ArtifactStore) -> Iterator[str]:
    """Of bars, funding and features: the first row that differs, and how many do."""
    digests = [recipe.features if cause == "feature" else recipe.bars for recipe in (one, two)]
    if cause == "bars" and one.market != two.market:
        yield from (f"market {line}" for line in changed_keys(one.market, two.market))
    for name in sorted({*digests[0], *digests[1]}):
        before, after = digests[0].get(name), digests[1].get(name)
        if before == after:
            continue
        told = f"{name}: {_short(before)} → {_short(after)}"
        this, that = (_read(store, profile, one, name, digest) for digest in (before, after))
        found = None if this is None or that is None else first_row(this, that)
        yield told if found is None else f"{told}, {found}"


def _read(store: ArtifactStore, profile: str, recipe: Recipe, name: str, digest: str | None) -> pl.DataFrame | None:
    stage, symbol = name.split(" ")
    known = recipe.request.timeframe
    timeframes = (FINEST, known) if stage in {"path", "mark"} else (known,)
    for timeframe in timeframes:
        try:
            key = stage_key(profile, symbol, timeframe, "bars" if stage == "path" else stage)
            return None if digest is None else store.read(store.manifest(digest, key))
        except DataError:
            continue
    return None


def first_row(before: pl.DataFrame, after: pl.DataFrame) -> str | None:
    """The first row in which two frames with times in their first column differ; None where all are alike."""
    key = before.columns[0]
    shared = [name for name in before.columns if name in after.columns]
    told = (("without", before, after), ("with the new", after, before))
    others = [(word, [name for name in this.columns if name not in that.columns]) for word, this, that in told]
    columns = "".join(f"; {word} column {', '.join(names[:3])}" for word, names in others if names)
    both = before.select(shared).join(after.select(shared), on=key, how="full", suffix=" after", coalesce=True)
    both = both.sort(key)
    only = pl.lit(value=False)
    for name in shared[1:]:
        only |= pl.col(name).ne_missing(pl.col(f"{name} after"))
    changed = both.filter(only)
    if changed.is_empty():
        return columns.removeprefix("; ") or None
    row, at = changed.row(0, named=True), int(milliseconds(changed[key])[0])
    named = [name for name in shared[1:] if row[name] != row[f"{name} after"]]
    what = f"{named[0]} {row[named[0]]} → {row[f'{named[0]} after']}" if named else "row"
    more = f" and {len(named) - 1} more columns" if len(named) > 1 else ""
    return f"{changed.height} rows of {both.height}, the first at {utc_text(at)}: {what}{more}{columns}"
