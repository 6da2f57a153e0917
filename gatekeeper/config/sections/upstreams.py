"""`[upstream.*]`: the mail servers."""

import ssl
from pathlib import Path

from gatekeeper.config.sections.values import addresses, is_loopback
from gatekeeper.config.settings import ListenerSettings, UpstreamSettings
from gatekeeper.domain.document import Table
from gatekeeper.domain.request import MailProtocol
from gatekeeper.domain.secret import Secret
from gatekeeper.enforcement import points
from gatekeeper.enforcement.flow.account import ServiceAccount
from gatekeeper.net.dial import TlsMode
from gatekeeper.net.tls import client_context
from gatekeeper.protocols.sasl.mechanisms import Mechanism, SaslError, password_credentials

MAX_ADDRESSES = 16
"""Of one mail server, as configured; a name may stand for more."""


def read_upstreams(root: Table, listeners: tuple[ListenerSettings, ...]) -> dict[MailProtocol, UpstreamSettings]:
    """The mail server of every protocol that is configured; one that a listener needs is a fault when missing."""
    parent = root.table("upstream")
    found = {}
    needed = {listener.protocol for listener in listeners}
    for protocol in points():
        if parent.has(protocol.value):
            table = parent.table(protocol.value)
            found[protocol] = _upstream(table, protocol)
            table.done()
        elif protocol in needed:
            parent.fault(protocol.value, f"is required: a listener speaks {protocol}")
    parent.done()
    return found


def _upstream(table: Table, protocol: MailProtocol) -> UpstreamSettings:
    places = addresses(table, "address", MAX_ADDRESSES)
    tls = table.choice("tls", TlsMode, TlsMode.IMPLICIT)
    if tls is TlsMode.OFF and not all(is_loopback(host) for host, _ in places):
        table.fault("tls", "off is for loopback only: passwords would cross the network in the clear")
    ca = table.text("ca", "")
    if ca and not Path(ca).is_file():
        table.fault("ca", f"`{ca}` does not exist")
    elif ca:
        try:
            client_context(Path(ca))
        except (OSError, ssl.SSLError) as error:
            table.fault("ca", f"`{ca}` holds no usable CA certificate: {error}")
    certificate, key = _client_certificate(table, tls)
    allowed = points()[protocol].tells_address
    tells = table.text("client_address", "none")
    if tells not in allowed:
        table.fault("client_address", f"`{tells}` is not one of {', '.join(allowed)} for {protocol}")
    return UpstreamSettings(
        addresses=places,
        tls=tls,
        ca=Path(ca) if ca else None,
        client_certificate=certificate,
        client_key=key,
        client_address=tells,
        preconnect=table.boolean("preconnect", default=True),
        service=_service(table),
    )


def _service(table: Table) -> ServiceAccount | None:
    """Who logs in for phones that show a certificate; its password never stands in the configuration itself."""
    user = table.optional_text("service_user")
    password = table.optional_text("service_password")
    if user is None and password is None:
        return None
    if not user or password is None:
        missing = "service_user" if not user else "service_password_file"
        table.fault(missing, "service_user and service_password_file are required together")
        return None
    try:
        password_credentials(Mechanism.PLAIN, user.encode(), password.encode())
    except SaslError:
        table.fault("service_user", "service_user and its password must be one line each, without control characters")
        return None
    return ServiceAccount(user=user, password=Secret(password.encode()))


def _client_certificate(table: Table, tls: TlsMode) -> tuple[Path | None, Path | None]:
    """What we show to the mail server; the two files are tried together."""
    named = {key: Path(text) for key in ("client_certificate", "client_key") if (text := table.text(key, ""))}
    certificate, private_key = named.get("client_certificate"), named.get("client_key")
    for key, path in named.items():
        if not path.is_file():
            table.fault(key, f"`{path}` does not exist")
    if named and tls is TlsMode.OFF:
        table.fault(next(iter(named)), 'is of no use with tls = "off"')
    if (certificate is None) != (private_key is None):
        missing = "client_key" if private_key is None else "client_certificate"
        table.fault(missing, "is required: client_certificate and client_key go together")
    elif certificate is not None and private_key is not None and certificate.is_file() and private_key.is_file():
        try:
            client_context(None, certificate, private_key)
        except (OSError, ssl.SSLError) as error:
            table.fault("client_certificate", f"cannot be used with client_key: {error}")
    return certificate, private_key
