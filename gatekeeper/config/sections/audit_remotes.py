"""`audit.required`, `[[audit.remote]]` and `[[audit.checkpoint]]`: records and signed heads off the machine."""

import re
import ssl
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from urllib.parse import urlsplit

from gatekeeper.adapters.sinks.shipping.quorum import Required
from gatekeeper.adapters.sinks.shipping.settings import (
    DEFAULT_SD_ID,
    FilePlace,
    HeadSettings,
    HttpPeer,
    RemoteSettings,
    ShippingSettings,
    Start,
    SyslogPeer,
    Tls,
)
from gatekeeper.audit.cosignature import CosignerKey
from gatekeeper.config.sections.values import address, at_least, is_loopback
from gatekeeper.domain.document import Table
from gatekeeper.net.tls import client_context
from gatekeeper.signing.note import NoteError

MAX_PEERS = 8
"""Of each kind: each is a thread in every worker."""
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}", re.ASCII)
_SD_ID = re.compile(r"[!#-<>-\\^-~]{1,32}", re.ASCII)  # RFC 5424 section 6: not `=`, space, `]`, `"`


class _RemoteKind(StrEnum):
    SYSLOG = "syslog"
    HTTP = "http"


class _HeadKind(StrEnum):
    FILE = "file"
    HTTP = "http"
    SYSLOG = "syslog"
    WITNESS = "witness"


class _SyslogTls(StrEnum):
    ON = "on"
    OFF = "off"


def read_shipping(audit: Table, hostname: str) -> ShippingSettings:
    """What leaves the machine, and what a session waits for; `hostname` is HOSTNAME in syslog messages."""
    required = audit.choice("required", Required, Required.LOCAL)
    timeout = at_least(audit, "remote_timeout", "5s", timedelta(seconds=1))
    if timeout > timedelta(seconds=20):
        audit.fault("remote_timeout", "at most 20s: phones do not wait longer")
    remotes = tuple(_remote(table, hostname) for table in _few(audit, "remote"))
    heads = tuple(_head(table, hostname) for table in _few(audit, "checkpoint"))
    if required is not Required.LOCAL and not remotes:
        audit.fault("required", f"`{required}` needs an [[audit.remote]]")
    return ShippingSettings(required=required, timeout=timeout, remotes=remotes, heads=heads)


def _few(audit: Table, name: str) -> list[Table]:
    tables = audit.tables(name)
    if len(tables) > MAX_PEERS:
        audit.fault(name, f"at most {MAX_PEERS}")
    names = [table.raw("name") for table in tables]
    for table in tables:
        if names.count(table.raw("name")) > 1:
            table.fault("name", f"`{table.raw('name')}` is taken twice")
    return tables[:MAX_PEERS]


def _name(table: Table) -> str:
    name = table.text("name")
    if name and not _NAME.fullmatch(name):
        table.fault("name", f"`{name}` is not 1 to 32 of a-z, 0-9, `_` and `-`: it names a file")
    return name


def _remote(table: Table, hostname: str) -> RemoteSettings:
    name = _name(table)
    kind = table.choice("kind", _RemoteKind)
    start = table.choice("start", Start, Start.BEGINNING)
    if kind is _RemoteKind.SYSLOG:
        settings = RemoteSettings(
            name=name,
            peer=_syslog(table, hostname),
            start=start,
            resend=at_least(table, "resend", "10s", timedelta(seconds=1)),
        )
    else:
        settings = RemoteSettings(
            name=name,
            peer=_http(table),
            start=start,
            resend=timedelta(0),
            batch=table.integer("batch", 500, low=1, high=10_000),
        )
    table.done()
    return settings


def _head(table: Table, hostname: str) -> HeadSettings:
    name = _name(table)
    kind = table.choice("kind", _HeadKind)
    peer: FilePlace | SyslogPeer | HttpPeer
    if kind is _HeadKind.FILE:
        peer = FilePlace(path=Path(table.text("path")))
        if peer.path != Path() and not peer.path.is_dir():
            table.fault("path", f"`{peer.path}` is no directory; it is not made, for it may be a mount that is missing")
    elif kind is _HeadKind.SYSLOG:
        peer = _syslog(table, hostname)
    else:
        peer = _http(table)
    is_witness = kind is _HeadKind.WITNESS
    key = _witness_key(table) if is_witness else None
    table.done()
    return HeadSettings(name=name, peer=peer, is_witness=is_witness, witness_key=key)


def _witness_key(table: Table) -> CosignerKey | None:
    text = table.optional_text("vkey")
    if text is None:
        return None
    try:
        return CosignerKey.parse(text)
    except NoteError as error:
        table.fault("vkey", f"{error}; `gatekeeper audit witness --show-key` shows it")
        return None


def _syslog(table: Table, hostname: str) -> SyslogPeer:
    host, port = address(table, "address")
    tls = table.choice("tls", _SyslogTls, _SyslogTls.ON)
    if tls is _SyslogTls.OFF and not is_loopback(host):
        table.fault("tls", "off is for loopback only: records say who reads mail where")
    sd_id = table.text("sd_id", DEFAULT_SD_ID)
    if not _SD_ID.fullmatch(sd_id):
        table.fault("sd_id", f"`{sd_id}` is no name such as {DEFAULT_SD_ID}: 1 to 32 printable characters (RFC 5424)")
    return SyslogPeer(
        host=host,
        port=port,
        tls=_tls(table, is_used=tls is _SyslogTls.ON),
        sd_id=sd_id,
        hostname=hostname,
    )


def _http(table: Table) -> HttpPeer:
    url = table.text("url")
    is_tls = True
    if url:
        is_tls = _checked(table, url)
    token_file = table.optional_text("token_file")
    if token_file is not None and not Path(token_file).is_file():
        table.fault("token_file", f"`{token_file}` does not exist")
    return HttpPeer(
        url=url, tls=_tls(table, is_used=is_tls), token_file=Path(token_file) if token_file is not None else None
    )


def _checked(table: Table, url: str) -> bool:
    """Whether the URL asks for TLS."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        table.fault("url", f"is no URL: {error}")
        return True
    if parts.scheme not in ("http", "https") or not host or not url.isascii() or not url.isprintable() or " " in url:
        table.fault("url", "is no URL such as https://collector.example.com/gatekeeper")
    elif parts.username is not None or parts.password is not None or parts.fragment:
        table.fault("url", "has a user, a password or a fragment: a token belongs into token_file")
    elif parts.scheme == "http" and not is_loopback(host):
        table.fault("url", "http:// is for loopback only: records say who reads mail where")
    return parts.scheme != "http"


def _tls(table: Table, *, is_used: bool) -> Tls | None:
    """The files, tried together as a connection would use them."""
    named = {key: Path(text) for key in ("ca", "client_certificate", "client_key") if (text := table.text(key, ""))}
    if not is_used:
        for key in named:
            table.fault(key, "is of no use without TLS")
        return None
    missing = [key for key, path in named.items() if not path.is_file()]
    for key in missing:
        table.fault(key, f"`{named[key]}` does not exist")
    tls = Tls(
        ca=named.get("ca"), client_certificate=named.get("client_certificate"), client_key=named.get("client_key")
    )
    if (tls.client_certificate is None) != (tls.client_key is None):
        wanted = "client_key" if tls.client_key is None else "client_certificate"
        table.fault(wanted, "is required: client_certificate and client_key go together")
    elif not missing:
        try:
            client_context(tls.ca, tls.client_certificate, tls.client_key)
        except (OSError, ssl.SSLError) as error:
            table.fault("", f"ca, client_certificate and client_key cannot be used together: {error}")
    return tls
