"""`[[listener]]`: where phones connect."""

import re

from gatekeeper.config.sections.values import address, is_loopback, networks
from gatekeeper.config.settings import ListenerSettings
from gatekeeper.domain.document import Table
from gatekeeper.domain.request import MailProtocol
from gatekeeper.enforcement import points
from gatekeeper.net.dial import TlsMode

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")


def read_listeners(root: Table) -> tuple[ListenerSettings, ...]:
    """All listeners; two of one name or address are a fault."""
    tables = root.tables("listener")
    if not tables:
        root.fault("listener", "at least one [[listener]] is required")
    found = []
    for table in tables:
        found.append(_listener(table))
        table.done()
    for index, listener in enumerate(found):
        if any(listener.name == other.name for other in found[:index]):
            tables[index].fault("name", f"`{listener.name}` names two listeners")
        if any((listener.host, listener.port) == (other.host, other.port) and other.port for other in found[:index]):
            tables[index].fault("bind", f"port {listener.port} is bound twice")
    return tuple(found)


def _listener(table: Table) -> ListenerSettings:
    name = table.text("name")
    if name and not _NAME.fullmatch(name):
        table.fault("name", "must be 1 to 32 of a-z, 0-9, `_` and `-`")
    protocol = table.choice("protocol", MailProtocol)
    if protocol not in points():
        table.fault("protocol", f"`{protocol}` is not spoken in this version ({', '.join(points())})")
    host, port = address(table, "bind")
    tls = table.choice("tls", TlsMode, TlsMode.IMPLICIT)
    allow_plaintext = table.boolean("allow_plaintext", default=False)
    if tls is TlsMode.OFF and not allow_plaintext and not is_loopback(host):
        table.fault("tls", "off is for loopback only, unless allow_plaintext = true")
    return ListenerSettings(
        name=name,
        protocol=protocol,
        host=host,
        port=port,
        tls=tls,
        allow_plaintext=allow_plaintext or tls is TlsMode.OFF,
        proxy_protocol_from=networks(table, "proxy_protocol_from"),
    )
