"""TLS contexts: modern defaults, client certificates from our own device CA only, upstream names verified."""

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from socket import socket
from typing import Protocol, cast

from gatekeeper.net.alpn import preference


class ClientCertificates(StrEnum):
    """Whether phones are asked for a certificate."""

    OFF = "off"
    REQUEST = "request"
    REQUIRE = "require"


class Profile(StrEnum):
    """How old a phone may be: Mozilla's "Server Side TLS", version 5.7."""

    MODERN = "modern"
    """TLS 1.3 only: iOS 12.2, Android 10 and newer (older Androids speak it in apps that bring their own TLS)."""
    INTERMEDIATE = "intermediate"
    """TLS 1.2 too, with forward secrecy and authenticated encryption only: iOS 9, Android 4.4 and newer."""


INTERMEDIATE_CIPHERS = (
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:"
    "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"
)
"""Of TLS 1.2. Mozilla's list without its DHE suites, which need parameters of our own and which no phone needs."""


_TAKES_A_CUT_FOR_AN_END = getattr(ssl, "OP_IGNORE_UNEXPECTED_EOF", 0)
"""Python before 3.11.5 sets it: a peer that vanished would look like one that said goodbye (RFC 8446 §6.1), and a mail
server's broken answer would reach the phone as a whole one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedCertificate:
    """What is presented to clients that ask for one of these names."""

    names: tuple[str, ...]
    """Host names in lower case, `*.example.com` for one label before it."""
    certificate: Path
    private_key: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerTls:
    """What the listeners present and ask for."""

    certificate: Path
    """For clients that ask for no name, or for one that `named` does not have."""
    private_key: Path
    client_ca: Path | None = None
    client_certificates: ClientCertificates = ClientCertificates.OFF
    client_crl: Path | None = None
    profile: Profile = Profile.INTERMEDIATE
    named: tuple[NamedCertificate, ...] = ()

    def files(self) -> tuple[Path, ...]:
        """Every file that is named here, always in the same order."""
        found = [self.certificate, self.private_key, self.client_ca, self.client_crl]
        for one in self.named:
            found += (one.certificate, one.private_key)
        return tuple(path for path in found if path is not None)


def blank_context() -> ssl.SSLContext:
    """A server's context with nothing in it but the keys of its session tickets, which are made here."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)


def without_tickets() -> ssl.SSLContext:
    """A server's context that hands out no session tickets and takes none."""
    context = blank_context()
    context.options |= ssl.OP_NO_TICKET  # TLS 1.2
    context.num_tickets = 0  # TLS 1.3
    return context


def server_context(
    settings: ServerTls, alpn: str | None = None, *, blank: ssl.SSLContext | None = None
) -> ssl.SSLContext:
    """Build a listener's context; raises OSError or ssl.SSLError when a file is missing or does not fit.

    Only the device CA is trusted for client certificates, so that other certificates on a phone are never offered.
    `alpn` is the protocol that is spoken (see `net.alpn`). `blank` is the context to fill instead of a new one.
    """
    context = _presenting(settings, settings.certificate, settings.private_key, alpn, blank)
    if settings.named:
        context.sni_callback = _chooser(
            {
                name: presented
                for one in settings.named
                for presented in [_presenting(settings, one.certificate, one.private_key, alpn)]
                for name in one.names
            }
        )
    return context


def _presenting(
    settings: ServerTls, certificate: Path, private_key: Path, alpn: str | None, blank: ssl.SSLContext | None = None
) -> ssl.SSLContext:
    context = blank or blank_context()
    is_modern = settings.profile is Profile.MODERN
    context.minimum_version = ssl.TLSVersion.TLSv1_3 if is_modern else ssl.TLSVersion.TLSv1_2
    context.options &= ~_TAKES_A_CUT_FOR_AN_END
    context.set_ciphers(INTERMEDIATE_CIPHERS)
    # All of them are good, and the phone knows which it is quickest at; Python would have us choose (Mozilla, "off").
    context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    context.load_cert_chain(certificate, private_key, password=_no_passphrase)
    context.options |= ssl.OP_NO_RENEGOTIATION  # OpenSSL 3 refuses it unasked, 1.1.1 does not
    # Phones resume with one; a second would only cost a signature's time and memory. None stay none.
    context.num_tickets = min(context.num_tickets, 1)
    if settings.client_certificates is not ClientCertificates.OFF and settings.client_ca is not None:
        context.load_verify_locations(settings.client_ca)
        required = settings.client_certificates is ClientCertificates.REQUIRE
        context.verify_mode = ssl.CERT_REQUIRED if required else ssl.CERT_OPTIONAL
        if settings.client_crl is not None:
            context.load_verify_locations(settings.client_crl)
            context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
    if alpn is not None:
        context.set_alpn_protocols(preference(alpn))
    return context


def _chooser(contexts: dict[str, ssl.SSLContext]) -> Callable[[ssl.SSLObject, str, ssl.SSLContext], None]:
    """Choose by SNI (RFC 6066 §3): an exact name before `*.`, which stands for one label (RFC 9525 §6.3).

    What is not on the list changes nothing, and nothing is remembered of it. Session tickets, TLS versions and what is
    asked of the client stay those of the context that the handshake began with.
    """

    def choose(connection: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
        if name is not None:
            asked = name.lower()
            found = contexts.get(asked) or contexts.get("*." + asked.partition(".")[2])
            if found is not None:
                connection.context = found

    return choose


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
    context.options &= ~_TAKES_A_CUT_FOR_AN_END
    if certificate is not None:
        context.load_cert_chain(certificate, private_key, password=_no_passphrase)
    return context


class Engine(Protocol):
    """OpenSSL at work on a socket: what `ssl.SSLSocket` does without its checks, which our callers make themselves."""

    def do_handshake(self) -> None:
        """Go on with the handshake."""
        ...

    def read(self, octets: int, buffer: memoryview, /) -> int:
        """Decrypt at most so much of one record into the buffer; 0 at the peer's close-notify."""
        ...

    def write(self, data: bytes | memoryview, /) -> int:
        """Encrypt and send at most one record; the octets taken."""
        ...


def engine(sock: socket) -> Engine | None:
    """What reads and writes a TLS socket, None for a plain one.

    Each call of `SSLSocket.recv_into` is four Python frames around the object it keeps in `_sslobj`; a relayed line
    passes two of them. The object is not documented, so the socket itself, which has these methods, stands in where it
    is missing. A peer that is gone without a close-notify is an `ssl.SSLError`.
    """
    if not isinstance(sock, ssl.SSLSocket):
        return None
    inner: Engine | None = getattr(sock, "_sslobj", None)
    return cast("Engine", sock) if inner is None else inner
