"""The certificates of signed evidence."""

import hashlib
from dataclasses import replace
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from gatekeeper.attestation import chain
from gatekeeper.attestation.issuer import DEFAULT_DEVICE_URI_PREFIX, DEFAULT_EKU_OID, Issuer
from gatekeeper.attestation.rejection import EvidenceRejected, RejectionCode
from gatekeeper.cli.demo.phone_agent import CertificateAuthority, CertificateTerms, Identity
from testkit.evidence import AttestationAuthority, with_chain

from .conftest import NOW

DAY = timedelta(days=1)


def refusal(identity: Identity, issuer: Issuer, at: object = NOW) -> str:
    with pytest.raises(EvidenceRejected) as refused:
        chain.verify(identity.chain, issuer, at=at)
    assert refused.value.code is RejectionCode.CHAIN_INVALID
    assert refused.value.detail.isprintable()
    return refused.value.detail


@pytest.mark.parametrize("key", [None, ec.generate_private_key(ec.SECP384R1()), ed25519.Ed25519PrivateKey.generate()])
def test_a_genuine_leaf_names_its_device(authority: AttestationAuthority, key: object) -> None:
    """Directly below the CA, with every kind of key that can sign."""
    identity = authority.issue_leaf("ph-001", key=key)
    leaf = chain.verify(identity.chain, authority.issuer(), at=NOW)

    assert leaf.device_id == "ph-001"
    assert leaf.key == identity.certificate.public_key()


def test_intermediates_are_followed(authority: AttestationAuthority) -> None:
    """Up to three, with or without the CA itself at the end."""
    first = authority.ca.intermediate("I1", now=NOW - DAY, path_length=2)
    second = first.intermediate("I2", now=NOW - DAY, path_length=1)
    third = second.intermediate("I3", now=NOW - DAY)
    identity = authority.issue_leaf("ph-001", by=third)
    short = authority.issue_leaf("ph-001", by=first)
    with_root = replace(short, chain=(*short.chain, authority.ca.identity.certificate))

    assert len(identity.chain) == 4
    for presented in (identity, short, with_root):
        assert chain.verify(presented.chain, authority.issuer(), at=NOW).device_id == "ph-001"


def test_an_rsa_ca_of_enough_bits_is_taken(authority: AttestationAuthority) -> None:
    """Many companies' CAs are."""
    identity = _below_rsa(authority, 2048)

    assert chain.verify(identity.chain, authority.issuer(), at=NOW).device_id == "ph-001"


def test_other_device_names_can_be_configured(authority: AttestationAuthority) -> None:
    """The prefix and the usage are the issuer's terms; other URIs do not disturb."""
    uuid = "6fa459ea-ee8a-3ca4-894e-db77e160355e"
    identity = authority.issue_leaf("x", eku="1.2.3.4", uris=[f"urn:uuid:{uuid}", "https://example.com/x"])
    issuer = authority.issuer(device_uri_prefix="urn:uuid:", eku_oid="1.2.3.4")

    assert chain.verify(identity.chain, issuer, at=NOW).device_id == uuid


@pytest.mark.parametrize("eku", [ExtendedKeyUsageOID.CLIENT_AUTH.dotted_string, "2.5.29.37.0"])
def test_a_leaf_for_another_use_is_refused(authority: AttestationAuthority, eku: str) -> None:
    """A mail client's TLS certificate of the same CA signs no inventory, nor does one for any use."""
    identity = authority.issue_leaf("ph-001", eku=eku)

    assert (
        refusal(identity, authority.issuer()) == f"the leaf certificate lacks the extended key usage {DEFAULT_EKU_OID}"
    )


def test_a_leaf_without_usage_is_refused(authority: AttestationAuthority) -> None:
    """No extended key usage means any use, which is not ours."""
    terms = CertificateTerms(
        common_name="x", not_before=NOW - DAY, not_after=NOW + DAY, names=(x509.UniformResourceIdentifier("urn:x"),)
    )

    assert "no readable extended key usage" in refusal(authority.ca.issue(terms), authority.issuer())


def test_validity_is_checked_at_the_instant_asked_for(authority: AttestationAuthority) -> None:
    """Expired and not yet valid."""
    identity = authority.issue_leaf("ph-001", not_before=NOW - DAY, not_after=NOW + DAY)
    issuer = authority.issuer()

    assert chain.verify(identity.chain, issuer, at=NOW)
    assert "expired at 2026-07-11" in refusal(identity, issuer, NOW + 2 * DAY)
    assert "not valid before 2026-07-09" in refusal(identity, issuer, NOW - 2 * DAY)


def test_an_expired_ca_vouches_for_nothing(authority: AttestationAuthority) -> None:
    """A trust anchor is not trusted for ever."""
    old = CertificateAuthority.create("Old CA", now=NOW - 20 * DAY, days=10)
    identity = authority.issue_leaf("ph-001", by=old)

    assert "do not lead" in refusal(identity, Issuer(name="x", ca=old.certificate_pem))


def test_another_ca_of_the_same_name_is_refused(authority: AttestationAuthority) -> None:
    """Names prove nothing."""
    impostor = CertificateAuthority.create("Test Attestation CA", now=NOW - DAY)
    identity = authority.issue_leaf("ph-001", by=impostor)

    assert "do not lead" in refusal(identity, authority.issuer())
    with_root = with_chain(identity, *identity.chain, impostor.identity.certificate)
    assert "do not lead" in refusal(with_root, authority.issuer())


def test_the_ca_itself_is_no_leaf(authority: AttestationAuthority) -> None:
    """Nor is any certificate that may issue others."""
    assert refusal(authority.ca.identity, authority.issuer())
    assert refusal(authority.issue_leaf("ph-001", is_ca=True), authority.issuer())


def test_a_leaf_cannot_issue_leaves(authority: AttestationAuthority) -> None:
    """The oldest hole of chain checking: a device that signs a certificate for another."""
    device = CertificateAuthority(authority.issue_leaf("ph-001"))
    forged = device.attester("ph-002", now=NOW)
    presented = replace(forged, chain=(forged.certificate, device.identity.certificate))

    assert "do not lead" in refusal(presented, authority.issuer())


def test_path_length_is_kept(authority: AttestationAuthority) -> None:
    """A CA that may issue leaves only cannot make another CA."""
    first = authority.ca.intermediate("I1", now=NOW - DAY, path_length=0)
    second = first.intermediate("I2", now=NOW - DAY)

    assert "do not lead" in refusal(authority.issue_leaf("ph-001", by=second), authority.issuer())


def test_a_missing_intermediate_is_refused(authority: AttestationAuthority) -> None:
    """Nothing is fetched."""
    intermediate = authority.ca.intermediate("I1", now=NOW - DAY)
    identity = authority.issue_leaf("ph-001", by=intermediate)

    assert "do not lead" in refusal(replace(identity, chain=identity.chain[:1]), authority.issuer())


def test_the_chain_must_stand_in_order_with_nothing_else(authority: AttestationAuthority) -> None:
    """Leaf first, each certified by the next."""
    first = authority.ca.intermediate("I1", now=NOW - DAY, path_length=1)
    identity = authority.issue_leaf("ph-001", by=first.intermediate("I2", now=NOW - DAY))
    leaf, inner, outer = identity.chain
    issuer = authority.issuer()

    assert chain.verify((leaf, inner, outer), issuer, at=NOW)
    assert "not one chain" in refusal(replace(identity, chain=(leaf, outer, inner)), issuer)
    assert refusal(replace(identity, chain=(inner, leaf, outer)), issuer)
    unrelated = CertificateAuthority.create("Other", now=NOW - DAY).identity.certificate
    assert "not one chain" in refusal(replace(identity, chain=(leaf, inner, outer, unrelated)), issuer)


def test_revoked_serial_numbers_are_refused(authority: AttestationAuthority) -> None:
    """Of the leaf and of intermediates."""
    intermediate = authority.ca.intermediate("I1", now=NOW - DAY)
    identity = authority.issue_leaf("ph-001", by=intermediate)

    for certificate in identity.chain:
        issuer = authority.issuer(denied_serials=frozenset({certificate.serial_number}))
        assert refusal(identity, issuer) == "a certificate of the chain is revoked"


@pytest.mark.parametrize(
    "uris",
    [
        ["https://example.com/ph-001"],
        [DEFAULT_DEVICE_URI_PREFIX + "a", DEFAULT_DEVICE_URI_PREFIX + "b"],
        [DEFAULT_DEVICE_URI_PREFIX],
        [DEFAULT_DEVICE_URI_PREFIX + "x" * 256],
        [DEFAULT_DEVICE_URI_PREFIX + " x"],
    ],
)
def test_a_leaf_must_name_one_device(authority: AttestationAuthority, uris: list[str]) -> None:
    """No device, two devices, an empty or unusable name."""
    assert "device" in refusal(authority.issue_leaf("x", uris=uris), authority.issuer())


def test_short_rsa_keys_of_a_ca_are_refused(authority: AttestationAuthority) -> None:
    """Below 2,048 bits; a leaf's RSA key of any length signs no evidence, as no algorithm fits it."""
    assert "do not lead" in refusal(_below_rsa(authority, 1024), authority.issuer())


def test_sha1_signatures_are_refused(authority: AttestationAuthority) -> None:
    """Collisions in SHA-1 forge certificates; the same certificate signed by hand with SHA-256 is taken."""
    key = rsa.generate_private_key(65537, 2048)
    identity = _below_rsa(authority, 2048, key)
    issuer = authority.issuer()

    strong = with_chain(identity, _signed_by_hand(identity.certificate, key, "sha256"), *identity.chain[1:])
    assert chain.verify(strong.chain, issuer, at=NOW)
    weak = with_chain(identity, _signed_by_hand(identity.certificate, key, "sha1"), *identity.chain[1:])
    assert "do not lead" in refusal(weak, issuer)


def _below_rsa(authority: AttestationAuthority, bits: int, key: rsa.RSAPrivateKey | None = None) -> Identity:
    terms = CertificateTerms(common_name="RSA", not_before=NOW - DAY, not_after=NOW + DAY, is_ca=True)
    intermediate = authority.ca.issue(terms, key=key or rsa.generate_private_key(65537, bits))
    return authority.issue_leaf("ph-001", by=CertificateAuthority(intermediate))


def _signed_by_hand(certificate: x509.Certificate, key: rsa.RSAPrivateKey, digest: str) -> x509.Certificate:
    """The certificate with an RSA signature made by arithmetic: the library signs nothing with SHA-1 any more."""
    sha256_with_rsa, sha1_with_rsa = bytes.fromhex("2a864886f70d01010b"), bytes.fromhex("2a864886f70d010105")
    prefix = {"sha256": "3031300d060960864801650304020105000420", "sha1": "3021300906052b0e03021a05000414"}[digest]
    der = certificate.public_bytes(serialization.Encoding.DER)
    tbs, signature = certificate.tbs_certificate_bytes, certificate.signature
    if digest == "sha1":
        der, tbs = (octets.replace(sha256_with_rsa, sha1_with_rsa) for octets in (der, tbs))
    size = len(signature)
    info = bytes.fromhex(prefix) + hashlib.new(digest, tbs).digest()
    padded = b"\0\1" + b"\xff" * (size - len(info) - 3) + b"\0" + info
    numbers = key.private_numbers()
    made = pow(int.from_bytes(padded, "big"), numbers.d, numbers.public_numbers.n).to_bytes(size, "big")
    return x509.load_der_x509_certificate(der.replace(signature, made))
