"""What a page is made of: the rows and figures of one run, its market, and what it rests on. Values only."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from trader_cli.backtest.exposure_held import Closes, ExposureBook, exposure_book
from trader_cli.core.market.schemas import BARS

if TYPE_CHECKING:
    from collections.abc import Mapping

    import polars as pl

    from trader_cli.analyst.model_card import ModelCard
    from trader_cli.backtest.figures import Figures
    from trader_cli.core.market.timeframes import Timeframe

_NAMED, _DRAWN = 4, 12
"""At most so many symbols stand in the heading, and so many can be chosen in the chart."""
RunKind = Literal["backtest", "session", "account"]


@dataclass(frozen=True)
class RunReport:
    """One run. `frames` are those of `backtest.records`, `bars` the BARS of each symbol within the span, if known.

    `assumptions` and `made_from` are name → text, for people; texts may hold anything and are escaped where they are
    shown. `figures` None: nothing of it can be told, because no equity was seen.
    """

    kind: RunKind
    name: str
    symbols: tuple[str, ...]
    timeframe: Timeframe
    since_ms: int
    until_ms: int
    figures: Figures
    frames: Mapping[str, pl.DataFrame]
    bars: Mapping[str, pl.DataFrame]
    assumptions: Mapping[str, str]
    made_from: Mapping[str, str]
    is_made_up: bool = False
    """Whether the market was made up from a seed."""
    remark: str = ""
    """What else belongs to the verdict."""
    models: tuple[ModelCard, ...] = ()
    """Those that decided, by when they learned last, as far as they are stored still."""

    @property
    def title(self) -> str:
        """Its symbols, in so many words that a heading holds them."""
        more = len(self.symbols) - _NAMED
        return ", ".join(self.symbols[:_NAMED]) + (f" and {more} more" if more > 0 else "")

    @cached_property
    def drawn(self) -> tuple[str, ...]:
        """The symbols whose bars are drawn: those traded most, or where none was the first; of which bars are known."""
        known = [symbol for symbol in self.symbols if not self.bars.get(symbol, BARS.empty()).is_empty()]
        counts = Counter(self.frames["trades"]["symbol"].to_list())
        traded = sorted((symbol for symbol in known if counts[symbol]), key=lambda symbol: -counts[symbol])
        return tuple(symbol for symbol in known if symbol in traded[:_DRAWN]) or tuple(known[:1])

    @cached_property
    def book(self) -> ExposureBook:
        """Gains and exposure, bar by bar."""
        closes = {
            symbol: Closes.of(frame, self.timeframe) for symbol, frame in self.bars.items() if not frame.is_empty()
        }
        return exposure_book(self.frames["equity"], self.frames["fills"], closes)
