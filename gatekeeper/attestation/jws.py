"""The envelope of signed evidence: JWS compact serialisation with an `x5c` header (RFC 7515), read strictly.

INVARIANT: nothing of the payload is looked at before the signature holds. Sizes are checked before anything is
decoded; the header has one reading only; every base64 text is canonical, so a token has exactly one spelling.
Keys come from the certificate chain alone: nothing is ever fetched (`jku`, `x5u`) or believed (`jwk`) from the header.
"""

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from gatekeeper.attestation.issuer import Algorithm
from gatekeeper.attestation.rejection import EvidenceRejected, RejectionCode
from gatekeeper.attestation.strict_json import Json, NotStrictJson, loads

MAX_TOKEN_OCTETS = 256 * 1024
"""2,000 measured components with hashes make some 600 KiB, but 300 apps of a well-used phone 90 KiB."""
MAX_HEADER_OCTETS = 32 * 1024
"""Four certificates with RSA-4096 keys, base64 twice, need some 16 KiB."""
MAX_CERTIFICATES = 4

_TYPES = ("eat+jwt", "application/eat+jwt")
_KEY_HEADERS = ("jku", "x5u", "jwk")
_BASE64URL = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)
_COORDINATE_OCTETS = {Algorithm.ES256: 32, Algorithm.ES384: 48}


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """A token taken apart, its signature not yet checked."""

    algorithm: Algorithm
    certificates: tuple[x509.Certificate, ...]
    """As in `x5c`: leaf first; not yet trusted."""
    signing_input: bytes
    signature: bytes
    payload: bytes
    """Not yet trusted; `open_payload` returns it once the signature holds."""


def parse(token: bytes) -> Envelope:
    """Take a compact JWS apart. Raises `EvidenceRejected`."""
    if len(token) > MAX_TOKEN_OCTETS:
        raise EvidenceRejected(RejectionCode.TOO_LARGE, f"the token is larger than {MAX_TOKEN_OCTETS} octets")
    segments = token.split(b".")
    if len(segments) != 3:
        raise _malformed("not a JWS in compact serialisation")
    protected, payload, signature = segments
    if len(protected) > MAX_HEADER_OCTETS:
        raise EvidenceRejected(RejectionCode.TOO_LARGE, f"the header is larger than {MAX_HEADER_OCTETS} octets")
    header = _header(_decode(protected, "header"))
    return Envelope(
        algorithm=_algorithm(header),
        certificates=_certificates(header),
        signing_input=protected + b"." + payload,
        signature=_decode(signature, "signature"),
        payload=_decode(payload, "payload"),
    )


def open_payload(envelope: Envelope, key: CertificatePublicKeyTypes) -> bytes:
    """The payload, once `key` verifies the signature. Raises `EvidenceRejected`."""
    try:
        if envelope.algorithm is Algorithm.EDDSA:
            _verify_eddsa(envelope, key)
        else:
            _verify_ecdsa(envelope, key)
    except InvalidSignature as exc:
        raise EvidenceRejected(RejectionCode.SIG_INVALID, "the signature does not verify") from exc
    return envelope.payload


def from_base64url(text: str) -> bytes | None:
    """The octets of an unpadded, canonical base64url text (RFC 7515 section 2), or None when it is none."""
    if not _BASE64URL.fullmatch(text) or len(text) % 4 == 1:
        return None
    octets = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    canonical = base64.urlsafe_b64encode(octets).rstrip(b"=").decode("ascii")
    return octets if canonical == text else None


def _decode(segment: bytes, name: str) -> bytes:
    octets = from_base64url(segment.decode("ascii", "replace"))
    if octets is None:
        raise _malformed(f"the {name} is not canonical base64url")
    return octets


def _header(octets: bytes) -> dict[str, Json]:
    try:
        header = loads(octets)
    except NotStrictJson as exc:
        raise _malformed(f"the header is {exc}") from exc
    if not isinstance(header, dict):
        raise _malformed("the header is not an object")
    if "crit" in header:
        raise EvidenceRejected(RejectionCode.UNSUPPORTED, "the header has critical extensions, none is understood")
    if any(name in header for name in _KEY_HEADERS):
        raise EvidenceRejected(RejectionCode.UNSUPPORTED, "the header offers a key of its own (jku, x5u or jwk)")
    media_type = header.get("typ")
    # Media types compare case-insensitively (RFC 7515 section 4.1.9).
    if not isinstance(media_type, str) or media_type.lower() not in _TYPES:
        raise _malformed("the header's typ is not eat+jwt")
    return header


def _algorithm(header: dict[str, Json]) -> Algorithm:
    name = header.get("alg")
    if not isinstance(name, str) or name not in frozenset(Algorithm):
        allowed = ", ".join(Algorithm)
        raise EvidenceRejected(RejectionCode.SIG_INVALID, f"the header's alg is none of {allowed}")
    return Algorithm(name)


def _certificates(header: dict[str, Json]) -> tuple[x509.Certificate, ...]:
    texts = header.get("x5c")
    if not isinstance(texts, list) or not texts:
        raise _malformed("the header has no certificate chain (x5c)")
    if len(texts) > MAX_CERTIFICATES:
        raise EvidenceRejected(RejectionCode.TOO_LARGE, f"x5c holds more than {MAX_CERTIFICATES} certificates")
    chain = tuple(_certificate(text) for text in texts)
    thumbprint = header.get("x5t#S256")
    if thumbprint is not None and thumbprint != _thumbprint(texts[0]):
        raise EvidenceRejected(RejectionCode.CHAIN_INVALID, "x5t#S256 is not the digest of the first certificate")
    return chain


def _certificate(text: Json) -> x509.Certificate:
    # Standard base64 with padding here, unlike everywhere else in JOSE (RFC 7515 section 4.1.6).
    der = _from_base64(text)
    if der is None:
        raise _malformed("x5c must hold certificates in standard base64 with padding")
    try:
        certificate = x509.load_der_x509_certificate(der)
    except (ValueError, x509.InvalidVersion) as exc:
        raise EvidenceRejected(RejectionCode.CHAIN_INVALID, "x5c holds something that is no certificate") from exc
    if not der.endswith(b"\0" + certificate.signature):
        # Whole octets (RFC 3279 section 2.2): of half of all signatures it can be said that the last bit is unused, and
        # they are verified all the same. One certificate would have two forms and two digests.
        raise EvidenceRejected(RejectionCode.CHAIN_INVALID, "a certificate's signature is not of whole octets")
    return certificate


def _from_base64(text: Json) -> bytes | None:
    if not isinstance(text, str) or not text.isascii():
        return None
    try:
        octets = base64.b64decode(text, validate=True)
    except binascii.Error:
        return None
    return octets if base64.b64encode(octets).decode("ascii") == text else None


def _thumbprint(text: Json) -> str:
    digest = hashlib.sha256(_from_base64(text) or b"").digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode("ascii")


def _verify_eddsa(envelope: Envelope, key: CertificatePublicKeyTypes) -> None:
    if not isinstance(key, ed25519.Ed25519PublicKey):
        raise _unfit(envelope.algorithm)
    key.verify(envelope.signature, envelope.signing_input)


def _verify_ecdsa(envelope: Envelope, key: CertificatePublicKeyTypes) -> None:
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise _unfit(envelope.algorithm)
    curve, digest = _ecdsa_terms(envelope.algorithm)
    if not isinstance(key.curve, curve):
        raise _unfit(envelope.algorithm)
    size = _COORDINATE_OCTETS[envelope.algorithm]
    if len(envelope.signature) != 2 * size:
        raise EvidenceRejected(RejectionCode.SIG_INVALID, f"the signature is not {2 * size} octets long")
    # JWS carries r and s side by side (RFC 7518 section 3.4), X9.62 as a DER sequence.
    r, s = (int.from_bytes(half, "big") for half in (envelope.signature[:size], envelope.signature[size:]))
    key.verify(encode_dss_signature(r, s), envelope.signing_input, ec.ECDSA(digest))


def _ecdsa_terms(algorithm: Algorithm) -> tuple[type[ec.EllipticCurve], hashes.HashAlgorithm]:
    if algorithm is Algorithm.ES256:
        return ec.SECP256R1, hashes.SHA256()
    return ec.SECP384R1, hashes.SHA384()


def _unfit(algorithm: Algorithm) -> EvidenceRejected:
    return EvidenceRejected(RejectionCode.SIG_INVALID, f"the certificate's key is none for {algorithm}")


def _malformed(detail: str) -> EvidenceRejected:
    return EvidenceRejected(RejectionCode.MALFORMED, detail)
