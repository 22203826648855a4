"""What the lines of a ledger did to the wallets of an account, each amount in the asset it was paid in."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING

from trader_cli.core.money.assets import QUOTE, Flow, by_asset, settled_in
from trader_cli.core.money.loss_limits import EquityPoint
from trader_cli.storage.ledger_faults import REBUILD, LedgerDamaged
from trader_cli.storage.row_reading import RowReading

if TYPE_CHECKING:
    from trader_cli.storage.row_reading import Read

_NO_END_MS = 1 << 62


class MoneyReading(RowReading):
    """What the ledger says of the account's money."""

    def incomes(self, symbol: str | None = None) -> list[tuple[str, str, Decimal, int]]:
        """(kind, symbol, amount, time) of income other than fills, oldest first."""
        rows = self._rows(
            "SELECT kind, symbol, amount, time_ms FROM income WHERE ? IS NULL OR symbol = ? ORDER BY time_ms",
            (symbol, symbol),
        )
        return [(r[0], r[1], decimal_of(r[2]), r[3]) for r in rows]

    def money_since_ms(self) -> int | None:
        """Since when the account's money is watched: our first fill on any symbol, or an earlier look at it."""
        return first_of(self._rows)

    def last_income_ms(self) -> int:
        """Time of the newest income or transfer recorded, 0 if there is none."""
        return last_of(self._rows)

    def levels(self, after: int = 0) -> list[tuple[int, str, EquityPoint]]:
        """(number, asset, level) of what looks at the account saw, in the order written; only those after a number."""
        return levels_of(self._rows, after)

    def transfers(self, asset: str) -> list[tuple[int, Decimal]]:
        """(time, amount) of what was paid in or out of an asset, oldest first."""
        return transfers_of(self._rows, asset)

    def was_held(self, symbol: str, start_ms: int, end_ms: int) -> bool:
        """Whether anything of ours was held at any moment from `start_ms` to `end_ms`."""
        return any(
            amount and first <= end_ms and last >= start_ms for first, last, amount in held_of(self._rows, symbol)
        )

    def flows(self) -> list[Flow]:
        """Everything our fills and other income did to the wallets, each in its own asset, oldest first."""
        return flows_of(self._rows)

    def nets(self) -> dict[str, Decimal]:
        """What all our fills and other income have done to the wallet of each asset."""
        return by_asset(self.flows())

    def net_income(self, asset: str = QUOTE) -> Decimal:
        """What all our fills and other income have done to the wallet of one asset."""
        return self.nets().get(asset, Decimal(0))


def flows_of(read: Read) -> list[Flow]:
    """Profits, fees and other income, oldest first. Income of before its asset was written is of the margin asset."""
    flows = []
    fills = read("SELECT symbol, time_ms, realized, commission, commission_asset FROM fills")
    for symbol, time_ms, realized, fee, fee_asset in fills:
        margin = settled_in(symbol, fee_asset)
        flows.append(Flow(int(time_ms), decimal_of(realized), margin, margin))
        flows.append(Flow(int(time_ms), -decimal_of(fee), str(fee_asset or margin), margin))
    asset = "asset" if _has_income_assets(read) else "NULL"
    for symbol, time_ms, amount, paid_in in read(f"SELECT symbol, time_ms, amount, {asset} FROM income"):  # noqa: S608
        margin = settled_in(symbol, paid_in) if symbol or not paid_in else str(paid_in)
        flows.append(Flow(int(time_ms), decimal_of(amount), str(paid_in or margin), margin))
    return sorted((flow for flow in flows if flow.amount), key=lambda flow: flow.time_ms)


def levels_of(read: Read, after: int) -> list[tuple[int, str, EquityPoint]]:
    """(number, asset, level) of what looks at the account saw, in the order written."""
    if not _has_table(read, "levels"):
        return []
    rows = read("SELECT number, asset, wallet, equity, at_ms FROM levels WHERE number > ? ORDER BY number", (after,))
    return [
        (int(number), str(asset), EquityPoint(int(at_ms), decimal_of(wallet), decimal_of(equity)))
        for number, asset, wallet, equity, at_ms in rows
    ]


def transfers_of(read: Read, asset: str) -> list[tuple[int, Decimal]]:
    """(time, amount) of what was paid in or out of an asset, oldest first."""
    if not _has_table(read, "transfers"):
        return []
    rows = read("SELECT time_ms, amount FROM transfers WHERE asset = ? ORDER BY time_ms", (asset,))
    return [(int(time_ms), decimal_of(amount)) for time_ms, amount in rows]


def held_of(read: Read, symbol: str) -> list[tuple[int, int, Decimal]]:
    """(from, to, signed amount) of what our fills of a symbol came to, oldest first; the last one has no end."""
    rows = read("SELECT time_ms, side, quantity FROM fills WHERE symbol = ? ORDER BY time_ms, trade_id", (symbol,))
    amount, held = Decimal(0), []
    for time_ms, side, quantity in rows:
        amount += decimal_of(quantity) if side == "BUY" else -decimal_of(quantity)
        held.append((int(time_ms), amount))
    ends = [*(time_ms for time_ms, _ in held[1:]), _NO_END_MS]
    return [(time_ms, end, amount) for (time_ms, amount), end in zip(held, ends, strict=False)]


def first_of(read: Read) -> int | None:
    """Time of the first fill, or of a look at the account before it; `None` if there is neither."""
    found = [read("SELECT MIN(time_ms) FROM fills")[0][0]]
    if _has_table(read, "levels"):
        found.append(read("SELECT MIN(at_ms) FROM levels")[0][0])
    return min((int(time_ms) for time_ms in found if time_ms is not None), default=None)


def last_of(read: Read) -> int:
    """Time of the newest income or transfer, 0 if there is none."""
    tables = [name for name in ("income", "transfers") if _has_table(read, name)]
    found = [read(f"SELECT MAX(time_ms) FROM {name}")[0][0] for name in tables]  # noqa: S608
    return max((int(time_ms) for time_ms in found if time_ms is not None), default=0)


def _has_table(read: Read, name: str) -> bool:
    """A ledger shown as an older trader wrote it lacks the newest tables: only its next owner adds them."""
    return bool(read("SELECT 1 FROM sqlite_master WHERE name = ?", (name,)))


def _has_income_assets(read: Read) -> bool:
    """A ledger shown as an older trader wrote it lacks the column: only its next owner adds it."""
    return bool(read("SELECT 1 FROM pragma_table_info('income') WHERE name = 'asset'"))


def decimal_of(text: str) -> Decimal:
    """Money as written. Raises `LedgerDamaged` for what is no number: a page of the file is torn."""
    try:
        number = Decimal(text)
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite():
        raise LedgerDamaged(f"The ledger holds {text!r} where a number belongs.", hint=REBUILD)
    return number
