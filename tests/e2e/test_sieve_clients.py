"""ManageSieve with real clients and a real Dovecot: straight, which proves that a test is right, and through the gate."""

import base64
import os
import re
import shutil
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from sievelib import managesieve

from testkit import dovecot as dovecot_server
from testkit import sieve
from testkit.bed import ALICE, BOB, CAROL
from testkit.dovecot import Dovecot, User, access_token
from testkit.gate import GateProcess, coded, detail, upstream
from testkit.ports import LOOPBACK, free_port
from testkit.sessions import plain
from testkit.tls import Authority
from testkit.waiting import eventually
from testkit.wire import Wire

MakeGate = Callable[..., GateProcess]

SCRIPT = 'require ["fileinto"];\r\n# "quotes" \\ and {3+}, ä\r\nfileinto "x";\r\n' + "# filler\r\n" * 2000
LONGEST_TEXT = 400


@dataclass(frozen=True)
class Target:
    """Where ManageSieve is spoken."""

    starttls: int
    implicit: int | None = None


@pytest.fixture(scope="module")
def sieve_ports() -> Target:
    """Return the ports of the gate."""
    return Target(free_port(), free_port())


@pytest.fixture(scope="module")
def configuration(sieve_ports: Target) -> Callable[..., dict[str, object]]:
    """Return a maker of configurations with both listeners and this `[upstream.sieve]`."""
    listeners = [("sieve", sieve_ports.starttls, "starttls"), ("sieves", sieve_ports.implicit, "implicit")]

    def make(server: dict[str, object], client_address: str = "none") -> dict[str, object]:
        return {
            "listener": [
                {"name": name, "protocol": "sieve", "bind": f"{LOOPBACK}:{port}", "tls": mode}
                for name, port, mode in listeners
            ],
            "upstream": {"sieve": server | {"client_address": client_address}},
        }

    return make


@pytest.fixture(scope="module")
def server(dovecot: Dovecot) -> Dovecot:
    """Return a Dovecot that speaks ManageSieve."""
    if not dovecot_server.SPEAKS_SIEVE:
        pytest.skip("dovecot-managesieved is not installed")
    return dovecot


@pytest.fixture(scope="module")
def sieve_gate(
    make_gate_anywhere: MakeGate,
    stocked_store: Path,
    server: Dovecot,
    configuration: Callable[..., dict[str, object]],
) -> Iterator[GateProcess]:
    """Run a gate in front of Dovecot's ManageSieve, which is told the clients' addresses by XCLIENT."""
    gate = make_gate_anywhere(configuration(upstream(server.sieve_port), "xclient"))
    shutil.copy(stocked_store, gate.store_file)
    gate.start()
    yield gate
    gate.discard()


@pytest.fixture(params=["direct", "gate"])
def target(request: pytest.FixtureRequest, server: Dovecot, sieve_ports: Target) -> Target:
    """Return where to connect to: Dovecot itself, then the gate."""
    if request.param == "direct":
        return Target(server.sieve_port)
    request.getfixturevalue("sieve_gate")
    return sieve_ports


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch, servers_ca: Authority) -> Callable[[int], managesieve.Client]:
    """Return a maker of sievelib's clients, which trust the servers."""
    monkeypatch.setenv("SSL_CERT_FILE", str(servers_ca.ca_file))
    return lambda port: managesieve.Client("localhost", port)


def log_in_from(address: str, port: int, context: ssl.SSLContext) -> None:
    """Log ALICE in from this address of the loopback network, and out again."""
    with (
        socket.create_connection((LOOPBACK, port), timeout=15, source_address=(address, 0)) as plainly,
        context.wrap_socket(plainly, server_hostname="localhost") as secured,
    ):
        secured.sendall(sieve.authenticate(ALICE) + b"\r\nLOGOUT\r\n")
        while secured.recv(65_536):
            continue


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
def test_sievelib_puts_lists_and_gets(
    target: Target, client: Callable[[int], managesieve.Client], mechanism: str
) -> None:
    """Over STARTTLS and implicit TLS: scripts arrive and come back, line for line as this client gives them."""
    for port, starttls in ((target.starttls, True), (target.implicit, False)):
        if port is None:
            continue
        session = client(port)
        assert session.connect(ALICE.login, ALICE.password, starttls=starttls, ssl=not starttls, authmech=mechanism)
        assert session.putscript("main", SCRIPT), session.errmsg
        assert session.setactive("main")
        assert session.listscripts() == ("main", [])
        assert session.getscript("main").splitlines() == SCRIPT.splitlines()
        assert b'"SIEVE"' in session.capability()
        assert session.havespace("other", 1000)
        assert session.renamescript("main", "renamed")
        assert session.setactive("")
        assert session.deletescript("renamed")
        session.logout()


def test_a_script_is_stored_byte_for_byte(
    server: Dovecot, sieve_gate: GateProcess, sieve_ports: Target, context: ssl.SSLContext
) -> None:
    """Pipelined behind the log-in in one piece: the file that Dovecot wrote is what was sent."""
    assert sieve_gate.is_ready()
    body = SCRIPT.encode()
    with sieve.greeted(sieve_ports.implicit or 0, context) as wire:
        wire.send(sieve.authenticate(ALICE) + b'\r\nPUTSCRIPT "bytes" {%d+}\r\n' % len(body) + body + b"\r\nLOGOUT\r\n")
        answers = [sieve.reply(wire)[-1][:2] for _ in range(3)]
        assert wire.rest(within=5) == b""
    assert answers == [b"OK"] * 3
    (stored,) = server.mail.rglob("bytes.sieve")
    assert stored.read_bytes() == body


def test_sieve_connect_uploads_and_downloads(
    target: Target, servers_ca: Authority, program: Callable[[str], str], tmp_path: Path
) -> None:
    """Debian's sieve-connect, by STARTTLS."""
    script = tmp_path / "up.sieve"
    script.write_bytes(SCRIPT.encode())
    common = [program("sieve-connect"), "-s", "localhost", "-p", str(target.starttls), "-u", ALICE.login]
    common += ["--tlscafile", str(servers_ca.ca_file), "--passwordfd", "0", "-m", "PLAIN"]

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [*common, *arguments],
            input=ALICE.password + "\n",
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
            env=os.environ | {"LC_ALL": "C.UTF-8"},
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run("--upload", "--localsieve", str(script), "--remotesieve", "connect")
    assert '"connect"' in run("--list")
    run("--download", "--remotesieve", "connect", "--localsieve", str(tmp_path / "down.sieve"))
    assert (tmp_path / "down.sieve").read_bytes().replace(b"\r\n", b"\n").rstrip() == (
        SCRIPT.encode().replace(b"\r\n", b"\n").rstrip()
    )
    run("--delete", "--remotesieve", "connect")


def test_sievelib_shows_why(
    sieve_gate: GateProcess, sieve_ports: Target, client: Callable[[int], managesieve.Client]
) -> None:
    """A phone with a denied app hears app and fix, and it is on record; a wrong password hears nothing of it."""
    session = client(sieve_ports.starttls)
    assert not session.connect(BOB.login, BOB.password, starttls=True)
    assert b"TikTok is on this phone" in session.errmsg
    assert b"Remove TikTok" in session.errmsg
    assert len(session.errmsg) <= LONGEST_TEXT
    assert session.errcode == b""
    found = sieve_gate.wait_for_record(lambda record: bool(coded([record], "GK1002W")))
    assert detail(found)["rules"] == ["no-tiktok"]

    wrong = client(sieve_ports.starttls)
    assert not wrong.connect(BOB.login, "guess", starttls=True)
    assert wrong.errmsg == b"Authentication failed."


def test_without_the_password_nobody_learns_about_the_device(
    sieve_gate: GateProcess, sieve_ports: Target, context: ssl.SSLContext
) -> None:
    """A wrong password gets the same answer whoever it is; an unknown device with the right one is refused."""
    port = sieve_ports.implicit or 0
    answers = {
        sieve.login_reply(port, context, User(login, "guess"))
        for login in (ALICE.login, BOB.login, CAROL.login, "nobody-here@example.com")
    }
    assert answers == {b'NO "Authentication failed."'}
    assert sieve.login_reply(port, context, CAROL).startswith(b'NO "Mail is paused: ')
    assert sieve_gate.is_ready()


@pytest.mark.parametrize("initial", [True, False], ids=["initial", "asked"])
@pytest.mark.parametrize("mechanism", ["XOAUTH2", "OAUTHBEARER"])
@pytest.mark.parametrize("good", [True, False], ids=["good", "bad"])
def test_bearer_tokens_are_judged_by_the_mail_server(
    target: Target, context: ssl.SSLContext, mechanism: str, initial: bool, good: bool
) -> None:
    """In a literal or when asked; the error comes first and waits for its answer (RFC 7628 §3.2.3)."""
    token = access_token(ALICE.login) if good else "rubbish"
    start = f"user={ALICE.login}" if mechanism == "XOAUTH2" else f"n,a={ALICE.login},"
    response = base64.b64encode(f"{start}\x01auth=Bearer {token}\x01\x01".encode())
    with Wire(target.starttls) as wire:
        sieve.reply(wire)
        assert sieve.ask(wire, b"STARTTLS")[-1].startswith(b"OK")
        wire.start_tls(context)
        assert sieve.reply(wire)[-1].startswith(b"OK")
        command = f'AUTHENTICATE "{mechanism}"'.encode()
        if initial:
            answer = sieve.exchange(wire, command + b" {%d+}\r\n" % len(response) + response)
        else:
            assert sieve.exchange(wire, command) == b'""'
            answer = sieve.exchange(wire, b'"' + response + b'"')
        if good:
            assert answer.startswith(b"OK")
        else:
            assert b"status" in base64.b64decode(answer.strip(b'"'))
            assert sieve.exchange(wire, b'"AQ=="').startswith(b"NO")


def test_credentials_before_tls_are_not_used(sieve_gate: GateProcess, sieve_ports: Target) -> None:
    """NO (ENCRYPT-NEEDED), no mechanism on offer, and a record."""
    before = len(coded(sieve_gate.audit_records(), "GK1012W"))
    with Wire(sieve_ports.starttls) as wire:
        greeting = sieve.reply(wire)
        assert b'"SASL" ""' in greeting
        assert b'"STARTTLS"' in greeting
        assert sieve.ask(wire, sieve.authenticate(ALICE))[-1].startswith(b"NO (ENCRYPT-NEEDED) ")
    sieve_gate.wait_for_records(before + 1, lambda record: bool(coded([record], "GK1012W")))


def test_t04_bytes_slipped_in_before_tls_end_the_connection(sieve_gate: GateProcess, sieve_ports: Target) -> None:
    """A command that follows STARTTLS in the same piece is never answered."""
    assert sieve_gate.is_ready()
    with Wire(sieve_ports.starttls) as wire:
        sieve.reply(wire)
        wire.send(b'STARTTLS\r\nNOOP "injected"\r\n')
        assert b"injected" not in wire.rest(within=5)


def test_before_the_log_in_the_gate_offers_what_dovecot_offers(
    sieve_gate: GateProcess, sieve_ports: Target, server: Dovecot, context: ssl.SSLContext
) -> None:
    """Implementation, extensions, version as they are; XCLIENT and other ways stay here."""
    assert sieve_gate.is_ready()
    with Wire(server.sieve_port) as direct, sieve.greeted(sieve_ports.implicit or 0, context) as gate:
        said = sieve.reply(direct)
        heard = sieve.ask(gate, b"CAPABILITY")
    assert b'"XCLIENT"' in said
    ways = (b'"SASL"', b'"STARTTLS"', b'"XCLIENT"', b"OK")
    assert sorted(line for line in heard if not line.startswith(ways)) == sorted(
        line for line in said if not line.startswith(ways)
    )
    assert [line for line in heard if line.startswith(ways)] == [
        b'"SASL" "PLAIN LOGIN XOAUTH2 OAUTHBEARER"',
        b'OK "Done."',
    ]


def test_nobody_logs_in_again(sieve_gate: GateProcess, sieve_ports: Target, context: ssl.SSLContext) -> None:
    """What belongs before the log-in is over with it, and UNAUTHENTICATE is nothing that Dovecot knows."""
    assert sieve_gate.is_ready()
    with sieve.greeted(sieve_ports.implicit or 0, context) as wire:
        assert sieve.ask(wire, b'AUTHENTICATE "PLAIN" "' + plain(ALICE) + b'"')[-1].startswith(b"OK")
        ways = (
            b"UNAUTHENTICATE",
            b'AUTHENTICATE "PLAIN" "' + plain(BOB) + b'"',
            b"STARTTLS",
            b"XCLIENT ADDR=192.0.2.1",
        )
        for way in ways:
            assert sieve.ask(wire, way)[-1].startswith(b"NO"), way
        assert sieve.ask(wire, b"NOOP")[-1].startswith(b"OK")


def test_dovecot_is_told_whose_connection_it_is(
    sieve_gate: GateProcess, sieve_ports: Target, server: Dovecot, context: ssl.SSLContext
) -> None:
    """By XCLIENT: its log names the client's address, and our connection's id as the session."""
    assert sieve_gate.is_ready()
    log_in_from("127.0.0.77", sieve_ports.implicit or 0, context)
    eventually(
        lambda: re.search(
            r"Login: user=<alice@example.com>, .*rip=127\.0\.0\.77,.* session=<[0-9a-f]{8}>", server.log()
        ),
        within=15,
        what=server.log,
    )


@pytest.mark.parametrize("way", ["proxy", "proxy-v2", "starttls"])
def test_other_ways_to_dovecot(
    way: str,
    make_gate: MakeGate,
    configuration: Callable[..., dict[str, object]],
    server: Dovecot,
    servers_ca: Authority,
    context: ssl.SSLContext,
) -> None:
    """A PROXY header in front, or STARTTLS with its certificate verified."""
    settings = (
        configuration(upstream(server.sieve_proxied_port), way)
        if way != "starttls"
        else configuration(upstream(server.sieve_port, mode="starttls", ca=servers_ca.ca_file))
    )
    port = free_port()
    settings["listener"] = [{"name": "s", "protocol": "sieve", "bind": f"{LOOPBACK}:{port}", "tls": "implicit"}]
    gate = make_gate(settings)
    assert sieve.login_reply(port, context, ALICE).startswith(b"OK")
    assert sieve.login_reply(port, context, BOB).startswith(b'NO "Mail is paused')

    if way != "starttls":
        address = "127.0.0.78" if way == "proxy" else "127.0.0.79"
        log_in_from(address, port, context)
        eventually(lambda: f"rip={address}," in server.log(), within=15, what=server.log)
    assert b'gatekeeper_decisions_total{phase="none",protocol="sieve"' in gate.get("/metrics").body
    assert gate.cli("config", "check").returncode == 0


def test_doctor_asks_the_mail_server(sieve_gate: GateProcess) -> None:
    """By ManageSieve; it says what it takes."""
    looked = sieve_gate.cli("doctor")
    line = next(line for line in looked.stdout.splitlines() if "mail server sieve" in line)
    assert line.startswith("ok")
    assert "LOGIN, OAUTHBEARER, PLAIN, XOAUTH2" in line


def test_a_mail_server_that_is_down_is_a_temporary_failure(
    make_gate: MakeGate, configuration: Callable[..., dict[str, object]], context: ssl.SSLContext
) -> None:
    """NO (TRYLATER) with a fixed text."""
    port = free_port()
    settings = configuration(upstream(free_port()))
    settings["listener"] = [{"name": "s", "protocol": "sieve", "bind": f"{LOOPBACK}:{port}", "tls": "implicit"}]
    make_gate(settings)
    assert sieve.login_reply(port, context, ALICE).startswith(b"NO (TRYLATER) ")


def test_acting_as_somebody_else_is_refused(
    sieve_gate: GateProcess, sieve_ports: Target, context: ssl.SSLContext
) -> None:
    """Before the mail server hears of it."""
    assert sieve_gate.is_ready()
    with sieve.greeted(sieve_ports.implicit or 0, context) as wire:
        answer = sieve.ask(wire, b'AUTHENTICATE "PLAIN" "' + plain(BOB, authzid=ALICE.login) + b'"')
    assert answer == [b'NO "Acting as another user is not allowed."']
