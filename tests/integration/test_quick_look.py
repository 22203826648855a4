"""`status` waits for nobody: what an endpoint does not answer within the budget is unknown, and unknown is NO."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from support.commands.command_line import CommandLine

from trader_cli.core.proofs.assurance import Doubt, WalkAway, prove_walk_away
from trader_cli.core.proofs.evidence import Books
from trader_cli.exchange.account.account_snapshot import AccountSnapshotReader
from trader_cli.settings import as_settings

pytestmark = pytest.mark.slow
TIME, POSITIONS = "/fapi/v1/time", "/fapi/v3/positionRisk"
PARTS = {"positions": POSITIONS, "stops": "/fapi/v1/openAlgoOrders", "orders": "/fapi/v1/openOrders"}
SECRET, KEY = "a secret of ours", "a key of ours"
BUDGET_S = 0.6
Handler = Callable[["Endpoint", dict[str, str]], None]


class Endpoint(BaseHTTPRequestHandler):
    """Answers by the path's behaviour."""

    behaviours: dict[str, Handler]
    asked: list[tuple[str, dict[str, str]]]
    ended: threading.Event

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        self.asked.append((url.path, query))
        with suppress(OSError):
            self.behaviours.get(url.path, honest)(self, query)

    def say(self, body: Any, status: int = 200) -> None:
        content = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Nothing is printed."""


def honest(endpoint: Endpoint, _query: dict[str, str]) -> None:
    endpoint.say({"serverTime": now_ms()} if endpoint.path.startswith(TIME) else [])


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def hangs(endpoint: Endpoint, _query: dict[str, str]) -> None:
    endpoint.ended.wait(20)


def trickles(endpoint: Endpoint, _query: dict[str, str]) -> None:
    endpoint.send_response(200)
    endpoint.send_header("Content-Length", "100000")
    endpoint.end_headers()
    while not endpoint.ended.wait(0.05):
        endpoint.wfile.write(b" ")
        endpoint.wfile.flush()


def trickles_headers(endpoint: Endpoint, _query: dict[str, str]) -> None:
    endpoint.wfile.write(b"HTTP/1.1 200 OK\r\n")
    while not endpoint.ended.wait(0.05):
        endpoint.wfile.write(b"X-Slow: 1\r\n")
        endpoint.wfile.flush()


def redirects(endpoint: Endpoint, _query: dict[str, str]) -> None:
    endpoint.send_response(302)
    endpoint.send_header("Location", f"/elsewhere?{urlsplit(endpoint.path).query}")
    endpoint.send_header("Content-Length", "0")
    endpoint.end_headers()


def answers(body: Any, status: int = 200) -> Handler:
    return lambda endpoint, _query: endpoint.say(body, status)


def echoes(endpoint: Endpoint, _query: dict[str, str]) -> None:
    endpoint.say({"code": -2015, "msg": f"bad request: signature of {endpoint.path}"}, 401)


FAULTS: dict[str, Handler] = {
    "hangs": hangs,
    "trickles": trickles,
    "trickles headers": trickles_headers,
    "redirects": redirects,
    "an object": answers({}),
    "null": answers(None),
    "HTML": answers("<html></html>"),
    "empty": answers(""),
    "cut": answers('[{"symbol":'),
    "nonsense rows": answers([{"symbol": 1}]),
    "down": answers("down", 503),
    "no key": answers({"code": -2015, "msg": "Invalid API-key"}, 401),
    "echoes": echoes,
    "closes": lambda endpoint, _query: endpoint.connection.close(),
}


@contextmanager
def host(behaviours: dict[str, Handler]) -> Iterator[tuple[str, list[tuple[str, dict[str, str]]]]]:
    asked: list[tuple[str, dict[str, str]]] = []
    ended = threading.Event()
    kind = type("Bound", (Endpoint,), {"behaviours": behaviours, "asked": asked, "ended": ended})
    server = ThreadingHTTPServer(("127.0.0.1", 0), kind)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
    finally:
        ended.set()
        server.shutdown()
        server.server_close()


def looking(url: str, budget_s: float = BUDGET_S, **options: Any) -> AccountSnapshotReader:
    keys = {"base_url": url, "api_key": KEY, "api_secret": SECRET, **options}
    return AccountSnapshotReader.begin(
        as_settings({"mode": "demo", "binance_exchange": keys}).binance_exchange, budget_s
    )


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("fault", FAULTS)
def test_what_does_not_answer_in_time_is_unknown(part: str, fault: str) -> None:
    with host({PARTS[part]: FAULTS[fault]}) as (url, asked):
        began = time.monotonic()
        snapshot = looking(url).snapshot()
        assert time.monotonic() - began < BUDGET_S + 0.4
        assert {name: getattr(snapshot, name) for name in PARTS} == {
            name: None if name == part else () for name in PARTS
        }
        assert isinstance(prove_walk_away(snapshot, Books({}, ())), Doubt)
        assert len(snapshot.problems) == 1
        assert not any(word in snapshot.problems[0] for word in ("signature", "timestamp=", SECRET, KEY)), (
            snapshot.problems
        )
        assert "/elsewhere" not in [path for path, _ in asked]


@pytest.mark.parametrize("fault", ["hangs", "trickles", "HTML", "down"])
def test_the_time_is_asked_beside_and_not_before(fault: str) -> None:
    with host({TIME: FAULTS[fault]}) as (url, _):
        assert isinstance(prove_walk_away(looking(url).snapshot(), Books({}, ())), WalkAway)


def test_everything_down_at_once_takes_no_longer() -> None:
    with host(dict.fromkeys([TIME, *PARTS.values()], trickles)) as (url, _):
        began = time.monotonic()
        snapshot = looking(url).snapshot()
        assert time.monotonic() - began < BUDGET_S + 0.4
    assert (snapshot.positions, snapshot.stops, snapshot.orders) == (None, None, None)
    taken = socket.socket()
    taken.bind(("127.0.0.1", 0))  # nobody listens
    snapshot = looking(f"http://127.0.0.1:{taken.getsockname()[1]}").snapshot()
    taken.close()
    assert (snapshot.positions, snapshot.stops, snapshot.orders) == (None, None, None)
    assert snapshot.problems == ("The exchange cannot be reached: Connection refused.",)


def test_a_wrong_clock_is_set_by_the_exchange_s_once() -> None:
    away = 3_600_000

    def strict(endpoint: Endpoint, query: dict[str, str]) -> None:
        if abs(int(query["timestamp"]) - now_ms() - away) > 2000:
            endpoint.say({"code": -1021, "msg": "Timestamp for this request is outside of the recvWindow."}, 400)
        else:
            endpoint.say([])

    told = answers({"serverTime": now_ms() + away})
    with host({**dict.fromkeys(PARTS.values(), strict), TIME: told}) as (url, asked):
        assert isinstance(prove_walk_away(looking(url, 2.0).snapshot(), Books({}, ())), WalkAway)
        assert len(asked) == 7
    with host({**dict.fromkeys(PARTS.values(), strict), TIME: hangs}) as (url, _):
        snapshot = looking(url).snapshot()
        assert (snapshot.positions, snapshot.stops, snapshot.orders) == (None, None, None)


def test_past_orders_come_within_the_same_budget() -> None:
    row = {
        "orderId": 7,
        "clientOrderId": "td-e-1",
        "symbol": "ETHUSDT",
        "side": "BUY",
        "status": "FILLED",
        "origQty": "1",
        "executedQty": "1",
        "avgPrice": "5",
        "reduceOnly": False,
        "updateTime": 1,
    }
    with host({"/fapi/v1/allOrders": answers([row])}) as (url, _):
        asking = looking(url)
        assert [o.client_id for o in asking.with_past(asking.snapshot(), ["ETHUSDT"]).past] == ["td-e-1"]
    with host({"/fapi/v1/allOrders": trickles}) as (url, _):
        asking, began = looking(url), time.monotonic()
        snapshot = asking.with_past(asking.snapshot(), ["ETHUSDT", "BTCUSDT"])
        assert time.monotonic() - began < BUDGET_S + 0.4
        assert (snapshot.past, snapshot.positions) == ((), ())


def test_without_a_key_nobody_is_asked() -> None:
    with host({}) as (url, asked):
        snapshot = looking(url, api_key="").snapshot()
        assert (snapshot.positions, asked) == (None, [])


@pytest.mark.parametrize("clock", ["wall", "venue"])
def test_the_process_ends_within_three_seconds_whatever_still_trickles(tmp_path: Path, clock: str) -> None:
    cli = CommandLine(tmp_path, ("--profile", "demo"))
    named = {"BASE_URL": "", "API_KEY": KEY, "API_SECRET": SECRET, "CLOCK": clock}
    cli.run_anew("status", "--help")  # byte code is compiled by now
    with host(dict.fromkeys((*PARTS.values(), TIME, "/venue/clock"), trickles)) as (url, _):
        environment = {f"TRADER_BINANCE_EXCHANGE__{name}": value for name, value in {**named, "BASE_URL": url}.items()}
        began = time.monotonic()
        shown = cli.run_anew("status", "--json", **environment)
        assert time.monotonic() - began < 3.0
    assert shown.code == 0, shown.err
    assert shown.json["account"]["walk_away"] is False
    assert SECRET not in shown.out + shown.err
    assert "signature" not in shown.out + shown.err
    with host({}) as (url, _):
        environment["TRADER_BINANCE_EXCHANGE__BASE_URL"] = url
        began = time.monotonic()
        assert cli.run_anew("status", "--json", **environment).json["account"]["walk_away"] is True
        assert time.monotonic() - began < 2.0


@pytest.mark.parametrize(("used", "most_s"), [(100, 0.2), (2039, 0.2), (2041, 0.2), (2400, 0.2)])
def test_a_status_that_is_watched_leaves_weight_to_whoever_cares(used: int, most_s: float) -> None:
    """Both lists weigh 40; so much a second would have the address banned, and nobody could close anything."""

    def counted(endpoint: Endpoint, _query: dict[str, str]) -> None:
        content = json.dumps({"serverTime": now_ms()} if endpoint.path.startswith(TIME) else []).encode()
        endpoint.send_response(200)
        endpoint.send_header("X-MBX-USED-WEIGHT-1M", str(used))
        endpoint.send_header("Content-Length", str(len(content)))
        endpoint.end_headers()
        endpoint.wfile.write(content)

    with host(dict.fromkeys((TIME, *PARTS.values()), counted)) as (url, asked):
        began = time.monotonic()
        snapshot = looking(url).snapshot()
        assert time.monotonic() - began < most_s
        paths = {path for path, _ in asked}
    heavy = {PARTS["stops"], PARTS["orders"]}
    assert (heavy <= paths) == (used <= 2040)
    assert (heavy & paths == set()) == (used > 2040)
    assert snapshot.positions == ()
    if used > 2040:
        assert (snapshot.stops, snapshot.orders) == (None, None)
        (problem,) = snapshot.problems
        assert f"{used} of the 2400" in problem


@pytest.mark.parametrize("status", [429, 418])
@pytest.mark.parametrize("path", [TIME, POSITIONS])
def test_told_to_slow_down_a_status_asks_nothing_heavy(status: int, path: str) -> None:
    limited = answers({"code": -1003, "msg": "Too many requests"}, status)
    with host({path: limited}) as (url, asked):
        snapshot = looking(url).snapshot()
        paths = {asked_path for asked_path, _ in asked}
    assert not {PARTS["stops"], PARTS["orders"]} & paths
    assert (snapshot.stops, snapshot.orders) == (None, None)
