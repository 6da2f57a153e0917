"""The other side of the evidence: what a company's CAs and the agent on a phone do, for the demo and for trying out.

Makes certificate authorities, their certificates, and signed app lists of the profile that
`gatekeeper.attestation.profile` appraises. The gate itself never signs anything and imports nothing from here.
"""

import base64
import hashlib
import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from ipaddress import ip_address
from typing import TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from gatekeeper.attestation.issuer import DEFAULT_DEVICE_URI_PREFIX, DEFAULT_EKU_OID
from gatekeeper.attestation.measurements import MEASURED_COMPONENT_JSON
from gatekeeper.attestation.profile import PROFILE
from gatekeeper.domain.app import App
from gatekeeper.domain.device import Platform
from gatekeeper.domain.posture import Scope

SigningKey: TypeAlias = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
PrivateKey: TypeAlias = SigningKey | rsa.RSAPrivateKey

_BACKDATED = timedelta(minutes=5)
"""Certificates begin a little in the past, for clocks that are behind."""
_UEID_RANDOM = b"\x01"
_UNUSED_USAGES = dict.fromkeys(
    ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only", "decipher_only"),
    False,
)


@dataclass(frozen=True, slots=True)
class Identity:
    """A private key with the certificates that speak for it."""

    key: PrivateKey = field(repr=False)
    chain: tuple[x509.Certificate, ...]
    """Leaf first; the CA that everybody knows is left out."""

    @property
    def certificate(self) -> x509.Certificate:
        """The leaf."""
        return self.chain[0]

    def chain_pem(self) -> bytes:
        """The certificates, as `tls.certificate` and `tls.client_ca` want them."""
        return b"".join(certificate.public_bytes(serialization.Encoding.PEM) for certificate in self.chain)

    def private_key_pem(self) -> bytes:
        """The key, not encrypted: write it with mode 0600."""
        return self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateTerms:
    """What a certificate shall say."""

    common_name: str
    not_before: datetime
    not_after: datetime
    names: tuple[x509.GeneralName, ...] = ()
    usages: tuple[x509.ObjectIdentifier, ...] = ()
    is_ca: bool = False
    path_length: int | None = None


@dataclass(frozen=True, slots=True)
class CertificateAuthority:
    """A CA that issues server, device, attestation and lower CA certificates."""

    identity: Identity

    @classmethod
    def create(cls, common_name: str, *, now: datetime, days: int = 3650) -> "CertificateAuthority":
        """A new root CA."""
        key = new_key()
        terms = CertificateTerms(
            common_name=common_name, not_before=now - _BACKDATED, not_after=now + timedelta(days=days), is_ca=True
        )
        certificate = certify(terms, public_key=key.public_key(), issuer_name=_name(common_name), issuer_key=key)
        return cls(Identity(key, (certificate,)))

    @property
    def certificate_pem(self) -> bytes:
        """The CA's own certificate."""
        return self.identity.certificate.public_bytes(serialization.Encoding.PEM)

    def issue(self, terms: CertificateTerms, *, key: PrivateKey | None = None) -> Identity:
        """A certificate of this CA for `key`, or for a new one."""
        key = key or new_key()
        issuer = self.identity
        certificate = certify(
            terms, public_key=key.public_key(), issuer_name=issuer.certificate.subject, issuer_key=issuer.key
        )
        is_root = issuer.certificate.issuer == issuer.certificate.subject
        return Identity(key, (certificate,) if is_root else (certificate, *issuer.chain))

    def intermediate(self, common_name: str, *, now: datetime, path_length: int = 0) -> "CertificateAuthority":
        """A CA below this one."""
        terms = CertificateTerms(
            common_name=common_name,
            not_before=now - _BACKDATED,
            not_after=now + timedelta(days=1825),
            is_ca=True,
            path_length=path_length,
        )
        return CertificateAuthority(self.issue(terms))

    def server(self, hosts: Sequence[str], *, now: datetime, days: int = 397) -> Identity:
        """A TLS server certificate for host names and IP addresses."""
        return self.issue(
            CertificateTerms(
                common_name=hosts[0],
                not_before=now - _BACKDATED,
                not_after=now + timedelta(days=days),
                names=tuple(_host(host) for host in hosts),
                usages=(ExtendedKeyUsageOID.SERVER_AUTH,),
            )
        )

    def device(self, device_id: str, *, now: datetime, days: int = 397) -> Identity:
        """A TLS client certificate that names the device: what a phone's mail client presents."""
        return self.issue(_device_terms(device_id, ExtendedKeyUsageOID.CLIENT_AUTH, now, days))

    def attester(self, device_id: str, *, now: datetime, days: int = 397, key: SigningKey | None = None) -> Identity:
        """A certificate for signing app lists: what the agent on a phone holds, in the phone's key store."""
        return self.issue(_device_terms(device_id, x509.ObjectIdentifier(DEFAULT_EKU_OID), now, days), key=key)


@dataclass(frozen=True, slots=True, kw_only=True)
class PhoneAgent:
    """The agent on one phone: lists the apps and signs the list."""

    device_id: str
    platform: Platform
    identity: Identity
    account: str | None = None
    sueid: str = field(default_factory=lambda: to_base64url(_UEID_RANDOM + secrets.token_bytes(16)), repr=False)

    def evidence(self, apps: Sequence[App], *, nonce: str, audience: str, now: datetime) -> str:
        """A signed token for `POST /v1/evidence`, answering the nonce of `POST /v1/challenge`."""
        key = self.identity.key
        if isinstance(key, rsa.RSAPrivateKey):
            raise TypeError("the profile allows no RSA signatures")
        payload = json.dumps(self.claims(apps, nonce=nonce, audience=audience, now=now)).encode()
        return compact(jose_header(self.identity), payload, key)

    def claims(self, apps: Sequence[App], *, nonce: str, audience: str, now: datetime) -> dict[str, object]:
        """The claims of `evidence`, not signed."""
        instant = int(now.timestamp())
        claims: dict[str, object] = {
            "eat_profile": PROFILE,
            "aud": audience,
            "iat": instant,
            "exp": instant + 600,
            "jti": secrets.token_urlsafe(16),
            "eat_nonce": nonce,
            "sueids": {"gatekeeper": self.sueid},
            "inv_scope": Scope.FULL.value,
            "inv_complete": True,
            "inv_collected_at": instant,
            "inv_platform": self.platform.value,
            "swname": "gatekeeper-demo-agent",
            "measurements": [[MEASURED_COMPONENT_JSON, json.dumps(component(app))] for app in apps],
        }
        if self.account is not None:
            claims["sub"] = self.account
        return claims


def component(app: App) -> dict[str, object]:
    """One app as a measured component (RFC 10013). The measurement is the version record: agents see no APK digest."""
    version = app.version or "0"
    measured: dict[str, object] = {
        "id": [app.id, [version]],
        "raw-measurement": to_base64url(f"{app.id}\0{version}".encode()),
    }
    if app.signer_sha256:
        measured["authorities"] = [to_base64url(bytes.fromhex(signer)) for signer in app.signer_sha256]
    return measured


def jose_header(identity: Identity) -> dict[str, object]:
    """The protected header of a token that `identity` signs."""
    ders = [certificate.public_bytes(serialization.Encoding.DER) for certificate in identity.chain]
    return {
        "alg": _algorithm(identity.key),
        "typ": "eat+jwt",
        "x5c": [base64.b64encode(der).decode("ascii") for der in ders],
        "x5t#S256": to_base64url(hashlib.sha256(ders[0]).digest()),
    }


def compact(header: Mapping[str, object], payload: bytes, key: SigningKey) -> str:
    """A JWS in compact serialisation (RFC 7515 section 7.1)."""
    signing_input = f"{to_base64url(json.dumps(header).encode())}.{to_base64url(payload)}"
    return f"{signing_input}.{to_base64url(sign(signing_input.encode('ascii'), key))}"


def sign(signing_input: bytes, key: SigningKey) -> bytes:
    """A JWS signature with the algorithm that fits the key (RFC 7518 section 3.4, RFC 8037)."""
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign(signing_input)
    size = (key.key_size + 7) // 8
    digest = hashes.SHA256() if key.key_size == 256 else hashes.SHA384()
    r, s = decode_dss_signature(key.sign(signing_input, ec.ECDSA(digest)))
    return r.to_bytes(size, "big") + s.to_bytes(size, "big")


def certify(
    terms: CertificateTerms,
    *,
    public_key: ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey,
    issuer_name: x509.Name,
    issuer_key: PrivateKey,
) -> x509.Certificate:
    """Sign a certificate with the extensions that RFC 5280 asks for."""
    usage = x509.KeyUsage(
        digital_signature=not terms.is_ca, key_cert_sign=terms.is_ca, crl_sign=terms.is_ca, **_UNUSED_USAGES
    )
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(terms.common_name))
        .issuer_name(issuer_name)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(terms.not_before)
        .not_valid_after(terms.not_after)
        .add_extension(x509.BasicConstraints(ca=terms.is_ca, path_length=terms.path_length), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
    )
    if terms.usages:
        builder = builder.add_extension(x509.ExtendedKeyUsage(terms.usages), critical=False)
    if terms.names:
        builder = builder.add_extension(x509.SubjectAlternativeName(terms.names), critical=False)
    return builder.sign(issuer_key, None if isinstance(issuer_key, ed25519.Ed25519PrivateKey) else hashes.SHA256())


def new_key() -> ec.EllipticCurvePrivateKey:
    """A new P-256 key, the kind that every phone's key store can hold."""
    return ec.generate_private_key(ec.SECP256R1())


def to_base64url(octets: bytes) -> str:
    """Base64url without padding, as JOSE writes it."""
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode("ascii")


def _device_terms(device_id: str, usage: x509.ObjectIdentifier, now: datetime, days: int) -> CertificateTerms:
    return CertificateTerms(
        common_name=device_id,
        not_before=now - _BACKDATED,
        not_after=now + timedelta(days=days),
        names=(x509.UniformResourceIdentifier(DEFAULT_DEVICE_URI_PREFIX + device_id),),
        usages=(usage,),
    )


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _algorithm(key: PrivateKey) -> str:
    match key:
        case ed25519.Ed25519PrivateKey():
            return "EdDSA"
        case ec.EllipticCurvePrivateKey() if key.key_size == 256:
            return "ES256"
        case ec.EllipticCurvePrivateKey():
            return "ES384"
    raise TypeError("the profile allows no RSA signatures")
