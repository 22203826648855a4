"""Source names of simulated markets: which one an artifact is from, told without loading it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trader_cli.core.errors import DataMissing
from trader_cli.core.identity.digests import digest_bytes, digest_value

if TYPE_CHECKING:
    from pathlib import Path


def tape_files(path: Path) -> list[Path]:
    """The Parquet files a tape path names. Raises `DataMissing`."""
    if path.is_dir():
        found = sorted(path.glob("*.parquet"))
        if not found:
            raise DataMissing(
                f"The tape folder {path} holds no Parquet file.", hint="Name a file or folder of bars with --tape."
            )
        return found
    if not path.is_file():
        raise DataMissing(f"The tape {path} does not exist.", hint="Name a Parquet file of bars with --tape.")
    return [path]


def file_content(path: Path) -> str:
    """A digest of the bytes of the tape at `path`, whatever its files are called."""
    return digest_value(sorted(digest_bytes(file.read_bytes()) for file in tape_files(path)))


def file_source(path: Path, seed: int) -> str:
    """The source name of the tape at `path`: readable, and different for other bytes or another path seed."""
    return content_source(path, file_content(path), seed)


def content_source(path: Path, content: str, seed: int) -> str:
    """The same where the digest of the content is known."""
    return f"tape-{path.stem}-{digest_value([content, seed])[:12]}"


def synthetic_source(symbols: tuple[str, ...], days: int, planted_lead: float, seed: int) -> str:
    """The source name of a synthetic market."""
    kind = "lead" if planted_lead else "null"
    return f"synthetic-{kind}-{digest_value([sorted(symbols), days, planted_lead, seed])[:12]}"
