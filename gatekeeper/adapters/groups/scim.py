"""The port `ports.groups.Directory` on SCIM 2.0 (RFC 7643, RFC 7644): the gate pulls `/Groups` and `/Users`.

What holds inside: an answer is whole, or the group is unknown; a name gets into a filter as a JSON string only.
"""

import json
import ssl
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from time import monotonic
from urllib.parse import quote

from gatekeeper.adapters.groups.scim_connection import Resource, ScimConnection
from gatekeeper.adapters.groups.settings import ScimSettings
from gatekeeper.domain.identity import IdentitySettings, canonical_account
from gatekeeper.net.tls import client_context
from gatekeeper.ports.groups import DirectoryError, Found

MAX_TOKEN_OCTETS = 16_384
ONE_BY_ONE = 50
"""So many people are asked for by their id; for more the whole list is read."""


class ScimDirectory:
    """Implements `ports.groups.Directory`."""

    def __init__(self, settings: ScimSettings, names: IdentitySettings) -> None:
        self._settings = settings
        self._names = names
        self._connection: ScimConnection | None = None

    @property
    def place(self) -> str:
        """The base URL."""
        return str(self._settings)

    def ask(self, wanted: Collection[str], within_s: float) -> Found:
        """Read the groups, and the people in them."""
        settings = self._settings
        try:
            context = client_context(settings.ca)
        except (OSError, ssl.SSLError) as error:
            raise DirectoryError(f"groups.scim.ca: cannot be used: {error}") from error
        deadline = monotonic() + within_s
        connection = self._connection = ScimConnection(settings, context, _token(settings.token_file), deadline)
        try:
            connection.ask_abilities()
            return _Question(connection, settings, self._names).answer(sorted(wanted))
        finally:
            self._connection = None
            connection.close()

    def give_up(self) -> None:
        """See the port."""
        connection = self._connection
        if connection is not None:
            connection.give_up()


def _token(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            text = stream.read(MAX_TOKEN_OCTETS).decode("ascii").strip()
    except (OSError, ValueError) as error:
        raise DirectoryError(f"groups.scim.token_file: `{path}` cannot be read") from error
    if not text or not text.isprintable() or " " in text:
        raise DirectoryError(f"groups.scim.token_file: `{path}` holds no token")
    return text


class _Question:
    """One answer in the making."""

    def __init__(self, connection: ScimConnection, settings: ScimSettings, names: IdentitySettings) -> None:
        self._connection = connection
        self._settings = settings
        self._names = names
        self._all: dict[str, Resource] | None = None
        """All groups by id, where they cannot be looked for by name."""

    def answer(self, wanted: list[str]) -> Found:
        unknown: dict[str, str] = {}
        people: dict[str, dict[str, bool]] = {}
        """By the group's name: ids of users, and whether it is said that they are users."""
        for name in wanted:
            groups = [group for group in self._named(name) if self._is_called(group, name)]
            if len(groups) != 1:
                none = "there is no such group that the gate may see"
                unknown[name] = f"{len(groups)} groups have this name" if groups else none
                continue
            found = self._people(self._whole(groups[0]))
            if isinstance(found, str):
                unknown[name] = found
            else:
                people[name] = found
        accounts = self._accounts({one for ids in people.values() for one in ids})
        notes = []
        for name, ids in list(people.items()):
            if any(not is_said and one not in accounts for one, is_said in ids.items()):
                unknown[name] = "a member is no user, and it is not said what it is"
                del people[name]
                continue
            left_out = sum(not accounts.get(one) for one in ids)
            if left_out:
                account = self._settings.account
                notes.append(f"`{name}`: {left_out} members have no `{account}` that can log in; left out")
        members = {
            name: frozenset(account for one in ids for account in accounts.get(one, ())) for name, ids in people.items()
        }
        return Found(members=members, unknown=unknown, notes=tuple(notes))

    # Groups.

    def _named(self, name: str) -> Iterable[Resource]:
        attribute = self._settings.name
        if self._connection.filters:
            return list(self._connection.every("/Groups", filter=f"{attribute} eq {json.dumps(name)}"))
        return self._every_group().values()

    def _is_called(self, group: Resource, name: str) -> bool:
        """Names of groups are the same whatever their case (RFC 7643 §8.7.1)."""
        found = group.get(self._settings.name)
        return isinstance(found, str) and found.casefold() == name.casefold()

    def _whole(self, group: Resource) -> Resource:
        """With its members, which some providers leave out of lists."""
        if "members" in group:
            return group
        return self._connection.one(f"/Groups/{quote(str(group.get('id')), safe='')}") or group

    def _every_group(self) -> Mapping[str, Resource]:
        if self._all is None:
            self._all = {str(group.get("id")): group for group in self._connection.every("/Groups")}
        return self._all

    def _people(self, group: Resource) -> dict[str, bool] | str:
        """The ids of the users in a group and the groups within it, as in `answer`; or why they cannot be known."""
        users: dict[str, bool] = {}
        seen = {str(group.get("id"))}
        level = [group]
        for depth in range(self._settings.nested + 1):
            below: list[str] = []
            for one in level:
                for id_, kind in _members(one):
                    if kind != "group":
                        users[id_] = users.get(id_, False) or kind == "user"
                    elif id_ not in seen:
                        seen.add(id_)
                        below.append(id_)
            if not below:
                return users
            if depth == self._settings.nested:
                break
            level = []
            for id_ in below:
                found = self._all.get(id_) if self._all else self._connection.one(f"/Groups/{quote(id_, safe='')}")
                if found is None:
                    return "a group within it is not there, or may not be seen"
                level.append(self._whole(found))
        return f"groups within it lie deeper than {self._settings.nested} levels (groups.scim.nested)"

    # People.

    def _accounts(self, ids: set[str]) -> Mapping[str, frozenset[str]]:
        """Accounts by the id of the user."""
        attributes = "id,userName,emails"
        users: Iterable[Resource]
        if len(ids) <= ONE_BY_ONE:
            asked = (
                self._connection.one(f"/Users/{quote(id_, safe='')}", attributes=attributes) for id_ in sorted(ids)
            )
            users = (user for user in asked if user is not None)
        else:
            users = self._connection.every("/Users", attributes=attributes)
        found = {}
        for user in users:
            id_ = str(user.get("id"))
            if id_ in ids:
                accounts = (canonical_account(login, self._names) for login in self._logins(user))
                found[id_] = frozenset(account for account in accounts if account is not None)
        return found

    def _logins(self, user: Resource) -> Iterator[str]:
        if self._settings.account == "emails":
            emails = user.get("emails")
            for email in emails if isinstance(emails, list) else ():
                value = email.get("value") if isinstance(email, dict) else None
                if isinstance(value, str):
                    yield value
            return
        name = user.get("userName")
        if isinstance(name, str):
            yield name


def _members(group: Resource) -> Iterator[tuple[str, str]]:
    """Id and kind of every member (RFC 7643 §4.2); where no kind is given the address may tell, else it is empty."""
    members = group.get("members")
    for member in members if isinstance(members, list) else ():
        id_ = member.get("value") if isinstance(member, dict) else None
        if not isinstance(id_, str) or not id_:
            raise DirectoryError("a member of a group has no `value`")
        kind, address = str(member.get("type") or "").lower(), str(member.get("$ref") or "")
        if not kind:
            kind = "group" if "/Groups/" in address else "user" if "/Users/" in address else ""
        yield id_, kind
