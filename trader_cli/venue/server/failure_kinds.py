"""How a request can fail: by name, whether it is carried out all the same, and what its sender sees.

A name may end in " before" (never carried out) or " late" (answered at once, carried out later). Nothing here waits.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Literal

import orjson

from trader_cli.core.errors import UsageError

Execution = Literal["now", "never", "late"]


@dataclass(frozen=True)
class Failure:
    """What becomes of a request. `status` 0 cuts the connection; `body` None spoils the true answer by half."""

    name: str
    execution: Execution
    status: int
    body: bytes | None = b""
    content_type: str = "application/json"
    limited: Literal["", "429", "418"] = ""


def _said(code: int, message: str) -> bytes:
    return orjson.dumps({"code": code, "msg": message})


def _without_code(message: str) -> bytes:
    """As the futures gateway writes it."""
    return orjson.dumps({"timestamp": 0, "path": "", "msg": message})


_UNKNOWN = "Unknown error, please check your request or try again later."
_TIMEOUT = "Timeout waiting for response from backend server. Send status unknown; execution status unknown."
_HTML = b"<html><head><title>%s</title></head><body>%s</body></html>"
_NAMED = (
    Failure("503 unknown", "now", 503, _without_code(_UNKNOWN)),
    Failure("503 code 0", "now", 503, _said(0, _UNKNOWN)),
    Failure("503", "never", 503, _without_code("Service Unavailable.")),
    Failure("502", "now", 502, _HTML % (b"502 Bad Gateway", b""), "text/html"),
    Failure("504", "now", 504, _HTML % (b"504 Gateway Time-out", b""), "text/html"),
    Failure("dropped", "now", 0),
    Failure("timeout -1007", "now", 408, _said(-1007, _TIMEOUT)),
    Failure("-1007", "now", 408, _said(-1007, _TIMEOUT)),
    Failure("-1006", "now", 400, _said(-1006, "An unexpected response was received from the message bus.")),
    Failure("429", "never", 429, _said(-1003, "Too many requests."), limited="429"),
    Failure("418", "never", 418, _said(-1003, "Way too many requests."), limited="418"),
    Failure("-1003", "never", 400, _said(-1003, "Too many requests queued."), limited="429"),
    Failure("-1015", "never", 429, _said(-1015, "Too many new orders; current limit is 300 orders per 10 SECOND.")),
    Failure("-1008", "never", 503, _said(-1008, "Request throttled by system-level protection.")),
    Failure("-1001", "never", 503, _said(-1001, "Internal error; unable to process your request. Please try again.")),
    Failure("403", "never", 403, _HTML % (b"403 Forbidden", b"The request could not be satisfied."), "text/html"),
    Failure("html", "now", 200, _HTML % (b"Maintenance", b"System is under maintenance."), "text/html"),
    Failure("truncated", "now", 200, None),
    Failure("empty", "now", 200),
    Failure("{}", "now", 200, b"{}"),
    Failure("[]", "now", 200, b"[]"),
)
FAILURES = {failure.name: failure for failure in _NAMED}
"""Every failure with a name of its own. Any code of the exchange, such as "-2022", is one too: refused, not done."""
_TEXTS = {
    -1021: "Timestamp for this request is outside of the recvWindow.",
    -1111: "Precision is over the maximum.",
    -1121: "Invalid symbol.",
    -2010: "New order rejected.",
    -2011: "Unknown order sent.",
    -2013: "Order does not exist.",
    -2015: "Invalid API-key, IP, or permissions for action.",
    -2019: "Margin is insufficient.",
    -2021: "Order would immediately trigger.",
    -2022: "ReduceOnly Order is rejected.",
    -4116: "ClientOrderId is duplicated.",
    -4118: "ReduceOnly Order Failed. Please check your existing position.",
    -4130: "An open stop or take profit order with GTE and closePosition in the direction is existing.",
    -4131: "The counterparty's best price does not meet the PERCENT_PRICE filter limit.",
    -4140: "Invalid symbol status for opening position.",
}
_CODE = re.compile(r"-\d{4,5}$")


def failure_of(name: str) -> Failure:
    """The failure of a name. Raises `UsageError`."""
    base, execution = name, None
    for ending, meant in ((" before", "never"), (" late", "late")):
        if name.endswith(ending):
            base, execution = name.removesuffix(ending), meant
    found = FAILURES.get(base) or _refusal(base)
    if found is None:
        raise UsageError(
            f"No failure is called {name!r}.",
            hint=f"Name a code of the exchange (-2022), or one of: {', '.join(FAILURES)}; with ' before' or ' late'.",
        )
    return found if execution is None else replace(found, name=name, execution=execution)  # type: ignore[arg-type]


def _refusal(name: str) -> Failure | None:
    if not _CODE.match(name):
        return None
    code = int(name)
    status = 401 if code in {-2014, -2015, -1022} else 400
    return Failure(name, "never", status, _said(code, _TEXTS.get(code, "trader venue: refused by a fault.")))
