"""TLS on the listeners, met by OpenSSL's and curl's clients: names, ALPN, profiles, tickets, revoked certificates."""

import ssl
import subprocess
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from testkit import toml
from testkit.bed import ALICE, ALICE_PHONE
from testkit.gate import GateProcess, code, detail, upstream
from testkit.ports import LOOPBACK, free_port
from testkit.recorder import Recorder, Script
from testkit.sessions import imap_login_reply
from testkit.tls import Authority
from testkit.wire import Wire

MakeGate = Callable[..., GateProcess]
Find = Callable[[str], str]
NAME, WILD = "imap.example.org", "*.mail.example.org"


@pytest.fixture(scope="module")
def named_gate(
    make_gate_anywhere: MakeGate, servers_ca: Authority, devices_ca: Authority
) -> Iterator[tuple[GateProcess, Recorder]]:
    """Run a gate with a certificate for `localhost` and one for other names."""
    server = Recorder(Script(protocol="imap", passwords={ALICE.login: ALICE.password}))
    other = servers_ca.server_certificate("named", NAME, WILD)
    named = {"names": [NAME, WILD], "certificate": str(other.certificate), "private_key": str(other.private_key)}
    gate = make_gate_anywhere(
        {
            "upstream": {"imap": upstream(server.port), "smtp": upstream(free_port())},
            "tls": {"certificate_for": [named], "client_crl": str(devices_ca.revocation_list(name="named"))},
        },
        policy_text='schema = 1\n[defaults]\nunknown_device = "allow"\n',
    )
    gate.start()
    yield gate, server
    gate.discard()
    server.stop()


def _s_client(openssl: str, port: int, *options: str, ca: Path, says: str = "") -> str:
    """Let OpenSSL's client connect, say something and go; return all that it prints."""
    command = [openssl, "s_client", "-connect", f"{LOOPBACK}:{port}", "-CAfile", str(ca), "-verify_return_error"]
    done = subprocess.run([*command, *options], input=says, capture_output=True, text=True, timeout=30, check=False)
    return done.stdout + done.stderr


@pytest.mark.parametrize(
    ("name", "shown"),
    [(NAME, NAME), ("a.mail.example.org", NAME), ("localhost", "localhost"), ("elsewhere.example", "localhost")],
)
@pytest.mark.parametrize("how", ["implicit", "starttls"])
def test_the_certificate_is_that_of_the_name(
    named_gate: tuple[GateProcess, Recorder], servers_ca: Authority, program: Find, name: str, shown: str, how: str
) -> None:
    """On both kinds of listener; who asks for an unknown name gets the default."""
    gate, _ = named_gate
    port, options = (gate.ports.imaps, []) if how == "implicit" else (gate.ports.imap, ["-starttls", "imap"])
    said = _s_client(
        program("openssl"), port, "-servername", name, "-verify_hostname", shown, *options, ca=servers_ca.ca_file
    )
    assert "Verification: OK" in said, said
    assert f"Verified peername: {shown}" in said


def test_a_name_that_is_not_ascii_is_refused_and_not_logged(
    named_gate: tuple[GateProcess, Recorder], servers_ca: Authority, program: Find
) -> None:
    """RFC 6066 §3 has no such names. The record is that of a failed handshake; the log stays JSON lines."""
    gate, _ = named_gate
    before = len(gate.audit_records())
    name = "b\u00fccher.example.org"
    said = _s_client(program("openssl"), gate.ports.imaps, "-servername", name, ca=servers_ca.ca_file)
    assert "alert internal error" in said
    gate.wait_for_record(lambda record: record["metadata"]["sequence"] >= before and code(record) == "GK1104I")
    assert [line for line in gate.log().splitlines() if not line.startswith(("{", "note: "))] == []


def test_curl_logs_in_under_a_name(
    named_gate: tuple[GateProcess, Recorder], servers_ca: Authority, program: Find
) -> None:
    """It offers no ALPN for IMAP, verifies the name, and gets the mailbox."""
    gate, server = named_gate
    before = len(server.logged_in())
    done = subprocess.run(
        [
            program("curl"), "--silent", "--show-error", "--cacert", str(servers_ca.ca_file),
            "--resolve", f"{NAME}:{gate.ports.imaps}:{LOOPBACK}", "--user", f"{ALICE.login}:{ALICE.password}",
            "--request", "NOOP", f"imaps://{NAME}:{gate.ports.imaps}/",
        ],
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(server.logged_in()) == before + 1


def test_another_protocol_is_closed_without_a_word(
    named_gate: tuple[GateProcess, Recorder], servers_ca: Authority, program: Find
) -> None:
    """A browser's ALPN gets nothing, and it is recorded; ours is selected; OpenSSL's client without one is greeted."""
    gate, _ = named_gate
    openssl, ca = program("openssl"), servers_ca.ca_file
    refused = _s_client(openssl, gate.ports.imaps, "-alpn", "h2,http/1.1", "-servername", NAME, "-ign_eof", ca=ca)
    assert "* OK" not in refused
    gate.wait_for_record(lambda one: code(one) == "GK1104I" and detail(one).get("ended") == "foreign_protocol")
    ours = _s_client(openssl, gate.ports.imaps, "-alpn", "h2,imap", "-ign_eof", ca=ca, says="a LOGOUT\r\n")
    assert "ALPN protocol: imap" in ours
    assert "* OK" in ours
    none = _s_client(openssl, gate.ports.imaps, "-ign_eof", ca=ca, says="a LOGOUT\r\n")
    assert "No ALPN negotiated" in none
    assert "* OK" in none
    smtp = _s_client(openssl, gate.ports.submissions, "-alpn", "smtp", "-ign_eof", ca=ca, says="QUIT\r\n")
    assert "ALPN protocol: smtp" in smtp
    assert "220 " in smtp


def test_old_ciphers_and_versions_are_refused(
    named_gate: tuple[GateProcess, Recorder], servers_ca: Authority, program: Find
) -> None:
    """The intermediate profile: TLS 1.2 with AEAD; no CBC, nothing below."""
    gate, _ = named_gate
    openssl, ca = program("openssl"), servers_ca.ca_file
    good = _s_client(openssl, gate.ports.imaps, "-tls1_2", "-cipher", "ECDHE+AESGCM", ca=ca)
    assert "Protocol  : TLSv1.2" in good
    for options in (["-tls1_2", "-cipher", "ECDHE+AES+SHA"], ["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"]):
        assert "Cipher is (NONE)" in _s_client(openssl, gate.ports.imaps, *options, ca=ca), options


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_a_ticket_is_good_on_another_listener_and_after_a_reload(
    named_gate: tuple[GateProcess, Recorder], servers_ca: Authority, program: Find, tmp_path: Path, version: str
) -> None:
    """Of the same protocol, by STARTTLS as well; a reload that leaves the files alone takes nothing from anybody."""
    gate, _ = named_gate
    openssl, ca, ticket = program("openssl"), servers_ca.ca_file, str(tmp_path / "ticket")
    says = "a LOGOUT\r\n"
    first = _s_client(openssl, gate.ports.imaps, version, "-sess_out", ticket, "-ign_eof", ca=ca, says=says)
    assert "New, TLS" in first
    reloaded = gate.cli("reload")
    assert reloaded.returncode == 0, reloaded.stderr
    again = _s_client(
        openssl, gate.ports.imap, version, "-sess_in", ticket, "-starttls", "imap", "-ign_eof", ca=ca, says=says
    )
    assert "Reused, TLS" in again, again


def test_a_revoked_phone_is_shut_out_by_a_reload(
    make_gate: MakeGate,
    record: Callable[[Script], Recorder],
    servers_ca: Authority,
    devices_ca: Authority,
    program: Find,
    tmp_path: Path,
) -> None:
    """Its certificate is refused, its ticket does not resume, and an expired list refuses every certificate."""
    server = record(Script(protocol="imap", passwords={ALICE.login: ALICE.password}))
    own = devices_ca.device_certificate(ALICE_PHONE)
    crl = devices_ca.revocation_list(name="lost")
    gate = make_gate(
        {
            "upstream": {"imap": upstream(server.port), "smtp": upstream(free_port())},
            "tls": {"client_crl": str(crl)},
            "binding": {"order": ["client_certificate"]},
        }
    )
    phone, openssl, ticket = servers_ca.client_context(own), program("openssl"), str(tmp_path / "ticket")
    shows = ["-cert", str(own.certificate), "-key", str(own.private_key), "-ign_eof", "-tls1_3"]
    assert imap_login_reply(gate.ports.imaps, phone, ALICE).startswith(b"OK")
    ca = servers_ca.ca_file
    _s_client(openssl, gate.ports.imaps, *shows, "-sess_out", ticket, ca=ca, says="a LOGOUT\r\n")
    assert "Reused" in _s_client(openssl, gate.ports.imaps, *shows, "-sess_in", ticket, ca=ca, says="a LOGOUT\r\n")

    devices_ca.revocation_list(own, name="lost")
    assert gate.cli("reload").returncode == 0
    refused = _s_client(openssl, gate.ports.imaps, *shows, "-sess_in", ticket, ca=ca, says="a LOGOUT\r\n")
    assert "Reused" not in refused
    assert "* OK" not in refused
    with pytest.raises((ssl.SSLError, ConnectionError)):
        _first_words(gate.ports.imaps, phone)
    assert _first_words(gate.ports.imaps, servers_ca.client_context()).startswith(b"* OK")

    devices_ca.revocation_list(valid_for=timedelta(days=-1), name="lost")
    assert gate.cli("reload").returncode == 0
    with pytest.raises((ssl.SSLError, ConnectionError)):
        _first_words(gate.ports.imaps, phone)
    doctor = gate.cli("doctor")
    assert "expired, every client certificate is refused" in doctor.stdout
    check = gate.cli("config", "check")
    assert "note: tls.client_crl: expired" in check.stderr

    Path(crl).unlink()
    rejected = gate.cli("reload")
    assert rejected.returncode == 78
    assert "client_crl" in rejected.stderr
    assert _first_words(gate.ports.imaps, servers_ca.client_context()).startswith(b"* OK")


def _first_words(port: int, context: ssl.SSLContext) -> bytes:
    """The greeting; raises what a refusal after TLS 1.3's handshake is."""
    with Wire(port, context) as wire:
        line = wire.line()
        if not line:
            raise ConnectionError("ended without a word")
        return line


def test_the_modern_profile_speaks_tls_1_3_alone(
    make_gate: MakeGate, record: Callable[[Script], Recorder], servers_ca: Authority, program: Find
) -> None:
    """A reload brings it into force."""
    server = record(Script(protocol="imap", passwords={ALICE.login: ALICE.password}))
    gate = make_gate({"upstream": {"imap": upstream(server.port), "smtp": upstream(free_port())}})
    openssl, ca = program("openssl"), servers_ca.ca_file
    assert "Protocol  : TLSv1.2" in _s_client(openssl, gate.ports.imaps, "-tls1_2", ca=ca)
    gate.write_configuration(toml.merged(gate.configuration, {"tls": {"profile": "modern"}}))
    assert gate.cli("reload").returncode == 0
    assert "Cipher is (NONE)" in _s_client(openssl, gate.ports.imaps, "-tls1_2", ca=ca)
    assert imap_login_reply(gate.ports.imaps, servers_ca.client_context(), ALICE).startswith(b"OK")
