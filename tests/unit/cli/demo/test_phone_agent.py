"""The demo's phone agent: what it makes is what TLS stacks and the verifier take."""

import ssl
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from gatekeeper.attestation.issuer import Issuer
from gatekeeper.attestation.profile import appraise
from gatekeeper.cli.demo.phone_agent import CertificateAuthority, Identity, PhoneAgent
from gatekeeper.domain.app import App
from gatekeeper.domain.device import Platform
from testkit.evidence import new_nonce

# TLS looks at the real clock.
NOW = datetime.now(UTC)  # noqa: TID251
APPS = (App(id="com.example.notes", version="1.2", signer_sha256=("ab" * 32,)), App(id="com.example.chat"))


@pytest.mark.parametrize("account", ["kim@example.com", None])
def test_its_evidence_is_appraised(account: str | None) -> None:
    """The verifier gets the apps, the device and the owner that the agent put in."""
    ca = CertificateAuthority.create("Attestation CA", now=NOW)
    agent = PhoneAgent(
        device_id="ph-001", platform=Platform.IOS, identity=ca.attester("ph-001", now=NOW), account=account
    )
    token = agent.evidence(APPS, nonce=new_nonce(), audience="gate", now=NOW)
    found = appraise(token.encode(), issuers=[Issuer(name="x", ca=ca.certificate_pem)], audience="gate", now=NOW)

    assert (found.device_id, found.account, found.platform) == ("ph-001", account, Platform.IOS)
    assert found.result.apps.apps == (APPS[0], App(id="com.example.chat", version="0"))
    assert agent.sueid not in repr(agent)


def test_an_rsa_key_signs_nothing() -> None:
    """The profile has no RSA algorithm, so the agent says so instead of sending what is refused."""
    ca = CertificateAuthority.create("Attestation CA", now=NOW)
    genuine = ca.attester("ph-001", now=NOW)
    identity = Identity(rsa.generate_private_key(65537, 2048), genuine.chain)
    agent = PhoneAgent(device_id="ph-001", platform=Platform.IOS, identity=identity)

    with pytest.raises(TypeError, match="RSA"):
        agent.evidence(APPS, nonce=new_nonce(), audience="gate", now=NOW)


@pytest.mark.parametrize("host", ["mail.example.com", "127.0.0.1", "::1"])
def test_its_certificates_make_a_tls_connection(tmp_path: Path, host: str) -> None:
    """OpenSSL verifies server and device, also with an intermediate CA between."""
    servers = CertificateAuthority.create("Server CA", now=NOW)
    devices = CertificateAuthority.create("Device CA", now=NOW)
    issuing = devices.intermediate("Issuing CA", now=NOW)
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cadata=devices.certificate_pem.decode())
    server.verify_mode = ssl.CERT_REQUIRED
    _load(server, servers.server([host], now=NOW), tmp_path / "server")
    client = ssl.create_default_context(cadata=servers.certificate_pem.decode())
    _load(client, issuing.device("ph-001", now=NOW), tmp_path / "client")

    peer = _handshake(server, client, host)

    assert peer["subjectAltName"] == (("URI", "urn:gatekeeper:device:ph-001"),)


def test_private_keys_are_not_shown() -> None:
    """Nor can they be read from a traceback's locals."""
    identity = CertificateAuthority.create("CA", now=NOW).identity

    assert isinstance(identity.key, ec.EllipticCurvePrivateKey)
    assert "key" not in repr(identity).lower()


def _load(context: ssl.SSLContext, identity: Identity, path: Path) -> None:
    path.write_bytes(identity.chain_pem() + identity.private_key_pem())
    context.load_cert_chain(path)


def _handshake(server: ssl.SSLContext, client: ssl.SSLContext, host: str) -> dict[str, object]:
    """The client certificate as the server verified it, over memory."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    answering = server.wrap_bio(to_server, to_client, server_side=True)
    asking = client.wrap_bio(to_client, to_server, server_hostname=host)
    for side in (asking, answering) * 3:
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
    return answering.getpeercert() or {}
