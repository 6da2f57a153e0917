"""The port `ports.groups.Directory` on LDAP: OpenLDAP, Active Directory and what is like them.

Who is in a group is said in one of three ways: by the group with the DNs of its members (`member`, `uniqueMember`; of a
large group in Active Directory in ranges), by the group with user ids (`memberUid`, RFC 2307), or by people with the
DNs of their groups (`memberOf`). Groups within groups are followed, to a depth.

What holds inside: an answer is whole, or the group is unknown; nothing from outside gets into a filter but as a value.
"""

import re
import ssl
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

import sansldap

from gatekeeper.adapters.groups.ldap_connection import Entry, LdapConnection
from gatekeeper.adapters.groups.settings import LdapSettings
from gatekeeper.domain.identity import IdentitySettings, canonical_account
from gatekeeper.net.tls import client_context
from gatekeeper.ports.groups import DirectoryError, Found

MAX_ENTRIES = 1_000_000
"""People and groups that are looked at for one answer."""
_AT_ONCE = 50
"""User ids in one search."""
_GROUPS = frozenset({"group", "groupofnames", "groupofuniquenames", "groupofmembers", "groupofurls", "posixgroup"})
"""Classes of entries that are groups, in lower case."""
_IS_DN = re.compile(r"\s*[A-Za-z][A-Za-z0-9.-]*\s*=.*[^\\],\s*[A-Za-z][A-Za-z0-9.-]*\s*=", re.DOTALL)
_RANGE = re.compile(r"(.+);range=(\d+)-(\d+|\*)", re.ASCII)
_PROXY_ADDRESS = re.compile(r"smtp:", re.IGNORECASE)
MAX_PASSWORD_OCTETS = 4096


class LdapDirectory:
    """Implements `ports.groups.Directory`."""

    def __init__(self, settings: LdapSettings, names: IdentitySettings) -> None:
        self._settings = settings
        self._names = names
        self._connection: LdapConnection | None = None
        self._is_over = False

    @property
    def place(self) -> str:
        """The servers."""
        return ", ".join(map(str, self._settings.servers))

    def ask(self, wanted: Collection[str], within_s: float) -> Found:
        """Look the groups up, one after the other, on the first server that answers."""
        connection = self._connected(monotonic() + within_s)
        try:
            return _Question(connection, self._settings, self._names).answer(sorted(wanted))
        finally:
            self._connection = None
            connection.close()

    def give_up(self) -> None:
        """See the port."""
        self._is_over = True
        connection = self._connection
        if connection is not None:
            connection.give_up()

    def _connected(self, deadline: float) -> LdapConnection:
        """To the first server that takes us."""
        settings = self._settings
        try:
            context = client_context(settings.ca, settings.client_certificate, settings.client_key)
        except (OSError, ssl.SSLError) as error:
            raise DirectoryError(f"groups.ldap: the certificates cannot be used: {error}") from error
        faults = []
        for number, server in enumerate(settings.servers):
            if self._is_over:
                raise DirectoryError("the question was given up")
            # One that takes the connection and says nothing leaves time for the others.
            share_s = (deadline - monotonic()) / (len(settings.servers) - number)
            connection = self._connection = LdapConnection(server, context, monotonic() + share_s)
            try:
                connection.open()
                self._bind(connection)
            except DirectoryError as error:
                connection.close()
                faults.append(str(error))
                continue
            connection.deadline = deadline
            return connection
        raise DirectoryError("; ".join(faults))

    def _bind(self, connection: LdapConnection) -> None:
        settings = self._settings
        if settings.bind_dn and settings.password_file is not None:
            connection.bind(settings.bind_dn, _password(settings.password_file))
        else:
            connection.bind_external()


def _password(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            text = stream.read(MAX_PASSWORD_OCTETS).decode().rstrip("\r\n")
    except (OSError, ValueError) as error:
        raise DirectoryError(f"groups.ldap.password_file: `{path}` cannot be read") from error
    if not text:  # an empty one would be an anonymous bind that succeeds (RFC 4513 §5.1.2)
        raise DirectoryError(f"groups.ldap.password_file: `{path}` is empty")
    return text


@dataclass(slots=True)
class _Members:
    """What was found of one group."""

    accounts: set[str] = field(default_factory=set)
    seen: set[str] = field(default_factory=set)
    """DNs that were looked at, or will be: groups may contain each other."""
    left_out: int = 0
    """Members without an account that could log in."""


class _TooDeep(Exception):
    """Groups within groups go on below what is followed."""


class _Question:
    """One answer in the making."""

    def __init__(self, connection: LdapConnection, settings: LdapSettings, names: IdentitySettings) -> None:
        self._connection = connection
        self._settings = settings
        self._names = names
        self._entries = 0
        self._by_people = settings.members.lower() == "memberof"
        self._by_user_id = settings.members.lower() == "memberuid"
        self._filter = sansldap.LDAPFilter.from_string(settings.filter)

    def answer(self, wanted: Sequence[str]) -> Found:
        members: dict[str, frozenset[str]] = {}
        unknown: dict[str, str] = {}
        notes: list[str] = []
        for name in wanted:
            groups = self._groups(name)
            if len(groups) != 1:
                unknown[name] = self._not_one(groups)
                continue
            try:
                found = self._members(groups[0])
            except _TooDeep:
                unknown[name] = f"groups within it lie deeper than {self._settings.nested} levels (groups.ldap.nested)"
                continue
            members[name] = frozenset(found.accounts)
            if found.left_out:
                account = self._settings.account
                notes.append(f"`{name}`: {found.left_out} members have no `{account}` that can log in; left out")
        return Found(members=members, unknown=unknown, notes=tuple(notes))

    # Groups.

    def _groups(self, name: str) -> list[Entry]:
        """The groups of this name: one, if all is well."""
        attributes = ["1.1"] if self._by_people else [self._settings.members]
        if _IS_DN.match(name):
            return [entry for _, entry in self._connection.look_up([name], attributes) if entry is not None]
        attribute = self._settings.name
        value = name[len(attribute) + 1 :] if name.lower().startswith(f"{attribute.lower()}=") else name
        named = sansldap.FilterEquality(attribute, value.encode())
        return list(self._search(self._settings.base, sansldap.FilterAnd([self._filter, named]), attributes))

    def _not_one(self, groups: Sequence[Entry]) -> str:
        if groups:
            return f"{len(groups)} groups have this name: name it by its DN in the policy"
        return f"there is no such group below `{self._settings.base}` that the gate may see"

    # Members.

    def _members(self, group: Entry) -> _Members:
        found = _Members(seen={group.dn.casefold()})
        if self._by_people:
            self._follow_people(group.dn, found)
        elif self._by_user_id:
            self._take_user_ids(group.values(self._settings.members), found)
        else:
            self._follow_dns(group, found)
        return found

    def _follow_dns(self, group: Entry, found: _Members) -> None:
        """The group says who is in it, with their DNs; level by level."""
        attributes = [self._settings.account, self._settings.members, "objectClass"]
        level = list(self._dns(group, found))
        for depth in range(self._settings.nested + 1):
            below: list[str] = []
            # All of them first: reading a range asks on the same connection.
            for _, entry in list(self._connection.look_up(level, attributes)):
                self._count()
                if entry is None:
                    found.left_out += 1
                elif not _is_group(entry):
                    self._take(entry.values(self._settings.account), found)
                elif depth == self._settings.nested:
                    raise _TooDeep
                else:
                    below += self._dns(entry, found)
            level = below

    def _dns(self, group: Entry, found: _Members) -> Iterator[str]:
        """The members of a group that were not seen yet."""
        for value in self._values(group):
            text = value.decode(errors="replace")
            if "=" not in text:
                self._take([value], found)  # an address stands there itself
            elif text.casefold() not in found.seen:
                found.seen.add(text.casefold())
                yield text

    def _values(self, group: Entry) -> Iterator[bytes]:
        """All values: Active Directory gives those of a large group in ranges (MS-ADTS §3.1.1.3.1.3.3)."""
        attribute = self._settings.members
        yield from group.values(attribute)
        entry: Entry | None = group
        while entry is not None:
            ranges = [(_RANGE.fullmatch(name), values) for name, values in entry.attributes.items()]
            entry = None
            for match, values in ranges:
                if match is None or match[1] != attribute.lower():
                    continue
                yield from values
                if match[3] == "*":
                    continue
                further = f"{attribute};range={int(match[3]) + 1}-*"
                ((_, entry),) = self._connection.look_up([group.dn], [further])
                if entry is None:
                    raise DirectoryError(f"`{group.dn}` is gone while it is read")

    def _follow_people(self, dn: str, found: _Members) -> None:
        """People say in which groups they are; groups in the group do so, too."""
        level = [dn]
        for depth in range(self._settings.nested + 1):
            below: list[str] = []
            for group in level:
                says_so = sansldap.FilterEquality(self._settings.members, group.encode())
                attributes = [self._settings.account, "objectClass"]
                for entry in self._search(self._settings.people_base, says_so, attributes):
                    if entry.dn.casefold() in found.seen:
                        continue
                    found.seen.add(entry.dn.casefold())
                    if not _is_group(entry):
                        self._take(entry.values(self._settings.account), found)
                    elif depth == self._settings.nested:
                        raise _TooDeep
                    else:
                        below.append(entry.dn)
            level = below

    def _take_user_ids(self, values: Sequence[bytes], found: _Members) -> None:
        """The group says who is in it, with their user ids."""
        attribute = self._settings.user_id
        if attribute.lower() == self._settings.account.lower():
            for value in values:
                self._take([value], found)
            return
        for some in _some_at_once(values):
            ids = sansldap.FilterOr([sansldap.FilterEquality(attribute, value) for value in some])
            there: set[bytes] = set()
            for entry in self._search(self._settings.people_base, ids, [attribute, self._settings.account]):
                there |= {value.lower() for value in entry.values(attribute)}
                self._take(entry.values(self._settings.account), found)
            found.left_out += sum(value.lower() not in there for value in some)

    def _take(self, values: Iterable[bytes], found: _Members) -> None:
        """The accounts of one member."""
        logins = [_PROXY_ADDRESS.sub("", value.decode(errors="replace"), count=1) for value in values]
        accounts = {account for login in logins if (account := canonical_account(login, self._names)) is not None}
        found.accounts |= accounts
        found.left_out += not accounts

    def _search(self, base: str, filter_: sansldap.LDAPFilter, attributes: list[str]) -> Iterator[Entry]:
        for entry in self._connection.search(base, filter_, attributes):
            self._count()
            yield entry

    def _count(self) -> None:
        self._entries += 1
        if self._entries > MAX_ENTRIES:
            raise DirectoryError(f"the groups of the policy have more than {MAX_ENTRIES} entries")


def _is_group(entry: Entry) -> bool:
    return any(value.decode(errors="replace").lower() in _GROUPS for value in entry.values("objectClass"))


def _some_at_once(values: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    for start in range(0, len(values), _AT_ONCE):
        yield values[start : start + _AT_ONCE]
