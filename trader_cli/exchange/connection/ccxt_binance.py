"""Binance of ccxt without the hundred other exchanges: the unmodified library, imported in part.

`import ccxt` runs the modules of every exchange there is, half a second of CPU for one of them. Here the packages
`ccxt` and `ccxt.async_support` are made known without being run, and the modules of the one exchange are imported into
them. Whoever asks either for anything else has it run then, whole, with the very same classes. `requests`, by which
only ccxt's synchronous clients send, is loaded with the first of them, and not for us.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from functools import lru_cache
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec, module_from_spec
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

_OF_REQUESTS = {
    "HTTPError": "HTTPError",
    "Timeout": "Timeout",
    "TooManyRedirects": "TooManyRedirects",
    "RequestException": "RequestException",
    "requestsConnectionError": "ConnectionError",
}
"""Errors that `ccxt.base.exchange` takes of `requests`, by its own name for each."""


@lru_cache(maxsize=1)
def ccxt_binance() -> tuple[type[Any], Any]:
    """(`ccxt.async_support.binanceusdm`, the module of ccxt's errors)."""
    if "ccxt" not in sys.modules:
        _known("ccxt")
        _known("ccxt.async_support")
        with _without_requests():
            errors, exchange = import_module("ccxt.base.errors"), import_module("ccxt.base.exchange")
        base = {name: getattr(errors, name) for name in errors.__all__}
        vars(sys.modules["ccxt"]).update(base, Exchange=exchange.Exchange)
        for name in ("binance", "binanceusdm"):  # here, as in all of it, the names of classes
            made = getattr(import_module(f"ccxt.async_support.{name}"), name)
            setattr(sys.modules["ccxt.async_support"], name, made)
    return import_module("ccxt.async_support.binanceusdm").binanceusdm, import_module("ccxt.base.errors")


def _known(name: str) -> None:
    """A package of which nothing has run yet: it runs when it is asked for what it does not have."""
    spec = find_spec(name)
    if spec is None or spec.loader is None:
        raise ImportError(f"There is no package {name}.")
    package, loader = module_from_spec(spec), spec.loader

    def run(attribute: str) -> Any:
        vars(package).pop("__getattr__", None)
        loader.exec_module(package)
        return getattr(package, attribute)

    vars(package)["__getattr__"] = run
    sys.modules[name] = package
    parent, _, own = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], own, package)


@contextmanager
def _without_requests() -> Iterator[None]:
    """Names in place of those of `requests` while ccxt takes them, unless it is loaded already."""
    if "requests" in sys.modules:
        yield
        return
    names: dict[str, object] = {name: type(name, (Exception,), {}) for name in _OF_REQUESTS.values()}
    names |= {"Session": _session, "default_user_agent": lambda: f"python-requests/{version('requests')}"}
    modules = {name: ModuleType(name) for name in ("requests", "requests.utils", "requests.exceptions")}
    for module in modules.values():
        vars(module).update(names)
    sys.modules.update(modules)
    try:
        yield
    finally:
        for name in modules:
            del sys.modules[name]


def _session() -> object:
    """A session for a synchronous client, which has all of `requests` from now on."""
    requests, exchange = import_module("requests"), import_module("ccxt.base.exchange")
    errors = {ours: getattr(requests, theirs) for ours, theirs in _OF_REQUESTS.items()}
    vars(exchange).update(errors, Session=requests.Session, default_user_agent=requests.utils.default_user_agent)
    return requests.Session()
