"""`gatekeeper`, with a stop watch on every record that a log-in waits for; `waits.json` has the times at the end.

`GATEKEEPER_BENCH_LOG=none` answers at once and records nothing: what a log-in takes without an audit log.
"""

import json
import os
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

from gatekeeper.adapters.sinks.file import FileAuditLog
from gatekeeper.audit.event import Event
from gatekeeper.cli.main import main

WAITS: list[float] = []
_append = FileAuditLog.append


def _timed(log: FileAuditLog, event: Event, recorded: Callable[[bool], None] | None = None) -> None:
    if recorded is None:
        _append(log, event)
        return
    began = perf_counter()

    def answered(is_recorded: bool) -> None:
        WAITS.append(perf_counter() - began)
        recorded(is_recorded)

    _append(log, event, answered)


def _none(_log: FileAuditLog, _event: Event, recorded: Callable[[bool], None] | None = None) -> None:
    if recorded is not None:
        recorded(True)  # noqa: FBT003  the port's answer


if __name__ == "__main__":
    FileAuditLog.append = _none if os.environ.get("GATEKEEPER_BENCH_LOG") == "none" else _timed
    try:
        main()
    finally:
        Path("waits.json").write_text(json.dumps(WAITS))
