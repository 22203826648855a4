"""From files, environment and overrides to `Settings`.

Later wins: package defaults, profile overlay, the user's file, environment (`TRADER_SECTION__KEY`), the command line.
A key nobody knows is refused with the nearest one that exists; so is a secret in a file.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from importlib import resources
from pathlib import Path

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_settings import EnvSettingsSource, SettingsError

from trader_cli.core.errors import ConfigurationError
from trader_cli.core.json_values import built
from trader_cli.settings.model import Settings
from trader_cli.settings.refusals import refusal_of

PROFILES = ("paper", "sim", "demo", "live")
_PREFIX = "TRADER_"
_NOT_SETTINGS = frozenset({"TRADER_PROFILE", "TRADER_CONFIG"})
_SECRETS = (("binance_exchange", "api_key"), ("binance_exchange", "api_secret"))

Tree = dict[str, object]


def load_settings(
    profile: str | None = None, config: str | Path | None = None, overrides: Mapping[str, object] | None = None
) -> Settings:
    """The settings of one command.

    `profile` is a built-in name or a YAML file; `config` is the user's file (default: `TRADER_CONFIG`, else none);
    `overrides` is a tree of keys from the command line. Raises `ConfigurationError`.
    """
    named = os.environ.get("TRADER_PROFILE") or None
    name, file = profile or named, config or os.environ.get("TRADER_CONFIG") or None
    requested = {
        f"--profile {profile}" if profile else f"TRADER_PROFILE={named}": _profile_tree(name) if name else {},
        str(file): _file_tree(Path(file)) if file else {},
        "TRADER_MODE in the environment": _environment_tree(),
    }
    _refuse_two_modes(requested)
    tree = _default_tree()
    for over in (*requested.values(), dict(overrides or {})):
        tree = _merged(tree, over)
    return _validated(tree)


def as_settings(config: Settings | Mapping[str, object] | None) -> Settings:
    """Settings from what a library caller passes: `Settings`, a dict of (some) keys, or nothing for the defaults.

    As on the command line, `TRADER_PROFILE` names the profile, and may not contradict `TRADER_MODE`. A dict that says
    `mode` has decided; demo is at the demo host.
    """
    if isinstance(config, Settings):
        return config
    tree = dict(config or {})
    _refuse_unknown(tree, Settings, "the given dict")
    name, around = os.environ.get("TRADER_PROFILE") or None, _environment_tree()
    over = _profile_tree(name) if name else {}
    if tree.get("mode") is None:
        _refuse_two_modes({f"TRADER_PROFILE={name}": over, "TRADER_MODE in the environment": around})
    if tree.get("mode") == "demo":
        over = _merged(over, _profile_tree("demo"))
    return _validated(_merged(_merged(_merged(_default_tree(), over), around), tree))


def shipped_settings() -> Settings:
    """The settings as they are shipped, whatever environment and files say."""
    return _validated(_default_tree())


def package_yaml(name: str) -> str:
    """Text of a default file shipped with the package, such as `default.yaml` or `profiles/sim.yaml`."""
    return resources.files("trader_cli.settings").joinpath("defaults", *name.split("/")).read_text("utf-8")


def key_paths(model: type[BaseModel] = Settings, prefix: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every key as a path, in the order of the model."""
    for name, field in model.model_fields.items():
        section = _section(field.annotation)
        if section is None:
            yield (*prefix, name)
        else:
            yield from key_paths(section, (*prefix, name))


def environment_name(path: tuple[str, ...]) -> str:
    """The environment variable that sets a key: `TRADER_SIM__TAPE`."""
    return _PREFIX + "__".join(path).upper()


def _section(annotation: object) -> type[BaseModel] | None:
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


def _default_tree() -> Tree:
    return _shipped("default.yaml")


def _shipped(name: str) -> Tree:
    return _parsed(package_yaml(name), f"configs/{name}", _QuickKeys)


def _profile_tree(name: str) -> Tree:
    if name in PROFILES:
        return _shipped(f"profiles/{name}.yaml")
    if name.endswith((".yaml", ".yml")):
        return _file_tree(Path(name))
    near = get_close_matches(name, PROFILES, n=1)
    hint = f"Did you mean {near[0]}? " if near else ""
    raise ConfigurationError(f"Unknown profile {name!r}.", hint=f"{hint}Known: {', '.join(PROFILES)}, or a YAML file.")


def _file_tree(path: Path) -> Tree:
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"Cannot read the configuration file {path}: {error}.") from error
    tree = _parsed(text, str(path), _UniqueKeys)
    for section, key in _SECRETS:
        part = tree.get(section)
        if isinstance(part, dict) and part.get(key):
            variable = environment_name((section, key))
            raise ConfigurationError(
                f"{path} holds a secret in {section}.{key}.",
                hint=f"Take it out and set the environment variable {variable}.",
            )
    return tree


def _parsed(text: str, origin: str, loader: type[_UniqueKeys | _QuickKeys]) -> Tree:
    try:
        tree = yaml.load(text, loader) or {}  # noqa: S506
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{origin} is not valid YAML: {' '.join(str(error).split())}.") from error
    if not isinstance(tree, dict):
        raise ConfigurationError(f"{origin} must be a mapping of keys; found {type(tree).__name__}.")
    _refuse_unknown(tree, Settings, origin)
    return tree


class _KeysOnce(yaml.constructor.SafeConstructor):
    """Refuses a key written twice in one mapping."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[object, object]:
        keys = [self.construct_object(key) for key, _ in node.value]
        twice = [key for key in keys if keys.count(key) > 1]
        if twice:
            raise yaml.constructor.ConstructorError(
                None, None, f"the key {twice[0]!r} is written twice", node.start_mark
            )
        return super().construct_mapping(node, deep)


class _UniqueKeys(_KeysOnce, yaml.SafeLoader):
    """For what people write: its errors show the place."""


class _QuickKeys(_KeysOnce, getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """For what is shipped: compiled where it is there, a tenth of the time."""


def _nearest(key: str, model: type[BaseModel], prefix: str) -> str:
    """The known key most like `key`: the same name elsewhere, else the nearest in its section."""
    elsewhere = [".".join(path) for path in key_paths() if path[-1] == key]
    here = get_close_matches(key, model.model_fields, n=1, cutoff=0) or [""]
    return elsewhere[0] if elsewhere else prefix + here[0]


def _refuse_unknown(tree: Mapping[str, object], model: type[BaseModel], origin: str, prefix: str = "") -> None:
    for key, value in tree.items():
        field = model.model_fields.get(str(key))
        if field is None:
            raise ConfigurationError(
                f"Unknown key {prefix + str(key)!r} in {origin}.",
                hint=f"The nearest known key is {_nearest(str(key), model, prefix)!r}.",
            )
        section = _section(field.annotation)
        if section is None:
            continue
        if not isinstance(value, Mapping):
            raise ConfigurationError(
                f"Key {prefix + str(key)!r} in {origin} must hold keys of its own; found {value!r}."
            )
        _refuse_unknown(value, section, origin, f"{prefix}{key}.")


def _environment_tree() -> Tree:
    known = {environment_name(path) for path in key_paths()}
    for variable in map(str.upper, os.environ):
        if variable.startswith(_PREFIX) and variable not in known | _NOT_SETTINGS:
            near = get_close_matches(variable, known | _NOT_SETTINGS, n=1, cutoff=0) or [""]
            raise ConfigurationError(
                f"Unknown setting {variable} in the environment.", hint=f"The nearest known one is {near[0]}."
            )
    try:
        return EnvSettingsSource(Settings)()
    except SettingsError as error:
        section = str(error).split('"')[1]
        named = [name for name in os.environ if name.upper().startswith(f"{_PREFIX}{section}".upper())]
        raise ConfigurationError(
            f"{' or '.join(sorted(named))} in the environment cannot be read.",
            hint=f"""Lists are written as JSON, such as {min(named, default=section)}='["one", "two"]'.""",
        ) from None


def _merged(low: Mapping[str, object], high: Mapping[str, object]) -> Tree:
    merged = dict(low)
    for key, value in high.items():
        below = merged.get(key)
        both = isinstance(below, Mapping) and isinstance(value, Mapping)
        merged[key] = _merged(below, value) if both else value  # type: ignore[arg-type]
    return merged


def _refuse_two_modes(requested: Mapping[str, Mapping[str, object]]) -> None:
    """Which market is traded, with whose money, is never decided by the order of files: two answers are refused."""
    modes = {origin: str(tree["mode"]) for origin, tree in requested.items() if "mode" in tree}
    if len(set(modes.values())) > 1:
        said = ", ".join(f"{origin} says {mode}" for origin, mode in modes.items())
        raise ConfigurationError(
            f"Two modes are asked for: {said}.", hint="Take one away. No exchange was connected to."
        )


def _validated(tree: Tree) -> Settings:
    try:
        settings = built(Settings, tree)
    except ValidationError as error:
        raise ConfigurationError(refusal_of(error)) from None
    _refuse_unsafe(settings)
    return settings


def _refuse_unsafe(settings: Settings) -> None:
    state, cache = Path(settings.state_dir or "/"), Path(settings.cache_dir)
    if settings.state_dir is not None and state.resolve().is_relative_to(cache.resolve()):
        raise ConfigurationError(
            f"state_dir {settings.state_dir} lies inside cache_dir {settings.cache_dir}, which may be emptied.",
            hint="Put it elsewhere.",
        )
    for section, key in (
        ("tactician", "enable_risk_management"),
        ("analyst", "enable_market_health_analysis"),
        ("analyst", "enable_liquidation_risk_analysis"),
    ):
        if settings.mode == "live" and not getattr(getattr(settings, section), key):
            raise ConfigurationError(f"{section}.{key} cannot be off in live: it would switch risk management off.")
    options = settings.binance_exchange
    if (
        options.base_url is None
        and settings.mode in {"demo", "live"}
        and options.use_testnet != (settings.mode == "demo")
    ):
        raise ConfigurationError(
            f"The mode is {settings.mode}, and binance_exchange.use_testnet is {str(options.use_testnet).lower()}.",
            hint="Demo trading is at the demo host, live at the real one: take one of the two away.",
        )
    if settings.mode == "live" and settings.analyst.allow_unproven:
        raise ConfigurationError("analyst.allow_unproven is refused in live: a model without an edge does not trade.")
    if not settings.low_risk_threshold <= settings.medium_risk_threshold <= settings.high_risk_threshold:
        raise ConfigurationError("The risk thresholds must not fall from low to medium to high.")
