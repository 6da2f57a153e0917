"""`[tls]`: what the listeners present and ask for."""

import ssl
from pathlib import Path

from gatekeeper.config.settings import ListenerSettings
from gatekeeper.domain.document import Table
from gatekeeper.net.dial import TlsMode
from gatekeeper.net.tls import ClientCertificates, ServerTls, server_context


def read_tls(root: Table, listeners: tuple[ListenerSettings, ...]) -> ServerTls | None:
    """None when no listener needs TLS and nothing is said; the files are tried together."""
    table = root.table("tls")
    needed = any(listener.tls is not TlsMode.OFF for listener in listeners)
    if not needed and not root.raw("tls"):
        return None
    certificates = table.choice("client_certificates", ClientCertificates, ClientCertificates.OFF)
    client_ca = table.optional_text("client_ca")
    settings = ServerTls(
        certificate=Path(table.text("certificate")),
        private_key=Path(table.text("private_key")),
        client_ca=Path(client_ca) if client_ca else None,
        client_certificates=certificates,
    )
    if certificates is not ClientCertificates.OFF and not client_ca:
        table.fault("client_ca", f"is required with client_certificates = `{certificates}`")
    table.done()
    missing = False
    for key, path in (
        ("certificate", settings.certificate),
        ("private_key", settings.private_key),
        ("client_ca", settings.client_ca),
    ):
        if path is not None and path != Path() and not path.is_file():
            table.fault(key, f"`{path}` does not exist")
            missing = True
    if not missing and settings.certificate != Path() and settings.private_key != Path():
        try:
            server_context(settings)
        except (OSError, ssl.SSLError) as error:
            table.fault("", f"certificate, private_key and client_ca cannot be used together: {error}")
    return settings
