"""What the exchange lists: read again when asked, and remembered on disk for when it cannot be read."""

from __future__ import annotations

import json
from contextlib import suppress
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from trader_cli.core.errors import ExchangeUnavailable, NotListed
from trader_cli.core.money.assets import margin_asset_of
from trader_cli.exchange.connection import replies
from trader_cli.exchange.market_data.remembered_file import remember
from trader_cli.exchange.market_data.symbol_filters import symbol_rules

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from pathlib import Path

    from trader_cli.core.money.orders import SymbolRules

_KEPT = (
    "symbol",
    "status",
    "contractType",
    "deliveryDate",
    "onboardDate",
    "baseAsset",
    "quoteAsset",
    "marginAsset",
    "filters",
)
"""What of a symbol's description matters to us: remembered, and compared."""

_WRITTEN_AGAIN_MS = 3_600_000
_PERPETUALS = frozenset({"PERPETUAL", "TRADIFI_PERPETUAL"})

Bodies = dict[str, dict[str, Any]]


def remembered_rules(path: Path, symbol: str) -> SymbolRules | None:
    """The filters of a symbol as they were last listed; `None` where the file does not know it."""
    book = SymbolBook(path)
    return symbol_rules(book.bodies[symbol]) if book.recall() and symbol in book.bodies else None


class SymbolBook:
    """The exchange's descriptions of its symbols, by name. `path` is the file that remembers them; None: nothing does.

    The file helps where the exchange fails; one that cannot be written or read stops nothing.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.bodies: Bodies = {}
        self._rules: dict[str, SymbolRules] = {}
        self._rules_of: Bodies | None = None
        self._read_rules: dict[str, tuple[object, SymbolRules]] = {}
        self._path = path
        self._read_ms: int | None = None
        self._written_ms: int | None = None

    def learn(self, reply: Any, server_ms: int) -> bool:
        """Take over exchange information read at `server_ms`; whether anything of any symbol is other than before.

        Raises `ExchangeUnavailable` for one without symbols.
        """
        information = replies.as_mapping(reply, "exchange information", "symbols")
        bodies: Bodies = replies.parsed("symbols", information, lambda r: {str(s["symbol"]): s for s in r["symbols"]})
        if not bodies:
            raise ExchangeUnavailable("The exchange lists no symbols.", hint="Check binance_exchange.base_url.")
        changed = _essence(bodies) != _essence(self.bodies)
        self.bodies, self._read_ms = bodies, server_ms
        if changed or self._written_ms is None or server_ms - self._written_ms > _WRITTEN_AGAIN_MS:
            with suppress(OSError):  # a full disk stops no trading: what is in memory counts
                self._write()
                self._written_ms = server_ms
        return changed

    def recall(self) -> bool:
        """Take over what was remembered, where nothing is known yet; whether something was."""
        if self.bodies or self._path is None:
            return bool(self.bodies)
        with suppress(OSError, ValueError, KeyError, TypeError):  # what is damaged is as if it were not there
            kept = json.loads(self._path.read_bytes())
            bodies, read_ms = {str(s["symbol"]): dict(s) for s in kept["symbols"]}, int(kept["read_ms"])
            self.bodies, self._read_ms = bodies, read_ms
        return bool(self.bodies)

    def require(self, symbol: str) -> None:
        """Raises `NotListed` for what is not listed. Where no list was to be had, the exchange says it."""
        if self.bodies and symbol not in self.bodies:
            raise self.unknown(symbol)

    def unknown(self, symbol: str) -> NotListed:
        """That a symbol is not listed, and what may have been meant."""
        listed = list(self.bodies)
        near = get_close_matches(symbol.upper(), listed, n=3, cutoff=0.5)
        some = f"It lists {', '.join(listed[:5])}{' …' if len(listed) > 5 else ''}."
        hint = f"Did you mean {', '.join(near)}?" if near else some if listed else "Its symbols could not be read."
        return NotListed(f"The exchange does not list the symbol {symbol!r}.", hint=hint)

    @property
    def names(self) -> Collection[str]:
        """Every symbol that is listed."""
        return self.bodies.keys()

    def status(self, symbol: str) -> str | None:
        """What the exchange says of a symbol; `None` where it does not list it."""
        return str(self.bodies[symbol].get("status", "TRADING")) if symbol in self.bodies else None

    def trading_perpetuals(self) -> set[str]:
        """Perpetual contracts quoted in USDT, those of gold, stocks and the like (TradFi) too, that trade now."""
        return {name for name, body in self.bodies.items() if _is_trading_perpetual(body)}

    def age_s(self, server_ms: int) -> float:
        """Seconds since they were read; infinite if they never were."""
        return float("inf") if self._read_ms is None else max(0, server_ms - self._read_ms) / 1000

    def rules(self, symbol: str) -> SymbolRules | None:
        """The filters of a symbol; None where it is not known. Raises `ExchangeUnavailable` for unreadable ones."""
        body = self.bodies.get(symbol)
        if body is None:
            return None
        known = self._read_rules.get(symbol)
        if known is None or known[0] is not body:  # each answer of the exchange brings new descriptions
            known = self._read_rules[symbol] = body, replies.parsed("the symbol's filters", body, symbol_rules)
        return known[1]

    def every_rules(self) -> Mapping[str, SymbolRules]:
        """The filters of every symbol whose name says in what it is margined; one that cannot be read is left out."""
        if self._rules_of is not self.bodies:
            self._rules_of, self._rules = self.bodies, dict(_readable_rules(self.bodies))
        return self._rules

    def _write(self) -> None:
        if self._path is None:
            return
        remember(self._path, {"read_ms": self._read_ms, "symbols": list(_essence(self.bodies).values())})


def _is_trading_perpetual(body: Mapping[str, Any]) -> bool:
    found = body.get("quoteAsset"), body.get("status")
    return body.get("contractType") in _PERPETUALS and found == ("USDT", "TRADING")


def _readable_rules(bodies: Bodies) -> Iterator[tuple[str, SymbolRules]]:
    for symbol, body in bodies.items():
        if (body.get("marginAsset") or body.get("quoteAsset")) == margin_asset_of(symbol):
            with suppress(KeyError, ValueError):
                yield symbol, symbol_rules(body)


def _essence(bodies: Mapping[str, Mapping[str, Any]]) -> Bodies:
    return {symbol: {name: body[name] for name in _KEPT if name in body} for symbol, body in bodies.items()}
