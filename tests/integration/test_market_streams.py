"""Sockets of the venue: paths, subscriptions, limits, pings, and how connections end."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest
from support.hosts.stream_client import Place, on_streams

from trader_cli.venue.simulated_market.synthetic import synthetic_tape

pytestmark = pytest.mark.slow

TAPE = synthetic_tape(("ETHUSDT", "BTCUSDT"), 3, 0.0, 7)
HOUR_S = 3600.0


def kinds(told: list[Any]) -> set[str]:
    return {m["e"] for m in told if isinstance(m, dict) and "e" in m}


def test_each_path_serves_its_own_streams_and_takes_the_others_silently() -> None:
    names = ("ethusdt@trade", "ethusdt@aggTrade", "ethusdt@kline_1m", "ethusdt@depth", "nothing@trade")

    async def work(at: Place) -> dict[str, set[str]]:
        sockets = {path: await at.connect(path) for path in ("/public/ws", "/market/ws/3", "/private/ws", "/ws")}
        for socket in sockets.values():
            await socket.say("SUBSCRIBE", *names)
        await at.clock.sleep(20)
        for socket in sockets.values():
            assert socket.told[0] == {"result": None, "id": 1}
            await socket.close()
        return {path: kinds(socket.told) for path, socket in sockets.items()}

    assert on_streams(TAPE, work) == {
        "/public/ws": {"trade", "depthUpdate"},
        "/market/ws/3": {"aggTrade", "kline"},
        "/private/ws": set(),
        "/ws": {"trade", "depthUpdate", "aggTrade", "kline"},
    }


def test_a_path_may_name_its_streams_alone_or_combined() -> None:
    async def work(at: Place) -> tuple[list[Any], list[Any], list[Any]]:
        raw = await at.connect("/ws/ethusdt@markPrice@1s")
        both = await at.connect("/stream?streams=ethusdt@markPrice@1s/btcusdt@markPrice@1s")
        spot = await at.connect("/stream/ws/1")
        await spot.say("SUBSCRIBE", "ethusdt@bookTicker", "ethusdt@markPrice")
        await at.clock.sleep(3.5)
        for socket in (raw, both, spot):
            await socket.close()
        return raw.told, both.told, spot.told

    raw, both, spot = on_streams(TAPE, work)
    assert [(m["e"], m["s"]) for m in raw] == [("markPriceUpdate", "ETHUSDT")] * 3
    assert {(m["stream"], m["data"]["s"]) for m in both} == {
        ("ethusdt@markPrice@1s", "ETHUSDT"),
        ("btcusdt@markPrice@1s", "BTCUSDT"),
    }
    assert len(both) == 6
    assert [sorted(m) for m in spot[1:]] == [["A", "B", "a", "b", "s", "u"]] * len(spot[1:])
    assert len(spot) > 2


def test_subscriptions_are_answered_listed_and_ended() -> None:
    async def work(at: Place) -> list[Any]:
        socket = await at.connect("/market/ws")
        await socket.say("SUBSCRIBE", "ethusdt@markPrice@1s", "btcusdt@markPrice@1s", number=1)
        await at.clock.sleep(1.1)
        await socket.say("UNSUBSCRIBE", "btcusdt@markPrice@1s", number=2)
        await socket.say("LIST_SUBSCRIPTIONS", number=3)
        await socket.say("SET_PROPERTY", "combined", True, number=4)
        await socket.say("GET_PROPERTY", "combined", number=5)
        await at.clock.sleep(1.1)
        await socket.close()
        return socket.told

    told = on_streams(TAPE, work)
    assert [m["s"] for m in told[1:3]] == ["ETHUSDT", "BTCUSDT"]
    assert told[3:7] == [
        {"result": None, "id": 2},
        {"result": ["ethusdt@markPrice@1s"], "id": 3},
        {"result": None, "id": 4},
        {"result": True, "id": 5},
    ]
    assert [(m["stream"], m["data"]["s"]) for m in told[7:]] == [("ethusdt@markPrice@1s", "ETHUSDT")]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("{", 3),
        ("[]", 2),
        ("7", 2),
        ('{"method": 5, "id": 1}', 2),
        ('{"method": "DANCE", "id": 1}', 2),
        ('{"method": "SUBSCRIBE", "id": 1}', 2),
        ('{"method": "SUBSCRIBE", "params": "ethusdt@trade", "id": 1}', 2),
        ('{"method": "SUBSCRIBE", "params": [1], "id": 1}', 2),
        ('{"method": "SUBSCRIBE", "params": ["a"], "id": {}}', 2),
        ('{"method": "SET_PROPERTY", "params": ["combined", 3], "id": 1}', 1),
        ('{"method": "GET_PROPERTY", "params": ["colour"], "id": 1}', 0),
    ],
)
def test_what_is_no_request_is_refused_and_the_socket_goes_on(text: str, code: int) -> None:
    async def work(at: Place) -> list[Any]:
        socket = await at.connect("/ws")
        await socket.socket.send_str(text)
        await at.clock.sleep(1.5)
        await socket.say("SUBSCRIBE", "ethusdt@markPrice@1s")
        await at.clock.sleep(2)
        await socket.close()
        return socket.told

    told = on_streams(TAPE, work)
    assert told[0]["error"]["code"] == code
    assert told[1] == {"result": None, "id": 1}
    assert kinds(told[2:]) == {"markPriceUpdate"}


def test_too_many_messages_a_second_end_the_connection() -> None:
    async def work(at: Place) -> tuple[int, int]:
        patient, hasty = await at.connect("/ws"), await at.connect("/ws")
        for number in range(11):
            await hasty.say("LIST_SUBSCRIPTIONS", number=number)
        for number in range(12):
            await patient.say("LIST_SUBSCRIPTIONS", number=number)
            await at.clock.sleep(0.11)
        codes = patient.code, hasty.code
        await patient.close()
        return codes

    assert on_streams(TAPE, work) == (0, 1008)


def test_more_streams_than_a_connection_may_have_are_refused() -> None:
    async def work(at: Place) -> list[Any]:
        socket = await at.connect("/ws")
        await socket.say("SUBSCRIBE", *(f"x{number}@trade" for number in range(1024)), number=1)
        await socket.say("SUBSCRIBE", "ethusdt@trade", number=2)
        await at.clock.sleep(30)
        await socket.close()
        return socket.told

    first, second = on_streams(TAPE, work)
    assert first == {"result": None, "id": 1}
    assert second["error"]["code"] == 2


def test_who_answers_no_ping_is_cut_off_and_nobody_stays_longer_than_a_day() -> None:
    async def work(at: Place) -> tuple[Any, ...]:
        awake, asleep = await at.connect("/ws"), await at.connect("/ws", ponging=False)
        began = at.clock.now_ms()
        await at.clock.sleep(15 * 60)
        cut = asleep.code, awake.code, awake.pings[0] - began
        await at.clock.sleep(23.7 * HOUR_S)
        before = awake.code
        await at.clock.sleep(0.2 * HOUR_S)
        return (*cut, before, awake.code)

    assert on_streams(TAPE, work, share=0.4) == (1008, 0, 180_000, 0, 1001)


def test_a_request_that_speaks_no_websocket_is_told_so_and_foreign_pages_are_not_answered() -> None:
    async def work(at: Place) -> tuple[int, int]:
        async with at.session.get(at.venue.url + "/ws") as plain:
            status = plain.status
        try:
            await at.session.ws_connect(at.venue.url + "/ws", headers={"Origin": "http://elsewhere.example"})
        except aiohttp.WSServerHandshakeError as refused:
            return status, refused.status
        return status, 0

    assert on_streams(TAPE, work) == (400, 403)


def test_a_venue_that_ends_closes_its_sockets_at_once() -> None:
    async def work(at: Place) -> Any:
        socket = await at.connect("/ws/ethusdt@depth@100ms")
        await at.clock.sleep(1)
        began = at.clock.now_ms()
        await at.venue.__aexit__()
        await at.clock.sleep(0.1)
        return socket.code, at.clock.now_ms() - began

    code, took_ms = on_streams(TAPE, work)
    assert code == 1001
    assert took_ms < 5000
