"""What the lines of a ledger did to the wallets of an account, each amount in the asset it was paid in."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING

from trader_cli.core.assets import Flow, settled_in
from trader_cli.storage.ledger_faults import REBUILD, LedgerDamaged

if TYPE_CHECKING:
    from trader_cli.storage.ledger_faults import GuardedConnection


def flows_of(db: GuardedConnection) -> list[Flow]:
    """Profits, fees and other income, oldest first. Income of before its asset was written is of the margin asset."""
    flows = []
    fills = db.execute("SELECT symbol, time_ms, realized, commission, commission_asset FROM fills")
    for symbol, time_ms, realized, fee, fee_asset in fills:
        margin = settled_in(symbol, fee_asset)
        flows.append(Flow(int(time_ms), decimal_of(realized), margin, margin))
        flows.append(Flow(int(time_ms), -decimal_of(fee), str(fee_asset or margin), margin))
    asset = "asset" if _has_income_assets(db) else "NULL"
    for symbol, time_ms, amount, paid_in in db.execute(f"SELECT symbol, time_ms, amount, {asset} FROM income"):  # noqa: S608
        margin = settled_in(symbol, paid_in) if symbol or not paid_in else str(paid_in)
        flows.append(Flow(int(time_ms), decimal_of(amount), str(paid_in or margin), margin))
    return sorted((flow for flow in flows if flow.amount), key=lambda flow: flow.time_ms)


def _has_income_assets(db: GuardedConnection) -> bool:
    """A ledger shown as an older trader wrote it lacks the column: only its next owner adds it."""
    found = db.execute("SELECT 1 FROM pragma_table_info('income') WHERE name = 'asset'")
    return found.fetchone() is not None


def decimal_of(text: str) -> Decimal:
    """Money as written. Raises `LedgerDamaged` for what is no number: a page of the file is torn."""
    try:
        number = Decimal(text)
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite():
        raise LedgerDamaged(f"The ledger holds {text!r} where a number belongs.", mend=REBUILD)
    return number
