"""Small files of what the exchange was seen to say: whole or not at all, and never in the way of anything."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


def remember(path: Path, body: Mapping[str, object]) -> None:
    """Write a JSON object in place of the one before. Raises `OSError`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=".part-", delete=False) as file:
        part = Path(file.name)
        try:
            file.write(json.dumps(body))
            file.close()
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
