"""The registered devices and their postures, as the gate sees them."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Protocol

from gatekeeper.campaign.outline import Outline
from gatekeeper.domain.device import DeviceId
from gatekeeper.domain.posture import Posture


class Unavailable(Exception):
    """A source of attributes cannot answer now; the session gets the verdict `unavailable`."""


_NOTHING: Mapping[str, int] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class DeviceChange:
    """A device was registered, changed, forgotten, or has new evidence.

    A device that changes hands gives two: one for the account that had it, one for its new owner.
    """

    device_id: DeviceId
    account: str
    """Owner after the change, or the one who lost the device."""
    kind: str = ""
    """What changed it: `inventory`, `evidence` or `forget`."""
    digest: str = ""
    """SHA-256 of the inventory file or of the evidence; empty: not known."""
    detail: Mapping[str, int] = field(default_factory=lambda: _NOTHING, hash=False)
    """On the last change of an inventory import, and only there: its counts `created`, `changed`, `unchanged`."""


class Devices(Protocol):
    """Look-ups by the three keys a binding can have.

    The `known_*` calls answer at once from memory or say None when only the store knows: the log-in path stays free of
    awaits in the usual case. The awaiting calls raise `Unavailable`.
    """

    def known_of_account(self, account: str) -> tuple[Posture, ...] | None:
        """All registered devices of an account, when they are in memory."""
        ...

    async def of_account(self, account: str) -> tuple[Posture, ...]:
        """All registered devices of an account, ordered by device id; empty when there are none."""
        ...

    def known_by_identifier(self, kind: str, value: str) -> Posture | None:
        """The device with that identifier, when it is in memory. `kind` is `device_id` or a key of `identifiers`."""
        ...

    async def by_identifier(self, kind: str, value: str) -> Posture | None:
        """The device with that identifier; None when none is registered."""
        ...

    async def outlined(
        self, outline: Outline, accounts: Collection[str], identifiers: Collection[tuple[str, str]]
    ) -> tuple[Mapping[str, tuple[Posture, ...]], Mapping[tuple[str, str], Posture]]:
        """Very many at once, with lists that hold only what the outline keeps: as good to decide on, by its policies.

        All devices of each account, by id, and the device with each identifier (kind and value) that somebody has.
        """
        ...

    def subscribe(self, changed: Callable[[tuple[DeviceChange, ...]], None]) -> None:
        """Call `changed` on the event loop after any process changed devices; memory is already up to date then."""
        ...
