"""The process that owns the ledger: ending it, this very process and never another that has its pid by now."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trader_cli.storage.ledger_lock import Owner

_TERM_S, _KILL_S, _LOOK_S = 2.0, 2.0, 0.05


def end_owner(owner: Owner) -> str | None:
    """End a process: SIGTERM, and SIGKILL after 2 s. Why it could not be ended; `None` once it is gone."""
    if owner.pid == os.getpid():
        return "it is this process"
    if not owner.is_here:
        return f"it runs on {owner.host}"
    if not owner.pid or not owner.started:
        return "its pid is not known"
    for number, patience_s in ((signal.SIGTERM, _TERM_S), (signal.SIGKILL, _KILL_S)):
        try:
            _send(owner, number)
        except ProcessLookupError:
            return None
        except PermissionError:
            return "it belongs to another user"
        if _gone(owner, patience_s):
            return None
    return "it does not end, also not by SIGKILL"


def _send(owner: Owner, number: int) -> None:
    """A signal to this very process. Raises `ProcessLookupError` if it is gone, and its pid perhaps another's."""
    if not hasattr(os, "pidfd_open"):
        if not owner.is_alive:
            raise ProcessLookupError
        os.kill(owner.pid, number)
        return
    handle = os.pidfd_open(owner.pid)
    try:
        if not owner.is_alive:  # looked at while the handle holds the process: between this and the signal none slips
            raise ProcessLookupError
        signal.pidfd_send_signal(handle, number)
    finally:
        os.close(handle)


def _gone(owner: Owner, patience_s: float) -> bool:
    until = time.monotonic() + patience_s
    while owner.is_alive:
        if time.monotonic() > until:
            return False
        time.sleep(_LOOK_S)
    return True
