"""What a directory of groups is asked by; plain values, so that reading a configuration imports no client."""

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class LdapServer:
    """One server of the directory."""

    host: str
    port: int
    is_implicit: bool
    """TLS from the first octet (`ldaps://`); else StartTLS (RFC 4511 §4.14), and nothing is said before it."""

    def __str__(self) -> str:
        """As an URL."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'ldaps' if self.is_implicit else 'ldap'}://{host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class LdapSettings:
    """How an LDAP directory is asked."""

    servers: tuple[LdapServer, ...]
    """In order of preference."""
    ca: Path | None = None
    client_certificate: Path | None = None
    """What is shown to the server; without `bind_dn` it also says who asks (SASL EXTERNAL)."""
    client_key: Path | None = None
    bind_dn: str = ""
    password_file: Path | None = None
    """Read each time, so that it can be changed."""
    base: str
    """Below it groups are looked for."""
    people_base: str
    """Below it people are looked for, where `members` is `memberUid` or `memberOf`."""
    filter: str
    """What is a group (RFC 4515)."""
    name: str = "cn"
    """The attribute with the name by which the policy names a group; a policy may also give the whole DN."""
    members: str = "member"
    """The attribute that says who is in it: of the group with DNs, or `memberUid`; `memberOf`: of the people."""
    user_id: str = "uid"
    """The attribute of people that a `memberUid` stands for."""
    account: str = "mail"
    """The attribute of people with the log-in names, one or several."""
    nested: int = 5
    """Levels of groups within a group that are followed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScimSettings:
    """How a SCIM 2.0 service provider is asked."""

    host: str
    port: int
    path: str
    """Of the base URL, without a slash at its end."""
    ca: Path | None = None
    token_file: Path
    """Read each time, so that it can be changed."""
    name: str = "displayName"
    """The attribute with the name by which the policy names a group."""
    account: str = "userName"
    """`userName`, or `emails`: all of them."""
    nested: int = 5
    """Levels of groups within a group that are followed."""

    def __str__(self) -> str:
        """As an URL."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"https://{host}:{self.port}{self.path}"


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedSettings:
    """A directory that is asked again and again."""

    directory: LdapSettings | ScimSettings
    refresh: timedelta = timedelta(minutes=5)
    """From one good answer to the next question."""
    keep: timedelta = timedelta(hours=24)
    """How old the last good answer may become; after that the groups are unknown."""
    timeout: timedelta = timedelta(minutes=1)
    """For one whole answer."""

    @property
    def meaning(self) -> str:
        """What the answer depends on: one that was kept for another meaning is not used."""
        asked = self.directory
        if isinstance(asked, LdapSettings):
            of = (asked.base, asked.people_base, asked.filter, asked.name, asked.members, asked.user_id)
            return "\n".join(("ldap", *of, asked.account, str(asked.nested)))
        return "\n".join(("scim", asked.name, asked.account, str(asked.nested)))
