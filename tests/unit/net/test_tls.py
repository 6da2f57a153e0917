"""TLS contexts: modern defaults, client certificates of the device CA only, servers verified by name."""

import inspect
import socket
import ssl
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from gatekeeper.net.tls import (
    ClientCertificates,
    NamedCertificate,
    Profile,
    ServerTls,
    client_context,
    engine,
    server_context,
)
from testkit.tls import Authority, KeyPair


def _settings(pair: KeyPair, **more: object) -> ServerTls:
    return ServerTls(certificate=pair.certificate, private_key=pair.private_key, **more)  # type: ignore[arg-type]


def _meet(server: ssl.SSLContext, client: ssl.SSLContext, name: str = "localhost") -> tuple[str | None, bytes | None]:
    """Do a handshake in memory; return the client's protocol version and the certificate the server saw."""
    near, far = _shake_hands(server, client, name)
    return far.version(), near.getpeercert(binary_form=True)


def _shake_hands(
    server: ssl.SSLContext, client: ssl.SSLContext, name: str = "localhost"
) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """Do a handshake in memory; return the server's side and the client's."""
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
    return near, far


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


@pytest.mark.parametrize("first", ["CHACHA20", "AES256"])
def test_the_phone_chooses_among_the_ciphers(pair: KeyPair, authority: Authority, first: str) -> None:
    """One without AES in hardware is slow at anything but ChaCha20, and says so by its order."""
    client = client_context(authority.ca_file)
    client.maximum_version = ssl.TLSVersion.TLSv1_2  # the order of TLS 1.3's ciphers is not ours to set in Python
    client.set_ciphers(f"ECDHE+{first}:ECDHE+AESGCM")
    chosen = _shake_hands(server_context(_settings(pair)), client)[0].cipher()
    assert chosen is not None
    assert first in chosen[0]


def test_a_peer_that_vanishes_is_no_end(pair: KeyPair, authority: Authority) -> None:
    """Neither side takes the end of the connection for the end of what was said; some versions of Python do."""
    ignores = getattr(ssl, "OP_IGNORE_UNEXPECTED_EOF", 0)

    assert not server_context(_settings(pair)).options & ignores
    assert not client_context(authority.ca_file).options & ignores


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
    assert shown == _leaf(own)
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


@pytest.mark.parametrize(
    ("offered", "selected"),
    [
        (["imap"], "imap"),
        (["h2", "imap"], "imap"),
        (["h2", "http/1.1"], "http/1.1"),
        (["pop3"], "pop3"),
        (["nobody-registered-this"], None),
        ([], None),
    ],
    ids=str,
)
def test_what_a_client_wants_to_speak_is_seen(
    pair: KeyPair, authority: Authority, offered: list[str], selected: str | None
) -> None:
    """Ours wherever it is offered; another's, so that it can be refused; Python tells nothing of an unknown name."""
    client = authority.client_context()
    if offered:
        client.set_alpn_protocols(offered)
    assert _sides(server_context(_settings(pair), alpn="imap"), client)[0].selected_alpn_protocol() == selected


def _sides(server: ssl.SSLContext, client: ssl.SSLContext, name: str = "localhost") -> tuple[ssl.SSLObject, ...]:
    """Both ends after a handshake in memory, the server's first."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    near = server.wrap_bio(to_server, to_client, server_side=True)
    far = client.wrap_bio(to_client, to_server, server_hostname=name)
    for _ in range(4):
        for side in (far, near):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    return near, far


NAMES = [
    ("localhost", "default"),
    ("mail.example.com", "exact"),
    ("MAIL.Example.com", "exact"),
    ("imap.example.com", "wild"),
    ("a.imap.example.com", "default"),
    ("example.com", "default"),
    ("elsewhere.example", "default"),
]


def _leaf(pair: KeyPair) -> bytes:
    leaf = x509.load_pem_x509_certificates(pair.certificate.read_bytes())[0]
    return leaf.public_bytes(serialization.Encoding.DER)


@pytest.fixture(scope="module")
def revoked(devices: Authority) -> KeyPair:
    """A device's certificate that was revoked."""
    return devices.device_certificate("revoked")


@pytest.fixture(scope="module")
def by_name(authority: Authority, devices: Authority, revoked: KeyPair) -> tuple[ServerTls, dict[bytes, str]]:
    """A default certificate and two for names, which all clients ask for a certificate."""
    names = sorted({name.lower() for name, _ in NAMES})
    pairs = {label: authority.server_certificate(f"named-{label}", *names) for label in ("default", "exact", "wild")}
    found = {_leaf(pair): label for label, pair in pairs.items()}
    named = tuple(
        NamedCertificate(names=(name,), certificate=pairs[label].certificate, private_key=pairs[label].private_key)
        for name, label in (("*.example.com", "wild"), ("mail.example.com", "exact"))
    )
    settings = _settings(
        pairs["default"],
        named=named,
        client_ca=devices.ca_file,
        client_certificates=ClientCertificates.REQUIRE,
        client_crl=devices.revocation_list(revoked, name="by-name"),
    )
    return settings, found


@pytest.mark.parametrize(("name", "label"), NAMES)
def test_a_client_gets_the_certificate_of_the_name_it_asks_for(
    by_name: tuple[ServerTls, dict[bytes, str]], authority: Authority, devices: Authority, name: str, label: str
) -> None:
    """An exact name before `*.`, which stands for one label; the default for everything else."""
    settings, labels = by_name
    client = authority.client_context(devices.device_certificate("ph-sni"))
    near, far = _sides(server_context(settings, "imap"), client, name)
    shown = far.getpeercert(binary_form=True)
    assert shown is not None
    assert labels[shown] == label
    assert near.getpeercert(binary_form=True) is not None


def test_a_client_without_sni_gets_the_default(
    by_name: tuple[ServerTls, dict[bytes, str]], authority: Authority, devices: Authority
) -> None:
    """As one that dials an address."""
    settings, labels = by_name
    client = authority.client_context(devices.device_certificate("ph-no-sni"))
    client.check_hostname = False
    _, far = _sides(server_context(settings), client, "127.0.0.1")
    assert labels[far.getpeercert(binary_form=True) or b""] == "default"


@pytest.mark.parametrize("name", ["localhost", "mail.example.com", "imap.example.com"])
def test_what_is_asked_of_a_client_is_the_same_under_every_name(
    by_name: tuple[ServerTls, dict[bytes, str]],
    authority: Authority,
    devices: Authority,
    revoked: KeyPair,
    name: str,
) -> None:
    """A name must not be a way around the CA, the list of revoked certificates, or the protocol."""
    settings, _ = by_name
    server = server_context(settings, "imap")
    for own, why in (
        (None, "did not return"),
        (authority.device_certificate("stranger"), "verify failed|unknown ca"),
        (revoked, "revoked|verify failed"),
    ):
        with pytest.raises(ssl.SSLError, match=why):
            _meet(server, _tls12(authority.client_context(own)), name)
    wants_http = authority.client_context(devices.device_certificate("ph-alpn"))
    wants_http.set_alpn_protocols(["http/1.1"])
    assert _sides(server, wants_http, name)[0].selected_alpn_protocol() == "http/1.1"


def test_nothing_is_kept_of_names_that_are_asked_for(
    by_name: tuple[ServerTls, dict[bytes, str]], authority: Authority, devices: Authority
) -> None:
    """A stranger may ask for any number of them."""
    settings, _ = by_name
    server = server_context(settings)
    closure = inspect.getclosurevars(server.sni_callback).nonlocals["contexts"]
    before = dict(closure)
    client = authority.client_context(devices.device_certificate("ph-names"))
    client.check_hostname = False
    for number in range(20):
        _sides(server, client, f"n{number}.elsewhere.example")
    assert closure == before


@pytest.mark.parametrize(
    ("profile", "version", "cipher", "is_taken"),
    [
        (Profile.INTERMEDIATE, ssl.TLSVersion.TLSv1_2, "ECDHE+AESGCM", True),
        (Profile.INTERMEDIATE, ssl.TLSVersion.TLSv1_2, "ECDHE+CHACHA20", True),
        (Profile.INTERMEDIATE, ssl.TLSVersion.TLSv1_2, "AES128-GCM-SHA256:AES256-SHA", False),
        (Profile.INTERMEDIATE, ssl.TLSVersion.TLSv1_2, "ECDHE-ECDSA-AES256-SHA:ECDHE-ECDSA-AES128-SHA256", False),
        (Profile.MODERN, ssl.TLSVersion.TLSv1_2, "ECDHE+AESGCM", False),
        (Profile.MODERN, ssl.TLSVersion.TLSv1_3, "ECDHE+AESGCM", True),
    ],
)
def test_a_profile_says_how_old_a_phone_may_be(
    pair: KeyPair, authority: Authority, profile: Profile, version: ssl.TLSVersion, cipher: str, is_taken: bool
) -> None:
    """Mozilla's: modern is TLS 1.3 alone; intermediate takes 1.2 with forward secrecy and AEAD only."""
    client = authority.client_context()
    client.set_ciphers(cipher)
    client.maximum_version = version
    server = server_context(_settings(pair, profile=profile))
    if is_taken:
        assert _meet(server, client)[0] == {"TLSv1_2": "TLSv1.2", "TLSv1_3": "TLSv1.3"}[version.name]
    else:
        with pytest.raises(ssl.SSLError):
            _meet(server, client)


def test_a_revoked_certificate_is_refused(pair: KeyPair, authority: Authority, devices: Authority) -> None:
    """Another one of the same CA is not."""
    lost, kept = devices.device_certificate("ph-lost"), devices.device_certificate("ph-kept")
    asks = {"client_ca": devices.ca_file, "client_certificates": ClientCertificates.REQUEST}
    server = server_context(_settings(pair, client_crl=devices.revocation_list(lost), **asks))
    assert _meet(server, _tls12(authority.client_context(kept)))[1] is not None
    assert _meet(server, _tls12(authority.client_context()))[1] is None
    with pytest.raises(ssl.SSLError, match="revoked"):
        _meet(server, _tls12(authority.client_context(lost)))


@pytest.mark.parametrize("trouble", ["expired", "of another CA"])
def test_without_a_list_that_counts_no_certificate_is_believed(
    pair: KeyPair, authority: Authority, devices: Authority, trouble: str
) -> None:
    """It fails closed: nobody knows what was revoked."""
    crl = (
        devices.revocation_list(valid_for=timedelta(hours=-1), name="expired")
        if trouble == "expired"
        else authority.revocation_list()
    )
    asks = {"client_ca": devices.ca_file, "client_certificates": ClientCertificates.REQUEST}
    server = server_context(_settings(pair, client_crl=crl, **asks))
    with pytest.raises(ssl.SSLError, match=r"CRL|verify failed"):
        _meet(server, _tls12(authority.client_context(devices.device_certificate("ph-any"))))
    assert _meet(server, _tls12(authority.client_context()))[1] is None


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
