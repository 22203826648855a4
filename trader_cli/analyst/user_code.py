"""Code of the user: found in a Python file or by an entry point, named by a digest, run with its faults told in full.

It runs with the rights of the program. What it raises becomes a `ConfigurationError` with its file and line. Files
beside it that it imports are part of its source: the digest names them all.
"""

from __future__ import annotations

import ast
import sys
import traceback
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import invalidate_caches
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import trader_cli
from trader_cli.core.errors import ConfigurationError
from trader_cli.core.identity.digests import digest_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from importlib.metadata import EntryPoint


@dataclass(frozen=True)
class Origin:
    """Where a user's code comes from: the setting that names it, its name there, its file, a digest that names it."""

    setting: str
    reference: str
    file: str
    digest: str


def origin_of_file(setting: str, path: Path) -> Origin:
    """The origin of a file, which is read and not run. Raises `ConfigurationError` where it cannot be read."""
    return _read(setting, path)[0]


def module_of_file(setting: str, path: Path) -> tuple[Origin, ModuleType]:
    """A file's origin and what it defines. Raises `ConfigurationError` naming the file, and the line that failed."""
    origin, source = _read(setting, path)
    module = ModuleType(f"trader_user_code_{origin.digest}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module  # dataclasses look their module up
    with users_code(origin, "the file"), _beside(path, source):
        exec(compile(source, str(path), "exec"), module.__dict__)  # noqa: S102
    return origin, module


@contextmanager
def _beside(path: Path, source: bytes) -> Iterator[None]:
    """Imports find the files beside this one, as they are now."""
    folder, files = str(path.expanduser().resolve().parent), {str(file) for file in imported_files(path, source)}
    for name in [name for name, module in sys.modules.items() if getattr(module, "__file__", None) in files]:
        del sys.modules[name]
    invalidate_caches()
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)


def _read(setting: str, path: Path) -> tuple[Origin, bytes]:
    try:
        source = path.expanduser().read_bytes()
    except OSError as error:
        raise ConfigurationError(
            f"{setting}: cannot read {path}: {error.strerror}.", hint="Name a Python file, or an entry point."
        ) from error
    beside = [file.read_bytes() for file in imported_files(path, source)]
    return Origin(setting, str(path), str(path), digest_bytes(source, *beside)), source


def imported_files(path: Path, source: bytes) -> list[Path]:
    """The Python files in the file's folder, or in the one the program runs in, that it imports, and those they import.

    As its `import` statements name them; what it imports otherwise is not among them.
    """
    home = path.expanduser().resolve().parent
    found, waiting = dict[Path, None](), [(home, source)]
    folders = dict.fromkeys((home, Path.cwd().resolve()))
    while waiting:
        beside, text = waiting.pop()
        for level, name in _imported_names(text):
            roots = [beside, *beside.parents][level - 1 : level] if level else folders
            files = (folder.joinpath(*part) for folder in roots for part in _files_of(name))
            for file in (one for one in files if one not in found and one.is_file()):
                found[file] = None
                waiting.append((file.parent, file.read_bytes()))
    return sorted(found)


def _imported_names(source: bytes) -> list[tuple[int, str]]:
    """Modules named by the `import` statements of a source, and what may be a module in them; none where it is torn.

    Each with its level: 0 for one that is looked for, 1 in the package of the file itself, 2 in the one above.
    """
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return []
    names = list[tuple[int, str]]()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [(0, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            said = [module, *(f"{module}.{alias.name}".lstrip(".") for alias in node.names)]
            names += [(node.level, name) for name in said]
    return [(level, name) for level, name in names if name and (level or name.split(".")[0] != trader_cli.__name__)]


def _files_of(module: str) -> list[tuple[str, ...]]:
    """Where a module's source, and that of the packages it is in, may lie, as parts of a path."""
    parts = module.split(".")
    inits = [(*parts[:depth], "__init__.py") for depth in range(1, len(parts) + 1)]
    return [(*parts[:-1], f"{parts[-1]}.py"), *inits]


def entry_point(setting: str, group: str, name: str, known: tuple[str, ...] = ()) -> EntryPoint:
    """The entry point of this name. Raises `ConfigurationError` naming those there are, and what else is `known`."""
    found = {point.name: point for point in entry_points(group=group)}
    if name not in found:
        from difflib import get_close_matches

        named = [*known, *sorted(found)]
        near = [f"{name}.py"] if Path(f"{name}.py").is_file() else get_close_matches(name, named, n=1)
        meant = f"Did you mean {near[0]}? " if near else ""
        raise ConfigurationError(
            f"{setting}: {name!r} is no file ending in .py and no entry point of the group {group}.",
            hint=f"{meant}Known: {', '.join(named) or 'none'}.",
        )
    return found[name]


def origin_of_entry_point(setting: str, point: EntryPoint, file: str) -> Origin:
    """Its origin, by the name and version of its distribution and the source of its module in `file`."""
    distribution = point.dist
    version = "" if distribution is None else f"{distribution.name} {distribution.version}"
    source = Path(file).read_bytes() if Path(file).is_file() else b""
    return Origin(setting, point.name, file, digest_bytes(version.encode(), source))


@contextmanager
def users_code(origin: Origin, doing: str) -> Iterator[None]:
    """Turns whatever the user's code raises into a `ConfigurationError` with its file and line."""
    try:
        yield
    except (Exception, SystemExit, GeneratorExit) as error:  # what a stranger's code may raise is told in full
        raise ConfigurationError(
            f"{origin.setting}: {doing} of {origin.reference} failed at {_line(error, origin)}:"
            f" {type(error).__name__}: {error}"
        ) from error


def _line(error: BaseException, origin: Origin) -> str:
    if isinstance(error, SyntaxError) and error.filename == origin.file:
        return f"{origin.file}, line {error.lineno}"
    own = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == origin.file]
    return f"{origin.file}, line {own[-1].lineno}" if own else origin.file
