"""Each section of the configuration: keys, defaults, and what must fit together."""

import ipaddress
import re
import socket
import ssl
from datetime import timedelta
from enum import StrEnum
from pathlib import Path

from gatekeeper.attestation.issuer import DEFAULT_DEVICE_URI_PREFIX, DEFAULT_EKU_OID, Issuer
from gatekeeper.config.settings import (
    AdminSettings,
    AuditSettings,
    EvidenceSettings,
    ListenerSettings,
    Settings,
    UpstreamSettings,
)
from gatekeeper.domain.document import Table
from gatekeeper.domain.request import MailProtocol
from gatekeeper.enforcement import points
from gatekeeper.enforcement.flow.front import Limits
from gatekeeper.enforcement.imap.replies import RefusalCode
from gatekeeper.gate.identify import BindingSettings, CertificateField, Method
from gatekeeper.net.dial import TlsMode
from gatekeeper.net.tls import ClientCertificates, ServerTls, client_context, server_context

DEFAULT_STATE_DIRECTORY = "var"
DEFAULT_POLICY_FILE = "config/policy.toml"
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
_FUTURE_METHODS = ("device_credential", "oauth_token", "eas_device_id")


class _IssuerKind(StrEnum):
    X5C = "x5c"
    KID = "kid"
    ANDROID_KEY = "android-key"


def read_settings(root: Table, source: str) -> Settings:
    """The settings; they stand only when no fault was recorded."""
    notes: list[str] = []
    server = root.table("server")
    workers = server.integer("workers", 1, low=1, high=256)
    if workers != 1:
        server.fault("workers", "only 1 in this version")
    listeners = _listeners(root)
    refusal, policy, store = root.table("refusal"), root.table("policy"), root.table("store")
    settings = Settings(
        source=source,
        state_directory=Path(server.text("state_directory", DEFAULT_STATE_DIRECTORY)),
        drain_timeout=server.duration("drain_timeout", "30s"),
        hostname=server.text("hostname", socket.gethostname() or "localhost"),
        check_url=server.text("check_url", "", max_length=200),
        idle_timeout=_at_least(server, "idle_timeout", "60m", timedelta(minutes=1)),
        refusal_code=refusal.choice("imap_code", RefusalCode, RefusalCode.UNAVAILABLE),
        limits=_limits(root.table("limits")),
        tls=_tls(root, listeners),
        listeners=listeners,
        upstreams=_upstreams(root, listeners),
        binding=_binding(root.table("binding"), notes),
        policy_file=Path(policy.text("file", DEFAULT_POLICY_FILE)),
        store_url=_store_url(store),
        audit=_audit(root.table("audit"), notes),
        evidence=_evidence(root),
        admin=_admin(root.table("admin")),
        notes=tuple(notes),
    )
    for table in (server, refusal, policy, store, root):
        table.done()
    return settings


def _store_url(table: Table) -> str:
    url = table.text("url", "sqlite:///var/gatekeeper.sqlite3")
    if url and not url.startswith("sqlite:///"):
        table.fault("url", "only SQLite in this version: sqlite:///PATH")
    return url


def _limits(table: Table) -> Limits:
    default = Limits()

    def seconds(name: str, value: float) -> float:
        return _at_least(table, name, f"{int(value)}s", timedelta(seconds=1)).total_seconds()

    limits = Limits(
        handshake_timeout_s=seconds("handshake_timeout", default.handshake_timeout_s),
        login_timeout_s=seconds("login_timeout", default.login_timeout_s),
        upstream_timeout_s=seconds("upstream_timeout", default.upstream_timeout_s),
        max_attempts=table.integer("max_attempts", default.max_attempts, low=1, high=100),
        max_waiting=table.integer("max_waiting", default.max_waiting, low=1, high=1_000_000),
    )
    table.done()
    return limits


def _at_least(table: Table, name: str, default: str, low: timedelta) -> timedelta:
    value = table.duration(name, default)
    if value < low:
        table.fault(name, f"must be at least {int(low.total_seconds())}s")
    return value


def _listeners(root: Table) -> tuple[ListenerSettings, ...]:
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
    host, port = _address(table, "bind")
    tls = table.choice("tls", TlsMode, TlsMode.IMPLICIT)
    allow_plaintext = table.boolean("allow_plaintext", default=False)
    if tls is TlsMode.OFF and not allow_plaintext and not _is_loopback(host):
        table.fault("tls", "off is for loopback only, unless allow_plaintext = true")
    if table.texts("proxy_protocol_from"):
        table.fault("proxy_protocol_from", "PROXY headers are not read in this version")
    return ListenerSettings(
        name=name,
        protocol=protocol,
        host=host,
        port=port,
        tls=tls,
        allow_plaintext=allow_plaintext or tls is TlsMode.OFF,
    )


def _address(table: Table, name: str, default: str | None = None) -> tuple[str, int]:
    text = table.text(name, default)
    host, separator, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if text and (not separator or not host or not port.isdecimal() or int(port) > 65535):
        table.fault(name, f"`{text}` is not an address and port such as 0.0.0.0:993 or [::1]:993")
        return "127.0.0.1", 0
    return host, int(port or 0)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _tls(root: Table, listeners: tuple[ListenerSettings, ...]) -> ServerTls | None:
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


def _upstreams(root: Table, listeners: tuple[ListenerSettings, ...]) -> dict[MailProtocol, UpstreamSettings]:
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
    host, port = _address(table, "address")
    tls = table.choice("tls", TlsMode, TlsMode.IMPLICIT)
    if tls is TlsMode.OFF and not _is_loopback(host):
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
    return UpstreamSettings(host=host, port=port, tls=tls, ca=Path(ca) if ca else None, client_address=tells)


def _binding(table: Table, notes: list[str]) -> BindingSettings:
    default = BindingSettings()
    order = []
    for name in table.texts("order", [method.value for method in default.order]):
        if name in _FUTURE_METHODS:
            notes.append(f"binding.order: `{name}` never answers in this version")
        elif name in {method.value for method in Method}:
            order.append(Method(name))
        else:
            known = ", ".join([*(method.value for method in Method), *_FUTURE_METHODS])
            table.fault("order", f"`{name}` is not one of {known}")
    settings = BindingSettings(
        order=tuple(order),
        certificate_field=table.choice("certificate_field", CertificateField, default.certificate_field),
        uri_prefix=table.text("certificate_uri_prefix", default.uri_prefix),
    )
    table.done()
    return settings


def _audit(table: Table, notes: list[str]) -> AuditSettings:
    class Addresses(StrEnum):
        NETWORK = "network"
        FULL = "full"

    if table.optional_text("signing_key") is not None:
        notes.append("audit.signing_key: has no effect yet; records are chained, not signed, in this version")
    settings = AuditSettings(
        directory=Path(table.text("directory", "var/audit")),
        origin=table.text("origin", "gatekeeper.example/audit/1", max_length=128),
        full_addresses=table.choice("client_address", Addresses, Addresses.NETWORK) is Addresses.FULL,
    )
    table.done()
    return settings


def _evidence(root: Table) -> EvidenceSettings | None:
    table = root.table("evidence")
    tables = table.tables("issuer")
    if not tables and not table.has("audience"):
        table.done()
        return None
    issuers = []
    for item in tables:
        issuer = _issuer(item)
        item.done()
        if issuer is not None:
            issuers.append(issuer)
    settings = EvidenceSettings(audience=table.text("audience"), issuers=tuple(issuers))
    if not tables:
        table.fault("issuer", "at least one [[evidence.issuer]] is required")
    table.done()
    return settings


def _issuer(table: Table) -> Issuer | None:
    name = table.text("name", max_length=64)
    kind = table.choice("kind", _IssuerKind, _IssuerKind.X5C)
    if kind is not _IssuerKind.X5C:
        table.fault("kind", f"`{kind}` is not supported in this version (x5c)")
    ca = table.text("ca")
    eku_oid = table.text("eku_oid", DEFAULT_EKU_OID)
    prefix = table.text("device_uri_prefix", DEFAULT_DEVICE_URI_PREFIX)
    max_age = table.duration("max_age", "24h")
    if not ca:
        return None
    try:
        return Issuer(
            name=name,
            ca=Path(ca).read_bytes(),
            eku_oid=eku_oid,
            device_uri_prefix=prefix,
            max_age=max_age,
        )
    except OSError as error:
        table.fault("ca", f"`{ca}` cannot be read: {error.strerror}")
    except ValueError as error:
        table.fault("ca", f"`{ca}` or eku_oid cannot be used: {error}")
    return None


def _admin(table: Table) -> AdminSettings:
    host, port = _address(table, "bind", "127.0.0.1:9080")
    table.done()
    return AdminSettings(host=host, port=port)
