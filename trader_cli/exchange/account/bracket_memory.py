"""Leverage brackets as an account was told them, remembered on disk: backtests of the same market are margined by them.

What trades live is told them anew each time, and takes nothing from here.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise
from typing import TYPE_CHECKING

from trader_cli.core.errors import DataInvalid
from trader_cli.core.json_values import items_of, object_of, objects_of, texts_of, whole_of
from trader_cli.core.market.gaps import utc_text
from trader_cli.core.money.orders import LeverageBracket
from trader_cli.exchange.account.account_replies import brackets_of
from trader_cli.exchange.market_data.remembered_file import remember

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    from trader_cli.core.json_values import JsonObject

BRACKETS_FILE = "brackets.json"
"""Beside the file that remembers the symbols."""
_KEPT = ("bracket", "initialLeverage", "notionalCap", "notionalFloor", "maintMarginRatio", "cum")
_MOST_LEVERAGE = 500
_UNREADABLE = (OSError, ValueError, KeyError, TypeError, ArithmeticError)


@dataclass(frozen=True)
class KnownBrackets:
    """The brackets of a symbol, lowest notional first, and where they are from."""

    rows: tuple[LeverageBracket, ...]
    origin: str

    def as_dict(self) -> JsonObject:
        """The JSON shape: each row is (largest notional, highest leverage, maintenance margin rate, its offset)."""
        told = [(r.notional_cap, Decimal(r.max_leverage), r.maintenance_rate, r.offset) for r in self.rows]
        return {"origin": self.origin, "rows": [[f"{number:f}" for number in row] for row in told]}

    @classmethod
    def from_dict(cls, body: Mapping[str, object]) -> KnownBrackets:
        """The inverse of `as_dict`."""
        read = [[Decimal(text) for text in texts_of(row)] for row in items_of(body["rows"])]
        return cls(tuple(LeverageBracket(c, int(lev), rate, off) for c, lev, rate, off in read), str(body["origin"]))


class BracketMemory:
    """The answers last heard, by symbol, in a file; None: none. What cannot be written stops nothing."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._heard: dict[str, JsonObject] | None = None

    def hear(self, symbol: str, reply: object, at_ms: int) -> None:
        """Remember an answer of the exchange, given at a time; the same one again is not written again."""
        rows = [reply] if isinstance(reply, dict) else items_of(reply)
        row = next((r for r in map(object_of, rows) if r.get("symbol") == symbol), None)
        if self._path is None or row is None:
            return
        brackets = [{name: each.get(name) for name in _KEPT} for each in objects_of(row["brackets"])]
        kept: JsonObject = {"symbol": symbol, "notionalCoef": row.get("notionalCoef") or 1, "brackets": brackets}
        heard = self._recalled()
        if {**heard.get(symbol, {}), "read_ms": 0} == {**kept, "read_ms": 0}:
            return
        heard[symbol] = {**kept, "read_ms": at_ms}
        with suppress(OSError):  # a full disk stops no trading
            remember(self._path, {"symbols": heard})

    def known(self, symbol: str) -> KnownBrackets | None:
        """What was last heard of a symbol; None where nothing was, or it cannot be read."""
        row = self._recalled().get(symbol)
        if row is None:
            return None
        with suppress(*_UNREADABLE):
            told = utc_text(whole_of(row["read_ms"]))
            return KnownBrackets(_sound(brackets_of(row, symbol)), f"as the exchange told an account first on {told}")
        return None

    def _recalled(self) -> dict[str, JsonObject]:
        if self._heard is None:
            self._heard = {}
            if self._path is not None:
                with suppress(*_UNREADABLE):  # what is damaged is as if it were not there
                    self._heard = {
                        str(s): dict(row) for s, row in json.loads(self._path.read_bytes())["symbols"].items()
                    }
        return self._heard


def _sound(rows: tuple[LeverageBracket, ...]) -> tuple[LeverageBracket, ...]:
    """The same, if a position can be margined by them. Raises `ValueError`."""
    caps = [row.notional_cap for row in rows]
    if not rows:
        raise ValueError("there is not one")
    if not all(0 < low < high for low, high in pairwise([caps[0] / 2, *caps])):
        raise ValueError("each must reach to a larger notional than the one before")
    if not all(
        1 <= row.max_leverage <= _MOST_LEVERAGE and 0 < row.maintenance_rate < 1 <= 1 + row.offset for row in rows
    ):
        raise ValueError(f"leverage is 1 to {_MOST_LEVERAGE}, a maintenance margin a share of the notional")
    return rows


def brackets_in(path: Path, symbols: Collection[str]) -> dict[str, KnownBrackets]:
    """Of a file that holds an answer of /fapi/v1/leverageBracket, those of the symbols it has.

    Raises `DataInvalid` for a file that is none.
    """
    try:
        reply = json.loads(path.read_bytes())
        rows = reply if isinstance(reply, list) else [reply]
        names = {str(row["symbol"]) for row in rows} & set(symbols)
        return {
            name: KnownBrackets(_sound(brackets_of(rows, name)), f"of the file {path.name}") for name in sorted(names)
        }
    except _UNREADABLE as error:
        raise DataInvalid(
            f"{path} holds no leverage brackets: {str(error) or type(error).__name__}.",
            hint="backtest.brackets names an answer of GET /fapi/v1/leverageBracket, as JSON.",
        ) from error
