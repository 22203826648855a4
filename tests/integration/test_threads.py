"""Nothing under a digest depends on how many threads made it: not features, labels, models or analyses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]


def made_with(threads: int, folder: Path) -> dict[str, str]:
    """Digests of what another process makes with so many threads in every library that has some."""
    names = ("POLARS_MAX_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    environment = {
        **os.environ,
        **dict.fromkeys(names, str(threads)),
        "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "tests"))),
    }
    done = subprocess.run(
        [sys.executable, "-m", "support.market.thread_digests", str(threads)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def test_one_two_and_four_threads_make_the_same_digests(tmp_path: Path) -> None:
    one, two, four = (made_with(threads, tmp_path) for threads in (1, 2, 4))
    assert set(one) == {"aligned", "features", "labels", "model", "analysis"}
    assert one == two == four
