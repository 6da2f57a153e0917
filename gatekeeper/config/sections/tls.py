"""`[tls]`: what the listeners present and ask for."""

import re
import ssl
from dataclasses import replace
from pathlib import Path

from gatekeeper.config.settings import ListenerSettings
from gatekeeper.domain.document import Table
from gatekeeper.net.dial import TlsMode
from gatekeeper.net.revocation import check_lists
from gatekeeper.net.tls import ClientCertificates, NamedCertificate, Profile, ServerTls, server_context

MAX_NAMED = 256
"""Certificates beside the default one; each is a context for each protocol, some 100 KiB."""
_NAME = re.compile(
    r"(?=.{1,253}\Z)(\*\.)?([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?"
)


def read_tls(root: Table, listeners: tuple[ListenerSettings, ...]) -> ServerTls | None:
    """None when no listener needs TLS and nothing is said; the files are tried together."""
    table = root.table("tls")
    needed = any(listener.tls is not TlsMode.OFF for listener in listeners)
    if not needed and not root.raw("tls"):
        return None
    certificates = table.choice("client_certificates", ClientCertificates, ClientCertificates.OFF)
    client_ca = table.optional_text("client_ca")
    client_crl = table.optional_text("client_crl")
    settings = ServerTls(
        certificate=Path(table.text("certificate")),
        private_key=Path(table.text("private_key")),
        client_ca=Path(client_ca) if client_ca else None,
        client_certificates=certificates,
        client_crl=Path(client_crl) if client_crl else None,
        profile=table.choice("profile", Profile, Profile.INTERMEDIATE),
    )
    if certificates is not ClientCertificates.OFF and not client_ca:
        table.fault("client_ca", f"is required with client_certificates = `{certificates}`")
    named = _named(table)
    table.done()
    if _all_there(
        table,
        ("certificate", settings.certificate),
        ("private_key", settings.private_key),
        ("client_ca", settings.client_ca),
        ("client_crl", settings.client_crl),
    ):
        _try(table, settings)
    return replace(settings, named=named)


def _try(table: Table, settings: ServerTls) -> None:
    """Use the files as a listener would."""
    try:
        server_context(replace(settings, client_crl=None))
    except (OSError, ssl.SSLError) as error:
        table.fault("", f"certificate, private_key and client_ca cannot be used together: {error}")
    if settings.client_crl is None:
        return
    if settings.client_ca is None:
        table.fault("client_crl", "is of no use without client_ca")
        return
    try:
        check_lists(settings.client_crl, settings.client_ca)
        server_context(settings)
    except (OSError, ValueError, ssl.SSLError) as error:
        table.fault("client_crl", f"`{settings.client_crl}` cannot be used: {error}")


def _named(table: Table) -> tuple[NamedCertificate, ...]:
    """The certificates for names; a name that two of them have is a fault."""
    tables = table.tables("certificate_for")
    if len(tables) > MAX_NAMED:
        table.fault("certificate_for", f"at most {MAX_NAMED}")
    found: list[NamedCertificate] = []
    seen: set[str] = set()
    for item in tables[:MAX_NAMED]:
        names = tuple(name.lower() for name in item.texts("names"))
        if not names:
            item.fault("names", "at least one is required")
        for name in names:
            if not _NAME.fullmatch(name):
                item.fault("names", f"`{name}` is no host name such as mail.example.com or *.example.com (in ASCII)")
            if name in seen:
                item.fault("names", f"`{name}` has two certificates")
            seen.add(name)
        one = NamedCertificate(
            names=names, certificate=Path(item.text("certificate")), private_key=Path(item.text("private_key"))
        )
        item.done()
        if _all_there(item, ("certificate", one.certificate), ("private_key", one.private_key)):
            try:
                server_context(ServerTls(certificate=one.certificate, private_key=one.private_key))
            except (OSError, ssl.SSLError) as error:
                item.fault("", f"certificate and private_key cannot be used together: {error}")
        found.append(one)
    return tuple(found)


def _all_there(table: Table, *files: tuple[str, Path | None]) -> bool:
    """Whether every file can be tried; those that are named and not there are a fault."""
    named = [(key, path) for key, path in files if path is not None]
    missing = [(key, path) for key, path in named if path != Path() and not path.is_file()]
    for key, path in missing:
        table.fault(key, f"`{path}` does not exist")
    return not missing and all(path != Path() for _, path in named)
