"""The whole inventory as a plan sees it: everybody with all devices, some at a time, of one snapshot."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from gatekeeper.campaign.outline import Outline
from gatekeeper.domain.posture import Posture

Person = tuple[str, tuple[Posture, ...]]
"""An account, and its devices by id; their app lists are outlines."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """A device began to have, or ceased to have, any app that is meant."""

    at: datetime
    change: int
    """1 or -1."""


class Snapshot(Protocol):
    """The inventory at one instant; every call raises `devices.Unavailable` when the store cannot answer."""

    async def size(self) -> int:
        """Devices."""
        ...

    async def collected(self, at_most: int) -> tuple[datetime, ...] | None:
        """The different times of the reports on record; None when there are more than `at_most`."""
        ...

    def people(self, outline: Outline) -> AsyncIterator[Sequence[Person]]:
        """Everybody who has a device, in some order, in batches."""
        ...

    def history(self, outline: Outline, since: datetime) -> AsyncIterator[Sequence[Sequence[Posture]]]:
        """Every posture that any device had at or after `since`, as far back as postures are kept, by device.

        Some devices at a time; all postures of one, newest first, come together.
        """
        ...

    async def sightings(self, outline: Outline) -> tuple[Sighting, ...]:
        """When devices began and ceased to have an app that is meant, as far back as postures are kept."""
        ...


class Population(Protocol):
    """Where snapshots come from."""

    def snapshot(self) -> AbstractAsyncContextManager[Snapshot]:
        """A snapshot for as long as the block lasts."""
        ...
