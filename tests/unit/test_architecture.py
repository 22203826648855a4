"""Imports only go right, core is pure, and help is cheap."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.source_trees import parsed

import trader_cli

PACKAGE = Path(trader_cli.__file__).parent
PAGE = (PACKAGE.parent / "docs" / "architecture.md").read_text()


def drawn(text: str) -> list[str]:
    """`a → b | c → d` as a list of what stands between the arrows, the last first; those beside each other together."""
    return [" ".join(names.split(" | ")) for names in reversed(text.strip().split(" → "))]


ORDER = drawn(next(line for line in PAGE.splitlines() if line.startswith("    cli → ")))
RANK = {room: rank for rank, rooms in enumerate(ORDER) for room in rooms.split()}
IMPURE = {
    "os",
    "pathlib",
    "io",
    "socket",
    "time",
    "logging",
    "random",
    "asyncio",
    "subprocess",
    "tempfile",
    "shutil",
    "sqlite3",
}


def imports_of(source: str) -> Iterator[str]:
    for node in ast.walk(parsed(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from [node.module or ""] + [f"{node.module}.{alias.name}" for alias in node.names]


def backward(room: str, source: str) -> list[str]:
    """Rooms that `room` imports although they are to its left or beside it."""
    seen = {name.split(".")[1] for name in imports_of(source) if name.startswith("trader_cli.")} & RANK.keys()
    return sorted(other for other in seen if other != room and RANK[other] >= RANK[room])


@pytest.mark.parametrize("room", [path.name for path in sorted(PACKAGE.iterdir()) if (path / "__init__.py").exists()])
def test_every_room_imports_only_rooms_to_its_right(room: str) -> None:
    assert room in RANK, f"{room} is not a room of the design"
    for file in (PACKAGE / room).rglob("*.py"):
        assert backward(room, file.read_text()) == [], file


def test_an_arrow_that_points_back_is_found() -> None:
    assert backward("core", "from trader_cli.settings import Settings") == ["settings"]
    assert backward("exchange", "def f():\n    import trader_cli.storage.files") == ["storage"]
    assert backward("analyst", "from trader_cli.core import types") == []


SUBROOMS = {
    room: drawn(order)[::-1]
    for room, order in (line.strip().split(": ") for line in PAGE.splitlines() if re.match(r" {4}\w+: \w+ ", line))
}
"""Imports between a room's folders only go right; those beside each other do not know each other."""


def file_graph() -> dict[str, set[str]]:
    """Which file imports which, imports for type checking included, by names without the package's."""
    files = {".".join(path.relative_to(PACKAGE).with_suffix("").parts): path for path in PACKAGE.rglob("*.py")}
    found: dict[str, set[str]] = {}
    for name, path in files.items():
        named = {seen.removeprefix("trader_cli.") for seen in imports_of(path.read_text())}
        found[name] = (named & files.keys()) - {name}
    return found


def circles(graph: dict[str, set[str]]) -> set[frozenset[str]]:
    """The sets of files that reach each other, of two and more."""
    reached = {name: _reached(graph, name) for name in graph}
    together = {frozenset({other for other in reached[name] if name in reached[other]}) for name in graph}
    return {files for files in together if len(files) > 1}


def _reached(graph: dict[str, set[str]], name: str) -> set[str]:
    seen: set[str] = set()
    waiting = [name]
    while waiting:
        new = graph[waiting.pop()] - seen
        seen |= new
        waiting.extend(new)
    return seen


def test_no_file_imports_one_that_imports_it() -> None:
    assert circles(file_graph()) == set()


def test_a_circle_of_files_is_found() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": set()}) == {frozenset("abc")}
    assert circles({"a": {"b"}, "b": {"c"}, "c": set()}) == set()


def _back_arrows(graph: dict[str, set[str]]) -> set[tuple[str, str]]:
    ranks = {
        room: {name: at for at, names in enumerate(order) for name in names.split()} for room, order in SUBROOMS.items()
    }
    arrows = [(source.split("."), target.split(".")) for source, targets in graph.items() for target in targets]
    return {
        (".".join(source), ".".join(target))
        for source, target in arrows
        if len(source) == len(target) == 3 and source[0] == target[0] in ranks and source[1] != target[1]
        if ranks[source[0]][source[1]] >= ranks[source[0]][target[1]]
    }


def test_imports_between_the_folders_of_a_room_only_go_right() -> None:
    assert _back_arrows(file_graph()) == set()


def test_every_folder_of_those_rooms_has_its_place() -> None:
    for room, order in SUBROOMS.items():
        folders = {path.parent.name for path in (PACKAGE / room).glob("*/__init__.py")}
        assert folders == set(" ".join(order).split())


def test_a_folder_that_points_back_is_found() -> None:
    graph = {
        "venue.engine.fees": {"venue.server.server", "venue.clocks"},
        "venue.paper.paper_account": {"venue.engine.fees"},
    }
    assert _back_arrows(graph) == {("venue.engine.fees", "venue.server.server")}


BELOW_PIPELINES = (
    "core",
    "features",
    "venue",
    "storage",
    "exchange",
    "execution",
    "analyst",
    "tactician",
    "backtest",
    "report",
)
WHOLE = {"Settings", "Workspace"}
TAKES_A_CONFIGURATION = {
    "exchange/exchange_session.py: ExchangeSession.__init__": "what `BinanceExchange` resolves, once",
    "exchange/binance.py: BinanceExchange.__init__": "the guide's",
    "exchange/paper_exchange.py: PaperExchange.__init__": "the same in mode paper",
    "exchange/paper_exchange.py: _in_paper": "what it resolves",
    "execution/accounts.py: exchange_of": "builds the guide's exchange",
    "execution/accounts.py: connected_exchange": "connects it",
    "execution/accounts.py: ExchangeLease.__init__": "builds it where none is lent",
    "analyst/analyst.py: Analyst.__init__": "the guide's",
    "analyst/feature_engineering_orchestrator.py: FeatureEngineeringOrchestrator.__init__": "the guide's",
    "tactician/tactician.py: Tactician.__init__": "the guide's",
    "tactician/position_monitor.py: PositionMonitor.__init__": "the guide's",
}
DERIVED_IN = {
    "workspace_of": {
        "cli/options.py",
        "exchange/paper_exchange.py",
        "exchange/exchange_session.py",
        "pipelines/backtests/backtest_recipe.py",
        "pipelines/live_trading_pipeline.py",
        "pipelines/verification/exchange_data.py",
        "pipelines/verification/lab.py",
        "pipelines/verification/worlds.py",
        "tactician/position_monitor.py",
        "tactician/tactician.py",
    },
    "account_key": {"pipelines/market_access.py", "settings/workspace.py"},
    "state_root": {"pipelines/verification/own_settings.py", "settings/workspace.py"},
    "user_state_dir": {"settings/places.py"},
    "host_source": {"settings/workspace.py"},
    "earlier_names": {"settings/workspace.py"},
    "file_content": {"settings/source_names.py", "settings/workspace.py"},
    "content_source": {"settings/source_names.py", "settings/workspace.py"},
    "file_source": {"venue/simulated_market/tape_loading.py"},
    "synthetic_source": {"settings/workspace.py", "venue/simulated_market/synthetic.py"},
}
"""Which files say what the settings mean: the doors of the program, and the tapes, which are named as they are made."""


def _names(node: ast.AST | None) -> set[str]:
    return {inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name)} if node is not None else set()


def _is_whole(name: str, annotation: ast.AST | None) -> bool:
    """Whether a parameter or field takes the whole configuration: by its type, or by a name that tells no section.

    A digest of settings is a text.
    """
    said = _names(annotation)
    section = said == {"str"} or any(one.endswith(("Settings", "Options")) and one not in WHOLE for one in said)
    return bool(said & WHOLE) or (name in {"settings", "workspace", "config"} and not section)


def whole_settings(source: str) -> set[str]:
    """Functions and classes that take or hold the whole settings, by their qualified names."""
    found: set[str] = set()

    def look(node: ast.AST, within: tuple[str, ...]) -> None:
        name = ".".join(within)
        if isinstance(node, ast.AnnAssign):
            target = getattr(node.target, "attr", getattr(node.target, "id", ""))
            found.update({name} if _is_whole(target, node.annotation) else ())
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            found.update({name} if node.attr.strip("_") in {"settings", "workspace", "config"} else ())
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            within = (*within, node.name)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            found.update(".".join(within) for arg in given if _is_whole(arg.arg, arg.annotation))
        for inner in ast.iter_child_nodes(node):
            look(inner, within)

    look(parsed(source), ())
    return found


def test_no_room_below_pipelines_takes_the_whole_settings() -> None:
    """Each gets its own section, or options made of several; the guide's classes resolve a configuration, once."""
    files = [path for room in BELOW_PIPELINES for path in sorted((PACKAGE / room).rglob("*.py"))]
    found = {f"{path.relative_to(PACKAGE)}: {name}" for path in files for name in whole_settings(path.read_text())}
    assert found == TAKES_A_CONFIGURATION.keys()


def test_whole_settings_are_found_however_they_come() -> None:
    for line in (
        "def f(x: Settings | None): ...",
        "def f(*, settings): ...",
        "def f(config: dict): ...",
        "async def f(a, b: Callable[[Workspace], int]): ...",
        "class f:\n    kept: Settings",
        "def f(a):\n    a.settings = 1",
    ):
        assert whole_settings(line) == {"f"}, line
    assert whole_settings("def f(config: TrainingOptions, settings: CostSettings, x: SettingsError): ...") == set()


def called(source: str) -> set[str]:
    """Names of the functions that are called."""
    calls = [node.func for node in ast.walk(parsed(source)) if isinstance(node, ast.Call)]
    return {getattr(call, "id", getattr(call, "attr", "")) for call in calls}


def test_what_settings_mean_is_derived_in_listed_places() -> None:
    """A market, an account, a ledger's place: resolved at the door, and passed on from there."""
    calls = {str(path.relative_to(PACKAGE)): called(path.read_text()) for path in sorted(PACKAGE.rglob("*.py"))}
    assert {name: {file for file, names in calls.items() if name in names} for name in DERIVED_IN} == DERIVED_IN


def test_core_touches_no_file_network_clock_or_randomness() -> None:
    for file in (PACKAGE / "core").rglob("*.py"):
        source = file.read_text()
        assert not IMPURE & {name.split(".")[0] for name in imports_of(source)}, file
        tree = parsed(source)
        assert not any(isinstance(n, (ast.AsyncFunctionDef, ast.Await)) for n in ast.walk(tree)), file
        assert not [
            n for n in ast.walk(tree) if isinstance(n, ast.Attribute) and n.attr in {"now", "utcnow", "today"}
        ], file


def test_only_the_exchange_room_knows_ccxt() -> None:
    for file in PACKAGE.rglob("*.py"):
        if file.relative_to(PACKAGE).parts[0] != "exchange":
            assert "ccxt" not in {name.split(".")[0] for name in imports_of(file.read_text())}, file


WORDS_OF_THE_EXCHANGE = re.compile(r"ccxt|aiohttp|fapi|algo(?!rithm)", re.IGNORECASE)
MAY_SAY_THEM = {
    "settings/places.py": ("fapi", "hosts of the exchange, by which stored ledgers are named"),
    "execution/attribution.py": ("algo", "a person is told which endpoint did not answer, by the exchange's own name"),
    "pipelines/verification/": ("fapi algo", "sets faults on routes of the simulated venue and reads its books"),
}
MAY_BUILD_AN_EXCHANGE = {
    "analyst/analyst.py": "the guide's class has a clock as its exchange would",
    "execution/accounts.py": "makes the exchange that the settings mean",
}
"""Files of the rooms that know the exchange by its ports, which import it all the same."""


def code_words(source: str) -> Iterator[str]:
    """Identifiers, imported names and strings; comments and docstrings left out."""
    tree = parsed(source)
    documents = {id(n.value) for n in ast.walk(tree) if isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documents:
            yield node.value
        for name in ("id", "attr", "arg", "name", "module", "asname"):
            word = getattr(node, name, None)
            if isinstance(word, str):
                yield word


def words_of_the_exchange(source: str) -> set[str]:
    return {found.lower() for word in code_words(source) for found in WORDS_OF_THE_EXCHANGE.findall(word)}


def test_words_of_the_exchange_stay_in_the_rooms_that_speak_to_it() -> None:
    said = {}
    for file in PACKAGE.rglob("*.py"):
        name = str(file.relative_to(PACKAGE))
        if name.split("/", maxsplit=1)[0] not in {"exchange", "venue"}:
            place = next((place for place in MAY_SAY_THEM if name.startswith(place)), name)
            said[place] = said.get(place, set()) | words_of_the_exchange(file.read_text())
    assert {place: words for place, words in said.items() if words} == {
        place: set(words.split()) for place, (words, _) in MAY_SAY_THEM.items()
    }


def test_a_word_of_the_exchange_is_found_in_code_alone() -> None:
    assert words_of_the_exchange("import ccxt.async_support as c\nfapi = 1\nx.algo_id(newAlgo=f'/fapi/{c}')") == {
        "ccxt",
        "fapi",
        "algo",
    }
    assert words_of_the_exchange('"""ccxt"""\ndef f():\n    """fapi"""\n    return algorithm  # algo') == set()


def test_orders_and_tactics_know_the_exchange_by_its_ports() -> None:
    importing = {
        str(file.relative_to(PACKAGE))
        for room in ("execution", "tactician", "analyst")
        for file in (PACKAGE / room).rglob("*.py")
        if any(name.startswith("trader_cli.exchange") for name in imports_of(file.read_text()))
    }
    assert importing == MAY_BUILD_AN_EXCHANGE.keys()


def test_help_loads_nothing_heavy() -> None:
    heavy = ["ccxt", "aiohttp", "polars", "numpy", "lightgbm", "scipy", "sklearn", "pydantic", "talib"]
    code = f"""
import sys
sys.argv = ["trader", "--help"]
from trader_cli.cli.entry import main
try:
    main()
except SystemExit as leaving:
    assert leaving.code == 0
print("loaded:", [name for name in {heavy} if name in sys.modules])
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "loaded: []" in ran.stdout
    assert "analyze" in ran.stdout


MAKES_NO_LEDGER = {
    "pipelines/trading/ledger_repair.py": "rebuild makes the one that is to be made, settle wants one that is there",
    "pipelines/trading/halting.py": "halt and reset write to one that can be read only",
    "pipelines/trading/risk_reduction.py": "flatten writes to one that can be read only",
    "pipelines/trading/symbol_unlock.py": "one with a latch in it",
    "pipelines/venue_service.py": "those of a simulated market that is reset",
    "pipelines/verification/worlds.py": "accounts of its own",
}
LOOKS_WHETHER_IT_WAS_LOST = {"execution/orphan_orders.py", "pipelines/trading/ledger_ownership.py"}


def test_whoever_may_make_a_ledger_looks_whether_one_was_lost() -> None:
    opening = {
        str(file.relative_to(PACKAGE)) for file in PACKAGE.rglob("*.py") if "Ledger.opened(" in file.read_text()
    } - {"storage/ledger.py"}
    assert opening == MAKES_NO_LEDGER.keys() | LOOKS_WHETHER_IT_WAS_LOST
    for name in LOOKS_WHETHER_IT_WAS_LOST:
        assert "await halt_where_lost(" in (PACKAGE / name).read_text(), name


def test_no_module_keeps_state() -> None:
    for file in PACKAGE.rglob("*.py"):
        assert not any(isinstance(node, ast.Global) for node in ast.walk(parsed(file.read_text()))), file


UNTYPED = {
    "cli": (3, 0, "Typer's own groups take and give what its command line library does"),
    "core": (5, 4, "the guide's answers are dictionaries that its readers index; ticker, book and premium index"),
    "exchange": (168, 69, "replies of the exchange, until they are checked"),
    "execution": (3, 0, "questions of every kind wait in one line; quantities as a person gives them"),
    "features": (6, 0, "one filter runs on numbers and on arrays; TA-Lib has no types"),
    "pipelines": (7, 3, "worked examples ask for whatever the market shows; findings made once, by name"),
    "storage": (4, 0, "rows as SQLite gives them; whoever makes a value of one checks it"),
    "venue": (2, 0, "a venue with faults passes a whole venue's options on"),
}
"""Room → (`Any` in code, `dict[str, Any]` among them, what is left and why). Neither may grow; what shrinks is written."""


def untyped(source: str) -> tuple[int, int]:
    """How often `Any` is used in a source, and how often `dict[str, Any]`; imports left out."""
    nodes = list(ast.walk(parsed(source)))
    words = sum(isinstance(node, ast.Name) and node.id == "Any" for node in nodes)
    return words, sum(isinstance(node, ast.Subscript) and ast.unparse(node) == "dict[str, Any]" for node in nodes)


def test_what_has_no_type_is_counted_and_has_a_reason() -> None:
    found: dict[str, tuple[int, int]] = {}
    for file in PACKAGE.rglob("*.py"):
        room, (words, tables) = file.relative_to(PACKAGE).parts[0], untyped(file.read_text())
        before = found.get(room, (0, 0))
        found[room] = before[0] + words, before[1] + tables
    assert {room: count for room, count in found.items() if any(count)} == {
        room: (words, tables) for room, (words, tables, _) in UNTYPED.items()
    }


def test_what_has_no_type_is_found() -> None:
    assert untyped("from typing import Any\ndef f(x: dict[str, Any]) -> list[Any]: ...") == (2, 1)
    assert untyped("def f(x: object) -> dict[str, object]: ...") == (0, 0)


@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 143), ("SIGINT", 130)])
def test_a_signal_that_strikes_inside_a_finaliser_is_not_lost(name: str, code: int) -> None:
    script = f"""
import os, signal, time
import trader_cli.cli.main as root
class Struck:
    def __del__(self):
        os.kill(os.getpid(), signal.{name})
        time.sleep(0.01)
def app(prog_name):
    Struck()
    time.sleep(20)
root.app = app
from trader_cli.cli.entry import main
main()
"""
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=15)
    assert (ran.returncode, "Traceback" in ran.stderr) == (code, False), ran.stderr
