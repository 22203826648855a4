"""What only a simulated exchange tells and takes: its own books of an account, the request log, other faults.

`GET /venue/books?key=KEY` shows, by symbol, position, resting stops and when the position was bare
(`venue.engine.cover_audit`); and every entry carried out, with its client id.
`GET /venue/requests?after=NUMBER` shows what was asked since that number.
`PUT /venue/faults` with a plan (`FaultPlan.from_dict`, its seconds counted from now) bends from the next request on;
with `"when": "POST /fapi/v1/order"` from the next of that route on, which meets it, its seconds counted from then.
`PUT /venue/keys` with `{"key": KEY, "public_key": PEM}` lets a key sign by RSA or Ed25519, until the venue ends.
None of them is counted, logged or bent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson
from aiohttp import web

from trader_cli.core.errors import UsageError
from trader_cli.venue.server.authentication import known_key
from trader_cli.venue.server.faults import FaultPlan
from trader_cli.venue.server.public_routes import VenueRejection

if TYPE_CHECKING:
    from collections.abc import Callable

    from trader_cli.core.json_values import JsonObject
    from trader_cli.venue.clocks import ServedClock
    from trader_cli.venue.engine.books import Account, AlgoOrder
    from trader_cli.venue.server.authentication import ApiKey
    from trader_cli.venue.server.request_log import LoggedRequest, RequestLog
    from trader_cli.venue.server.trading_desk import TradingDesk


class Control:
    """These routes over one venue; `desk` gives its trading side, `bend` and `bend_when` are the server's."""

    def __init__(
        self,
        clock: ServedClock,
        log: RequestLog,
        desk: Callable[[], TradingDesk],
        bend: Callable[[FaultPlan], None],
        bend_when: Callable[[str, str, Callable[[int], FaultPlan]], None],
    ) -> None:
        self._clock, self._log, self._desk = clock, log, desk
        self._bend, self._bend_when = bend, bend_when

    def add_to(self, app: web.Application) -> None:
        """Answer these routes in `app`."""
        app.router.add_get("/venue/books", self._show_books)
        app.router.add_get("/venue/requests", self._show_requests)
        app.router.add_put("/venue/faults", self._take_faults)
        app.router.add_put("/venue/keys", self._take_public_key)

    async def _show_books(self, request: web.Request) -> web.Response:
        key = _known(request.query.get("key", "sim-key"))
        now, desk = self._clock.now_ms(), self._desk()
        engine, cover = desk.engine(key), desk.cover(key)
        engine.advance(now)
        symbols = {
            symbol: {
                **_symbol_books(engine.account, symbol),
                "bare_spans": cover.unprotected_spans(symbol, now),
                "bare_spans_ours": cover.unprotected_spans(symbol, now, ours_only=True),
            }
            for symbol in cover.symbols
        }
        body = {
            "now_ms": now,
            "wallet": str(engine.account.wallet),
            "symbols": symbols,
            "entries": _entries(engine.account),
        }
        return _answer(body)

    async def _show_requests(self, request: web.Request) -> web.Response:
        after = int(request.query.get("after", 0))
        return _answer([_logged(entry) for entry in self._log.requests if entry.number > after])

    async def _take_faults(self, request: web.Request) -> web.Response:
        tree = await request.json()
        when = str(tree.pop("when", ""))
        try:
            plan = FaultPlan.from_dict(tree, self._clock.now_ms())
        except UsageError as error:
            raise VenueRejection(400, -1102, str(error)) from error
        if when:
            method, _, path = when.partition(" ")
            self._bend_when(method, path, lambda now_ms: FaultPlan.from_dict(tree, now_ms))
        else:
            self._bend(plan)
        return _answer(plan.as_dict())

    async def _take_public_key(self, request: web.Request) -> web.Response:
        body = await request.json()
        key = _known(str(body.get("key", "")))
        try:
            self._desk().register(key, str(body.get("public_key", "")))
        except ValueError as error:
            raise VenueRejection(400, -1102, f"'public_key' is no PEM public key, RSA or Ed25519: {error}.") from error
        return _answer({"key": key.key})


def _known(name: str) -> ApiKey:
    key = known_key(name)
    if key is None:
        raise VenueRejection(401, -2015, "Invalid API-key, IP, or permissions for action.")
    return key


def _symbol_books(account: Account, symbol: str) -> JsonObject:
    """Position and what rests, of one symbol."""
    return {
        "position": str(account.position(symbol).amount),
        "stops": [_algo(algo) for algo in account.open_algos(symbol)],
        "orders": [order.client_id for order in account.open_orders(symbol)],
    }


def _algo(algo: AlgoOrder) -> JsonObject:
    return {
        "client_id": algo.client_id,
        "side": algo.side,
        "type": algo.type,
        "quantity": str(algo.quantity),
        "trigger_price": str(algo.trigger_price),
        "close_position": algo.close_position,
        "reduce_only": algo.reduce_only,
        "working_type": algo.working_type,
    }


def _entries(account: Account) -> list[JsonObject]:
    """Orders that could open and have traded, in the order of their numbers."""
    return [
        {"client_id": o.client_id, "symbol": o.symbol, "side": o.side, "filled": str(o.filled), "time_ms": o.time_ms}
        for o in account.orders.values()
        if o.filled > 0 and not o.reduce_only and not o.close_position
    ]


def _logged(entry: LoggedRequest) -> JsonObject:
    sent = entry.parameters
    return {
        "number": entry.number,
        "method": entry.method,
        "path": entry.path,
        "symbol": entry.symbol,
        "client_id": sent.get("newClientOrderId") or sent.get("clientAlgoId") or sent.get("origClientOrderId"),
        "arrived_ms": entry.arrived_ms,
        "executed_ms": entry.executed_ms,
        "outcome": entry.outcome,
        "replied_ms": entry.replied_ms,
        "status": entry.status,
        "failure": entry.failure,
        "forbidden": entry.forbidden,
    }


def _answer(body: object) -> web.Response:
    return web.Response(body=orjson.dumps(body), content_type="application/json")
