"""`[upstream.*]`: the mail servers."""

import ssl
from pathlib import Path

from gatekeeper.config.sections.values import address, is_loopback
from gatekeeper.config.settings import ListenerSettings, UpstreamSettings
from gatekeeper.domain.document import Table
from gatekeeper.domain.request import MailProtocol
from gatekeeper.domain.secret import Secret
from gatekeeper.enforcement import points
from gatekeeper.enforcement.flow.account import ServiceAccount
from gatekeeper.net.dial import TlsMode
from gatekeeper.net.tls import client_context
from gatekeeper.protocols.sasl.mechanisms import Mechanism, SaslError, password_credentials


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
    host, port = address(table, "address")
    tls = table.choice("tls", TlsMode, TlsMode.IMPLICIT)
    if tls is TlsMode.OFF and not is_loopback(host):
        table.fault("tls", "off is for loopback only: passwords would cross the network in the clear")
    ca = table.text("ca", "")
    if ca and not Path(ca).is_file():
        table.fault("ca", f"`{ca}` does not exist")
    elif ca:
        try:
            client_context(Path(ca))
        except (OSError, ssl.SSLError) as error:
            table.fault("ca", f"`{ca}` holds no usable CA certificate: {error}")
    allowed = points()[protocol].tells_address
    tells = table.text("client_address", "none")
    if tells not in allowed:
        table.fault("client_address", f"`{tells}` is not one of {', '.join(allowed)} for {protocol}")
    return UpstreamSettings(
        host=host,
        port=port,
        tls=tls,
        ca=Path(ca) if ca else None,
        client_address=tells,
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
