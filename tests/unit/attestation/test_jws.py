"""The envelope of signed evidence."""

import base64
import json

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from joserfc import jws as joserfc_jws
from joserfc.jwk import ECKey, OKPKey

from gatekeeper.attestation import jws
from gatekeeper.attestation.issuer import Algorithm
from gatekeeper.attestation.rejection import EvidenceRejected, RejectionCode
from gatekeeper.cli.demo.phone_agent import Identity, SigningKey, compact, jose_header, to_base64url
from testkit.evidence import (
    OMIT,
    AttestationAuthority,
    hmac_with_public_key,
    raw_header,
    signed,
    unsigned,
    url_safe,
)

CLAIMS = {"a": 1}
PAYLOAD = json.dumps(CLAIMS).encode()
KEYS = {
    Algorithm.ES256: ec.generate_private_key(ec.SECP256R1()),
    Algorithm.ES384: ec.generate_private_key(ec.SECP384R1()),
    Algorithm.EDDSA: ed25519.Ed25519PrivateKey.generate(),
}


@pytest.fixture(scope="module")
def leaf(authority: AttestationAuthority) -> Identity:
    return authority.leaf("ph-001")


def rejection(token: str | bytes) -> tuple[RejectionCode, str]:
    """What opening the token with its own leaf's key says."""
    with pytest.raises(EvidenceRejected) as refused:
        opened(token)
    assert refused.value.detail.isprintable()
    return refused.value.code, refused.value.detail


def opened(token: str | bytes) -> bytes:
    envelope = jws.parse(token.encode() if isinstance(token, str) else token)
    return jws.open_payload(envelope, envelope.certificates[0].public_key())


@pytest.mark.parametrize("algorithm", Algorithm)
def test_opens_what_the_agent_signs(authority: AttestationAuthority, algorithm: Algorithm) -> None:
    """Every allowed algorithm."""
    identity = authority.issue_leaf("ph-001", key=KEYS[algorithm])
    token = signed(CLAIMS, identity)

    assert opened(token) == PAYLOAD
    assert jws.parse(token.encode()).algorithm is algorithm


# The library prefers the newer name Ed25519 (RFC 9864) and warns about EdDSA.
@pytest.mark.filterwarnings("ignore::joserfc.errors.SecurityWarning")
@pytest.mark.parametrize("algorithm", Algorithm)
def test_opens_what_another_library_signs(authority: AttestationAuthority, algorithm: Algorithm) -> None:
    """The library joserfc knows nothing of our signer."""
    key = KEYS[algorithm]
    identity = authority.issue_leaf("ph-001", key=key)
    jwk = (OKPKey if algorithm is Algorithm.EDDSA else ECKey).import_key(identity.private_key_pem())
    registry = joserfc_jws.JWSRegistry(algorithms=list(Algorithm))
    registry.max_header_length = 100_000
    token = joserfc_jws.serialize_compact(
        {**jose_header(identity)}, PAYLOAD, jwk, algorithms=list(Algorithm), registry=registry
    )

    assert opened(token) == PAYLOAD


@pytest.mark.parametrize("typ", ["eat+jwt", "application/eat+jwt", "EAT+JWT"])
def test_both_spellings_of_the_type_are_taken(leaf: Identity, typ: str) -> None:
    """The short form and the full one, in any case."""
    assert opened(signed(CLAIMS, leaf, header={"typ": typ, "kid": "ignored"})) == PAYLOAD


@pytest.mark.parametrize(
    ("header", "code", "detail"),
    [
        ({"typ": "jwt"}, RejectionCode.MALFORMED, "typ"),
        ({"typ": OMIT}, RejectionCode.MALFORMED, "typ"),
        ({"typ": 1}, RejectionCode.MALFORMED, "typ"),
        ({"alg": OMIT}, RejectionCode.SIG_INVALID, "alg"),
        ({"alg": ["ES256"]}, RejectionCode.SIG_INVALID, "alg"),
        ({"alg": "es256"}, RejectionCode.SIG_INVALID, "alg"),
        ({"alg": "ES512"}, RejectionCode.SIG_INVALID, "alg"),
        ({"alg": "RS256"}, RejectionCode.SIG_INVALID, "alg"),
        ({"alg": "ES384"}, RejectionCode.SIG_INVALID, "key is none for ES384"),
        ({"alg": "EdDSA"}, RejectionCode.SIG_INVALID, "key is none for EdDSA"),
        ({"crit": ["exp"], "exp": 1}, RejectionCode.UNSUPPORTED, "critical"),
        ({"crit": []}, RejectionCode.UNSUPPORTED, "critical"),
        ({"jku": "https://keys.example"}, RejectionCode.UNSUPPORTED, "jku"),
        ({"x5u": "https://keys.example"}, RejectionCode.UNSUPPORTED, "x5u"),
        ({"jwk": {}}, RejectionCode.UNSUPPORTED, "jwk"),
        ({"x5c": OMIT}, RejectionCode.MALFORMED, "x5c"),
        ({"x5c": []}, RejectionCode.MALFORMED, "x5c"),
        ({"x5c": "MII"}, RejectionCode.MALFORMED, "x5c"),
        ({"x5c": [1]}, RejectionCode.MALFORMED, "base64"),
        ({"x5c": ["é"]}, RejectionCode.MALFORMED, "base64"),
        ({"x5c": ["MAA"]}, RejectionCode.MALFORMED, "base64"),
        ({"x5c": ["MAB="]}, RejectionCode.MALFORMED, "base64"),
        ({"x5c": ["MAA=\n"]}, RejectionCode.MALFORMED, "base64"),
        ({"x5c": ["MAA="]}, RejectionCode.CHAIN_INVALID, "no certificate"),
        ({"x5t#S256": "A" * 43}, RejectionCode.CHAIN_INVALID, "x5t#S256"),
        ({"x": "x" * jws.MAX_HEADER_OCTETS}, RejectionCode.TOO_LARGE, "header"),
    ],
)
def test_a_bad_header_is_refused(leaf: Identity, header: dict[str, object], code: RejectionCode, detail: str) -> None:
    """Each deviation has its code and says what it is."""
    got, text = rejection(signed(CLAIMS, leaf, header=header))

    assert got is code
    assert detail in text


def test_url_safe_base64_in_x5c_is_refused(authority: AttestationAuthority) -> None:
    """The one member of JOSE in standard base64 must be just that; certificates without + and / still differ in padding."""
    leaf = next(found for found in map(_padded_leaf, [authority] * 20) if found)
    text = jose_header(leaf)["x5c"][0]

    assert rejection(signed(CLAIMS, leaf, header={"x5c": [url_safe(text)]}))[0] is RejectionCode.MALFORMED


def test_too_many_certificates_are_refused(leaf: Identity) -> None:
    """Before any of them is decoded."""
    texts = jose_header(leaf)["x5c"] * 5

    assert rejection(signed(CLAIMS, leaf, header={"x5c": texts}))[0] is RejectionCode.TOO_LARGE


@pytest.mark.parametrize(
    "header",
    [b'{"alg":"ES256","alg":"none"}', b"[]", b"null", b"{", b'{"alg":1.5}', b'{"x":' * 9 + b"1" + b"}" * 9, b"\xff"],
)
def test_a_header_with_more_than_one_reading_is_refused(leaf: Identity, header: bytes) -> None:
    """Duplicate keys, floats, deep nesting, other JSON."""
    assert rejection(raw_header(header, CLAIMS, leaf))[0] is RejectionCode.MALFORMED


def test_unsigned_and_symmetric_tokens_are_refused(leaf: Identity) -> None:
    """`none`, and HS256 with the public key as secret."""
    for token in (unsigned(CLAIMS, leaf), hmac_with_public_key(CLAIMS, leaf)):
        assert rejection(token)[0] in (RejectionCode.SIG_INVALID, RejectionCode.MALFORMED)
    assert rejection(unsigned(CLAIMS, leaf) + "AA")[0] is RejectionCode.SIG_INVALID
    assert rejection(hmac_with_public_key(CLAIMS, leaf))[0] is RejectionCode.SIG_INVALID


def test_a_signature_of_another_key_is_refused(authority: AttestationAuthority, leaf: Identity) -> None:
    """The leaf's key must have signed, not just any."""
    other = authority.leaf("ph-002")
    token = compact(jose_header(leaf), PAYLOAD, _signing_key(other))

    assert rejection(token) == (RejectionCode.SIG_INVALID, "the signature does not verify")


@pytest.mark.parametrize("length", [1, 63, 65, 96])
def test_a_signature_of_the_wrong_length_is_refused(leaf: Identity, length: int) -> None:
    """ECDSA in JWS has one length, DER is another format."""
    head, _, _ = signed(CLAIMS, leaf).rpartition(".")

    assert rejection(f"{head}.{to_base64url(b'x' * length)}")[0] is RejectionCode.SIG_INVALID


def test_a_signature_is_not_padded(leaf: Identity) -> None:
    """A zero octet before the second number would spell the same signature differently."""
    head, _, tail = signed(CLAIMS, leaf).rpartition(".")
    octets = base64.urlsafe_b64decode(tail + "==")

    assert rejection(f"{head}.{to_base64url(octets[:32] + bytes(1) + octets[32:])}")[0] is RejectionCode.SIG_INVALID


def test_a_certificate_of_an_unknown_version_is_refused(leaf: Identity) -> None:
    """The library tells it apart from other unreadable certificates."""
    der = leaf.certificate.public_bytes(serialization.Encoding.DER).replace(b"\xa0\3\2\1\2", b"\xa0\3\2\1\3", 1)
    header = {"x5c": [base64.b64encode(der).decode("ascii")], "x5t#S256": OMIT}

    assert rejection(signed(CLAIMS, leaf, header=header))[0] is RejectionCode.CHAIN_INVALID


@pytest.mark.parametrize("value", [b"\0" * 64, b"\xff" * 64])
def test_signature_numbers_out_of_range_are_refused(leaf: Identity, value: bytes) -> None:
    """Zero once opened every lock in another implementation."""
    head, _, _ = signed(CLAIMS, leaf).rpartition(".")

    assert rejection(f"{head}.{to_base64url(value)}")[0] is RejectionCode.SIG_INVALID


@pytest.mark.parametrize("change", ["{}=", "{} ", "{}\n", "{}.", "{}.x", " {}", "{}é"])
def test_trailing_garbage_is_refused(leaf: Identity, change: str) -> None:
    """A token has one spelling."""
    assert rejection(change.format(signed(CLAIMS, leaf)))[0] is RejectionCode.MALFORMED


def test_unused_bits_of_the_last_character_must_be_zero(leaf: Identity) -> None:
    """64 octets leave four bits over; set, they would spell the same signature differently."""
    token = signed(CLAIMS, leaf)
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    respelled = token[:-1] + alphabet[alphabet.index(token[-1]) + 1]

    assert rejection(respelled) == (RejectionCode.MALFORMED, "the signature is not canonical base64url")


@pytest.mark.parametrize(
    "token", [b"", b".", b"..", b"a.b.c", b"{}", b'{"payload":"","signatures":[]}', b"\xff.\xff.a"]
)
def test_other_serialisations_are_refused(token: bytes) -> None:
    """JSON serialisation, empty parts, anything that is not a compact JWS."""
    assert rejection(token)[0] is RejectionCode.MALFORMED


def test_size_is_checked_first() -> None:
    """Octets over the limit are not even counted."""
    assert rejection(b"." * (jws.MAX_TOKEN_OCTETS + 1))[0] is RejectionCode.TOO_LARGE


@pytest.mark.parametrize("algorithm", Algorithm)
def test_a_key_of_another_kind_never_verifies(algorithm: Algorithm, authority: AttestationAuthority) -> None:
    """RSA, Ed448 and P-521 fit none of the algorithms."""
    token = signed(CLAIMS, authority.issue_leaf("ph-001", key=KEYS[algorithm]))
    envelope = jws.parse(token.encode())
    keys = [
        rsa.generate_private_key(65537, 2048).public_key(),
        ed448.Ed448PrivateKey.generate().public_key(),
        ec.generate_private_key(ec.SECP521R1()).public_key(),
    ]

    for key in keys:
        with pytest.raises(EvidenceRejected, match="sig-invalid"):
            jws.open_payload(envelope, key)


def _padded_leaf(authority: AttestationAuthority) -> Identity | None:
    leaf = authority.issue_leaf("ph-001")
    text = jose_header(leaf)["x5c"][0]
    return leaf if url_safe(text) != text and base64.b64decode(text) else None


def _signing_key(identity: Identity) -> SigningKey:
    assert isinstance(identity.key, ec.EllipticCurvePrivateKey)
    return identity.key
