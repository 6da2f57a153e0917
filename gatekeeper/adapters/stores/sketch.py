"""What every write leaves beside the evidence itself: the posture at a glance, its index by app, and its past.

A *sketch* is a row of `posture`: the folded result of a device without its apps. A *past* row says what the posture was
before, as the difference to the one after it. `fill` makes the sketches of a database that has none.
"""

import json
from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Annotated, cast

import msgspec
from sqlalchemy import func, insert, select
from sqlalchemy.engine import Connection

from gatekeeper.adapters.stores.codec import decode_apps, encode_apps, encode_kind, encode_stated, with_stated
from gatekeeper.adapters.stores.tables import app as app_table
from gatekeeper.adapters.stores.tables import attestation_result, change, device, device_app, microseconds, posture
from gatekeeper.attestation.fold import fold
from gatekeeper.domain.app import App, AppList
from gatekeeper.domain.device import Device, DeviceClass, DeviceId, Ownership, Platform
from gatekeeper.domain.posture import AttestationResult, Posture, Scope

Row = dict[str, object]

HISTORY_KEPT = timedelta(days=8)
"""How far back decisions can be performed again: a week, and a day for whoever asks late."""

_PAGE = 500
_NO_IDENTIFIERS: Mapping[str, str] = MappingProxyType({})
_Aware = Annotated[datetime, msgspec.Meta(tz=True)]


def sketch_row(result: AttestationResult | None) -> Row:
    """The columns of `posture` that follow from the folded result."""
    if result is None:
        return dict.fromkeys(
            ("source", "scope", "complete", "collected_at", "evidence_sha256", "apps_count", "absences", "stated")
        )
    return {
        "source": result.source,
        "scope": result.scope.value,
        "complete": result.complete,
        "collected_at": result.collected_at,
        "evidence_sha256": result.evidence_sha256,
        "apps_count": len(result.apps),
        "absences": result.apps.absences,
        "stated": encode_stated(result),
    }


def kinds(results: Iterable[AttestationResult]) -> set[str]:
    """The apps of all of a device's results, as the index knows them."""
    return {encode_kind(each) for result in results for each in result.apps.apps}


def past_row(before: Posture, after: AttestationResult | None, until: datetime) -> Row:
    """The row that leads from the posture after a change back to the one before it."""
    device_, result = before.device, before.result
    old = dict.fromkeys(result.apps.apps if result else ())
    new = dict.fromkeys(after.apps.apps if after else ())
    return {
        "device_id": device_.device_id,
        "revision": before.revision,
        "until": until,
        "facts": json.dumps(facts_of(before), separators=(",", ":")),
        "added": encode_apps(AppList(each for each in old if each not in new)),
        "removed": encode_apps(AppList(each for each in new if each not in old)),
    }


def facts_of(posture_: Posture) -> Row:
    """All of a posture but its id, its revision and its apps; `past_posture_of` reads it."""
    device_, result = posture_.device, posture_.result
    facts: Row = {
        "account": device_.account,
        "platform": device_.platform.value,
        "device_class": device_.device_class.value,
        "ownership": device_.ownership.value if device_.ownership else None,
        "first_seen": device_.first_seen.isoformat() if device_.first_seen else None,
    }
    if result is not None:
        facts |= {
            "source": result.source,
            "scope": result.scope.value,
            "complete": result.complete,
            "collected_at": result.collected_at.isoformat(),
            "evidence_sha256": result.evidence_sha256,
            "absences": result.apps.absences,
            "stated": encode_stated(result),
        }
    return facts


class PastFacts(msgspec.Struct):
    """What a past row says of a posture besides its apps; as `past_row` spells it."""

    account: str
    platform: Platform
    device_class: DeviceClass
    ownership: Ownership | None
    first_seen: _Aware | None = None
    source: str | None = None
    """None: without evidence; what follows means nothing then."""
    scope: Scope = Scope.FULL
    complete: bool = False
    collected_at: _Aware = datetime.min.replace(tzinfo=UTC)
    evidence_sha256: str = ""
    absences: int = 0
    stated: str | None = None


_PAST_FACTS = msgspec.json.Decoder(PastFacts)


def decode_past(text: str) -> PastFacts:
    """The facts of a past row. Raises ValueError for a text that `past_row` did not make."""
    try:
        return _PAST_FACTS.decode(text)
    except msgspec.MsgspecError as exc:
        raise ValueError("a past posture on record does not have the expected shape") from exc


def past_posture_of(device_id: DeviceId, revision: int, facts: PastFacts, apps: AppList) -> Posture:
    """The posture that a past row tells of, with these apps. Raises ValueError for facts that nobody stated."""
    whose = Device(
        device_id=device_id,
        account=facts.account,
        platform=facts.platform,
        device_class=facts.device_class,
        ownership=facts.ownership,
        identifiers=_NO_IDENTIFIERS,
        first_seen=facts.first_seen,
    )
    result = None
    if facts.source is not None:
        result = AttestationResult(
            source=facts.source,
            scope=facts.scope,
            complete=facts.complete,
            collected_at=facts.collected_at,
            evidence_sha256=facts.evidence_sha256,
            apps=apps,
        )
        result = with_stated(result, facts.stated)
    return Posture(device=whose, result=result, revision=revision)


def apps_before(newer: Collection[App], added: Iterable[App], removed: Collection[App]) -> list[App]:
    """The apps of a past posture, from those of the one after it and the difference that its row holds."""
    gone = set(removed)
    return [*(each for each in newer if each not in gone), *added]


def fill(connection: Connection) -> None:
    """Sketch every device of a database; reads all of the evidence once, some devices at a time."""
    numbers: dict[str, int] = {}
    number = 0
    last = ""
    while page := _page(connection, last):
        sketches: list[Row] = []
        pairs: list[Row] = []
        for device_id, at, rows in page:
            number += 1
            results = [_result(row) for row in rows if row[1] is not None]
            revision = microseconds(at) if at else 1
            sketch = sketch_row(fold(results))
            del sketch["stated"]  # a column that a later step adds; nothing is in it yet
            sketches.append({"number": number, "device_id": device_id, "revision": revision, **sketch})
            found = kinds(results)
            new = sorted(found - numbers.keys())
            if new:
                numbers |= {kind: len(numbers) + place for place, kind in enumerate(new, start=1)}
                connection.execute(insert(app_table), [{"number": numbers[kind], "facts": kind} for kind in new])
            pairs.extend({"app": numbers[kind], "device": number} for kind in found)
            last = device_id
        connection.execute(insert(posture), sketches)
        if pairs:
            connection.execute(insert(device_app), pairs)


def _page(connection: Connection, after: str) -> list[tuple[str, datetime | None, list[tuple[object, ...]]]]:
    """The next devices by id, when each last changed, and its results."""
    ids = select(device.c.device_id).where(device.c.device_id > after).order_by(device.c.device_id).limit(_PAGE)
    page = list(connection.execute(ids).scalars())
    if not page:
        return []
    said = attestation_result.c
    columns = (
        said.device_id,
        said.source,
        said.scope,
        said.complete,
        said.collected_at,
        said.evidence_sha256,
        said.apps,
    )
    rows: dict[str, list[tuple[object, ...]]] = {device_id: [] for device_id in page}
    for row in connection.execute(select(*columns).where(said.device_id.in_(page))):
        rows[row[0]].append(tuple(row))
    latest = select(change.c.device_id, func.max(change.c.at)).where(change.c.device_id.in_(page))
    changed_at: dict[str, datetime] = dict(map(tuple, connection.execute(latest.group_by(change.c.device_id))))
    return [(device_id, changed_at.get(device_id), rows[device_id]) for device_id in page]


def _result(row: tuple[object, ...]) -> AttestationResult:
    return AttestationResult(
        source=cast("str", row[1]),
        scope=Scope(cast("str", row[2])),
        complete=cast("bool", row[3]),
        collected_at=cast("datetime", row[4]),
        evidence_sha256=cast("str", row[5]),
        apps=decode_apps(cast("str", row[6])),
    )
