"""What a process remembers of the registry: accounts and identifiers with their postures, least used out first.

Also remembered: that an account has no devices and that nobody has an identifier. An entry stands until `replace…` or
`drop` by who follows the feed of changes; nothing here knows whether it is still true.
"""

from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Mapping

from gatekeeper.adapters.stores.reading import IdentifierKey
from gatekeeper.domain.device import DeviceId
from gatekeeper.domain.posture import Posture


class DeviceCache:
    """At most `capacity` devices by account, and as many identifiers; an account without devices counts as one."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._weight = 0
        self._accounts: OrderedDict[str, tuple[Posture, ...]] = OrderedDict()
        self._identifiers: OrderedDict[IdentifierKey, Posture | None] = OrderedDict()
        self._owner: dict[DeviceId, str] = {}
        """The cached account that holds the device."""
        self._keys: defaultdict[DeviceId, set[IdentifierKey]] = defaultdict(set)
        """The cached identifiers that lead to the device."""

    def of_account(self, account: str) -> tuple[Posture, ...] | None:
        """The devices of an account; None: not remembered."""
        postures = self._accounts.get(account)
        if postures is not None:
            self._accounts.move_to_end(account)
        return postures

    def holds_identifier(self, key: IdentifierKey) -> bool:
        """Whether it is remembered whose identifier this is, be it nobody's."""
        return key in self._identifiers

    def by_identifier(self, key: IdentifierKey) -> Posture | None:
        """The device with that identifier; None: nobody's, or not remembered."""
        posture = self._identifiers.get(key)
        if posture is not None:
            self._identifiers.move_to_end(key)
        return posture

    def put_account(self, account: str, postures: tuple[Posture, ...]) -> None:
        """Remember an account; identifiers of its devices share the new postures."""
        self._drop_account(account)
        if max(1, len(postures)) > self._capacity:
            return
        self._accounts[account] = postures
        self._weight += max(1, len(postures))
        for posture in postures:
            self._owner[posture.device.device_id] = account
            for key in self._keys.get(posture.device.device_id, ()):
                self._identifiers[key] = posture
        while self._weight > self._capacity:
            self._drop_account(next(iter(self._accounts)))

    def put_identifier(self, key: IdentifierKey, posture: Posture | None) -> None:
        """Remember whose identifier this is; its device shares the posture that other keys lead to."""
        self._drop_identifier(key)
        self._identifiers[key] = posture
        if posture is not None:
            self._keys[posture.device.device_id].add(key)
            self._share(posture)
        while len(self._identifiers) > self._capacity:
            self._drop_identifier(next(iter(self._identifiers)))

    def affected_accounts(self, devices: Iterable[DeviceId], accounts: Iterable[str]) -> set[str]:
        """The remembered accounts that a change of these devices and accounts touches."""
        owners = (self._owner.get(device_id) for device_id in devices)
        return {account for account in (*owners, *accounts) if account is not None and account in self._accounts}

    def affected_identifiers(self, devices: Iterable[DeviceId]) -> set[IdentifierKey]:
        """The remembered identifiers that led to these devices."""
        return {key for device_id in devices for key in self._keys.get(device_id, ())}

    def replace(
        self, accounts: Mapping[str, tuple[Posture, ...]], identifiers: Mapping[IdentifierKey, Posture | None]
    ) -> None:
        """Put newer answers in the place of remembered ones; those forgotten meanwhile stay forgotten."""
        for key, posture in identifiers.items():
            if key in self._identifiers:
                self.put_identifier(key, posture)
        for account, postures in accounts.items():
            if account in self._accounts:
                self.put_account(account, postures)

    def owners(self) -> tuple[tuple[DeviceId, str], ...]:
        """The remembered devices with their accounts."""
        by_identifier = (posture for posture in self._identifiers.values() if posture is not None)
        named = {posture.device.device_id: posture.device.account for posture in by_identifier}
        return tuple({**named, **self._owner}.items())

    def clear(self) -> None:
        """Forget everything."""
        self._accounts.clear()
        self._identifiers.clear()
        self._owner.clear()
        self._keys.clear()
        self._weight = 0

    def _share(self, posture: Posture) -> None:
        """One object for a device, however many keys lead to it: app lists are what memory is spent on."""
        device_id = posture.device.device_id
        for key in self._keys[device_id]:
            self._identifiers[key] = posture
        account = self._owner.get(device_id)
        if account is not None:
            held = self._accounts[account]
            self._accounts[account] = tuple(posture if one.device.device_id == device_id else one for one in held)

    def _drop_account(self, account: str) -> None:
        postures = self._accounts.pop(account, None)
        if postures is None:
            return
        self._weight -= max(1, len(postures))
        for posture in postures:
            if self._owner.get(posture.device.device_id) == account:
                del self._owner[posture.device.device_id]

    def _drop_identifier(self, key: IdentifierKey) -> None:
        posture = self._identifiers.pop(key, None)
        if posture is None:
            return
        keys = self._keys[posture.device.device_id]
        keys.discard(key)
        if not keys:
            del self._keys[posture.device.device_id]
