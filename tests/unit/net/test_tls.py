"""TLS contexts: modern defaults, client certificates of the device CA only, servers verified by name."""

import socket
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from gatekeeper.net.tls import ClientCertificates, ServerTls, client_context, engine, server_context
from testkit.tls import Authority, KeyPair


def _settings(pair: KeyPair, **more: object) -> ServerTls:
    return ServerTls(certificate=pair.certificate, private_key=pair.private_key, **more)  # type: ignore[arg-type]


def _meet(server: ssl.SSLContext, client: ssl.SSLContext, name: str = "localhost") -> tuple[str | None, bytes | None]:
    """Do a handshake in memory; return the client's protocol version and the certificate the server saw."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    near = server.wrap_bio(to_server, to_client, server_side=True)
    far = client.wrap_bio(to_client, to_server, server_hostname=name)
    done: set[ssl.SSLObject] = set()
    for _ in range(10):
        for side in (far, near):
            try:
                side.do_handshake()
                done.add(side)
            except ssl.SSLWantReadError:
                pass
        if len(done) == 2:
            break
    return far.version(), near.getpeercert(binary_form=True)


@pytest.fixture(scope="module")
def pair(authority: Authority) -> KeyPair:
    """A server's certificate."""
    return authority.server_certificate("tls")


@pytest.fixture(scope="module")
def devices(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The CA of the devices."""
    return Authority(tmp_path_factory.mktemp("devices"), "devices")


def test_both_sides_speak_tls_1_3_and_nothing_below_1_2(pair: KeyPair, authority: Authority) -> None:
    """Old clients are refused, not served badly."""
    server = server_context(_settings(pair))
    assert _meet(server, client_context(authority.ca_file))[0] == "TLSv1.3"
    assert server.minimum_version is ssl.TLSVersion.TLSv1_2
    assert client_context(authority.ca_file).minimum_version is ssl.TLSVersion.TLSv1_2
    assert server.num_tickets == 1


def test_a_server_with_another_name_or_ca_is_refused(pair: KeyPair, authority: Authority, devices: Authority) -> None:
    """The mail server's chain and name are verified."""
    server = server_context(_settings(pair))
    with pytest.raises(ssl.SSLCertVerificationError, match="match"):
        _meet(server, client_context(authority.ca_file), "mail.example.com")
    with pytest.raises(ssl.SSLCertVerificationError, match="verify failed"):
        _meet(server, client_context(devices.ca_file))
    with pytest.raises(ssl.SSLCertVerificationError, match="verify failed"):
        _meet(server, client_context(None))


def test_the_mail_server_is_shown_our_certificate_when_it_asks(
    pair: KeyPair, authority: Authority, devices: Authority
) -> None:
    """One that may be told who we are; without it there is no connection where it is required."""
    required = _settings(pair, client_ca=devices.ca_file, client_certificates=ClientCertificates.REQUIRE)
    own = devices.device_certificate("gate")
    shown = _meet(
        server_context(required), _tls12(client_context(authority.ca_file, own.certificate, own.private_key))
    )[1]
    assert shown == ssl.PEM_cert_to_DER_cert(own.certificate.read_text())
    with pytest.raises(ssl.SSLError, match="peer did not return a certificate"):
        _meet(server_context(required), _tls12(client_context(authority.ca_file)))


def test_a_devices_certificate_is_asked_for_and_verified(
    pair: KeyPair, authority: Authority, devices: Authority
) -> None:
    """`request` takes a device's certificate, does without one, and refuses a stranger's."""
    server = server_context(_settings(pair, client_ca=devices.ca_file, client_certificates=ClientCertificates.REQUEST))
    own = devices.device_certificate("ph-1")
    shown = _meet(server, _tls12(authority.client_context(own)))[1]
    assert shown == x509.load_pem_x509_certificate(own.certificate.read_bytes()).public_bytes(
        serialization.Encoding.DER
    )
    assert _meet(server, _tls12(authority.client_context()))[1] is None
    with pytest.raises(ssl.SSLError, match=r"verify failed|unknown ca"):
        _meet(server, _tls12(authority.client_context(authority.device_certificate("ph-2"))))


def test_a_required_certificate_is_required(pair: KeyPair, authority: Authority, devices: Authority) -> None:
    """`require` ends the handshake without one; `off` does not ask."""
    required = _settings(pair, client_ca=devices.ca_file, client_certificates=ClientCertificates.REQUIRE)
    with pytest.raises(ssl.SSLError, match="peer did not return a certificate"):
        _meet(server_context(required), _tls12(authority.client_context()))
    off = _settings(pair, client_ca=devices.ca_file)
    own = devices.device_certificate("ph-3")
    assert _meet(server_context(off), _tls12(authority.client_context(own)))[1] is None


def test_the_protocol_is_negotiated_when_it_is_named(pair: KeyPair, authority: Authority) -> None:
    """ALPN is offered only with a name."""
    client = authority.client_context()
    client.set_alpn_protocols(["imap"])
    server = server_context(_settings(pair), alpn="imap")
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    one = server.wrap_bio(to_server, to_client, server_side=True)
    other = client.wrap_bio(to_client, to_server, server_hostname="localhost")
    for _ in range(4):
        for side in (other, one):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    assert one.selected_alpn_protocol() == "imap"


def test_an_encrypted_key_is_an_error_and_asks_nobody(pair: KeyPair, tmp_path: Path) -> None:
    """OpenSSL would ask at the terminal, and a server would wait there for ever."""
    key = serialization.load_pem_private_key(pair.private_key.read_bytes(), None)
    encrypted = tmp_path / "encrypted.key"
    encrypted.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    with pytest.raises((ssl.SSLError, OSError)) as raised:
        server_context(ServerTls(certificate=pair.certificate, private_key=encrypted))
    assert "passphrase" in str(raised.value)


def test_files_that_do_not_fit_are_errors(pair: KeyPair, authority: Authority, tmp_path: Path) -> None:
    """Another key, a missing file, no PEM at all."""
    other = authority.server_certificate("other")
    with pytest.raises(ssl.SSLError, match="mismatch"):
        server_context(ServerTls(certificate=pair.certificate, private_key=other.private_key))
    with pytest.raises(FileNotFoundError):
        server_context(ServerTls(certificate=tmp_path / "absent", private_key=pair.private_key))
    with pytest.raises(ssl.SSLError):
        client_context(pair.private_key)


def _tls12(context: ssl.SSLContext) -> ssl.SSLContext:
    """TLS 1.2: the server's judgement of the client's certificate falls within the handshake."""
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    return context


def test_the_engine_of_a_tls_socket_is_the_object_below_it() -> None:
    """Undocumented, hence looked at here: what `SSLSocket` calls itself, with the same two methods."""
    near, far = socket.socketpair()
    with (
        far,
        ssl.create_default_context().wrap_socket(
            near, server_hostname="mail.example", do_handshake_on_connect=False
        ) as sock,
    ):
        assert engine(sock) is sock._sslobj
        assert engine(far) is None


def test_a_tls_socket_without_it_is_its_own_engine() -> None:
    """A Python that names it differently only makes the relay slower."""
    near, far = socket.socketpair()
    with (
        far,
        ssl.create_default_context().wrap_socket(
            near, server_hostname="mail.example", do_handshake_on_connect=False
        ) as sock,
    ):
        inner, sock._sslobj = sock._sslobj, None
        assert engine(sock) is sock
        sock._sslobj = inner
