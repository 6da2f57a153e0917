"""TLS contexts: modern defaults, client certificates from our own device CA only, upstream names verified."""

import ssl
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from socket import socket
from typing import Protocol, cast


class ClientCertificates(StrEnum):
    """Whether phones are asked for a certificate."""

    OFF = "off"
    REQUEST = "request"
    REQUIRE = "require"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerTls:
    """What the listeners present and ask for."""

    certificate: Path
    private_key: Path
    client_ca: Path | None = None
    client_certificates: ClientCertificates = ClientCertificates.OFF


def server_context(settings: ServerTls, alpn: str | None = None) -> ssl.SSLContext:
    """Build a listener's context; raises OSError or ssl.SSLError when a file is missing or does not fit.

    Only the device CA is trusted for client certificates, so that other certificates on a phone are never offered.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(settings.certificate, settings.private_key, password=_no_passphrase)
    context.num_tickets = 1  # phones resume with one; the second would only cost a signature's time and memory
    if settings.client_certificates is not ClientCertificates.OFF and settings.client_ca is not None:
        context.load_verify_locations(settings.client_ca)
        required = settings.client_certificates is ClientCertificates.REQUIRE
        context.verify_mode = ssl.CERT_REQUIRED if required else ssl.CERT_OPTIONAL
    if alpn is not None:
        context.set_alpn_protocols([alpn])
    return context


def _no_passphrase() -> str:
    """Without this OpenSSL would ask for a passphrase at the terminal, and wait."""
    raise OSError("the private key is encrypted; a server needs one that opens without a passphrase")


def client_context(ca: Path | None, certificate: Path | None = None, private_key: Path | None = None) -> ssl.SSLContext:
    """Build the context for dialling the mail server: TLS 1.2 or newer, chain and name verified.

    An address literal as the server's name is looked for among the certificate's addresses, and goes without SNI
    (RFC 6066 §3), which is OpenSSL's and Python's doing. `certificate` is what we show when we are asked.
    """
    context = ssl.create_default_context(cafile=None if ca is None else str(ca))
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if certificate is not None:
        context.load_cert_chain(certificate, private_key, password=_no_passphrase)
    return context


class Engine(Protocol):
    """OpenSSL at work on a socket: what `ssl.SSLSocket` does without its checks, which a relay makes itself."""

    def read(self, octets: int, buffer: memoryview, /) -> int:
        """Decrypt at most so much of one record into the buffer; 0 at the peer's close-notify."""
        ...

    def write(self, data: memoryview, /) -> int:
        """Encrypt and send at most one record; the octets taken."""
        ...


def engine(sock: socket) -> Engine | None:
    """What reads and writes a TLS socket, None for a plain one.

    Each call of `SSLSocket.recv_into` is four Python frames around the object it keeps in `_sslobj`; a relayed line
    passes two of them. The object is not documented, so the socket itself, which has both methods, stands in where it
    is missing.
    """
    if not isinstance(sock, ssl.SSLSocket):
        return None
    inner: Engine | None = getattr(sock, "_sslobj", None)
    return cast("Engine", sock) if inner is None else inner
