"""The exchange's own SDK for USDⓈ-M futures: typed answers, and streams."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from binance_common.configuration import ConfigurationRestAPI, ConfigurationWebSocketStreams
from binance_sdk_derivatives_trading_usds_futures.derivatives_trading_usds_futures import DerivativesTradingUsdsFutures

URL = sys.argv[1]
sdk = DerivativesTradingUsdsFutures(
    config_rest_api=ConfigurationRestAPI(api_key="sim-key-sdk", api_secret="sim-secret", base_path=URL),  # noqa: S106
    config_ws_streams=ConfigurationWebSocketStreams(stream_url=URL.replace("http", "ws")),
)
rest = sdk.rest_api


def read(name: str, **given: Any) -> Any:
    """A typed answer."""
    return getattr(rest, name)(**given).data()


async def main() -> None:
    """Market, account, an order and its stop; bars, marks, books and the account as they come."""
    for name in ("exchange_information", "futures_account_balance_v3", "account_information_v3", "get_income_history"):
        read(name)
    for name in ("order_book", "recent_trades_list", "mark_price", "symbol_order_book_ticker", "open_interest"):
        read(name, symbol="ETHUSDT")
    read("new_order", symbol="ETHUSDT", side="BUY", type="MARKET", quantity=0.1)
    stop = {"type": "STOP_MARKET", "trigger_price": 1000, "quantity": 0.1, "reduce_only": "true"}
    read("new_algo_order", algo_type="CONDITIONAL", symbol="ETHUSDT", side="SELL", **stop)
    assert read("position_information_v3")[0].position_amt == "0.1"
    assert len(read("current_all_algo_open_orders")) == 1
    heard: list[str] = []
    sockets = await sdk.websocket_streams.create_connection()
    for name, given in (
        ("kline_candlestick_streams", {"interval": "1m"}),
        ("mark_price_stream", {"update_speed": "1s"}),
        ("diff_book_depth_streams", {}),
    ):
        stream = await getattr(sockets, name)(symbol="ethusdt", **given)
        stream.on("message", lambda _told, name=name: heard.append(name))
    account = await sockets.user_data(read("start_user_data_stream").listen_key)
    account.on("message", lambda told: heard.append(type(getattr(told, "actual_instance", told)).__name__))
    await asyncio.sleep(2)
    read("new_order", symbol="ETHUSDT", side="SELL", type="MARKET", quantity=0.1, reduce_only="true")
    await asyncio.sleep(8)
    await sockets.close_connection(close_session=True)
    wanted = {"kline_candlestick_streams", "mark_price_stream", "diff_book_depth_streams", "OrderTradeUpdate"}
    assert wanted <= {*heard}, heard


asyncio.run(main())
