"""Signed evidence for tests: a company's attestation CA, genuine tokens, and every way to get one wrong.

The builder is the demo's phone agent; what is added here are the malformed variants. Everything is made on the spot:
no key or token of anybody else's.
"""

import base64
import hashlib
import hmac
import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from gatekeeper.attestation.issuer import DEFAULT_DEVICE_URI_PREFIX, DEFAULT_EKU_OID, Issuer
from gatekeeper.cli.demo.phone_agent import (
    CertificateAuthority,
    CertificateTerms,
    Identity,
    PhoneAgent,
    PrivateKey,
    compact,
    component,
    jose_header,
    sign,
    to_base64url,
)
from gatekeeper.domain.app import App
from gatekeeper.domain.device import Platform

OMIT = object()
"""As a claim or header value: leave the member out."""


def new_nonce() -> str:
    """A nonce as the gate issues it: 32 random octets as base64url."""
    return to_base64url(secrets.token_bytes(32))


@dataclass
class AttestationAuthority:
    """The attestation CA of a company whose phones have the agent; one attestation certificate per device."""

    now: datetime
    ca: CertificateAuthority = field(init=False)
    leaves: dict[str, Identity] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.ca = CertificateAuthority.create("Test Attestation CA", now=self.now - timedelta(days=365))

    @property
    def ca_pem(self) -> bytes:
        """What `evidence.issuer.ca` points to."""
        return self.ca.certificate_pem

    def issuer(self, name: str = "company-agents", **terms: object) -> Issuer:
        """The verifier's view of this CA."""
        return Issuer(name=name, ca=self.ca_pem, **terms)

    def issue_leaf(
        self,
        device_id: str,
        *,
        eku: str = DEFAULT_EKU_OID,
        uris: Sequence[str] | None = None,
        not_before: datetime | None = None,
        not_after: datetime | None = None,
        key: PrivateKey | None = None,
        is_ca: bool = False,
        by: CertificateAuthority | None = None,
    ) -> Identity:
        """An attestation certificate; every default is what a genuine one has."""
        names = [DEFAULT_DEVICE_URI_PREFIX + device_id] if uris is None else uris
        terms = CertificateTerms(
            common_name=device_id,
            not_before=not_before or self.now - timedelta(days=30),
            not_after=not_after or self.now + timedelta(days=30),
            names=tuple(map(x509.UniformResourceIdentifier, names)),
            usages=(x509.ObjectIdentifier(eku),),
            is_ca=is_ca,
        )
        return (by or self.ca).issue(terms, key=key)

    def leaf(self, device_id: str) -> Identity:
        """The device's attestation certificate, issued on first use."""
        if device_id not in self.leaves:
            self.leaves[device_id] = self.issue_leaf(device_id)
        return self.leaves[device_id]

    def agent(self, device_id: str, platform: Platform = Platform.ANDROID, account: str | None = None) -> PhoneAgent:
        """The agent on that device."""
        return PhoneAgent(device_id=device_id, platform=platform, identity=self.leaf(device_id), account=account)

    def claims(
        self, device_id: str, apps: Sequence[App], nonce: str, audience: str, now: datetime, **overrides: object
    ) -> dict[str, object]:
        """The claims of a genuine token with some replaced; `OMIT` leaves one out."""
        genuine = self.agent(device_id).claims(apps, nonce=nonce, audience=audience, now=now)
        return with_changes(genuine, overrides)

    def token(
        self,
        device_id: str,
        apps: Sequence[App],
        nonce: str,
        audience: str,
        now: datetime,
        *,
        identity: Identity | None = None,
        header: Mapping[str, object] | None = None,
        **overrides: object,
    ) -> str:
        """A token of the device; overrides replace claims, `header` replaces members of the protected header."""
        signer = identity or self.leaf(device_id)
        claims = self.claims(device_id, apps, nonce, audience, now, **overrides)
        return signed(claims, signer, header=header)


def with_changes(members: Mapping[str, object], changes: Mapping[str, object]) -> dict[str, object]:
    """`members` with some replaced or, by `OMIT`, left out."""
    return {name: value for name, value in {**members, **changes}.items() if value is not OMIT}


def signed(
    claims: Mapping[str, object] | bytes, identity: Identity, *, header: Mapping[str, object] | None = None
) -> str:
    """A token with these claims (bytes go in as they are), signed by `identity` whatever the header says."""
    payload = claims if isinstance(claims, bytes) else json.dumps(claims).encode()
    return compact(with_changes(jose_header(identity), header or {}), payload, identity.key)


def hmac_with_public_key(claims: Mapping[str, object], identity: Identity) -> str:
    """The classic confusion: HS256, with the certificate's public key as the secret."""
    secret = identity.key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return _assembled(
        {**jose_header(identity), "alg": "HS256"},
        json.dumps(claims).encode(),
        lambda signing_input: hmac.digest(secret, signing_input, hashlib.sha256),
    )


def unsigned(claims: Mapping[str, object], identity: Identity) -> str:
    """`alg: none` with an empty signature."""
    return _assembled({**jose_header(identity), "alg": "none"}, json.dumps(claims).encode(), lambda _: b"")


def raw_header(header: bytes, claims: Mapping[str, object], identity: Identity) -> str:
    """A token whose header is written octet by octet (duplicate keys, other JSON)."""
    signing_input = f"{to_base64url(header)}.{to_base64url(json.dumps(claims).encode())}"
    return f"{signing_input}.{to_base64url(sign(signing_input.encode(), identity.key))}"


def measurements(apps: Sequence[App]) -> list[object]:
    """The `measurements` claim of these apps."""
    return [[296, json.dumps(component(app))] for app in apps]


def url_safe(text: str) -> str:
    """A standard base64 text spelt with the URL-safe alphabet and without padding."""
    return to_base64url(base64.b64decode(text))


def with_chain(identity: Identity, *chain: x509.Certificate) -> Identity:
    """The same key, presenting other certificates."""
    return replace(identity, chain=chain)


def _assembled(header: Mapping[str, object], payload: bytes, signature: Callable[[bytes], bytes]) -> str:
    signing_input = f"{to_base64url(json.dumps(header).encode())}.{to_base64url(payload)}"
    return f"{signing_input}.{to_base64url(signature(signing_input.encode()))}"
