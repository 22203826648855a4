"""ccxt's Binance is imported without the other exchanges, and is the one that `import ccxt` gives."""

from __future__ import annotations

import subprocess
import sys

import pytest

PARTLY = "from trader_cli.exchange.connection.ccxt_binance import ccxt_binance; client, errors = ccxt_binance()\n"


def ran(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_neither_another_exchange_nor_requests_is_imported() -> None:
    code = f"""
{PARTLY}
import sys
from trader_cli.exchange.connection.client import make_client
from trader_cli.settings import as_settings
import asyncio, aiohttp, importlib.metadata
async def use():
    async with aiohttp.ClientSession() as session:
        made = make_client(as_settings({{}}).binance_exchange, session)
        assert type(made) is client
        assert made.userAgent == "python-requests/" + importlib.metadata.version("requests")
        await made.close()
asyncio.run(use())
loaded = [name for name in ("requests", "urllib3", "charset_normalizer") if name in sys.modules]
print(loaded, [n for n in ("kraken", "okx", "bybit") if f"ccxt.{{n}}" in sys.modules or f"ccxt.async_support.{{n}}" in sys.modules])
"""
    assert ran(code) == "[] []"


@pytest.mark.parametrize(
    "use",
    [
        "import ccxt; print(ccxt.binanceusdm.__mro__[1] is ccxt.binance, len(ccxt.exchanges) > 90, ccxt.BaseError is errors.BaseError)",
        "import ccxt.async_support as c; print(c.binanceusdm is client, hasattr(c, 'kraken'), c.BaseError is errors.BaseError)",
        "import ccxt; c = ccxt.binance(); import requests; from ccxt.base import exchange as e; print(type(c.session) is requests.Session, c.userAgent == requests.utils.default_user_agent(), (e.Timeout, e.requestsConnectionError) == (requests.Timeout, requests.ConnectionError))",
        "from ccxt import kraken, __version__; import ccxt; print(bool(__version__), isinstance(ccxt.okx, type), isinstance(ccxt.async_support.okx, type))",
        "import ccxt.pro as pro; import ccxt; print(issubclass(pro.binanceusdm, object), bool(pro.exchanges), ccxt.NetworkError is errors.NetworkError)",
    ],
)
def test_whoever_imports_all_of_it_afterwards_gets_all_of_it_with_the_same_classes(use: str) -> None:
    assert ran(PARTLY + use) == "True True True"


def test_where_it_was_imported_before_that_one_is_used() -> None:
    code = "import ccxt.async_support as whole, ccxt\n" + PARTLY
    assert ran(code + "print(client is whole.binanceusdm, errors.BaseError is ccxt.BaseError)") == "True True"
