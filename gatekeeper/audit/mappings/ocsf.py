"""A record as an event of OCSF 1.8.0 on its own: what ties it to its log comes along.

The log's line is such an event already. Away from its log it gets the log's name, the digest of the line that it was,
and the observables that the schema recommends.
"""

import json
from collections.abc import Iterator

from gatekeeper.audit.stored import StoredRecord

_SHA_256 = 3  # fingerprint.algorithm_id
_IP, _USER_NAME, _DEVICE = 2, 4, 47


def line(record: StoredRecord, sha256: str) -> bytes:
    """The event, with a newline; `sha256` is the digest (hex) of the record's line."""
    event = dict(record.document)
    metadata = record.at("metadata")
    event["metadata"] = {**(metadata if isinstance(metadata, dict) else {}), "log_name": record.log}
    event["raw_data_hash"] = {"algorithm_id": _SHA_256, "algorithm": "SHA-256", "value": sha256}
    found = list(_observables(record))
    if found:
        event["observables"] = found
    return json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace") + b"\n"


def _observables(record: StoredRecord) -> Iterator[dict[str, object]]:
    for name, type_id, path in (
        ("user.name", _USER_NAME, ("user", "name")),
        ("actor.user.name", _USER_NAME, ("actor", "user", "name")),
        ("device.owner.name", _USER_NAME, ("device", "owner", "name")),
        ("src_endpoint.ip", _IP, ("src_endpoint", "ip")),
        ("device.uid", _DEVICE, ("device", "uid")),
    ):
        value = record.text_at(*path)
        if value is not None:
            yield {"name": name, "type_id": type_id, "value": value}
