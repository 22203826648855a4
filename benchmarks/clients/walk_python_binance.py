"""python-binance: its asynchronous client and its sockets."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from binance import AsyncClient, BinanceSocketManager

URL = sys.argv[1]


async def main() -> None:
    """Market, account, orders, stops, batches; bars, marks, books and the account as they come."""
    AsyncClient.API_URL, AsyncClient.FUTURES_URL = f"{URL}/api", f"{URL}/fapi"
    AsyncClient.FUTURES_DATA_URL = f"{URL}/futures/data"
    client = await AsyncClient.create("sim-key-pb", "sim-secret")
    symbol = {"symbol": "ETHUSDT"}
    try:
        for read in ("ping", "exchange_info", "account_balance", "account", "leverage_bracket", "income_history"):
            await getattr(client, f"futures_{read}")()
        for read in ("order_book", "mark_price", "recent_trades", "orderbook_ticker", "symbol_ticker", "ticker"):
            await getattr(client, f"futures_{read}")(**symbol)
        assert len(await client.futures_klines(**symbol, interval="1m", limit=7)) == 7
        await client.futures_change_leverage(**symbol, leverage=5)
        await client.futures_change_margin_type(**symbol, marginType="ISOLATED")
        await _trade(client, symbol)
        await _listen(client, symbol)
    finally:
        await client.close_connection()


async def _trade(client: Any, symbol: dict[str, str]) -> None:
    bought = await client.futures_create_order(**symbol, side="BUY", type="MARKET", quantity="0.1")
    assert bought["status"] == "FILLED"
    stop = {"type": "STOP_MARKET", "triggerPrice": "1000", "quantity": "0.1", "reduceOnly": "true"}
    assert (await client.futures_create_order(**symbol, side="SELL", **stop))["algoStatus"] == "NEW"
    price = str(round(float((await client.futures_symbol_ticker(**symbol))["price"]) * 0.98))
    limit = {"side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "price": price, "quantity": "0.1"}
    await client.futures_create_order(**symbol, **limit)
    assert len(await client.futures_get_open_orders(**symbol)) == 1
    await client.futures_cancel_all_open_orders(**symbol)
    (placed,) = await client.futures_place_batch_order(batchOrders=[{**symbol, **limit}])
    assert placed["status"] == "NEW"
    assert (await client.futures_position_information(**symbol))[0]["positionAmt"] == "0.1"
    assert len(await client.futures_account_trades(**symbol)) == 1


async def _listen(client: Any, symbol: dict[str, str]) -> None:
    sockets = BinanceSocketManager(client)
    sockets.FSTREAM_URL = URL.replace("http", "ws") + "/"
    both = ["ethusdt@markPrice@1s", "btcusdt@markPrice@1s"]
    for made in (
        sockets.kline_futures_socket("ETHUSDT", "1m"),
        sockets.symbol_mark_price_socket("ETHUSDT"),
        sockets.futures_depth_socket("ETHUSDT"),
        sockets.futures_multiplex_socket(both),
    ):
        async with made as socket:
            told = await asyncio.wait_for(socket.recv(), 20)
            assert told.get("data", told)["e"]
    async with sockets.futures_user_socket() as socket:
        await asyncio.sleep(0.5)
        await client.futures_create_order(**symbol, side="SELL", type="MARKET", quantity="0.1", reduceOnly="true")
        kinds = [(await asyncio.wait_for(socket.recv(), 10))["e"] for _ in range(4)]
        assert kinds == ["ORDER_TRADE_UPDATE", "ACCOUNT_UPDATE", "TRADE_LITE", "ORDER_TRADE_UPDATE"]


asyncio.run(main())
