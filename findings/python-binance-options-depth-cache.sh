#!/usr/bin/env bash
# python-binance 1.0.37: the depth cache for options keeps every price it ever saw, so the best bid can never fall.
#
# OptionsDepthCacheManager listens to Binance's partial book stream, in which each message is the whole top of the book (so
# says the docstring of the socket), and adds it to the levels of all messages before, as if it told changes. A level that
# has left the top is not sent with quantity 0, it is no longer sent: nothing ever takes it out. The best bid is the
# highest since the start, the best ask the lowest, with the quantities they last had; the book is crossed at the first
# larger move and stays so. The futures cache beside it, which listens to a stream of the same kind, replaces its levels.
#
# Two messages, the option worth less in the second: 480 to 490 is told as a bid of 520 above an ask of 490. A program that
# prices by the middle of it, or that looks for crossed books, trades on prices that are gone.
# By default the cache starts anew every 30 minutes (started by ThreadedDepthCacheManager, never): the fault comes and goes.
#
# Seen with python-binance 1.0.37 on Python 3.11, messages from memory in place of the socket; the output is compared below.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check python-binance==1.0.37
"$folder/venv/bin/python" - > "$folder/seen" <<'PY'
import asyncio

from binance.ws.depthcache import FuturesDepthCacheManager, OptionsDepthCacheManager

BOOKS = [
    {"e": "depthUpdate", "E": 1, "b": [["520", "3"], ["515", "4"]], "a": [["530", "2"], ["535", "6"]]},
    {"e": "depthUpdate", "E": 2, "b": [["480", "5"], ["475", "4"]], "a": [["490", "1"], ["495", "6"]]},
]


class Stream:
    """Of messages in memory, in place of a socket."""

    def __init__(self, messages):
        self.messages = iter(messages)

    async def __aenter__(self):
        return self

    async def __aexit__(self, *told):
        pass

    async def recv(self):
        return next(self.messages)


class Sockets:
    def options_depth_socket(self, symbol):
        return Stream(BOOKS)

    def futures_depth_socket(self, symbol):
        return Stream({"stream": "depth", "data": book} for book in BOOKS)


async def follow(name, manager):
    async with manager as cache_manager:
        for book in BOOKS:
            cache = await cache_manager.recv()
            bids, asks = cache.get_bids(), cache.get_asks()
            print(f"{name}: sent bid {book['b'][0][0]} ask {book['a'][0][0]}, told bid {bids[0][0]:g} ask {asks[0][0]:g}, "
                  f"{len(bids)} bids, {len(asks)} asks")


asyncio.run(follow("options", OptionsDepthCacheManager(None, "BTC-261225-100000-C", bm=Sockets())))
asyncio.run(follow("futures", FuturesDepthCacheManager(None, "BTCUSDT", bm=Sockets())))
PY
cat "$folder/seen"
diff "$folder/seen" - <<'SEEN'
options: sent bid 520 ask 530, told bid 520 ask 530, 2 bids, 2 asks
options: sent bid 480 ask 490, told bid 520 ask 490, 4 bids, 4 asks
futures: sent bid 520 ask 530, told bid 520 ask 530, 2 bids, 2 asks
futures: sent bid 480 ask 490, told bid 480 ask 490, 2 bids, 2 asks
SEEN
