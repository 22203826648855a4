"""The broker of a Binance account: what the `Broker` port asks and sends, in the exchange's words. Sends once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from trader_cli.core.errors import DataInvalid, ExchangeRejected, ExchangeUnavailable
from trader_cli.core.money.orders import (
    INCOME_PAGE,
    UNREADABLE,
    NotPlaced,
    OrderState,
    Placed,
    PreparedRequest,
    Sent,
    StopState,
    Unknown,
)
from trader_cli.exchange.account import account_replies as parse
from trader_cli.exchange.connection import replies
from trader_cli.exchange.connection.reply_fields import truth

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from trader_cli.core.money.orders import (
        AccountState,
        IncomeState,
        KeyRights,
        LeverageBracket,
        MarginSettings,
        OrderRequest,
        PositionState,
        StopRequest,
        TradeState,
    )
    from trader_cli.exchange.account.entry_permission import EntryPermission

T = TypeVar("T")
NO_SUCH_ORDER = frozenset({-2011, -2013})
"""Cancel rejected; order does not exist: ended, never there, or not shown yet by the server that was asked."""
_UNCERTAIN = frozenset({-1000, -1001, -1006, -1007, -1008, -4116})
"""Said of an order that may be there all the same. −4116, a duplicate client id, says that one of this id is."""
_NOTHING_TO_CHANGE = frozenset({-4046, -4059})
"""Margin type, position side: as it is already."""
_ORDER, _STOP = "/fapi/v1/order", "/fapi/v1/algoOrder"
_LEVERAGE, _MARGIN_TYPE = "/fapi/v1/leverage", "/fapi/v1/marginType"
KINDS = {"stop": "STOP_MARKET", "take_profit": "TAKE_PROFIT_MARKET"}


class SignedConnection(Protocol):
    """What carries signed requests: the exchange's connection, or a paper account."""

    def require_keys(self) -> None:
        """Raises `ConfigurationError` where there is nothing to sign with."""
        ...

    async def read(self, method: str, path: str, query: dict[str, Any]) -> Any:
        """One read. Raises `TraderError`s."""
        ...

    async def send(self, method: str, path: str, parameters: dict[str, Any]) -> dict[str, Any] | NotPlaced | Unknown:
        """One command, sent once; a cancel whose connection dies may arrive twice."""
        ...


class BinanceBroker:
    """The `Broker` of what an API key may see and do, over a connection to the exchange or to a paper account."""

    def __init__(
        self,
        connection: SignedConnection,
        opening: EntryPermission | None = None,
        heard: Callable[[str, object], None] | None = None,
    ) -> None:
        """`opening` is asked before an order leaves that could open a position; None: nobody is.

        `heard` is told each symbol's answer about leverage brackets that could be read.
        """
        self._connection = connection
        self._opening = opening
        self._heard = heard

    async def _read(self, method: str, path: str, **query: Any) -> Any:
        self._connection.require_keys()
        return await self._connection.read(method, path, query)

    async def account(self) -> AccountState:
        """Wallet, available balance and unrealised profit of USDT, and of every other asset beside it."""
        reply = replies.as_mapping(
            await self._read("fapiPrivateV3GetAccount", "/fapi/v3/account"), "an account", "assets"
        )
        return self._parsed("an account", reply, parse.account_state)

    async def positions(self) -> list[PositionState]:
        """Every position that is not flat."""
        reply = replies.as_list(await self._read("fapiPrivateV3GetPositionRisk", "/fapi/v3/positionRisk"), "positions")
        found = [self._parsed("a position", row, parse.position_state) for row in reply]
        return [position for position in found if position.amount != 0]

    async def brackets(self, symbol: str) -> tuple[LeverageBracket, ...]:
        """Leverage brackets, lowest notional first."""
        reply = await self._read("fapiPrivateGetLeverageBracket", "/fapi/v1/leverageBracket", symbol=symbol)
        found = self._parsed("leverage brackets", reply, lambda answer: parse.brackets_of(answer, symbol))
        if self._heard is not None:
            self._heard(symbol, reply)
        return found

    async def margin_settings(self, symbol: str) -> MarginSettings:
        """Leverage and margin mode in force."""
        reply = replies.as_list(
            await self._read("fapiPrivateGetSymbolConfig", "/fapi/v1/symbolConfig", symbol=symbol), "symbol settings"
        )
        row = next((r for r in reply if isinstance(r, dict) and r.get("symbol") == symbol), None)
        return self._parsed("symbol settings", row, parse.margin_settings)

    async def set_margin_settings(self, symbol: str, wanted: MarginSettings) -> MarginSettings:
        """Set margin mode and leverage where they differ, and read them back. Raises `ExchangeRejected`."""
        now = await self.margin_settings(symbol)
        if now.isolated != wanted.isolated:
            kind = _margin_type(wanted)
            await self._set("fapiPrivatePostMarginType", _MARGIN_TYPE, symbol=symbol, marginType=kind)
        if now.leverage != wanted.leverage:
            await self._set("fapiPrivatePostLeverage", _LEVERAGE, symbol=symbol, leverage=wanted.leverage)
        found = await self.margin_settings(symbol)
        if found != wanted:
            raise DataInvalid(f"{symbol}: asked for {wanted}, and the exchange has {found}.")
        return found

    async def _set(self, method: str, path: str, **parameters: Any) -> None:
        """Change an option. What is unknown is settled by reading back."""
        self._connection.require_keys()
        reply = await self._connection.send(method, path, parameters)
        if isinstance(reply, NotPlaced) and reply.code == UNREADABLE:
            raise ExchangeUnavailable(reply.sentence)
        if isinstance(reply, NotPlaced) and reply.code not in _NOTHING_TO_CHANGE:
            raise ExchangeRejected(reply.sentence, code=reply.code)

    async def multi_assets(self) -> bool:
        """Whether every asset backs every position, in a mode that has no isolated margin."""
        reply = replies.as_mapping(
            await self._read("fapiPrivateGetMultiAssetsMargin", "/fapi/v1/multiAssetsMargin"),
            "the assets mode",
            "multiAssetsMargin",
        )
        return bool(self._parsed("the assets mode", reply, lambda r: truth(r["multiAssetsMargin"])))

    async def hedge_mode(self) -> bool:
        """Whether the account keeps long and short positions side by side, which we refuse to trade."""
        reply = replies.as_mapping(
            await self._read("fapiPrivateGetPositionSideDual", "/fapi/v1/positionSide/dual"),
            "the position mode",
            "dualSidePosition",
        )
        return bool(self._parsed("the position mode", reply, lambda r: truth(r["dualSidePosition"])))

    async def key_rights(self) -> KeyRights:
        """What the key may do."""
        reply = replies.as_mapping(
            await self._read("sapiGetAccountApiRestrictions", "/sapi/v1/account/apiRestrictions"), "the key's rights"
        )
        rights = self._parsed("the key's rights", reply, parse.key_rights)
        if self._opening is not None:
            self._opening.learned(rights)
        return rights

    async def trades(
        self, symbol: str, *, from_id: int | None = None, start_ms: int | None = None, end_ms: int | None = None
    ) -> list[TradeState]:
        """Our fills of a symbol, oldest first, at most 500: the latest, or from an id or a time on."""
        given = {"fromId": from_id, "startTime": start_ms, "endTime": end_ms}
        query = {"symbol": symbol, "limit": 500, **{name: value for name, value in given.items() if value is not None}}
        reply = replies.as_list(await self._read("fapiPrivateGetUserTrades", "/fapi/v1/userTrades", **query), "trades")
        return [self._parsed("a trade", row, parse.trade_state) for row in reply]

    async def income(self, start_ms: int) -> list[IncomeState]:
        """Changes of the wallet since `start_ms`, oldest first, at most 1000; a full page means that there are more."""
        reply = await self._read("fapiPrivateGetIncome", "/fapi/v1/income", startTime=start_ms, limit=INCOME_PAGE)
        return [self._parsed("income", row, parse.income_state) for row in replies.as_list(reply, "income")]

    async def place(self, order: OrderRequest) -> Sent:
        """Send an order, once. Raises `ConfigurationError` rather than open with a key that may withdraw."""
        if self._opening is not None and not order.reduce_only:
            self._connection.require_keys()
            refused = await self._opening.refusal(self.key_rights)
            if refused is not None:
                return refused
        body = order_parameters(order)
        return await self._send("fapiPrivatePostOrder", _ORDER, body, parse.order_state, order.client_id)

    async def place_stop(self, stop: StopRequest) -> Sent:
        """Let a stop or take-profit rest at the exchange, triggered by mark price. Sent once."""
        body = stop_parameters(stop)
        return await self._send("fapiPrivatePostAlgoOrder", _STOP, body, parse.stop_state, stop.client_id)

    def preview(
        self, symbol: str, margin: MarginSettings, order: OrderRequest, stops: Sequence[StopRequest]
    ) -> list[PreparedRequest]:
        """What would be sent for an entry with its stops, without time and signature. Sends and asks nothing."""
        sent: list[tuple[str, dict[str, Any]]] = [
            (_MARGIN_TYPE, {"symbol": symbol, "marginType": _margin_type(margin)}),
            (_LEVERAGE, {"symbol": symbol, "leverage": margin.leverage}),
            (_ORDER, order_parameters(order)),
            *((_STOP, stop_parameters(stop)) for stop in stops),
        ]
        return [PreparedRequest("POST", path, parameters) for path, parameters in sent]

    async def _send(
        self, method: str, path: str, body: dict[str, Any], shape: Callable[[dict[str, Any]], Any], client_id: str
    ) -> Sent:
        self._connection.require_keys()
        reply = await self._connection.send(method, path, body)
        if isinstance(reply, NotPlaced):
            return Unknown(reply.sentence) if reply.code in _UNCERTAIN else reply
        if isinstance(reply, Unknown):
            return reply
        try:
            state = shape(reply)
        except (ValueError, KeyError, TypeError, StopIteration):
            return Unknown(f"The exchange answered {replies.shown(reply)}.")
        return Placed(state) if state.client_id == client_id else Unknown("The exchange answered about another order.")

    async def order(self, symbol: str, client_id: str) -> OrderState | None:
        """An order by its client id; `None` only if the exchange says that it has none."""
        query = {"symbol": symbol, "origClientOrderId": client_id}
        return await self._found("fapiPrivateGetOrder", _ORDER, query, parse.order_state)

    async def order_by_id(self, symbol: str, order_id: str) -> OrderState | None:
        """An order by the exchange's own id (digits) or by its client id."""
        if not str(order_id).isdigit():
            return await self.order(symbol, order_id)
        query = {"symbol": symbol, "orderId": str(order_id)}
        return await self._found("fapiPrivateGetOrder", _ORDER, query, parse.order_state)

    async def stop(self, symbol: str, client_id: str) -> StopState | None:
        """A stop by its client id; `None` only if the exchange says that it has none."""
        query = {"symbol": symbol, "clientAlgoId": client_id}
        return await self._found("fapiPrivateGetAlgoOrder", _STOP, query, parse.stop_state)

    async def _found(self, method: str, path: str, query: dict[str, Any], shape: Callable[[Any], T]) -> T | None:
        try:
            reply = replies.as_mapping(await self._read(method, path, **query), "an order")
        except ExchangeRejected as error:
            if error.code in NO_SUCH_ORDER:
                return None
            raise
        return self._parsed("an order", reply, shape)

    async def open_orders(self, symbol: str | None = None) -> list[OrderState]:
        """Orders resting at the matching engine, of a symbol or of all."""
        query = {} if symbol is None else {"symbol": symbol}
        reply = await self._read("fapiPrivateGetOpenOrders", "/fapi/v1/openOrders", **query)
        return [self._parsed("an order", row, parse.order_state) for row in replies.as_list(reply, "orders")]

    async def open_stops(self, symbol: str | None = None) -> list[StopState]:
        """Stops and take-profits waiting for their trigger, of a symbol or of all."""
        query = {} if symbol is None else {"symbol": symbol}
        reply = await self._read("fapiPrivateGetOpenAlgoOrders", "/fapi/v1/openAlgoOrders", **query)
        return [self._parsed("a stop", row, parse.stop_state) for row in replies.as_list(reply, "stops")]

    async def past_orders(
        self, symbol: str, *, start_ms: int | None = None, end_ms: int | None = None
    ) -> list[OrderState]:
        """At most 1000 orders of a symbol, whatever became of them: the latest, or of a span of at most 7 days."""
        query = _span(start_ms, end_ms)
        reply = await self._read("fapiPrivateGetAllOrders", "/fapi/v1/allOrders", symbol=symbol, limit=1000, **query)
        return [self._parsed("an order", row, parse.order_state) for row in replies.as_list(reply, "orders")]

    async def past_stops(
        self, symbol: str, *, start_ms: int | None = None, end_ms: int | None = None
    ) -> list[StopState]:
        """At most 1000 conditional orders of a symbol, in the same way."""
        query = _span(start_ms, end_ms)
        reply = await self._read(
            "fapiPrivateGetAllAlgoOrders", "/fapi/v1/allAlgoOrders", symbol=symbol, limit=1000, **query
        )
        return [self._parsed("a stop", row, parse.stop_state) for row in replies.as_list(reply, "stops")]

    async def cancel(self, symbol: str, client_id: str) -> OrderState | None:
        """Cancel an order; returns what the exchange has afterwards. A cancel that finds nothing proves nothing."""
        self._connection.require_keys()
        query = {"symbol": symbol, "origClientOrderId": client_id}
        await self._connection.send("fapiPrivateDeleteOrder", _ORDER, query)
        return await self.order(symbol, client_id)

    async def cancel_stop(self, symbol: str, client_id: str) -> StopState | None:
        """Cancel a stop; returns what the exchange has afterwards."""
        self._connection.require_keys()
        query = {"symbol": symbol, "clientAlgoId": client_id}
        await self._connection.send("fapiPrivateDeleteAlgoOrder", _STOP, query)
        return await self.stop(symbol, client_id)

    @staticmethod
    def _parsed(what: str, reply: Any, shape: Callable[[Any], T]) -> T:
        return replies.parsed(what, reply, shape)


def _margin_type(margin: MarginSettings) -> str:
    return "ISOLATED" if margin.isolated else "CROSSED"


def _span(start_ms: int | None, end_ms: int | None) -> dict[str, int]:
    given = {"startTime": start_ms, "endTime": end_ms}
    return {name: value for name, value in given.items() if value is not None}


def order_parameters(order: OrderRequest) -> dict[str, str]:
    """What is sent to place an order, apart from time and signature."""
    body = {
        "symbol": order.symbol,
        "side": order.side,
        "type": "MARKET" if order.price is None else "LIMIT",
        "quantity": f"{order.quantity:f}",
        "newClientOrderId": order.client_id,
        "newOrderRespType": "RESULT",
    }
    if order.price is not None:
        body |= {"price": f"{order.price:f}", "timeInForce": order.time_in_force}
    if order.reduce_only:
        body["reduceOnly"] = "true"
    return body


def stop_parameters(stop: StopRequest) -> dict[str, str]:
    """What is sent to place a stop or take-profit, apart from time and signature."""
    body = {
        "symbol": stop.symbol,
        "side": stop.side,
        "type": KINDS[stop.kind],
        "algoType": "CONDITIONAL",
        "triggerPrice": f"{stop.trigger_price:f}",
        "workingType": "MARK_PRICE",
        "clientAlgoId": stop.client_id,
    }
    if stop.quantity is None:
        return {**body, "closePosition": "true"}
    return {**body, "quantity": f"{stop.quantity:f}", "reduceOnly": "true"}
