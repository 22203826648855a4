"""Whatever is sent to the venue is answered as the exchange answers it, and the account goes on adding up."""

from __future__ import annotations

import json
from decimal import Decimal

import numpy as np
import pytest
from support.hosts.stream_client import Place, on_streams

from trader_cli.venue.engine.engine import Engine
from trader_cli.venue.server.private_routes import COMMANDS, READS
from trader_cli.venue.server.public_routes import PublicRoutes
from trader_cli.venue.simulated_market.synthetic import synthetic_tape

pytestmark = pytest.mark.slow

TAPE = synthetic_tape(("ETHUSDT", "BTCUSDT"), 3, 0.0, 7)
OPENED = Decimal(10_000)
PUBLIC = [("GET", path) for path in PublicRoutes(TAPE).table]
PRIVATE = [
    *COMMANDS,
    *(("GET", path) for path in READS),
    *((m, "/fapi/v1/listenKey") for m in ("POST", "PUT", "DELETE")),
]
VALUES: dict[str, tuple[str, ...]] = {
    "symbol": ("ETHUSDT", "ETHUSDT", "ETHUSDT", "BTCUSDT", "ethusdt", "NONE", ""),
    "side": ("BUY", "SELL", "HOLD"),
    "type": ("MARKET", "LIMIT", "STOP_MARKET", "TAKE_PROFIT_MARKET", "STOP", "TRAILING_STOP_MARKET", "x"),
    "quantity": ("0.1", "1", "0.001", "0", "-1", "1e9", "NaN", "0.00001", "Infinity", "9" * 40, "x"),
    "price": ("2250.00", "2200", "2300.5", "0", "-5", "1e-9", "0.001", "NaN", "x", "9" * 30),
    "triggerPrice": ("2200.00", "2300.00", "2250.01", "0", "-1", "NaN", "x"),
    "timeInForce": ("GTC", "IOC", "FOK", "GTX", "GTD", "x"),
    "reduceOnly": ("true", "false", "maybe"),
    "closePosition": ("true", "false"),
    "algoType": ("CONDITIONAL", "CONDITIONAL", "x"),
    "workingType": ("MARK_PRICE", "CONTRACT_PRICE", "x"),
    "orderId": ("2", "3", "5", "999999", "-1", "x"),
    "algoId": ("2", "4", "x"),
    "newClientOrderId": ("a", "b", "c" * 40, "ü", "a b"),
    "clientAlgoId": ("s", "t", "u" * 50),
    "origClientOrderId": ("a", "b", "zz"),
    "leverage": ("1", "20", "125", "126", "0", "-1", "x", "1.5"),
    "marginType": ("ISOLATED", "CROSSED", "x"),
    "dualSidePosition": ("false", "x"),
    "multiAssetsMargin": ("true", "false", "x"),
    "feeBurn": ("true", "false", "x"),
    "countdownTime": ("0", "1000", "-1", "x", "9" * 25),
    "goodTillDate": ("0", "1", "4000000000000", "9" * 25, "x"),
    "limit": ("5", "100", "0", "-1", "1001", "x", "9" * 20),
    "interval": ("1m", "15m", "7m", ""),
    "period": ("5m", "1h", "x"),
    "pair": ("ETHUSDT", "x"),
    "startTime": ("0", "1704200000000", "9" * 20, "-1", "x"),
    "endTime": ("0", "1704200000000", "9" * 20, "-1", "x"),
    "fromId": ("0", "340848003", "-1", "9" * 20, "x"),
    "incomeType": ("FUNDING_FEE", "x"),
    "positionSide": ("BOTH", "LONG", "x"),
    "batchOrders": (
        "[]",
        "[1]",
        "{",
        json.dumps([{"symbol": "ETHUSDT", "side": "BUY", "type": "MARKET", "quantity": 1}]),
    ),
    "orderIdList": ("[2,3]", "[]", "x", "[null]"),
    "origClientOrderIdList": ('["a"]', "{}"),
}
MOST_OF = 0.6
"""How often each parameter of an order is there."""


def parameters(dice: np.random.Generator) -> dict[str, str]:
    """Some of all parameters, those of an order more often, each with some value."""
    usual = ("symbol", "side", "type", "quantity", "price", "timeInForce", "triggerPrice", "algoType")
    names = [name for name in VALUES if dice.random() < (MOST_OF if name in usual else 0.12)]
    return {name: str(dice.choice(VALUES[name][: 2 if dice.random() < 0.6 else None])) for name in names}


def adds_up(engine: Engine) -> bool:
    """Whether the wallet is what was opened with, and all that was booked since; and no margin is held for nothing."""
    books = engine.account
    booked = sum((i.amount for i in books.income if i.asset == "USDT"), Decimal(0))
    held = {p.symbol: p.amount for p in books.positions.values()}
    filled: dict[str, Decimal] = {}
    for fill in books.fills:
        signed = fill.quantity if fill.side == "BUY" else -fill.quantity
        filled[fill.symbol] = filled.get(fill.symbol, Decimal(0)) + signed
    flat = all(p.isolated == 0 and p.entry == 0 for p in books.positions.values() if p.amount == 0)
    return books.wallet == OPENED + booked and all(filled.get(s, Decimal(0)) == q for s, q in held.items()) and flat


async def fuzzed(at: Place, dice: np.random.Generator, count: int) -> dict[int, int]:
    """How often each status was answered."""
    seen: dict[int, int] = {}
    for number in range(count):
        routes = PRIVATE if dice.random() < 0.8 else PUBLIC
        method, path = routes[int(dice.integers(len(routes)))]
        status, told = await at.caller.ask(method, path, **parameters(dice))
        seen[status] = seen.get(status, 0) + 1
        assert status in {200, 400, 401, 418, 429}, (method, path, status, told)
        assert status == 200 or isinstance(told["code"], int)
        if number % 25 == 0:
            await at.clock.sleep(float(dice.exponential(60)))
            assert all(adds_up(engine) for engine in at.venue._trading().engines())
        if status in {418, 429}:
            await at.clock.sleep(130)
    return seen


@pytest.mark.parametrize(
    ("seed", "count"), [(0, 700), *(pytest.param(seed, 10_000, marks=pytest.mark.long) for seed in range(1, 10))]
)
def test_requests_of_any_kind_are_answered_and_the_account_adds_up(seed: int, count: int) -> None:
    seen = on_streams(TAPE, lambda at: fuzzed(at, np.random.default_rng(seed), count), share=0.3)
    assert seen[200] > count / 10
    assert seen[400] > count / 10


FRAMES = (
    '{"method":"SUBSCRIBE","params":%s,"id":%s}',
    '{"method":"UNSUBSCRIBE","params":%s,"id":%s}',
    "%s%s",
    '{"a":%s%s}',
)
PARAMS = (
    '["ethusdt@depth"]',
    '["ethusdt@kline_1m","x"]',
    "[]",
    "7",
    "null",
    '["!ticker@arr"]',
    '[["a"]]',
    '"x"',
    '["%s"]',
)


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(1, 20))])
def test_frames_of_any_kind_end_in_an_answer_or_in_a_close(seed: int) -> None:
    dice = np.random.default_rng(seed)

    async def work(at: Place) -> int:
        answered = 0
        for path in ("/ws", "/public/ws", "/market/stream", "/stream/ws", "/ws/" + "x" * 64, "/stream?streams=//a@b/!"):
            socket = await at.connect(path)
            for _ in range(12):
                frame = str(dice.choice(FRAMES)) % (
                    str(dice.choice(PARAMS)),
                    str(dice.choice(["1", '"a"', "{}", "null"])),
                )
                cut = frame[: int(dice.integers(1, len(frame)))] if dice.random() < 0.2 else frame
                if dice.random() < 0.9:
                    await socket.socket.send_str(cut)
                else:
                    await socket.socket.send_bytes(cut.encode())
                await at.clock.sleep(0.3)
            answered += sum(isinstance(told, dict) and ("result" in told or "error" in told) for told in socket.told)
            assert socket.code == 0
            await socket.close()
        return answered

    assert on_streams(TAPE, work) > 40
