"""A mail server with several addresses: two Dovecots, one killed; addresses that refuse, and that swallow."""

import re
import socket
import ssl
from collections.abc import Callable, Iterator

import pytest

from testkit import dovecot as dovecot_server
from testkit.bed import ALICE, BOB, EVERYBODY
from testkit.dovecot import Dovecot, User
from testkit.gate import GateProcess, code, upstream
from testkit.ports import LOOPBACK, free_port
from testkit.recorder import Recorder, Script
from testkit.sessions import imap_login_reply, imap_session
from testkit.tls import Authority, KeyPair, server_context
from testkit.waiting import eventually

MakeGate = Callable[..., GateProcess]
PASSWORDS = {ALICE.login: ALICE.password}


@pytest.fixture
def another_dovecot(mail_certificate: KeyPair) -> Iterator[Dovecot]:
    """Run a second Dovecot, which the test may end."""
    if dovecot_server.PROGRAM is None:
        pytest.skip("Dovecot is not installed")
    server = Dovecot(mail_certificate, EVERYBODY)
    yield server
    server.stop()


def _imap(*ports: int, mode: str = "off", **more: object) -> dict[str, object]:
    table = upstream(ports[0], mode=mode)
    host = str(table["address"]).rpartition(":")[0]
    table |= {"address": [f"{host}:{port}" for port in ports], **more}
    return {"upstream": {"imap": table, "smtp": upstream(free_port())}}


def _is_up(gate: GateProcess, port: int) -> bool:
    found = re.search(rf'^gatekeeper_upstream_up{{address="{LOOPBACK}:{port}".*}} (\S+)', _metrics(gate), re.MULTILINE)
    assert found, _metrics(gate)
    return float(found[1]) == 1


def _metrics(gate: GateProcess) -> str:
    return gate.get("/metrics").body.decode()


def test_log_ins_go_on_when_a_dovecot_dies(
    make_gate: MakeGate, dovecot: Dovecot, another_dovecot: Dovecot, servers_ca: Authority, context: ssl.SSLContext
) -> None:
    """The preferred one serves, then the other, over verified TLS; sessions at the other stay, and it is told."""
    gate = make_gate(_imap(another_dovecot.imaps_port, dovecot.imaps_port, mode="implicit", ca=str(servers_ca.ca_file)))
    assert imap_login_reply(gate.ports.imaps, context, ALICE).startswith(b"OK")
    # Dovecot's log is written by a process of its own.
    eventually(lambda: "Login: user=<alice" in another_dovecot.log(), within=15, what=another_dovecot.log)
    assert _is_up(gate, another_dovecot.imaps_port)
    another_dovecot.stop()

    session = imap_session(gate.ports.imaps, context, ALICE)
    assert imap_login_reply(gate.ports.imaps, context, BOB).startswith(b"NO [UNAVAILABLE]")
    assert imap_login_reply(gate.ports.imaps, context, User(ALICE.login, "wrong")).startswith(
        b"NO [AUTHENTICATIONFAILED]"
    )
    assert not _is_up(gate, another_dovecot.imaps_port)
    assert _is_up(gate, dovecot.imaps_port)
    assert '"upstream.out"' in gate.log()
    assert gate.is_ready()
    assert not [one for one in gate.audit_records() if code(one) == "GK1007E"]
    gate.reload()
    gate.wait_for_record(lambda one: code(one) == "GK3030I")
    assert not _is_up(gate, another_dovecot.imaps_port)
    assert session.imap(b"x NOOP")[-1].startswith(b"x OK")
    session.close()


def test_nobody_is_connected_to_a_dovecot_that_died_before_he_came(
    make_gate: MakeGate, dovecot: Dovecot, another_dovecot: Dovecot, servers_ca: Authority, context: ssl.SSLContext
) -> None:
    """While it ends, it takes log-ins on older connections, and says that the password is wrong, or nothing at all."""
    places = another_dovecot.imaps_port, dovecot.imaps_port
    gate = make_gate(_imap(*places, mode="implicit", ca=str(servers_ca.ca_file), client_address="id"))

    def one_is_used() -> bool:
        assert imap_login_reply(gate.ports.imaps, context, ALICE).startswith(b"OK")
        return 'gatekeeper_preconnects_total{listener="imaps",outcome="used"} 0.0' not in _metrics(gate)

    eventually(one_is_used, within=15, what="a log-in over a connection that was there")
    another_dovecot.stop()
    for _ in range(4):
        assert imap_login_reply(gate.ports.imaps, context, ALICE).startswith(b"OK")
    assert not [one for one in gate.audit_records() if code(one) in ("GK1007E", "GK1011W")]


def test_an_address_comes_back_by_itself(
    make_gate: MakeGate, record: Callable[[Script], Recorder], context: ssl.SSLContext
) -> None:
    """It is looked at while it is out; the next log-in goes to it again, for it is preferred."""
    port = free_port()
    spare = record(Script(protocol="imap", passwords=PASSWORDS))
    gate = make_gate(_imap(port, spare.port))
    assert imap_login_reply(gate.ports.imaps, context, ALICE).startswith(b"OK")
    assert not _is_up(gate, port)
    with socket.create_server((LOOPBACK, port)) as listening:
        listening.settimeout(15)
        looked_at, _ = listening.accept()
        with looked_at:
            looked_at.settimeout(10)
            looked_at.sendall(b"* OK ready\r\n")
            tag = looked_at.recv(1000).split()[0]
            looked_at.sendall(b"* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\n" + tag + b" OK done\r\n")
            assert looked_at.recv(1000) == b""
        eventually(lambda: _is_up(gate, port), within=15, what=gate.log)


def test_a_black_hole_costs_one_log_in_the_connect_timeout(
    make_gate: MakeGate, record: Callable[[Script], Recorder], context: ssl.SSLContext
) -> None:
    """The kernel drops what comes; the gate goes on to the next address, in time for the phone."""
    spare = record(Script(protocol="imap", passwords=PASSWORDS))
    with socket.create_server((LOOPBACK, 0), backlog=0) as full:
        waiting = [socket.socket() for _ in range(2)]
        for one in waiting:
            one.settimeout(0)
            one.connect_ex(full.getsockname())
        hole = full.getsockname()[1]
        gate = make_gate({**_imap(hole, spare.port), "limits": {"connect_timeout": "1s"}})
        assert imap_login_reply(gate.ports.imaps, context, ALICE).startswith(b"OK")
        assert not _is_up(gate, hole)
        assert imap_login_reply(gate.ports.imaps, context, ALICE).startswith(b"OK")
        for one in waiting:
            one.close()


def test_no_password_reaches_two_servers(
    make_gate: MakeGate, record: Callable[[Script], Recorder], context: ssl.SSLContext
) -> None:
    """A wrong password counts once, at the first server that was there."""
    first, second = (record(Script(protocol="imap", passwords=PASSWORDS)) for _ in range(2))
    gate = make_gate(_imap(free_port(), first.port, second.port))
    reply = imap_login_reply(gate.ports.imaps, context, User(ALICE.login, "wrong"))

    assert reply.startswith(b"NO [AUTHENTICATIONFAILED]")
    assert [len(one.sasl) for one in first.connections if one.sasl] == [1]
    assert [one.sasl for one in second.connections if one.sasl] == []


def test_the_gate_says_when_no_mail_server_is_up(make_gate: MakeGate, context: ssl.SSLContext) -> None:
    """`/readyz` is red with the reasons, `doctor` ends with 69, and phones hear of a temporary failure."""
    ports = free_port(), free_port()
    gate = make_gate(_imap(*ports))
    eventually(lambda: not gate.is_ready(), within=15, what=gate.log)
    said = gate.get("/readyz").body.decode()
    assert "mail_servers: none is up: " in said
    assert all(f"{LOOPBACK}:{port}: nothing listens" in said for port in ports)
    assert imap_login_reply(gate.ports.imaps, context, ALICE).startswith(b"NO [UNAVAILABLE]")
    doctor = gate.cli("doctor")
    assert doctor.returncode == 69, doctor.stdout
    assert all(f"{LOOPBACK}:{port}: nothing listens" in doctor.stdout for port in ports)


def test_the_mail_server_may_ask_the_gate_for_its_certificate(
    make_gate: MakeGate,
    record: Callable[[Script], Recorder],
    servers_ca: Authority,
    mail_certificate: KeyPair,
    context: ssl.SSLContext,
) -> None:
    """With one there are log-ins; without one there are none."""
    asking = server_context(mail_certificate)
    asking.load_verify_locations(servers_ca.ca_file)
    asking.verify_mode = ssl.CERT_REQUIRED
    server = record(Script(protocol="imap", passwords=PASSWORDS, tls=asking, mode="implicit"))
    own = servers_ca.device_certificate("the-gate")
    shown = {"client_certificate": str(own.certificate), "client_key": str(own.private_key)}
    ca = str(servers_ca.ca_file)
    gate = make_gate(_imap(server.port, mode="implicit", ca=ca, **shown))
    assert imap_login_reply(gate.ports.imaps, context, ALICE).startswith(b"OK")
    without = make_gate(_imap(server.port, mode="implicit", ca=ca))
    assert imap_login_reply(without.ports.imaps, context, ALICE).startswith(b"NO [UNAVAILABLE]")
