"""What a client asks for: a mail session, and the facts about its connection."""

from dataclasses import dataclass
from enum import StrEnum


class MailProtocol(StrEnum):
    """The protocols a listener can speak."""

    IMAP = "imap"
    SMTP = "smtp"
    POP3 = "pop3"
    SIEVE = "sieve"
    HTTP = "http"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What `decide` weighs besides the posture."""

    account: str
    """Canonical mail login, as the mail server authenticated it."""
    protocol: MailProtocol
    listener: str
    """Configured name of the listener."""


@dataclass(frozen=True, slots=True)
class Connection:
    """Facts about one accepted connection, for the audit record."""

    conn: str
    """Unguessable id of the connection, the same in the operational log and in the audit log."""
    protocol: MailProtocol
    listener: str
    client_address: str
    client_port: int
    server_port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientCertificate:
    """What a verified TLS client certificate says; only certificates that chain to `client_ca` get here."""

    sha256: str
    """Lower-case hex of the SHA-256 of the DER."""
    san_uris: tuple[str, ...] = ()
    common_name: str | None = None
    serial_number: str | None = None
    """The subject's serialNumber attribute (2.5.4.5), not the certificate's serial."""
