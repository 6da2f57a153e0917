"""How far each remote has the log, beside the log: `shipped/<name>.json`.

Inside holds: a position appears whole or not at all, and never says more than the remote acknowledged: what is lost of
it, in a crash, is sent again. Whoever removes old records asks `least_shipped` first.
"""

import json
from pathlib import Path

from gatekeeper.adapters.sinks.directory import AuditLogDamaged
from gatekeeper.adapters.sinks.operations import FileOperations
from gatekeeper.adapters.sinks.tiles import put

_DIRECTORY = "shipped"
_MAX_OCTETS = 4096  # it has about 150


def position_path(directory: Path, name: str) -> Path:
    """Where the position of a remote lies."""
    return directory / _DIRECTORY / f"{name}.json"


def read_position(directory: Path, name: str, origin: str) -> int | None:
    """How many records of this log the remote has, from the first on; None: it is new to the remote.

    Raises:
        AuditLogDamaged: what lies there is no position.
    """
    path = position_path(directory, name)
    try:
        with path.open("rb") as file:
            document: object = json.loads(file.read(_MAX_OCTETS))
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError) as error:
        raise AuditLogDamaged(_advice(path)) from error
    if isinstance(document, dict) and isinstance(document.get("log"), str):
        records = document.get("records")
        if isinstance(records, int) and not isinstance(records, bool) and records >= 0:
            return records if document["log"] == origin else None
    raise AuditLogDamaged(_advice(path))


def note_position(directory: Path, name: str, origin: str, records: int, files: FileOperations) -> None:
    """Put down how many records the remote has. Raises OSError."""
    path = position_path(directory, name)
    path.parent.mkdir(mode=0o750, exist_ok=True)
    document = {"v": 1, "log": origin, "remote": name, "records": records}
    put(path, json.dumps(document).encode() + b"\n", files, is_durable=True)


def least_shipped(directory: Path) -> tuple[str, int] | None:
    """The remote with the fewest records, and how many, of those that ever had a position here; None: there is none.

    A remote that is no longer configured counts until its file is removed. One that cannot be read has nothing.
    """
    found: list[tuple[int, str]] = []
    try:
        paths = [path for path in (directory / _DIRECTORY).iterdir() if path.suffix == ".json"]
    except FileNotFoundError:
        return None
    for path in paths:
        try:
            records = json.loads(path.read_bytes()).get("records")
        except (OSError, ValueError, AttributeError, RecursionError):
            records = 0
        found.append((records if isinstance(records, int) else 0, path.stem))
    if not found:
        return None
    records, name = min(found)
    return name, records


def _advice(path: Path) -> str:
    return f"`{path}` is no position of a remote; remove it, and the remote gets everything from the start again"
