"""The certificates of signed evidence: from the leaf in `x5c` to an attestation CA of one issuer (RFC 5280).

Path building and its checks (validity, path length, key usage, key sizes, no SHA-1) are cryptography's, which follow
the web's rules; on top come the issuer's own: a dedicated extended key usage, revoked serial numbers, and that the
chain is presented as RFC 7515 section 4.1.6 asks: leaf first, each certificate certified by the next, nothing else.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.x509.verification import (
    ClientVerifier,
    Criticality,
    ExtensionPolicy,
    Policy,
    PolicyBuilder,
    Store,
    VerificationError,
    VerifiedClient,
)

from gatekeeper.attestation.bounds import name_flaw
from gatekeeper.attestation.issuer import Issuer
from gatekeeper.attestation.rejection import EvidenceRejected, RejectionCode
from gatekeeper.domain.device import DeviceId

MAX_INTERMEDIATES = 3
"""Between leaf and CA: as many as `x5c` has room for."""
_UNREADABLE = (ValueError, UnsupportedAlgorithm, x509.DuplicateExtension, x509.UnsupportedGeneralNameType)
"""What cryptography raises for parts of a certificate that it decodes only when asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaf:
    """What a verified leaf certificate says."""

    device_id: DeviceId
    key: CertificatePublicKeyTypes


def verify(certificates: Sequence[x509.Certificate], issuer: Issuer, *, at: datetime) -> Leaf:
    """The facts of the leaf, once the chain holds for `issuer` at the instant `at`. Raises `EvidenceRejected`."""
    leaf, *intermediates = certificates
    try:
        verified = _verifier(issuer, at).verify(leaf, intermediates)
        key = leaf.public_key()
    except (VerificationError, *_UNREADABLE) as exc:
        raise _rejected(_why(leaf, issuer, at)) from exc
    if list(certificates) != verified.chain[: len(certificates)]:
        raise _rejected("x5c is not one chain with the leaf first, each certified by the next")
    if any(certificate.serial_number in issuer.denied_serials for certificate in verified.chain):
        raise _rejected("a certificate of the chain is revoked")
    return Leaf(device_id=_device_id(verified, issuer.device_uri_prefix), key=key)


def _verifier(issuer: Issuer, at: datetime) -> ClientVerifier:
    def has_our_usage(_policy: Policy, _leaf: x509.Certificate, usage: x509.ExtendedKeyUsage) -> None:
        if issuer.eku not in usage:
            raise ValueError("not for signing app inventories")

    leaf_policy = ExtensionPolicy.webpki_defaults_ee().require_present(
        x509.ExtendedKeyUsage, Criticality.AGNOSTIC, has_our_usage
    )
    return (
        PolicyBuilder()
        .store(Store(list(issuer.anchors)))
        .time(at)
        .max_chain_depth(MAX_INTERMEDIATES)
        .extension_policies(ca_policy=ExtensionPolicy.webpki_defaults_ca(), ee_policy=leaf_policy)
        .build_client_verifier()
    )


def _device_id(verified: VerifiedClient, prefix: str) -> DeviceId:
    uris = [name.value for name in verified.subjects or () if isinstance(name, x509.UniformResourceIdentifier)]
    ids = [uri.removeprefix(prefix) for uri in uris if uri.startswith(prefix)]
    if len(ids) != 1:
        raise _rejected(f"the leaf must name exactly one device by a URI that begins with `{prefix}`")
    problem = name_flaw(ids[0])
    if problem:
        raise _rejected(f"the device id in the leaf's URI {problem}")
    return DeviceId(ids[0])


def _why(leaf: x509.Certificate, issuer: Issuer, at: datetime) -> str:
    """The likeliest reason of a failure in our own words: the library's quote names out of the certificate."""
    try:
        begin, end = leaf.not_valid_before_utc, leaf.not_valid_after_utc
        usage = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except (x509.ExtensionNotFound, *_UNREADABLE):
        return "the leaf certificate has no readable extended key usage"
    if at < begin:
        return f"the leaf certificate is not valid before {begin.isoformat()}"
    if at > end:
        return f"the leaf certificate expired at {end.isoformat()}"
    if issuer.eku not in usage:
        return f"the leaf certificate lacks the extended key usage {issuer.eku_oid}"
    return "the certificates do not lead to an attestation CA of a configured issuer"


def _rejected(detail: str) -> EvidenceRejected:
    return EvidenceRejected(RejectionCode.CHAIN_INVALID, detail)
