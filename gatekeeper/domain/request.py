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
    client_address: str = ""
    """Of the phone, as text; empty, or no address: not known."""
    languages: tuple[str, ...] = ()
    """Tags (RFC 5646) that the person reads, preferred first; mail protocols do not say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportedTls:
    """What a load balancer says of the TLS session that it ended: facts for the record, nothing is decided by them."""

    version: str
    """As it named it, such as `TLSv1.3`."""
    is_certificate_verified: bool
    """Whether the phone showed a client certificate that the load balancer found good."""
    common_name: str | None
    """Of that certificate."""


@dataclass(frozen=True, slots=True)
class LoadBalancer:
    """Who brought a connection, and said by a PROXY header whose it is."""

    address: str
    is_health_check: bool = False
    """It says that nobody is behind it (LOCAL)."""
    tls: ReportedTls | None = None


@dataclass(frozen=True, slots=True)
class Connection:
    """Facts about one accepted connection, for the audit record."""

    conn: str
    """Unguessable id of the connection, the same in the operational log and in the audit log."""
    protocol: MailProtocol
    listener: str
    client_address: str
    """Of the phone: as a trusted load balancer says, else the connection's own."""
    client_port: int
    server_port: int
    load_balancer: LoadBalancer | None = None
    server: tuple[str, int] | None = None
    """Where the phone connected to, when a load balancer says so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientCertificate:
    """What a verified TLS client certificate says; only certificates that chain to `client_ca` get here."""

    sha256: str
    """Lower-case hex of the SHA-256 of the DER."""
    san_uris: tuple[str, ...] = ()
    san_emails: tuple[str, ...] = ()
    """Subject alternative names of the kind rfc822Name, as they are written."""
    common_name: str | None = None
    serial_number: str | None = None
    """The subject's serialNumber attribute (2.5.4.5), not the certificate's serial."""
