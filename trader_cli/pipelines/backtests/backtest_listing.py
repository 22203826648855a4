"""The backtests that are stored, in the order they were made, and in what each differs from the one before it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from trader_cli.core.json_values import object_of
from trader_cli.core.market.gaps import utc_text
from trader_cli.pipelines.backtests.backtest_differences import changed_keys
from trader_cli.pipelines.backtests.backtest_store import made_ms, stored

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trader_cli.core.identity.manifests import Manifest
    from trader_cli.core.json_values import JsonObject
    from trader_cli.pipelines.backtests.backtest_store import StoredBacktest
    from trader_cli.settings import Workspace
    from trader_cli.storage.artifacts import ArtifactStore

_TIMES = {"since_ms": "from", "until_ms": "to"}
_PLAYED = ("bars", "path", "mark", "funding")


@dataclass(frozen=True)
class ListedBacktest:
    """A backtest, when it was made (UTC ms), and what of it is another than of the one made before; none of the first.

    One that was made again was made then.
    """

    done: StoredBacktest
    made_ms: int
    differs: tuple[str, ...]

    def as_dict(self) -> JsonObject:
        """The JSON shape."""
        return {**self.done.as_dict(), "made_ms": self.made_ms, "differs": list(self.differs)}


def listed(workspace: Workspace, store: ArtifactStore) -> list[ListedBacktest]:
    """Every backtest of this profile that can be read, the oldest first."""
    made = sorted(((made_ms(workspace, store, one), one) for one in stored(workspace, store)), key=_by_time)
    before = [None, *(one for _, one in made)]
    return [
        ListedBacktest(one, at_ms, () if last is None else tuple(what_differs(last.manifest, one.manifest)))
        for last, (at_ms, one) in zip(before, made, strict=False)
    ]


def _by_time(made: tuple[int, StoredBacktest]) -> tuple[int, str]:
    return made[0], made[1].name


def what_differs(before: Manifest, this: Manifest) -> Iterator[str]:
    """What was chosen otherwise, key by key; then whether bars, market or code are others."""
    requests = [dict(object_of(one.notes.get("request", {}))) for one in (before, this)]
    for name, word in _TIMES.items():
        times = [one.pop(name, None) for one in requests]
        if times[0] != times[1]:
            yield f"{word} {' → '.join(utc_text(at) if isinstance(at, int) else str(at) for at in times)}"
    for name in ("symbols", "listing"):
        found = [one.pop(name, None) for one in requests]
        if found[0] != found[1]:
            yield f"other {name}"
    yield from changed_keys(requests[0], requests[1])
    chosen = [dict(object_of(one.notes.get("settings", {}))) for one in (before, this)]
    yield from _other_rule(*(dict(object_of(one.pop("rule", {}))) for one in chosen))
    yield from changed_keys(chosen[0], chosen[1])
    for name in ("seed", "market", "code"):
        if before.notes.get(name) != this.notes.get(name):
            yield f"other {name}"
    yield from _other_inputs(before.inputs, this.inputs)


def _other_rule(before: JsonObject, this: JsonObject) -> Iterator[str]:
    """Another rule, or another source or other parameters of the same."""
    names, sources = ([one.pop(name, None) for one in (before, this)] for name in ("name", "source"))
    if names[0] != names[1]:
        yield f"rule {' → '.join(str(name or 'none') for name in names)}"
    elif sources[0] != sources[1]:
        yield "the rule's source"
    yield from changed_keys(before, this, "rule.")


def _other_inputs(before: dict[str, str], this: dict[str, str]) -> Iterator[str]:
    """Of symbols in both: whose bars, or what is played beside them, were fetched since."""
    shared = before.keys() & this.keys()
    if any(before[name] != this[name] for name in shared if name.split(" ")[0] in _PLAYED):
        yield "other bars"
    elif any(before[name] != this[name] for name in shared if name.startswith("features ")):
        yield "other features"
