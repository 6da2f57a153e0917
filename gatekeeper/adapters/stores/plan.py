"""Reports + what is on record -> the rows to write. No database here.

A `Plan` takes the reports in order and refuses the first that cannot be applied; until `rows` is called nothing is
decided about storage, so that a refusal leaves nothing behind.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from types import MappingProxyType

from gatekeeper.adapters.stores.codec import encode_apps, encode_stated
from gatekeeper.adapters.stores.reading import IdentifierKey, OnRecord
from gatekeeper.adapters.stores.sketch import kinds, past_row, sketch_row
from gatekeeper.adapters.stores.tables import microseconds
from gatekeeper.attestation.fold import fold, update
from gatekeeper.domain.device import Device, DeviceId
from gatekeeper.domain.posture import AttestationResult, Report, Scope
from gatekeeper.ports.registry import Applied, IdentifierTaken, OlderEvidence

Row = dict[str, object]
"""A row for Core, by column name; `b_…` are the bound keys of an update or delete."""
_RowKey = tuple[str, Scope]


@dataclass(slots=True)
class Rows:
    """What one transaction writes, in this order."""

    devices_new: list[Row] = field(default_factory=list)
    devices_changed: list[Row] = field(default_factory=list)
    identifiers_gone: list[Row] = field(default_factory=list)
    identifiers_new: list[Row] = field(default_factory=list)
    results_new: list[Row] = field(default_factory=list)
    results_changed: list[Row] = field(default_factory=list)
    postures_new: list[Row] = field(default_factory=list)
    postures_changed: list[Row] = field(default_factory=list)
    postures_past: list[Row] = field(default_factory=list)
    apps_gone: list[tuple[str, int]] = field(default_factory=list)
    """Kinds of apps that a device has no more, with the device's number in the index."""
    apps_new: list[tuple[str, int | DeviceId]] = field(default_factory=list)
    """Kinds of apps that a device has now; with the id of a device that has no number yet."""
    changes: list[Row] = field(default_factory=list)


@dataclass(slots=True)
class _State:
    """A device while reports are applied to it."""

    before: Device | None
    device: Device
    results: dict[_RowKey, AttestationResult]
    record: OnRecord | None
    """What exists in the database."""
    dirty: set[_RowKey] = field(default_factory=set)


class Plan:
    """The effect of one call; `applied` counts it."""

    def __init__(self, known: Mapping[DeviceId, OnRecord], owners: Mapping[IdentifierKey, DeviceId]) -> None:
        """`owners` tells whose the claimed identifiers are; `known` must hold those devices too."""
        self._states = {device_id: _state(record) for device_id, record in known.items()}
        self._owners = dict(owners)
        self._claimed: dict[IdentifierKey, DeviceId] = {}
        self._counts = {"created": 0, "changed": 0, "unchanged": 0}

    @property
    def applied(self) -> Applied:
        """What the reports so far change."""
        return Applied(**self._counts)

    def apply(self, reports: Sequence[Report]) -> None:
        """Apply reports with their device's facts, in order. Raises `OlderEvidence`, `IdentifierTaken`."""
        # A file may hold several answers about one device. Once all are applied only the last is on record, and the
        # same file again must not fail on the earlier ones.
        last = {(r.device.device_id, r.result.source, r.result.scope): r.result.evidence_sha256 for r in reports}
        for index, report in enumerate(reports):
            device_id = report.device.device_id
            state = self._states.get(device_id)
            if state is None:
                state = _State(before=None, device=report.device, results={}, record=None)
                self._states[device_id] = state
                self._claim(index, report.device)
                self._put(index, state, report.result)
                self._counts["created"] += 1
                continue
            has_new_facts = self._merge_facts(index, state, report.device)
            final = last[device_id, report.result.source, report.result.scope]
            has_new_evidence = self._put(index, state, report.result, final=final)
            self._counts["changed" if has_new_facts or has_new_evidence else "unchanged"] += 1

    def put_evidence(self, report: Report) -> None:
        """Put a report's result on record for a known device, whose facts stay. Raises `OlderEvidence`."""
        changed = self._put(0, self._states[report.device.device_id], report.result)
        self._counts["changed" if changed else "unchanged"] += 1

    def rows(self, *, now: datetime, kind: str, digest: str) -> Rows:
        """The rows that make it so; empty when nothing changes."""
        rows = Rows()
        for device_id, state in self._states.items():
            facts = _write_device(rows, state, now)
            _write_results(rows, state)
            if facts or state.dirty:
                _write_posture(rows, state, now)
                accounts = {state.device.account, state.before.account if state.before else state.device.account}
                rows.changes.extend(
                    {"device_id": device_id, "account": account, "at": now, "kind": kind, "digest": digest}
                    for account in sorted(accounts)
                )
        for row in rows.changes:
            row["detail"] = ""
        if rows.changes and kind == "inventory":
            rows.changes[-1]["detail"] = json.dumps(self._counts, separators=(",", ":"))
        return rows

    def _merge_facts(self, index: int, state: _State, stated: Device) -> bool:
        """Take over what `stated` states; what it leaves open (ownership, an identifier) stays as it was."""
        self._claim(index, stated)
        merged = replace(
            stated,
            ownership=stated.ownership or state.device.ownership,
            identifiers=MappingProxyType({**state.device.identifiers, **stated.identifiers}),
            first_seen=state.device.first_seen,
        )
        if merged == state.device:
            return False
        state.device = merged
        return True

    def _claim(self, index: int, claimant: Device) -> None:
        """Move the claimed identifiers to `claimant`: a phone that was enrolled anew keeps its serial number."""
        for key in claimant.identifiers.items():
            rival = self._claimed.setdefault(key, claimant.device_id)
            if rival != claimant.device_id:
                raise IdentifierTaken(index, key[0], rival)
            owner = self._owners.get(key)
            if owner is not None and owner != claimant.device_id:
                loser = self._states[owner]
                left = {kind: value for kind, value in loser.device.identifiers.items() if (kind, value) != key}
                loser.device = replace(loser.device, identifiers=MappingProxyType(left))
            self._owners[key] = claimant.device_id

    def _put(self, index: int, state: _State, new: AttestationResult, *, final: str = "") -> bool:
        """Put a result on record; False when it is there already."""
        key = (new.source, new.scope)
        previous = state.results.get(key)
        if previous is not None:
            is_superseded = previous.evidence_sha256 == final and new.collected_at <= previous.collected_at
            if is_superseded or previous.evidence_sha256 == new.evidence_sha256:
                return False
        newest = max((row.collected_at for row in state.results.values() if row.source == new.source), default=None)
        if newest is not None and new.collected_at < newest:
            raise OlderEvidence(index, newest)
        proofs = [row.collected_at for row in state.results.values() if row.proves_absence]
        state.results[key] = update(previous, new, absence_known_at=max(proofs, default=None))
        state.dirty.add(key)
        return True


def _state(record: OnRecord) -> _State:
    results = {(row.source, row.scope): row for row in record.rows}
    return _State(before=record.device, device=record.device, results=results, record=record)


def _write_device(rows: Rows, state: _State, now: datetime) -> bool:
    """The rows of the device's own facts; False when none changed."""
    if state.device == state.before:
        return False
    facts: Row = {
        "account": state.device.account,
        "platform": state.device.platform.value,
        "device_class": state.device.device_class.value,
        "ownership": state.device.ownership.value if state.device.ownership else None,
        "identifiers": json.dumps(dict(state.device.identifiers), separators=(",", ":"), sort_keys=True),
    }
    device_id = state.device.device_id
    if state.before is None:
        rows.devices_new.append({"device_id": device_id, "first_seen": now, **facts})
    else:
        rows.devices_changed.append({"b_device_id": device_id, **facts})
    old = dict(state.before.identifiers) if state.before else {}
    new = state.device.identifiers
    gone = [kind for kind, value in old.items() if new.get(kind) != value]
    rows.identifiers_gone.extend({"b_device_id": device_id, "b_kind": kind} for kind in gone)
    added = [(kind, value) for kind, value in new.items() if old.get(kind) != value]
    rows.identifiers_new.extend({"kind": kind, "value": value, "device_id": device_id} for kind, value in added)
    return True


def _write_posture(rows: Rows, state: _State, now: datetime) -> None:
    """The sketch of the new posture, the way back to the one before, and what changes in the index."""
    record = state.record
    result = fold(tuple(state.results.values()))
    sketch = sketch_row(result)
    if record is None or record.number is None:
        rows.postures_new.append({"device_id": state.device.device_id, "revision": microseconds(now), **sketch})
        rows.apps_new.extend((kind, state.device.device_id) for kind in kinds(state.results.values()))
        return
    # A clock that was set back must not give two postures one name.
    revision = max(record.revision + 1, microseconds(now))
    rows.postures_changed.append({"b_number": record.number, "revision": revision, **sketch})
    rows.postures_past.append(past_row(record.posture, result, now))
    if state.dirty:
        before, after = kinds(record.rows), kinds(state.results.values())
        rows.apps_gone.extend((kind, record.number) for kind in before - after)
        rows.apps_new.extend((kind, record.number) for kind in after - before)


def _write_results(rows: Rows, state: _State) -> None:
    recorded = {(row.source, row.scope) for row in state.record.rows} if state.record else set()
    for key in sorted(state.dirty):
        result = state.results[key]
        values: Row = {
            "collected_at": result.collected_at,
            "complete": result.complete,
            "evidence_sha256": result.evidence_sha256,
            "apps": encode_apps(result.apps),
            "stated": encode_stated(result),
        }
        if key in recorded:
            place: Row = {"b_device_id": state.device.device_id, "b_source": key[0], "b_scope": key[1].value}
            rows.results_changed.append({**place, **values})
        else:
            place = {"device_id": state.device.device_id, "source": key[0], "scope": key[1].value}
            rows.results_new.append({**place, **values})
