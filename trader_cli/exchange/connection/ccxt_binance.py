"""Binance of ccxt without the hundred other exchanges: the unmodified library, imported in part.

`import ccxt` runs the modules of every exchange there is, half a second of CPU for one of them. Here the packages
`ccxt` and `ccxt.async_support` are made known without being run, and the modules of the one exchange are imported into
them. Whoever asks either for anything else has it run then, whole, with the very same classes.
"""

from __future__ import annotations

import sys
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec, module_from_spec
from typing import Any


@lru_cache(maxsize=1)
def ccxt_binance() -> tuple[type[Any], Any]:
    """(`ccxt.async_support.binanceusdm`, the module of ccxt's errors)."""
    if "ccxt" not in sys.modules:
        _known("ccxt")
        _known("ccxt.async_support")
        errors = import_module("ccxt.base.errors")
        base = {name: getattr(errors, name) for name in errors.__all__}
        vars(sys.modules["ccxt"]).update(base, Exchange=import_module("ccxt.base.exchange").Exchange)
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
