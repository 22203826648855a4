"""The exchange's own connector for futures, and its socket client."""

from __future__ import annotations

import json
import sys
import time

from binance.um_futures import UMFutures
from binance.websocket.um_futures.websocket_client import UMFuturesWebsocketClient

URL = sys.argv[1]
client = UMFutures(key="sim-key-connector", secret="sim-secret", base_url=URL)  # noqa: S106
for read in (
    "ping",
    "time",
    "exchange_info",
    "balance",
    "account",
    "leverage_brackets",
    "adl_quantile",
    "force_orders",
):
    getattr(client, read)()
for read in ("depth", "trades", "agg_trades", "mark_price", "ticker_24hr_price_change", "ticker_price", "book_ticker"):
    getattr(client, read)("ETHUSDT")
assert client.new_order(symbol="ETHUSDT", side="BUY", type="MARKET", quantity=0.1)["status"] == "FILLED"
assert client.get_position_risk(symbol="ETHUSDT")[0]["positionAmt"] == "0.1"
assert client.countdown_cancel_order("ETHUSDT", 60_000)["countdownTime"] == "60000"

heard: list[str] = []
socket = UMFuturesWebsocketClient(stream_url=URL.replace("http", "ws"), on_message=lambda _, told: heard.append(told))
socket.kline(symbol="ethusdt", interval="1m")
socket.mark_price(symbol="ethusdt", speed=1)
socket.diff_book_depth(symbol="ethusdt", speed=100)
socket.user_data(listen_key=client.new_listen_key()["listenKey"])
time.sleep(2)
client.new_order(symbol="ETHUSDT", side="SELL", type="MARKET", quantity=0.1, reduceOnly="true")
time.sleep(8)
socket.stop()
kinds = {json.loads(told).get("e") for told in heard}
assert {"kline", "markPriceUpdate", "depthUpdate", "ORDER_TRADE_UPDATE", "ACCOUNT_UPDATE"} <= kinds, kinds
