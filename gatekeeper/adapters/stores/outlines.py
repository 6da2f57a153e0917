"""Devices with the outlines of their app lists: read without making a whole list into apps.

The sketches say all of a device but its apps; which devices have an app that matters is in the index, and only of those
the lists are read, and of a list only what matters is made into apps.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any

from sqlalchemy import BigInteger, select, type_coerce
from sqlalchemy.ext.asyncio import AsyncConnection

from gatekeeper.adapters.stores.app_index import MeantApps
from gatekeeper.adapters.stores.codec import decode_some, with_stated
from gatekeeper.adapters.stores.tables import attestation_result, device, posture
from gatekeeper.attestation.fold import fold
from gatekeeper.campaign.outline import Outline
from gatekeeper.domain.app import App, AppList
from gatekeeper.domain.device import Device, DeviceClass, DeviceId, Ownership, Platform
from gatekeeper.domain.posture import AttestationResult, Posture, Scope
from gatekeeper.ports.devices import Unavailable

LISTS = 200
"""App lists read at once: a few megabytes."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_PLATFORMS = {each.value: each for each in Platform}
_CLASSES = {each.value: each for each in DeviceClass}
_OWNERSHIPS: Mapping[str | None, Ownership | None] = {None: None, **{each.value: each for each in Ownership}}
_SCOPES = {each.value: each for each in Scope}
_NO_IDENTIFIERS: Mapping[str, str] = MappingProxyType({})


SKETCHES = select(
    device.c.account,
    device.c.device_id,
    device.c.platform,
    device.c.device_class,
    device.c.ownership,
    posture.c.number,
    posture.c.revision,
    posture.c.source,
    posture.c.scope,
    posture.c.complete,
    type_coerce(posture.c.collected_at, BigInteger),
    posture.c.evidence_sha256,
    posture.c.absences,
    posture.c.stated,
    device.c.first_seen,
    posture.c.apps_count,
).join_from(device, posture, posture.c.device_id == device.c.device_id)
"""All that is known of devices but their apps; the caller says of which, and in what order."""


async def read_postures(
    connection: AsyncConnection,
    sketches: Sequence[Any],
    holders: Collection[int],
    apps: MeantApps,
    *,
    is_sized: bool = False,
) -> list[Posture]:
    """The postures of sketches, in their order; only of the holders, by number, the app lists are read.

    With `is_sized` the outlines know how long the lists are.
    """
    ids = [row[1] for row in sketches if row[5] in holders]
    lists = await read_lists(connection, ids, apps.outline, apps.ids)
    try:
        return [_posture(row, apps.outline, lists.get(row[1], ()), row[-1] if is_sized else None) for row in sketches]
    except (KeyError, TypeError, ValueError, OverflowError) as exc:
        raise Unavailable(f"a device on record cannot be understood: {exc}") from exc


async def read_lists(
    connection: AsyncConnection, ids: Sequence[str], outline: Outline, apps: Collection[str] | None
) -> dict[str, tuple[App, ...]]:
    """Of each device, the apps on record that are meant, folded over its sources; `apps`: the ids they have."""
    said = attestation_result.c
    found: dict[str, tuple[App, ...]] = {}
    for start in range(0, len(ids), LISTS):
        rows: dict[str, list[AttestationResult]] = {}
        statement = select(attestation_result).where(said.device_id.in_(ids[start : start + LISTS]))
        for device_id, source, scope, collected_at, complete, digest, text, _ in (
            await connection.execute(statement)
        ).all():
            result = AttestationResult(
                source=source,
                scope=_SCOPES[scope],
                complete=complete,
                collected_at=collected_at,
                evidence_sha256=digest,
                apps=AppList(meant(outline, text, apps, device_id)),
            )
            rows.setdefault(device_id, []).append(result)
        for device_id, results in rows.items():
            folded = fold(results)
            found[device_id] = folded.apps.apps if folded else ()
    return found


def meant(outline: Outline, text: str, ids: Collection[str] | None, device_id: str) -> list[App]:
    """The apps of a list on record that are meant; `ids`: those that they have, None: any."""
    try:
        return [each for each in decode_some(text, ids) if outline.means(each)]
    except ValueError:
        # The cause is left out: it may quote from the app list.
        raise Unavailable(f"the evidence on record of device `{device_id}` cannot be understood") from None


def instant(microseconds: int) -> datetime:
    """Of what the database holds."""
    return _EPOCH + timedelta(microseconds=microseconds)


def _posture(row: Any, outline: Outline, apps: Iterable[App], size: int | None) -> Posture:
    (
        account,
        device_id,
        platform,
        device_class,
        ownership,
        _,
        revision,
        source,
        scope,
        complete,
        at,
        digest,
        absences,
        stated,
        first_seen,
        _,
    ) = row
    result = None
    if source is not None:
        result = AttestationResult(
            source=source,
            scope=_SCOPES[scope],
            complete=bool(complete),
            collected_at=instant(at),
            evidence_sha256=digest,
            apps=outline.of(apps, absences, size),
        )
        result = with_stated(result, stated)
    facts = Device(
        device_id=DeviceId(device_id),
        account=account,
        platform=_PLATFORMS[platform],
        device_class=_CLASSES[device_class],
        ownership=_OWNERSHIPS[ownership],
        identifiers=_NO_IDENTIFIERS,
        first_seen=first_seen,
    )
    return Posture(device=facts, result=result, revision=revision)
