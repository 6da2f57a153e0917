"""One configured issuer of evidence."""

import dataclasses

import pytest
from cryptography.hazmat.primitives import serialization

from gatekeeper.attestation.issuer import Issuer
from testkit.evidence import AttestationAuthority


def test_takes_certificates_as_pem_and_as_der(authority: AttestationAuthority) -> None:
    """A file with several PEM certificates, or one in DER."""
    der = authority.ca.identity.certificate.public_bytes(serialization.Encoding.DER)

    assert Issuer(name="x", ca=der).anchors == (authority.ca.identity.certificate,)
    assert len(Issuer(name="x", ca=authority.ca_pem * 2).anchors) == 2


@pytest.mark.parametrize(
    "terms", [{"ca": b""}, {"ca": b"junk"}, {"ca": b"-----BEGIN nothing"}, {"eku_oid": "x"}, {"device_uri_prefix": ""}]
)
def test_refuses_terms_it_could_not_apply(authority: AttestationAuthority, terms: dict[str, object]) -> None:
    """A mistake in the configuration is found when it is read."""
    all_terms = {"ca": authority.ca_pem, **terms}

    with pytest.raises(ValueError):
        Issuer(name="x", **all_terms)


def test_equal_terms_make_equal_issuers(authority: AttestationAuthority) -> None:
    """A reload can tell whether anything changed."""
    assert authority.issuer() == authority.issuer()
    assert authority.issuer() != dataclasses.replace(authority.issuer(), eku_oid="1.2.3")
