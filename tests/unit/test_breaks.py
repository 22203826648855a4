"""The campaign that breaks the product on purpose stays current: what it replaces is there, just once."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "scripts" / "break_verify.py"


def test_every_break_finds_what_it_breaks() -> None:
    spec = importlib.util.spec_from_file_location("break_verify", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["break_verify"] = module
    spec.loader.exec_module(module)
    assert len(module.BREAKS) >= 10
    for one in module.BREAKS:
        for name, text, _ in one.replacements:
            assert (module.PACKAGE / name).read_text("utf-8").count(text) == 1, f"{one.name}: {text!r} in {name}"
