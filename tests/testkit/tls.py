"""A certificate authority for tests: servers' certificates, and devices' certificates with their id as SAN URI."""

import datetime as dt
import ssl
from dataclasses import dataclass
from pathlib import Path

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DEVICE_URI = "urn:gatekeeper:device:"


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A certificate with its chain, and its private key, as PEM files."""

    certificate: Path
    private_key: Path


class Authority:
    """One CA whose files live in one directory."""

    def __init__(self, directory: Path, name: str = "ca") -> None:
        self._ca = trustme.CA(organization_name=f"Gatekeeper tests {name}", key_type=trustme.KeyType.ECDSA)
        self._directory = directory
        self._name = name
        self.ca_file = directory / f"{name}.pem"
        self._ca.cert_pem.write_to_path(str(self.ca_file))

    def server_certificate(self, file_name: str, *identities: str, until: dt.datetime | None = None) -> KeyPair:
        """Issue a certificate for host names or addresses, `localhost` and `127.0.0.1` unless told."""
        names = identities or ("localhost", "127.0.0.1")
        # fetchmail takes no certificate without a common name.
        leaf = self._ca.issue_cert(*names, common_name=names[0], key_type=trustme.KeyType.ECDSA, not_after=until)
        pair = self._paths(file_name)
        pair.certificate.write_bytes(b"".join(blob.bytes() for blob in leaf.cert_chain_pems))
        pair.private_key.write_bytes(leaf.private_key_pem.bytes())
        return pair

    def device_certificate(self, device_id: str, *emails: str) -> KeyPair:
        """Issue a client certificate that names a device by `urn:gatekeeper:device:<id>`, and people by `emails`."""
        ca_key = serialization.load_pem_private_key(self._ca.private_key_pem.bytes(), None)
        ca_certificate = x509.load_pem_x509_certificate(self._ca.cert_pem.bytes())
        assert isinstance(ca_key, ec.EllipticCurvePrivateKey)
        key = ec.generate_private_key(ec.SECP256R1())
        now = dt.datetime.now(dt.UTC)  # noqa: DTZ005, RUF100, TID251  a certificate must hold now, whatever the clock
        certificate = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, device_id)]))
            .issuer_name(ca_certificate.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(minutes=5))
            .not_valid_after(now + dt.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(
                x509.SubjectAlternativeName(
                    [
                        x509.UniformResourceIdentifier(DEVICE_URI + device_id),
                        *(x509.RFC822Name(email) for email in emails),
                    ]
                ),
                critical=False,
            )
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_certificate.public_key()),  # type: ignore[arg-type]  # narrowed by the assert on the private half
                critical=False,
            )
            .sign(ca_key, hashes.SHA256())
        )
        pair = self._paths("-".join(("device", device_id, *emails)))
        pair.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        pair.private_key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return pair

    def revocation_list(
        self, *revoked: KeyPair, valid_for: dt.timedelta = dt.timedelta(days=1), name: str = "crl"
    ) -> Path:
        """Write a list of revoked certificates of this CA, as PEM."""
        now = dt.datetime.now(dt.UTC)  # noqa: DTZ005, RUF100, TID251  OpenSSL judges it by the time that it is
        ca = x509.load_pem_x509_certificate(self._ca.cert_pem.bytes())
        key = serialization.load_pem_private_key(self._ca.private_key_pem.bytes(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        builder = x509.CertificateRevocationListBuilder().issuer_name(ca.subject)
        builder = builder.last_update(now - dt.timedelta(days=2))
        builder = builder.next_update(now + valid_for)
        for pair in revoked:
            serial = x509.load_pem_x509_certificate(pair.certificate.read_bytes()).serial_number
            entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now - dt.timedelta(days=1))
            builder = builder.add_revoked_certificate(entry.build())
        path = self._directory / f"{self._name}-{name}.pem"
        path.write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        return path

    def client_context(self, own: KeyPair | None = None) -> ssl.SSLContext:
        """Return a context that trusts this CA alone, and shows `own` as client certificate."""
        context = _strict(ssl.create_default_context(cafile=str(self.ca_file)))
        if own is not None:
            context.load_cert_chain(own.certificate, own.private_key)
        return context

    def _paths(self, file_name: str) -> KeyPair:
        return KeyPair(
            self._directory / f"{self._name}-{file_name}.crt.pem", self._directory / f"{self._name}-{file_name}.key.pem"
        )


def server_context(pair: KeyPair) -> ssl.SSLContext:
    """Return a context for a server of the tests' own."""
    context = _strict(ssl.create_default_context(ssl.Purpose.CLIENT_AUTH))
    context.load_cert_chain(pair.certificate, pair.private_key)
    return context


def _strict(context: ssl.SSLContext) -> ssl.SSLContext:
    """A peer that vanishes is no end: Python before 3.11.5 takes it for one."""
    context.options &= ~getattr(ssl, "OP_IGNORE_UNEXPECTED_EOF", 0)
    return context
