"""The pages are true: generated parts are current, links lead somewhere, every exit code has a meaning."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from docs.generate import EXIT_MEANINGS, GENERATED
from trader_cli.cli.main import COMMANDS
from trader_cli.core.errors import ExitCode

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", GENERATED)
def test_generated_pages_are_current(name: str) -> None:
    assert (ROOT / name).read_text() == GENERATED[name](), "run `make docs`"


def test_every_exit_code_is_explained() -> None:
    assert set(EXIT_MEANINGS) == {int(code) for code in ExitCode}


def test_links_between_pages_lead_somewhere() -> None:
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            assert "://" in target or (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_readme_names_every_command() -> None:
    text = (ROOT / "README.md").read_text()
    assert not [name for name in COMMANDS if f"trader {name}" not in text]


def test_lock_files_pin_everything_with_hashes_and_name_no_host() -> None:
    for name in ("requirements.lock", "requirements-dev.lock"):
        text = (ROOT / name).read_text()
        assert "://" not in text
        assert "--index" not in text
        pins = re.findall(r"^[\w.-]+==\S+ \\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)", text, re.MULTILINE)
        assert len(pins) == len(re.findall(r"^[\w.-]+==", text, re.MULTILINE)) > 30
