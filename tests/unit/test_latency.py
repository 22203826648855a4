"""Commands of a backtest take their time, and its account pays its own fees."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pytest

from trader_cli.core.errors import ConfigurationError
from trader_cli.core.money.orders import NotPlaced, OrderRequest, StopRequest
from trader_cli.exchange.latency import Latency
from trader_cli.exchange.simulated_exchange import SimulatedExchange
from trader_cli.settings import as_settings
from trader_cli.venue.simulated_market.synthetic import synthetic_tape

SYMBOL = "ETHUSDT"
TAPE = synthetic_tape((SYMBOL,), 5, 0.0, 11)
START = TAPE.at(0.5)


def market(latency: Latency | None = None) -> SimulatedExchange:
    venue = SimulatedExchange(TAPE, START, Decimal(100_000))
    venue.latency = latency
    return venue


def test_latencies_are_lognormal_and_the_same_again() -> None:
    logs = np.log([Latency(200.0, 0.5, 7).of(f"{n}") for n in range(4000)])
    assert abs(logs.mean() - np.log(200)) < 4 * 0.5 / np.sqrt(4000)
    assert abs(logs.std() - 0.5) < 4 * 0.5 / np.sqrt(8000)
    assert Latency(200.0, 0.5, 7).of("a") == Latency(200.0, 0.5, 7).of("a") != Latency(200.0, 0.5, 8).of("a")
    assert {Latency(200.0, 0.0, seed).of("a") for seed in range(9)} == {200}


def test_a_command_is_carried_out_when_it_has_arrived() -> None:
    venue = market(Latency(250.0, 0.0, 1))
    assert not isinstance(venue.place(OrderRequest("a", SYMBOL, "BUY", Decimal(1))), NotPlaced)
    (fill,) = venue.engine.account.fills
    assert fill.time_ms == START + 250
    at_once = market()
    at_once.advance(START + 250)
    at_once.place(OrderRequest("a", SYMBOL, "BUY", Decimal(1)))
    assert at_once.engine.account.fills == [fill]
    stop = StopRequest("s", SYMBOL, "SELL", "stop", Decimal(1), Decimal(1))
    placed = venue.place_stop(stop)
    assert not isinstance(placed, NotPlaced)
    venue.cancel_stop(placed)
    assert venue.now_ms == START + 750


def test_an_account_is_charged_its_own_rates() -> None:
    venue = market()
    venue.charge(Decimal("0.0004"), Decimal("-0.0001"))
    venue.place(OrderRequest("a", SYMBOL, "BUY", Decimal(1)))
    (fill,) = venue.engine.account.fills
    assert abs(fill.commission - fill.price * Decimal("0.0004")) < Decimal("1e-8")
    assert venue.engine.account.maker_fee == Decimal("-0.0001")


def test_fees_are_those_of_the_tier_or_the_accounts_own() -> None:
    table = {"taker_bps": [5, 4], "maker_bps": [2, -0.5]}

    def fees(**backtest: object) -> tuple[float, float]:
        return as_settings({"backtest": {"fee_tiers": table, **backtest}}).backtest.fees_bps(4.5)

    assert fees(maker_fee_bps=1) == (4.5, 1)
    assert [fees(maker_fee_bps=1, fee_tier=tier) for tier in (0, 1)] == [(5, 2), (4, -0.5)]
    with pytest.raises(ConfigurationError, match="fee_tiers is wanted, 0 to 1; found 2"):
        fees(fee_tier=2)
    usual = as_settings({}).backtest.fee_tiers
    for rates in (usual.taker_bps, usual.maker_bps):
        assert list(rates) == sorted(rates, reverse=True), "a higher tier never pays more"
    assert len(usual.taker_bps) == len(usual.maker_bps) == 10
    assert all(maker < taker for maker, taker in zip(usual.maker_bps, usual.taker_bps, strict=True))


def test_an_order_that_rests_pays_the_makers_fee_when_the_price_comes_to_it() -> None:
    venue = market()
    venue.charge(Decimal("0.0004"), Decimal("-0.0001"))
    rules, mark = venue.rules(SYMBOL), venue.engine.mark(SYMBOL)
    limit = rules.price_down(mark * Decimal("0.999"))
    placed = venue.place(OrderRequest("rests", SYMBOL, "BUY", Decimal(1), limit, "GTC"))
    assert not isinstance(placed, NotPlaced)
    assert not venue.engine.account.fills, "it rests"
    venue.advance(START + 24 * 3_600_000)
    fills = venue.engine.account.fills
    assert fills, "the price came to it"
    for fill in fills:
        assert (fill.maker, fill.price) == (True, limit)
        assert abs(fill.commission + fill.price * fill.quantity * Decimal("0.0001")) < Decimal("1e-8")
