"""The configuration that is verified, itself: folders that take what is written, and risk management that is on.

Nothing is left behind: what is tried is a file without a name.
"""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING

from trader_cli.pipelines.verification.checks import LINES, Check, Finding, equal, holds
from trader_cli.settings.places import state_root

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trader_cli.pipelines.verification.lab import Lab

_BLOCK = bytes(4096)


def _cannot_write(folder: Path) -> str:
    """Why nothing can be written in a folder, or in the nearest one above it that is there; empty where it can be."""
    at = folder.absolute()
    try:
        while not os.path.lexists(at):
            at = at.parent
        if not at.is_dir():
            return f"{at} is no folder"
        if not os.access(at, os.W_OK | os.X_OK):
            return f"{at}: no right to write there"
        with TemporaryFile(dir=at) as file:
            file.write(_BLOCK)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return f"{at}: {error.strerror}"
    return ""


_PARTS = ("chunks", "manifests", "refs", "documents", "models", "certificates", "locks", "ledgers", "venue")
"""Folders that stages make in cache_dir and state_dir."""


def _inside(folder: Path) -> list[Path]:
    """The folder, and those in it that stages write into."""
    try:
        there = {path for path in folder.iterdir() if path.is_dir()}
    except OSError:
        return [folder]
    return [folder, *sorted(there | {folder / name for name in _PARTS})]


def folders_take_what_is_written(lab: Lab) -> Iterator[Finding]:
    """Artifacts, state and the wavelet cache of the configuration."""
    given = lab.config
    folders = {
        "cache_dir": Path(given.cache_dir),
        "state_dir": state_root(given),
        "wavelets": Path(given.wavelet_folder),
    }
    for name, folder in folders.items():
        reasons = [reason for path in _inside(folder.expanduser()) if (reason := _cannot_write(path))]
        yield equal(f"what keeps {name} ({folder}) from being written", "nothing", "; ".join(reasons[:3]) or "nothing")


def risk_management_is_on(lab: Lab) -> Iterator[Finding]:
    """Keys that switch it off, and limits that could never break."""
    tactician, analyst = lab.config.tactician, lab.config.analyst
    yield holds("tactician.enable_risk_management", tactician.enable_risk_management)
    yield holds("analyst.enable_market_health_analysis", analyst.enable_market_health_analysis)
    yield holds("analyst.enable_liquidation_risk_analysis", analyst.enable_liquidation_risk_analysis)
    for name in ("max_daily_loss", "max_drawdown", "max_liquidation_probability"):
        share = float(getattr(tactician, name))
        yield holds(f"tactician.{name}, {share:g}: less than everything", share < 1)


CHECKS = (
    Check(
        "folders_take_what_is_written",
        LINES[5],
        "artifacts and ledger can be written where the settings put them",
        "Give the folder's rights to your user, free its disk, or set cache_dir and state_dir elsewhere.",
        folders_take_what_is_written,
    ),
    Check(
        "risk_management_is_on",
        LINES[5],
        "stops, limits and refusals are switched on",
        "Take the key away from your configuration: `trader config` shows it.",
        risk_management_is_on,
    ),
)
