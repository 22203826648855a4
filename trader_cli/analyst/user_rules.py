"""Rules by name: those of the package, of a Python file (`my_rule.py:MyRule`), or of an entry point in `trader.rules`.

What names a rule is told without running it (`rule_origin`), so that one that never ends can be found out elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from trader_cli.analyst.user_code import (
    Origin,
    entry_point,
    module_of_file,
    origin_of_entry_point,
    origin_of_file,
    users_code,
)
from trader_cli.core.errors import ConfigurationError
from trader_cli.features.rule import BarSignals, NamedRule, Rule, RuleBars, fitting_parameters, rule_name

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import ModuleType

    from trader_cli.settings.model import RuleSettings

GROUP = "trader.rules"
SETTING = "rule.name"
SHIPPED: Mapping[str, str] = MappingProxyType(
    {
        "channel_breakout": "trader_cli.features.rules.channel_breakout",
        "sma_cross": "trader_cli.features.rules.sma_cross",
    }
)
"""Rules of the package, and the modules they are in."""
_HINT = "docs/signals.md shows a rule that works; `trader new signal NAME` writes one."


@dataclass(frozen=True)
class GuardedRule(NamedRule):
    """A rule of the user, whose faults are told with its file and line."""

    origin: Origin

    def said(self, bars: RuleBars) -> BarSignals:
        """As any rule; raises `ConfigurationError` for whatever its code raises."""
        with users_code(self.origin, f"the rule {self.name}"):
            found = self.rule.signals(bars)
        return self.checked(found, len(bars))


def rule_origin(reference: str) -> Origin:
    """Where a rule comes from and the digest that names its code, without running it. Raises `ConfigurationError`."""
    path, _ = _parts(reference)
    if path is not None:
        return origin_of_file(SETTING, path)
    if reference in SHIPPED:
        return origin_of_file(SETTING, _file_of(SHIPPED[reference]))
    point = entry_point(SETTING, GROUP, reference, tuple(SHIPPED))
    return origin_of_entry_point(SETTING, point, str(_file_of(point.module)))


def load_rule(options: RuleSettings) -> NamedRule:
    """The rule that is named, with its parameters. Raises `ConfigurationError` for one that cannot be had."""
    if options.name is None:
        raise ConfigurationError("No rule is named.", hint=f"Set {SETTING}, or give --rule. {_HINT}")
    kind, origin = _kind(options.name)
    name, given = rule_name(kind), fitting_parameters(kind, options.parameters)
    lacking = sorted(getattr(kind, "__abstractmethods__", ()))
    if lacking:
        raise ConfigurationError(
            f"The rule {name} of {origin.reference} does not define {', '.join(lacking)}.", hint=_HINT
        )
    with users_code(origin, f"making the rule {name}"):
        rule = kind(**given)
        warmup, inputs = rule.warmup, rule.inputs
    if not isinstance(warmup, int) or warmup < 0:
        raise ConfigurationError(f"The warm-up of the rule {name} is {warmup!r}; a count of bars is wanted.")
    if not isinstance(inputs, tuple) or not inputs:
        raise ConfigurationError(f"The inputs of the rule {name} are {inputs!r}; a tuple of names is wanted.")
    return GuardedRule(name, origin.digest, rule, origin)


def _kind(reference: str) -> tuple[type[Rule], Origin]:
    path, name = _parts(reference)
    if path is not None:
        origin, module = module_of_file(SETTING, path)
        return _only(module, name, origin), origin
    origin = rule_origin(reference)
    if reference in SHIPPED:
        return _only(import_module(SHIPPED[reference]), "", origin), origin
    point = entry_point(SETTING, GROUP, reference, tuple(SHIPPED))
    with users_code(origin, "the entry point"):
        found = point.load()
    if not (isinstance(found, type) and issubclass(found, Rule)):
        raise ConfigurationError(f"{SETTING}: the entry point {reference} leads to {found!r}, which is no Rule.")
    return found, origin


def _only(module: ModuleType, name: str, origin: Origin) -> type[Rule]:
    """The class of this name, or the only rule that a module defines."""
    defined = {
        key: found
        for key, found in vars(module).items()
        if isinstance(found, type) and issubclass(found, Rule) and found.__module__ == module.__name__
    }
    if name and name in defined:
        return defined[name]
    if not name and len(defined) == 1:
        return next(iter(defined.values()))
    there = ", ".join(defined) or "none"
    wanted = f"no Rule called {name}" if name else f"{len(defined)} rules, not one"
    raise ConfigurationError(f"{SETTING}: {origin.reference} defines {wanted}; there are: {there}.", hint=_HINT)


def _parts(reference: str) -> tuple[Path | None, str]:
    """(file, class) of `my_rule.py` or `my_rule.py:MyRule`; no file for a name."""
    if reference.endswith(".py"):
        return Path(reference), ""
    file, colon, name = reference.rpartition(":")
    return (Path(file), name) if colon and file.endswith(".py") else (None, "")


def _file_of(module: str) -> Path:
    """The source of a module that can be imported."""
    found = find_spec(module)
    if found is None or found.origin is None:
        raise ConfigurationError(f"{SETTING}: the module {module} cannot be found.")
    return Path(found.origin)
