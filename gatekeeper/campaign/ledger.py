"""The postures that devices had, small enough to hold a week of a million devices: some 30 octets each.

What no policy can tell apart (the same outline of the apps, the same platform, source and so on) is held once, as a
shape; of each posture only its revision, its shape and the time of its report.
INVARIANT: what `find` gives is judged, at any instant, like the posture that was put in (a property test compares).
"""

from array import array
from bisect import bisect_left
from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import NamedTuple

from gatekeeper.domain.device import DeviceId
from gatekeeper.domain.posture import Posture

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_MAX_FROM_ELSEWHERE = 500_000
_COLUMNS = 4
"""Of a posture: revision, shape, microseconds since 1970 of the report, place of its owner in `_Device.owners`."""
_Owner = tuple[str, datetime | None]
"""Account, and since when the device is registered."""


Elsewhere = Callable[[str, int], Posture | None]
"""Gives the posture of a device at a revision, where it is still known."""


class Kept(NamedTuple):
    """A posture as it is held."""

    shape: int
    """What policies ask of it, as a number; who owns it, which one it is and how old the report is apart."""
    collected_us: int
    """Microseconds since 1970; 0 without evidence."""
    account: str
    """Of the owner then."""
    first_seen: datetime | None


class _Device(NamedTuple):
    owners: tuple[_Owner, ...]
    columns: "array[int]"
    """One column after the other, by revision."""


class Ledger:
    """By device and revision."""

    def __init__(self, elsewhere: Elsewhere | None = None) -> None:
        """`elsewhere` is asked for postures that were not put in; their app lists may be outlines."""
        self._elsewhere = elsewhere
        self._from_elsewhere: dict[tuple[str, int], Kept | None] = {}
        self._devices: dict[str, _Device] = {}
        self._shapes: list[Posture] = []
        """The first posture of each shape that was met."""
        self._numbers: dict[Hashable, int] = {}

    def __len__(self) -> int:
        """Postures."""
        return sum(len(device.columns) for device in self._devices.values()) // _COLUMNS

    def add(self, postures: Sequence[Posture]) -> None:
        """All postures of one device, whose app lists may be outlines."""
        owners: dict[_Owner, int] = {}
        rows = []
        for posture in postures:
            result = posture.result
            collected = 0 if result is None else (result.collected_at - _EPOCH) // _MICROSECOND
            owner = owners.setdefault((posture.device.account, posture.device.first_seen), len(owners))
            rows.append((posture.revision, self._shape(posture), collected, owner))
        rows.sort()
        columns = array("q", chain.from_iterable(zip(*rows, strict=True)))
        self._devices[postures[0].device.device_id] = _Device(tuple(owners), columns)

    def find(self, device_id: str, revision: int) -> Kept | None:
        """What is held of a posture; None when it is not."""
        device = self._devices.get(device_id)
        if device is None:
            return self._ask(device_id, revision)
        columns = device.columns
        count = len(columns) // _COLUMNS
        place = bisect_left(columns, revision, 0, count)
        if place == count or columns[place] != revision:
            return self._ask(device_id, revision)
        owner = device.owners[columns[place + 3 * count]]
        return Kept(columns[place + count], columns[place + 2 * count], *owner)

    def posture(self, device_id: str, kept: Kept) -> Posture:
        """A posture to decide about; of the evidence's digest, and of identifiers, nothing is left."""
        like = self._shapes[kept.shape]
        result = like.result
        if result is not None:
            result = replace(result, collected_at=_EPOCH + kept.collected_us * _MICROSECOND, evidence_sha256="")
        device = replace(like.device, device_id=DeviceId(device_id), account=kept.account, first_seen=kept.first_seen)
        return Posture(device=device, result=result)

    def _ask(self, device_id: str, revision: int) -> Kept | None:
        if self._elsewhere is None:
            return None
        place = device_id, revision
        if place not in self._from_elsewhere:
            if len(self._from_elsewhere) >= _MAX_FROM_ELSEWHERE:
                self._from_elsewhere.clear()
            found = self._elsewhere(device_id, revision)
            self._from_elsewhere[place] = None if found is None else self._held(found)
        return self._from_elsewhere[place]

    def _held(self, posture: Posture) -> Kept:
        result, device = posture.result, posture.device
        collected = 0 if result is None else (result.collected_at - _EPOCH) // _MICROSECOND
        return Kept(self._shape(posture), collected, device.account, device.first_seen)

    def _shape(self, posture: Posture) -> int:
        device, result = posture.device, posture.result
        shape = (
            device.platform,
            device.device_class,
            device.ownership,
            result
            and (
                result.source,
                result.scope,
                result.complete,
                result.os_version,
                tuple(sorted(result.flags.items())) if result.flags else None,
                result.apps,
            ),
        )
        number = self._numbers.get(shape)
        if number is None:
            number = self._numbers[shape] = len(self._shapes)
            self._shapes.append(posture)
        return number
