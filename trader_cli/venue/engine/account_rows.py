"""What an engine's account is, as rows: written in parts, each holding only what is new, and put together again.

Orders that have ended, fills and income never change: each is written once. What still waits is written every time.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from decimal import Decimal
from functools import cache
from typing import TYPE_CHECKING, TypeVar

from trader_cli.core.json_values import built, items_of, object_of, texts_of, whole_of
from trader_cli.venue.engine.books import Account, AlgoOrder, Fill, Income, Order, Owed, Position, SymbolOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from trader_cli.core.json_values import JsonObject
    from trader_cli.venue.engine.engine import Engine

_OF_THE_ACCOUNT = (
    "wallet",
    "hedge_mode",
    "fees_in_bnb",
    "maker_fee",
    "taker_fee",
    "multi_assets",
    "credits_mode",
)
Record = TypeVar("Record")


@dataclass
class Written:
    """What of an account has been written already."""

    ended: set[int] = field(default_factory=set)
    fills: int = 0
    income: int = 0

    def part(self, engine: Engine) -> JsonObject:
        """The next part: what is new, and everything that may change yet."""
        books = engine.account
        orders = [o for o in books.orders.values() if o.order_id not in self.ended]
        algos = [a for a in books.algos.values() if a.algo_id not in self.ended]
        return {
            "engine": engine.counters(),
            "account": {name: _written(getattr(books, name)) for name in _OF_THE_ACCOUNT},
            "others": {asset: str(amount) for asset, amount in books.others.items()},
            "positions": _rows(Position, books.positions.values()),
            "options": {name: [option.leverage, option.isolated] for name, option in books.options.items()},
            "orders": _rows(Order, orders),
            "algos": _rows(AlgoOrder, algos),
            "fills": _rows(Fill, books.fills[self.fills :]),
            "income": _rows(Income, books.income[self.income :]),
            "owed": _rows(Owed, books.owed),
            "countdowns": dict(books.countdowns),
        }

    def note(self, account: Account) -> None:
        """The part of this account has been written, or read."""
        self.ended |= {o.order_id for o in account.orders.values() if not o.is_open}
        self.ended |= {a.algo_id for a in account.algos.values() if not a.is_open}
        self.fills, self.income = len(account.fills), len(account.income)


def restore(engine: Engine, parts: Sequence[JsonObject]) -> None:
    """Bring a fresh engine to where the last of the parts, oldest first, was written. At least one is needed."""
    last = parts[-1]
    orders = {o.order_id: o for part in parts for o in _read(Order, part["orders"])}
    algos = {a.algo_id: a for part in parts for a in _read(AlgoOrder, part["algos"])}
    tables = {
        "positions": {p.symbol: p for p in _read(Position, last["positions"])},
        "options": {name: _option(row) for name, row in object_of(last["options"]).items()},
        "orders": dict(sorted(orders.items())),
        "algos": dict(sorted(algos.items())),
        "fills": [fill for part in parts for fill in _read(Fill, part["fills"])],
        "income": [income for part in parts for income in _read(Income, part["income"])],
        "others": {asset: Decimal(str(amount)) for asset, amount in object_of(last["others"]).items()},
        "owed": _read(Owed, last["owed"]) if "owed" in last else [],
        "countdowns": {name: whole_of(at) for name, at in object_of(last.get("countdowns", {})).items()},
    }
    simple = {name: _read_back(value) for name, value in object_of(last["account"]).items()}
    engine.account = built(Account, {**simple, **tables})
    engine.set_counters([whole_of(counter) for counter in items_of(last["engine"])])
    for at_ms in (*engine.account.countdowns.values(), *(o.good_till_ms for o in engine.account.open_orders())):
        if at_ms:
            engine.note_due(at_ms)


def _option(row: object) -> SymbolOptions:
    leverage, isolated = items_of(row)
    return SymbolOptions(whole_of(leverage), bool(isolated))


def _written(value: Decimal | bool | None) -> str | bool | None:
    return str(value) if isinstance(value, Decimal) else value


def _read_back(value: object) -> object:
    return Decimal(value) if isinstance(value, str) else value


@cache
def _columns(kind: type) -> tuple[tuple[str, bool], ...]:
    """Names of a record's fields, and whether each is a `Decimal`."""
    return tuple((column.name, column.type in {"Decimal", Decimal}) for column in fields(kind))


def _rows(kind: type, records: Iterable[object]) -> JsonObject:
    columns = _columns(kind)
    rows = [
        [str(getattr(r, name)) if is_decimal else getattr(r, name) for name, is_decimal in columns] for r in records
    ]
    return {"columns": [name for name, _ in columns], "rows": rows}


def _read(kind: type[Record], table: object) -> list[Record]:
    """Records of a table; a column that was not written yet has its default."""
    plain: type = kind
    body, columns = object_of(table), _columns(plain)
    names, decimals = texts_of(body["columns"]), {name for name, is_decimal in columns if is_decimal}
    places = [at for at, name in enumerate(names) if name in decimals]
    rows = [items_of(row) for row in items_of(body["rows"])]
    for row in rows:
        for at in places:
            row[at] = Decimal(str(row[at]))
    made: Callable[..., Record] = kind
    if names == tuple(name for name, _ in columns):
        return [made(*row) for row in rows]
    return [made(**dict(zip(names, row, strict=True))) for row in rows]
