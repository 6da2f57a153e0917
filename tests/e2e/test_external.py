"""Log-ins for somebody else: by client certificate (EXTERNAL) with a service account, and by delegation."""

import base64
import imaplib
import shutil
import smtplib
import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from gatekeeper.audit.handbook import FIELDS
from testkit.bed import ALICE, ALICE_PHONE, BOB, BOB_PHONE, CAROL
from testkit.dovecot import MASTER, Dovecot
from testkit.gate import GateProcess, Record, code, coded, detail, upstream
from testkit.postfix import Postfix
from testkit.recorder import Recorder, Script
from testkit.sessions import imap_greeted, smtp_greeted
from testkit.tls import Authority
from testkit.waiting import eventually
from testkit.wire import Wire

RULE = {"authcid": MASTER.login, "authzid": "*@example.com", "reason": "backups"}


@pytest.fixture(scope="module")
def secret(bed_directory: Path) -> Path:
    """Return the file with the service account's password."""
    file = bed_directory / "service-password"
    file.write_text(f"{MASTER.password}\n")
    return file


@pytest.fixture(scope="module")
def gate(
    make_gate_anywhere: Callable[..., GateProcess],
    stocked_store: Path,
    dovecot: Dovecot,
    postfix: Postfix,
    secret: Path,
    servers_ca: Authority,
) -> GateProcess:
    """Run a gate that takes certificates for log-ins at Dovecot and Postfix, and lets the master user act."""
    service = {"service_user": MASTER.login, "service_password_file": str(secret)}
    gate = make_gate_anywhere(
        {
            "upstream": {
                "imap": upstream(dovecot.imap_port) | service,
                "smtp": upstream(postfix.clear_port) | service,
            },
            "identity": {"default_domain": "example.com"},
            "delegation": [RULE | {"authcid": f"{MASTER.login}@example.com"}],
        }
    )
    shutil.copy(stocked_store, gate.store_file)
    gate.start()
    knows_its_servers(gate, servers_ca.client_context())
    return gate


def knows_its_servers(gate: GateProcess, context: ssl.SSLContext) -> None:
    """Wait until the gate has asked both mail servers what they offer."""

    def offers() -> bool:
        with Wire(gate.ports.imaps, context) as imap, smtp_greeted(gate.ports.submissions, context) as smtp:
            return b"LITERAL+" in imap.line() and b"250-PIPELINING" in smtp.smtp(b"EHLO phone.example.com")

    eventually(offers, within=15, what="the mail servers' offers")


@pytest.fixture
def found(gate: GateProcess) -> Callable[[Callable[[Record], bool]], Record]:
    """Return a finder of audit records of this test."""
    before = len(gate.audit_records())
    return lambda fits: gate.wait_for_record(
        lambda record: bool(record["metadata"]["sequence"] >= before) and fits(record)
    )


Found = Callable[[Callable[[Record], bool]], Record]


def _coded(code: str) -> Callable[[Record], bool]:
    return lambda record: bool(coded([record], code))


def _with(servers_ca: Authority, devices_ca: Authority, phone: str, *emails: str) -> ssl.SSLContext:
    return servers_ca.client_context(devices_ca.device_certificate(phone, *emails))


@pytest.fixture
def alices(servers_ca: Authority, devices_ca: Authority) -> ssl.SSLContext:
    """Return the context of ALICE's phone, whose certificate names both."""
    return _with(servers_ca, devices_ca, ALICE_PHONE, ALICE.login)


def _by(mechanism: str) -> Callable[[Record], bool]:
    return lambda record: bool(coded([record], "GK1001I")) and record["auth_protocol"] == mechanism


@pytest.mark.parametrize("wish", [b"", ALICE.login.encode(), b"Alice"], ids=["none", "the-same", "short"])
def test_e01_a_certificate_opens_its_owners_mailbox(
    gate: GateProcess, found: Found, alices: ssl.SSLContext, wish: bytes
) -> None:
    """Dovecot opens ALICE's mailbox for the service account, and the record says who and on what device."""
    client = imaplib.IMAP4_SSL("localhost", gate.ports.imaps, ssl_context=alices, timeout=15)
    assert "AUTH=EXTERNAL" in client.capabilities
    assert client.authenticate("EXTERNAL", lambda _: wish)[0] == "OK"
    assert client.select(readonly=True)[0] == "OK"
    client.logout()

    allowed = found(_by("EXTERNAL"))
    assert allowed["user"]["name"] == ALICE.login
    assert detail(allowed)["binding"] == "proven"


def test_e01_a_certificate_submits_mail(gate: GateProcess, found: Found, alices: ssl.SSLContext) -> None:
    """Postfix takes mail from ALICE, whom the service account logged in."""
    client = smtplib.SMTP_SSL("localhost", gate.ports.submissions, context=alices, timeout=15)
    client.ehlo()
    assert "EXTERNAL" in client.esmtp_features["auth"]
    assert client.auth("EXTERNAL", lambda _=None: "")[0] == 235
    assert client.mail(ALICE.login)[0] == 250
    assert client.rcpt(ALICE.login)[0] == 250
    client.close()

    assert found(_by("EXTERNAL"))["user"]["name"] == ALICE.login


def test_curl_logs_in_by_certificate(
    gate: GateProcess, servers_ca: Authority, devices_ca: Authority, program: Callable[[str], str]
) -> None:
    """Curl sends its user as authorization identity."""
    pair = devices_ca.device_certificate(ALICE_PHONE, ALICE.login)
    done = subprocess.run(
        [
            *(program("curl"), "--silent", "--show-error", "--max-time", "20", "--cacert", str(servers_ca.ca_file)),
            *("--cert", str(pair.certificate), "--key", str(pair.private_key), "--user", f"{ALICE.login}:"),
            *("--login-options", "AUTH=EXTERNAL", f"imaps://localhost:{gate.ports.imaps}/", "--request", "NOOP"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_e01_the_response_does_not_choose_the_mailbox(gate: GateProcess, found: Found, alices: ssl.SSLContext) -> None:
    """Another's name is refused as such, on both protocols, and nobody is let in."""
    wish = base64.b64encode(BOB.login.encode())
    with imap_greeted(gate.ports.imaps, alices) as wire:
        assert wire.imap(b"a AUTHENTICATE EXTERNAL " + wish)[-1].startswith(b"a NO [AUTHORIZATIONFAILED]")
    with smtp_greeted(gate.ports.submissions, alices) as wire:
        assert wire.smtp(b"AUTH EXTERNAL " + wish)[-1].startswith(b"535 5.7.8")
    refused = found(_coded("GK1011W"))
    assert refused["user"]["name"] == ALICE.login
    assert detail(refused)["authzid"] == BOB.login
    assert refused["auth_protocol"] == "EXTERNAL"


def test_a_certificate_of_a_denied_phone_is_refused_by_policy(
    gate: GateProcess, servers_ca: Authority, devices_ca: Authority
) -> None:
    """EXTERNAL is a way to log in, not around the policy."""
    with imap_greeted(gate.ports.imaps, _with(servers_ca, devices_ca, BOB_PHONE, BOB.login)) as wire:
        assert wire.imap(b"a AUTHENTICATE EXTERNAL =")[-1].startswith(b"a NO [UNAVAILABLE] Mail is paused")


@pytest.mark.parametrize("emails", [(), (ALICE.login, BOB.login), ("al*ice@example.com",)], ids=["none", "two", "bad"])
def test_e03_a_certificate_that_names_nobody_is_not_offered_external(
    gate: GateProcess, servers_ca: Authority, devices_ca: Authority, emails: tuple[str, ...]
) -> None:
    """The same goes for no certificate at all, and for the clear before STARTTLS."""
    for context in (_with(servers_ca, devices_ca, ALICE_PHONE, *emails), servers_ca.client_context()):
        with Wire(gate.ports.imaps, context) as wire:
            assert b"AUTH=EXTERNAL" not in wire.line()
            assert wire.imap(b"a AUTHENTICATE EXTERNAL " + base64.b64encode(ALICE.login.encode())) == [
                b"a NO [CANNOT] This mechanism is not offered."
            ]
    with Wire(gate.ports.imap) as wire:
        assert b"EXTERNAL" not in wire.line()


def test_external_after_starttls(gate: GateProcess, alices: ssl.SSLContext) -> None:
    """The certificate of the handshake counts there as well."""
    with Wire(gate.ports.imap) as wire:
        wire.line()
        wire.imap(b"a STARTTLS")
        wire.start_tls(alices)
        assert b"AUTH=EXTERNAL" in wire.imap(b"b CAPABILITY")[0]
        assert wire.imap(b"c AUTHENTICATE EXTERNAL")[-1] == b"+ "
        wire.send(b"\r\n")
        assert wire.tagged(b"c")[-1].startswith(b"c OK")


def _acting(authcid: str, authzid: str, password: str) -> bytes:
    return base64.b64encode(f"{authzid}\0{authcid}\0{password}".encode())


def test_a_delegate_opens_anothers_mailbox(gate: GateProcess, found: Found, context: ssl.SSLContext) -> None:
    """Policy sees the account whose mailbox is opened; the records of the session know who opened it."""
    response = _acting(MASTER.login, "alice", MASTER.password)
    # Dovecot knows its master user by the name without domain: this one is not it.
    with imap_greeted(gate.ports.imaps, context) as wire:
        assert wire.imap(b"a AUTHENTICATE PLAIN " + response)[-1].startswith(b"a NO [AUTHENTICATIONFAILED]")
    refused = found(_coded("GK1011W"))
    assert detail(refused)["authcid"] == f"{MASTER.login}@example.com"


def test_a_delegate_is_recorded(
    make_gate: Callable[..., GateProcess], dovecot: Dovecot, context: ssl.SSLContext
) -> None:
    """I57 with a rule: Dovecot opens ALICE's mailbox, policy judges her phones, and the delegate is on record."""
    gate = make_gate({"upstream": {"imap": upstream(dovecot.imap_port), "smtp": upstream(25)}, "delegation": [RULE]})
    with imap_greeted(gate.ports.imaps, context) as wire:
        reply = wire.imap(b"a AUTHENTICATE PLAIN " + _acting(MASTER.login, ALICE.login, MASTER.password))
        assert reply[-1].startswith(b"a OK")
    for each in ("GK1001I", "GK1102I"):
        record = gate.wait_for_record(_coded(each))
        assert detail(record)["authcid"] == MASTER.login
    assert gate.audit_records()[-1]["metadata"]["event_code"] == "GK1102I"

    with imap_greeted(gate.ports.imaps, context) as wire:
        reply = wire.imap(b"a AUTHENTICATE PLAIN " + _acting(MASTER.login, BOB.login, MASTER.password))
        assert reply[-1].startswith(b"a NO [UNAVAILABLE] Mail is paused")


def test_i57_nobody_acts_for_another_without_a_rule(gate: GateProcess, context: ssl.SSLContext) -> None:
    """On both protocols in the words of the contract, and the mail server hears nothing of it."""
    response = _acting(ALICE.login, CAROL.login, ALICE.password)
    with imap_greeted(gate.ports.imaps, context) as wire:
        assert wire.imap(b"a AUTHENTICATE PLAIN " + response)[-1].startswith(b"a NO [AUTHORIZATIONFAILED]")
    with smtp_greeted(gate.ports.submissions, context) as wire:
        assert wire.smtp(b"AUTH PLAIN " + response)[-1].startswith(b"535 5.7.8")
    with imap_greeted(gate.ports.imaps, context) as wire:
        own = _acting(ALICE.login, "ALICE", ALICE.password)
        assert wire.imap(b"a AUTHENTICATE PLAIN " + own)[-1].startswith(b"a OK")


def test_a_service_account_that_is_refused_is_our_fault(
    make_gate: Callable[..., GateProcess], record: Callable[[Script], Recorder], secret: Path, alices: ssl.SSLContext
) -> None:
    """The phone has proven itself: it is told to try again, and the operator what is wrong; no password in any log."""
    service = {"service_user": MASTER.login, "service_password_file": str(secret)}
    imap = record(Script(protocol="imap", passwords={}))
    smtp = record(Script(protocol="smtp", passwords={MASTER.login: MASTER.password}))
    gate = make_gate({"upstream": {"imap": upstream(imap.port) | service, "smtp": upstream(smtp.port) | service}})
    knows_its_servers(gate, alices)
    with imap_greeted(gate.ports.imaps, alices) as wire:
        assert wire.imap(b"a AUTHENTICATE EXTERNAL =")[-1].startswith(b"a NO [UNAVAILABLE]")
    with smtp_greeted(gate.ports.submissions, alices) as wire:
        assert wire.smtp(b"AUTH EXTERNAL =")[-1].startswith(b"235")
    response = f"{ALICE.login}\0{MASTER.login}\0{MASTER.password}".encode()
    assert [one.sasl for one in imap.connections + smtp.connections if one.sasl] == [[("PLAIN", response)]] * 2
    fault = gate.wait_for_record(_coded("GK1007E"))
    assert "service account" in detail(fault)["fault"]
    shown = gate.cli("config", "show").stdout
    assert MASTER.login in shown
    for text in (shown, gate.log(), str(gate.audit_records())):
        assert MASTER.password not in text


def test_what_a_client_says_of_itself_is_on_record(gate: GateProcess, found: Found, context: ssl.SSLContext) -> None:
    """The first ID only, without private keys, in the record of the session that follows."""
    with imap_greeted(gate.ports.imaps, context) as wire:
        wire.imap(b'a ID ("name" "K-9" "x-originating-ip" "192.0.2.1")')
        wire.imap(b'b ID ("name" "other")')
        assert wire.imap(b"c AUTHENTICATE PLAIN " + _acting(ALICE.login, "", ALICE.password))[-1].startswith(b"c OK")
    assert detail(found(_by("PLAIN")))["client_id"] == "name=K-9"


def test_every_field_of_a_connections_records_is_explained(
    gate: GateProcess, found: Found, context: ssl.SSLContext
) -> None:
    """`docs/audit-events.md` has a row for each; those that the connection adds are there to be explained."""
    with imap_greeted(gate.ports.imaps, context) as wire:
        wire.imap(b'a ID ("name" "phone")')
        wire.imap(b"b AUTHENTICATE PLAIN " + _acting(MASTER.login, ALICE.login, MASTER.password))
        wire.imap(b"b AUTHENTICATE PLAIN " + _acting(ALICE.login, BOB.login, ALICE.password))
        assert wire.imap(b"c AUTHENTICATE PLAIN " + _acting(ALICE.login, "", ALICE.password))[-1].startswith(b"c OK")
        wire.imap(b"d LOGOUT")
    conn = detail(found(_by("PLAIN")))["conn"]
    found(lambda record: code(record) == "GK1102I" and detail(record)["conn"] == conn)
    with imap_greeted(gate.ports.imaps, context) as wire:
        wire.imap(b"a LOGOUT")
    found(_coded("GK1104I"))
    fields = {name for record in gate.audit_records() for name in detail(record) if code(record).startswith("GK1")}
    assert fields >= {"client_id", "authcid", "authzid", "ended", "attempts", "octets_down", "octets_up"}
    assert fields <= set(FIELDS)
