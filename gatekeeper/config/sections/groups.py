"""`[groups]`: where the members of the groups come from that the policy takes from a directory."""

import ssl
from datetime import timedelta
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from gatekeeper.adapters.groups.settings import AskedSettings, LdapServer, LdapSettings, ScimSettings
from gatekeeper.config.sections.values import at_least
from gatekeeper.config.settings import GroupsSettings
from gatekeeper.domain.document import Table
from gatekeeper.net.tls import client_context

MAX_SERVERS = 16
_LDAP_PORTS = {"ldaps": 636, "ldap": 389}
_FILTER = "(|(objectClass=group)(objectClass=groupOfNames)(objectClass=groupOfUniqueNames)(objectClass=posixGroup))"
_NEEDS_LDAP = "needs the LDAP client, an extra: pip install '.[ldap]', or pip install sansldap"


class ScimAccount(StrEnum):
    """What of a SCIM user is the log-in name."""

    USER_NAME = "userName"
    EMAILS = "emails"


def read_groups(table: Table) -> GroupsSettings:
    """At most one source."""
    file = table.optional_text("file")
    ldap, scim = table.table("ldap"), table.table("scim")
    is_ldap, is_scim = table.has("ldap"), table.has("scim")
    if sum((file is not None, is_ldap, is_scim)) > 1:
        table.fault("", "one source only: file, [groups.ldap] or [groups.scim]")
    directory: LdapSettings | ScimSettings | None = None
    if is_scim:
        directory = _scim(scim)
    if is_ldap:
        directory = _ldap(ldap)
    asked = None
    if directory is not None:
        asked = AskedSettings(
            directory=directory,
            refresh=at_least(table, "refresh", "5m", timedelta(seconds=1)),
            keep=at_least(table, "keep", "24h", timedelta(minutes=1)),
            timeout=at_least(table, "timeout", "1m", timedelta(seconds=1)),
        )
        if asked.keep < asked.refresh:
            table.fault("keep", "must not be shorter than `refresh`: the groups would be unknown in between")
    for each in (table, ldap, scim):
        each.done()
    return GroupsSettings(file=Path(file) if file else None, asked=asked)


def _ldap(table: Table) -> LdapSettings:
    base = table.text("base", max_length=1000)
    certificate, key = table.optional_text("client_certificate"), table.optional_text("client_key")
    bind_dn, password_file = table.text("bind_dn", ""), _file(table, "password_file")
    if bool(bind_dn) != (password_file is not None):
        missing = "bind_dn" if password_file is not None else "password_file"
        table.fault(missing, "is required: bind_dn and password_file go together")
    elif not bind_dn and certificate is None:
        table.fault("", "who asks? give bind_dn and password_file, or client_certificate and client_key")
    settings = LdapSettings(
        servers=_servers(table),
        ca=_file(table, "ca"),
        client_certificate=Path(certificate) if certificate else None,
        client_key=Path(key) if key else None,
        bind_dn=bind_dn,
        password_file=password_file,
        base=base,
        people_base=table.text("people_base", base),
        filter=table.text("filter", _FILTER),
        name=table.text("name", "cn", max_length=100),
        members=table.text("members", "member", max_length=100),
        user_id=table.text("user_id", "uid", max_length=100),
        account=table.text("account", "mail", max_length=100),
        nested=table.integer("nested", 5, low=0, high=20),
    )
    _check_tls(table, settings)
    _check_client(table, settings.filter)
    return settings


def _check_tls(table: Table, settings: LdapSettings) -> None:
    if (settings.client_certificate is None) != (settings.client_key is None):
        missing = "client_key" if settings.client_key is None else "client_certificate"
        table.fault(missing, "is required: client_certificate and client_key go together")
        return
    try:
        client_context(settings.ca, settings.client_certificate, settings.client_key)
    except (OSError, ssl.SSLError) as error:
        table.fault("ca" if settings.client_certificate is None else "client_certificate", f"cannot be used: {error}")


def _check_client(table: Table, text: str) -> None:
    """Nothing of the LDAP client is imported unless it is configured."""
    if find_spec("sansldap") is None:
        table.fault("", _NEEDS_LDAP)
        return
    import sansldap  # noqa: PLC0415  an extra: see above

    try:
        sansldap.LDAPFilter.from_string(text)
    except ValueError as error:
        table.fault("filter", f"`{text[:200]}` is no LDAP filter: {error}")


def _servers(table: Table) -> tuple[LdapServer, ...]:
    """One URL, or a list of them, preferred first."""
    texts = table.texts("url") if isinstance(table.raw("url"), list) else (table.text("url"),)
    if not 1 <= len(texts) <= MAX_SERVERS:
        table.fault("url", f"must name 1 to {MAX_SERVERS} servers")
    found = []
    for text in texts[:MAX_SERVERS]:
        url = _url(text)
        if url is None or url.scheme not in _LDAP_PORTS or url.path not in ("", "/"):
            if text:
                known = "ldaps://HOST[:PORT], or ldap://HOST[:PORT], which begins with StartTLS"
                table.fault("url", f"`{text[:200]}` is not {known}")
            continue
        port = url.port or _LDAP_PORTS[url.scheme]
        found.append(LdapServer(host=url.hostname or "", port=port, is_implicit=url.scheme == "ldaps"))
    return tuple(found)


def _scim(table: Table) -> ScimSettings:
    text = table.text("url")
    url = _url(text)
    if text and (url is None or url.scheme != "https"):
        table.fault("url", f"`{text[:200]}` is not https://HOST[:PORT]/PATH")
        url = None
    token_file = _file(table, "token_file")
    if token_file is None and not table.has("token_file"):
        table.fault("token_file", "is required: a file with the bearer token")
    ca = _file(table, "ca")
    if ca is not None:
        try:
            client_context(ca)
        except (OSError, ssl.SSLError) as error:
            table.fault("ca", f"`{ca}` holds no usable CA certificate: {error}")
    return ScimSettings(
        host=url.hostname or "" if url else "",
        port=(url.port or 443) if url else 443,
        path=url.path.rstrip("/") if url else "",
        ca=ca,
        token_file=token_file or Path(),
        name=table.text("name", "displayName", max_length=100),
        account=table.choice("account", ScimAccount, ScimAccount.USER_NAME).value,
        nested=table.integer("nested", 5, low=0, high=20),
    )


def _url(text: str) -> SplitResult | None:
    """With a host, and nothing that these URLs do not have."""
    try:
        url = urlsplit(text)
        is_plain = (
            url.hostname and (url.port is None or url.port > 0) and not (url.query or url.fragment or url.username)
        )
    except ValueError:
        return None
    return url if is_plain and text.isascii() and text.isprintable() else None


def _file(table: Table, name: str) -> Path | None:
    """A file that is there."""
    text = table.optional_text(name)
    if not text:
        return None
    path = Path(text)
    if not path.is_file():
        table.fault(name, f"`{path}` does not exist")
        return None
    return path
