"""A plugin of pytest for `break_verify`: which package the tests imported, and what failed, as JSON.

Written to the file that BREAK_WITNESS names once the run has ended: `elsewhere`, the modules of `trader_cli` that were
imported from outside BREAK_COPY; `modules`, how many there were; `failures`, [node, exception, message] each.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from hypothesis import Phase, settings

if TYPE_CHECKING:
    import pytest

_FAILURES: list[tuple[str, str, str]] = []
settings.register_profile("breaks", phases=(Phase.explicit, Phase.generate), derandomize=True, database=None)
settings.load_profile("breaks")  # the first example that fails is enough: none is made smaller


def pytest_exception_interact(
    node: pytest.Item | pytest.Collector,
    call: pytest.CallInfo[object],
    report: pytest.CollectReport | pytest.TestReport,  # noqa: ARG001
) -> None:
    """A test, a fixture or an import has failed."""
    if call.excinfo is not None:
        _FAILURES.append((node.nodeid, call.excinfo.typename, str(call.excinfo.value)))


def pytest_sessionfinish() -> None:
    """Write down what was seen."""
    copy = Path(os.environ["BREAK_COPY"])
    files = {
        name: Path(module.__file__ or "")
        for name, module in sys.modules.items()
        if name.partition(".")[0] == "trader_cli" and hasattr(module, "__file__")
    }
    elsewhere = sorted(name for name, file in files.items() if not file.is_relative_to(copy))
    told = {"elsewhere": elsewhere, "modules": len(files), "failures": _FAILURES}
    Path(os.environ["BREAK_WITNESS"]).write_text(json.dumps(told), "utf-8")
