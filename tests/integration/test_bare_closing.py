"""Closing without a ledger: what is ours goes, what is not stays, whatever beside positions and orders is down."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from support.trading.desk import LOST, ORDER, SYMBOL, Desk, at_desk, entered, first, honest

from trader_cli.core.errors import ExchangeUnavailable
from trader_cli.core.identity.ids import purpose_of
from trader_cli.execution.closing_without_ledger import ClosingWithoutLedger
from trader_cli.storage.ledger import Ledger
from trader_cli.storage.side_journal import SideJournal

pytestmark = pytest.mark.slow
D = Decimal


def closing_at(desk: Desk, journal: SideJournal | None = None) -> ClosingWithoutLedger:
    return ClosingWithoutLedger(desk.exchange.private, desk.clock, desk.exchange.server_now_ms, "account", journal)


async def closed(desk: Desk, *, all_of_it: bool = False) -> Decimal:
    """Explain and close, as `flatten` does."""
    closing = closing_at(desk)
    shown = (await closing.positions())[SYMBOL].amount
    found = await closing.explain(SYMBOL, shown)
    quantity = abs(shown) if all_of_it else found.ours
    return await closing.close(SYMBOL, shown, quantity) if quantity else quantity


@pytest.mark.parametrize("side", ["long", "short"])
@pytest.mark.parametrize(
    "down",
    [
        (),
        ("/fapi/v1/userTrades",),
        ("/fapi/v1/allOrders",),
        ("/fapi/v1/allOrders", "/fapi/v1/userTrades"),
        ("/fapi/v1/openAlgoOrders", "/fapi/v1/exchangeInfo", "/fapi/v1/income"),
        ("/fapi/v1/allAlgoOrders",),
    ],
)
def test_ours_is_closed_and_swept_with_endpoints_down(tmp_path: Path, side: str, down: tuple[str, ...]) -> None:
    async def work(desk: Desk) -> None:
        await entered(desk, desk.approved(side=side))
        desk.venue.bend(lambda _n, route: "down" if route[1] in down else "")
        assert await closed(desk) == 1
        assert desk.amount == 0
        assert (await closing_at(desk).sweep(SYMBOL))[1] == []
        assert desk.stops() == []

    at_desk(work, tmp_path, binance_exchange={"max_retries": 0})


@pytest.mark.parametrize("fault", ["down", "no key"])
def test_what_cannot_be_taken_away_does_not_keep_the_close_from_going_on(tmp_path: Path, fault: str) -> None:
    lists = {"/fapi/v1/openOrders", "/fapi/v1/openAlgoOrders", "/fapi/v1/allAlgoOrders"}

    async def work(desk: Desk) -> None:
        await entered(desk, desk.approved())
        refusals = first(ORDER, "nothing to reduce", "nothing to reduce", "nothing to reduce")
        desk.venue.bend(lambda n, route: fault if route[1] in lists else refusals(n, route))
        assert await closing_at(desk).close(SYMBOL, D(1), D(1)) == 1
        assert desk.amount == 0

    at_desk(work, tmp_path, binance_exchange={"max_retries": 0})


@pytest.mark.parametrize("foreign", ["0.5", "-0.4"])
def test_what_is_not_ours_stays_unless_all_of_it_is_wished(tmp_path: Path, foreign: str) -> None:
    async def work(desk: Desk) -> None:
        await entered(desk, desk.approved())
        desk.trade_by_hand("BUY" if D(foreign) > 0 else "SELL", foreign.lstrip("-"))
        assert await closed(desk) == min(D(1), 1 + D(foreign))
        assert desk.amount == max(D(0), D(foreign))
        if desk.amount:
            assert await closed(desk) == 0
            assert await closed(desk, all_of_it=True) == D(foreign)
            assert desk.amount == 0

    at_desk(work, tmp_path)


@pytest.mark.parametrize("fault", [*LOST, "unknown before", "nothing to reduce", "throttled", "down", "thin"])
@pytest.mark.parametrize("foreign", ["0", "0.5"])
def test_an_exit_whose_reply_is_lost_or_refused_never_closes_what_is_not_ours(
    tmp_path: Path, fault: str, foreign: str
) -> None:
    async def work(desk: Desk) -> None:
        await entered(desk, desk.approved())
        if D(foreign):
            desk.trade_by_hand("BUY", foreign)
        desk.venue.bend(first(ORDER, fault, fault))
        try:
            done = await closed(desk)
        except ExchangeUnavailable:
            done = D(0)
        desk.venue.bend(honest)
        assert desk.amount == 1 - done + D(foreign)
        assert done == 1 or D(foreign), "an exit beside what is foreign is sent again only once the first is absent"
        exits = [o for o in desk.engine.account.orders.values() if o.client_id.startswith("td-x-")]
        assert sum((o.filled for o in exits), D(0)) <= 1

    at_desk(work, tmp_path, binance_exchange={"max_retries": 0})


@dataclass
class Slow:
    """The exchange's private side, with orders and positions that come late."""

    desk: Desk
    before_s: float = 0.0
    after_s: float = 0.0
    lag_s: float = 0.0
    looks: list[tuple[float, Any]] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.desk.exchange.private, name)

    async def place(self, order: Any) -> Any:
        await self.desk.clock.sleep(self.before_s)
        sent = await self.desk.exchange.private.place(order)
        await self.desk.clock.sleep(self.after_s)
        return sent

    async def positions(self) -> Any:
        """As they were `lag_s` ago, as far back as anybody looked."""
        now = self.desk.clock.monotonic_ms()
        self.looks.append((now, await self.desk.exchange.private.positions()))
        old = [shown for at, shown in self.looks if at <= now - self.lag_s * 1000]
        return old[-1] if old else self.looks[0][1]


@pytest.mark.parametrize("foreign", ["0", "0.5"])
@pytest.mark.parametrize(("before_s", "after_s"), [(0, 0), (0, 2), (0, 12.5), (0, 50), (2, 0), (25, 0), (50, 10)])
@pytest.mark.parametrize("lag_s", [0, 3, 18])
def test_late_replies_and_late_views_close_no_more_than_ours(
    tmp_path: Path, foreign: str, before_s: float, after_s: float, lag_s: float
) -> None:
    async def work(desk: Desk) -> None:
        await entered(desk, desk.approved())
        if D(foreign):
            desk.trade_by_hand("BUY", foreign)
        closing = closing_at(desk)
        closing.broker = Slow(desk, before_s, after_s, lag_s)  # type: ignore[assignment]
        began, shown = desk.clock.monotonic_ms(), (await closing.positions())[SYMBOL].amount
        try:
            assert await closing.close(SYMBOL, shown, D(1)) == 1
            assert desk.amount == D(foreign)
        except ExchangeUnavailable:
            assert before_s > 20 or lag_s > 10
        took_s = (desk.clock.monotonic_ms() - began) / 1000
        assert took_s < 80
        if before_s == lag_s == 0:
            assert took_s < 8, "an order that was carried out is found by its id, whenever its reply comes"
        await desk.clock.sleep(70)
        assert desk.amount == D(foreign), "never more than ours, and what was sent late is carried out in the end"

    at_desk(work, tmp_path, binance_exchange={"max_retries": 0})


def test_an_order_too_large_goes_in_steps(tmp_path: Path) -> None:
    async def work(desk: Desk) -> None:
        await entered(desk, desk.approved())
        private, sizes = desk.exchange.private, list[Decimal]()

        class Small:
            """The exchange's private side, with a limit on market orders."""

            def __getattr__(self, name: str) -> Any:
                return getattr(private, name)

            async def place(self, order: Any) -> Any:
                from trader_cli.core.money.orders import NotPlaced

                if order.quantity > D("0.3"):
                    return NotPlaced(-4005, "Quantity greater than max quantity.")
                sizes.append(order.quantity)
                return await private.place(order)

        closing = closing_at(desk)
        closing.broker = Small()  # type: ignore[assignment]
        assert await closing.close(SYMBOL, D("1.000"), D("1.000")) == 1
        assert desk.amount == 0
        assert sizes == [D("0.250")] * 4

    at_desk(work, tmp_path)


def test_lines_of_the_side_journal_are_folded_in_once(tmp_path: Path) -> None:
    async def work(desk: Desk) -> None:
        await entered(desk, desk.approved())
        journal = SideJournal(desk.path)
        closing = closing_at(desk, journal)
        assert await closing.close(SYMBOL, D(1), D(1)) == 1
        await closing.sweep(SYMBOL)
        kept = journal.path.read_bytes() + b'{"intent": {"client_id": "td-x-cut'
        journal.path.write_bytes(kept)
        for _ in range(2):
            with desk.open() as (ledger, executor):
                exits = [i for i in ledger.intents() if i.purpose == "exit" and not i.client_id.endswith("9999")]
                sent = [i for i in exits if ledger.last_note(i.client_id) is not None]
                assert [purpose_of(i.client_id) for i in sent] == ["exit"]
                assert [ledger.status(i.client_id) for i in sent] == ["done"]
                notes = ledger._db.execute(
                    "SELECT COUNT(*) FROM orders WHERE client_id = ?", (sent[0].client_id,)
                ).fetchone()[0]
                assert notes == 2
                await executor.view(SYMBOL)
                assert ledger.holding(SYMBOL).amount == 0
                assert not journal.path.exists()
            journal.path.write_bytes(kept)

    at_desk(work, tmp_path)


def test_a_ledger_made_anew_takes_no_side_lines(tmp_path: Path) -> None:
    journal = SideJournal(tmp_path / "a.sqlite")
    journal.note("td-x-1", "done", 1)
    with Ledger.opened(tmp_path / "a.sqlite") as ledger:
        assert ledger.intents() == []
    assert journal.path.exists()
