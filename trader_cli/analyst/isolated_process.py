"""A user's families in a process of its own: what hangs on the process, such as the order of a set, is other there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import trader_cli
from trader_cli.analyst.configured_families import configured_spec, own_families
from trader_cli.core.errors import ConfigurationError
from trader_cli.core.identity.digests import digest_bytes
from trader_cli.core.json_values import object_of
from trader_cli.core.market.timeframes import Timeframe
from trader_cli.features.build import Builder
from trader_cli.features.certification_tape import certification_frame, rows_needed
from trader_cli.settings import as_settings

if TYPE_CHECKING:
    from trader_cli.core.json_values import JsonObject
    from trader_cli.features.feature_spec import FeatureSpec
    from trader_cli.settings.model import FeatureSettings

_SEED = 20240229
_TIMEOUT_S = 600
_ANSWER = "made elsewhere: "
_MODULE = "trader_cli.analyst.isolated_process"


def impure_in_new_process(spec: FeatureSpec, options: FeatureSettings) -> frozenset[str]:
    """The columns of families of one's own that another process, with other hashes, makes otherwise or not at all.

    The families are named by `options`; no key or secret is passed on. Raises `ConfigurationError` where the other
    process does not answer.
    """
    here = column_digests(spec)
    request: JsonObject = {
        "settings": options.model_dump(mode="json"),
        "timeframe": spec.timeframe.name,
        "inputs": list(spec.inputs),
    }
    seed = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"
    try:
        there = ask_new_process(_MODULE, request, _TIMEOUT_S, seed)
    except subprocess.SubprocessError as error:
        raise ConfigurationError(
            f"user_families: they can be made here, but not in a process of their own: {last_words(error)}.",
            hint="A family may not depend on the process it runs in.",
        ) from error
    return frozenset(name for name, digest in here.items() if there.get(name) != digest)


def ask_new_process(module: str, request: JsonObject, limit_s: float, hash_seed: str) -> JsonObject:
    """What a module of ours answers in a process of its own (`answer`), with this seed of hashes.

    No key or secret is passed on: no variable of ours is. Raises `subprocess.SubprocessError` where it fails or does
    not end in time.
    """
    ran = subprocess.run(  # noqa: S603  a module of ours
        [sys.executable, "-m", module],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        check=True,
        timeout=limit_s,
        env={**known_environment(), "PYTHONHASHSEED": hash_seed},
    )
    [said] = [line for line in ran.stdout.splitlines() if line.startswith(_ANSWER)]
    return object_of(json.loads(said.removeprefix(_ANSWER)))


def known_environment() -> dict[str, str]:
    """The environment of another process of ours: without any variable of the program, secrets among them."""
    known = {name: value for name, value in os.environ.items() if not name.upper().startswith("TRADER_")}
    paths = [str(Path(trader_cli.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    return {**known, "PYTHONPATH": os.pathsep.join(filter(None, paths))}


def answer(body: JsonObject) -> None:
    """One line of JSON, after whatever a user's code has printed."""
    sys.stdout.write(f"\n{_ANSWER}{json.dumps(body)}\n")


def last_words(error: subprocess.SubprocessError) -> str:
    """The last line of what a process said that failed; where it said nothing, how it ended."""
    said = str(getattr(error, "stderr", None) or "").strip()
    if said:
        return said.splitlines()[-1]
    code = getattr(error, "returncode", None)
    return str(error) if code is None else f"exit code {code}" if code >= 0 else f"signal {-code}"


def column_digests(spec: FeatureSpec) -> dict[str, str]:
    """The digest of each column of families of one's own, on the synthetic tape."""
    frame = certification_frame(spec.timeframe, spec.inputs, rows=rows_needed(spec), seed=_SEED)
    builder = Builder(frame, spec, 0)
    own = [family for family in spec.families if family.source]
    return {
        name: digest_bytes(row.tobytes())
        for family in own
        for name, row in zip(family.columns, builder.fill(family, builder.room(family)), strict=True)
    }


def main() -> None:
    """Answer what `impure_in_new_process` asks."""
    request = json.load(sys.stdin)
    settings = as_settings({"feature_engineering_orchestrator": request["settings"]})
    options = settings.feature_engineering_orchestrator
    spec = configured_spec(options, Timeframe.parse(request["timeframe"]), request["inputs"], own_families(options))
    answer({**column_digests(spec)})


if __name__ == "__main__":
    main()
