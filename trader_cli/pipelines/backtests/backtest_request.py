"""What a backtest is asked."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from trader_cli.core.errors import UsageError
from trader_cli.core.json_values import object_of, texts_of, whole_of
from trader_cli.core.market.timeframes import Timeframe
from trader_cli.pipelines.backtests.declared_listing import ListingProof

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from trader_cli.core.json_values import JsonObject

WALK_FORWARD, CURRENT, ON_BARS, FOLDS = "walk-forward", "current", "on-bars", "folds of "
Friction = Literal["latency", "impact", "compounding"]
FRICTIONS: tuple[Friction, ...] = ("latency", "impact", "compounding")
"""What the trades behind a claim are made without: the time an order takes, a spread, book and path of prices of their
own, and a size that goes with the account."""
Speed = Literal["fast", "faithful"]
"""From one possible event to the next, or every look and close: the same trades."""


@dataclass(frozen=True)
class BacktestRequest:
    """What to trade, over which closes, and by which models.

    `since_ms` None is the later half of what is stored, `until_ms` None its end. `model` is `WALK_FORWARD` (trained
    anew every `refit_ms`), `CURRENT`, the digest of a bundle, `ON_BARS`: a rule on bare bars, without all of this; or
    `FOLDS` with a digest: the trades behind a bundle's claim, on an ideal market but for `frictions`.
    `top`: only so many of the symbols, the largest by volume at each refit. `survivors`: they were chosen of what is
    stored today. `listing`: what a list says of whether they are all that were tradable.
    `speed` changes nothing of the result.
    """

    symbols: tuple[str, ...]
    timeframe: Timeframe
    since_ms: int | None
    until_ms: int | None
    model: str
    refit_ms: int
    speed: Speed = field(default="fast", compare=False)
    top: int | None = None
    survivors: bool = False
    listing: ListingProof | None = None
    frictions: tuple[Friction, ...] = ()

    def as_dict(self) -> JsonObject:
        """The JSON shape."""
        return {
            "symbols": list(self.symbols),
            "timeframe": self.timeframe.name,
            "since_ms": self.since_ms,
            "until_ms": self.until_ms,
            "model": self.model,
            "refit_ms": self.refit_ms,
            "top": self.top,
            "survivors": self.survivors,
            **({} if self.listing is None else {"listing": self.listing.as_dict()}),
            **({"frictions": list(self.frictions)} if self.frictions else {}),
        }

    @classmethod
    def from_dict(cls, body: Mapping[str, object]) -> BacktestRequest:
        """The inverse of `as_dict`, of a span that is known."""
        return cls(
            tuple(texts_of(body["symbols"])),
            Timeframe.parse(str(body["timeframe"])),
            whole_of(body["since_ms"]),
            whole_of(body["until_ms"]),
            str(body["model"]),
            whole_of(body["refit_ms"]),
            top=None if body.get("top") is None else whole_of(body["top"]),
            survivors=bool(body.get("survivors", False)),
            listing=ListingProof.from_dict(object_of(body["listing"])) if "listing" in body else None,
            frictions=frictions_of(texts_of(body.get("frictions", []))),
        )


def frictions_of(names: Sequence[str]) -> tuple[Friction, ...]:
    """Frictions by name, in their order. Raises `UsageError` for one that is none."""
    wrong = [name for name in names if name not in FRICTIONS]
    if wrong:
        raise UsageError(f"{wrong[0]!r} is no friction: {', '.join(FRICTIONS)}.")
    return tuple(each for each in FRICTIONS if each in names)
