"""Whom the verifier believes: one configured issuer of evidence, its trust anchors and its terms."""

from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum

from cryptography import x509

from gatekeeper.domain.posture import Scope

DEFAULT_EKU_OID = "1.3.6.1.4.1.32473.1.1"
"""Extended key usage "signs app inventories". The arc is the documentation PEN (RFC 5612): a company puts its own."""
DEFAULT_DEVICE_URI_PREFIX = "urn:gatekeeper:device:"


class IssuerKind(StrEnum):
    """How an issuer's key is known."""

    X5C = "x5c"
    """A certificate chain in the token, up to one of the issuer's CAs."""


class Algorithm(StrEnum):
    """JWS algorithms (RFC 7518, RFC 8037) that can be allowed; symmetric ones, RSA and `none` cannot."""

    ES256 = "ES256"
    ES384 = "ES384"
    EDDSA = "EdDSA"
    """With Ed25519 only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Issuer:
    """One issuer of signed evidence. Raises ValueError when `ca` or `eku_oid` cannot be used."""

    name: str
    """Becomes the `source` of the attestation results."""
    ca: bytes = field(repr=False)
    """The attestation CAs' certificates: PEM (one or more) or DER (one). Never the web's CAs."""
    kind: IssuerKind = IssuerKind.X5C
    eku_oid: str = DEFAULT_EKU_OID
    """The leaf must have this extended key usage, so that a mail client's TLS certificate cannot sign inventories."""
    device_uri_prefix: str = DEFAULT_DEVICE_URI_PREFIX
    """The one SAN URI of the leaf that begins so names the device by what follows, e.g. `urn:uuid:`."""
    algorithms: frozenset[Algorithm] = frozenset(Algorithm)
    max_age: timedelta = timedelta(hours=24)
    """How long before its arrival the list may have been collected."""
    scopes: frozenset[Scope] = frozenset(Scope) - {Scope.QUERY}
    """Lists of another scope are refused. Accepting a narrow scope lets its apps be seen, never an absence."""
    denied_serials: frozenset[int] = frozenset()
    """Serial numbers of revoked certificates below these CAs."""
    anchors: tuple[x509.Certificate, ...] = field(init=False, repr=False, compare=False)
    eku: x509.ObjectIdentifier = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "anchors", _certificates(self.ca))
        object.__setattr__(self, "eku", x509.ObjectIdentifier(self.eku_oid))
        if not self.device_uri_prefix:
            raise ValueError("the prefix of device URIs must not be empty")


def _certificates(data: bytes) -> tuple[x509.Certificate, ...]:
    if b"-----BEGIN" in data:
        return tuple(x509.load_pem_x509_certificates(data))
    return (x509.load_der_x509_certificate(data),)
