"""Two workers behind one port: shared tickets, one reload, cuts everywhere, a worker's death, the drain."""

import json
import os
import signal
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from testkit.bed import ALICE, ALICE_PHONE, BOB
from testkit.dovecot import Dovecot, User
from testkit.gate import ENFORCED, NOT_YET, GateProcess, Record, code, coded, detail, policy, terminal_count, upstream
from testkit.inventory import TIKTOK, device
from testkit.ports import LOOPBACK, free_port
from testkit.recorder import Recorder, Script
from testkit.sessions import imap_greeted, imap_login_reply, imap_session, login_command
from testkit.tls import Authority
from testkit.waiting import eventually
from testkit.wire import Wire

MakeGate = Callable[..., GateProcess]
WORKERS = 2
WITHIN_S = 2.0
MANY = 24
"""Connections: that the kernel gives all of them to one of two workers happens once in eight million runs."""


@pytest.fixture
def served(make_gate: MakeGate, dovecot: Dovecot) -> Callable[..., GateProcess]:
    """Return a maker of gates with two workers in front of Dovecot."""

    def make(changes: Mapping[str, object] | None = None, *, policy_text: str | None = None) -> GateProcess:
        return make_gate(
            {
                "server": {"workers": WORKERS},
                "upstream": {"imap": upstream(dovecot.imap_port), "smtp": upstream(free_port())},
                "audit": {"fold": "0s", "client_address": "full"},
                **(changes or {}),
            },
            policy_text=policy_text,
        )

    return make


def _worker_of(record: Record) -> str:
    return str(detail(record)["log"]).rpartition("/")[2]


def _workers(gate: GateProcess) -> dict[str, dict[str, object]]:
    done = gate.cli("status", "--json")
    assert done.returncode == 0, done.stderr
    found: dict[str, dict[str, object]] = json.loads(done.stdout)["workers"]
    return found


def _pids(gate: GateProcess) -> list[int]:
    return [int(str(one["pid"])) for one in _workers(gate).values()]


def _sessions_on_both(gate: GateProcess, context: ssl.SSLContext, user: User) -> list[Wire]:
    """Open sessions until each worker has some."""
    wires = [imap_session(gate.ports.imaps, context, user) for _ in range(6)]
    while not all(one["sessions"] for one in _workers(gate).values()):
        assert len(wires) < MANY, _workers(gate)
        wires += [imap_session(gate.ports.imaps, context, user) for _ in range(3)]
    return wires


def _are_let_in(gate: GateProcess, context: ssl.SSLContext, user: User) -> bool:
    """Whether every worker lets the user in: each follows the store by itself."""
    return all(imap_login_reply(gate.ports.imaps, context, user).startswith(b"OK") for _ in range(MANY))


def _assert_all_cut(wires: list[Wire], since: float) -> None:
    for wire in wires:
        wire.rest(within=WITHIN_S + 3)
        took = time.monotonic() - since
        wire.close()
        assert took < WITHIN_S, f"cut only after {took:.2f} s"


# Shared port and tickets.


def _visit(
    port: int, context: ssl.SSLContext, session: ssl.SSLSession | None
) -> tuple[bool, int, ssl.SSLSession | None]:
    """Connect, log out; whether the session was resumed, our port, and the session to resume next time."""
    with (
        socket.create_connection((LOOPBACK, port), timeout=10) as sock,
        context.wrap_socket(sock, server_hostname="localhost", session=session) as tls,
    ):
        assert tls.recv(1000).startswith(b"* OK")
        tls.sendall(b"x LOGOUT\r\n")
        with suppress(OSError):
            while tls.recv(1000):
                pass
        return bool(tls.session_reused), int(tls.getsockname()[1]), tls.session


def _visited(gate: GateProcess, ports: list[int]) -> Counter[str]:
    """Return how many of the connections from these ports each worker had."""

    def found() -> list[Record]:
        records = [one for one in gate.audit_records() if code(one) == "GK1104I"]
        mine = [one for one in records if one["src_endpoint"]["port"] in ports]
        return mine if len(mine) >= len(ports) else []  # an earlier connection may have had one of these ports

    return Counter(map(_worker_of, eventually(found, within=15, what="a record of each connection")))


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
def test_a_ticket_is_good_with_every_worker(
    served: Callable[..., GateProcess], servers_ca: Authority, version: ssl.TLSVersion
) -> None:
    """Also one of a certificate that a reload brought; a ticket of the certificate before is refused by all."""
    gate = served()
    context = servers_ca.client_context()
    context.maximum_version = version

    def resumed(session: ssl.SSLSession) -> set[bool]:
        visits = [_visit(gate.ports.imaps, context, session) for _ in range(MANY)]
        assert set(_visited(gate, [port for _, port, _ in visits])) == {"worker-1", "worker-2"}
        return {is_resumed for is_resumed, _, _ in visits}

    _, _, session = _visit(gate.ports.imaps, context, None)
    assert session is not None
    assert resumed(session) == {True}

    renewed_certificate = servers_ca.server_certificate("renewed")
    gate.certificate.private_key.write_bytes(renewed_certificate.private_key.read_bytes())
    gate.certificate.certificate.write_bytes(renewed_certificate.certificate.read_bytes())
    done = gate.cli("reload")
    assert done.returncode == 0, done.stderr
    assert resumed(session) == {False}
    _, _, renewed = _visit(gate.ports.imaps, context, None)
    assert renewed is not None
    assert resumed(renewed) == {True}


# Reload.


def _certificates(gate: GateProcess, context: ssl.SSLContext) -> set[bytes]:
    found = set()
    for _ in range(MANY):
        with (
            socket.create_connection((LOOPBACK, gate.ports.imaps), timeout=10) as sock,
            context.wrap_socket(sock, server_hostname="localhost") as tls,
        ):
            der = tls.getpeercert(binary_form=True)
            assert der is not None
            found.add(der)
    return found


def test_a_bad_reload_changes_nothing_anywhere(
    served: Callable[..., GateProcess], servers_ca: Authority, context: ssl.SSLContext
) -> None:
    """A certificate that does not fit its key: told by the command, recorded once, the old one shown by all."""
    gate = served(policy_text=policy(NOT_YET))
    before = _certificates(gate, context)
    good = gate.certificate.private_key.read_bytes()
    gate.certificate.private_key.write_bytes(servers_ca.server_certificate("other").private_key.read_bytes())
    gate.replace_policy(policy(ENFORCED))
    done = gate.cli("reload")
    assert done.returncode == 78
    assert "nothing was changed" in done.stderr
    gate.reload()  # as by SIGHUP
    eventually(lambda: len(coded(gate.audit_records(), "GK3031W")) == 2, within=15)

    assert _certificates(gate, context) == before
    assert imap_login_reply(gate.ports.imaps, context, BOB).startswith(b"OK")
    assert 'gatekeeper_reloads_total{outcome="rejected"} 2.0' in gate.get("/metrics").body.decode()
    gate.certificate.private_key.write_bytes(good)
    assert gate.cli("reload").returncode == 0
    replies = {imap_login_reply(gate.ports.imaps, context, BOB)[:16] for _ in range(MANY // 2)}
    assert replies == {b"NO [UNAVAILABLE]"}
    loaded = gate.wait_for_records(WORKERS, lambda record: code(record) == "GK3030I")
    assert Counter(map(_worker_of, loaded)) == {"worker-1": 1, "worker-2": 1}


def test_a_listener_that_a_reload_brings_is_shared_too(
    served: Callable[..., GateProcess], servers_ca: Authority
) -> None:
    """Both workers accept there; one that it takes away is closed by both."""
    gate = served()
    context = servers_ca.client_context()
    port = free_port()
    listeners = gate.configuration["listener"]
    assert isinstance(listeners, list)
    more = {"name": "more", "protocol": "imap", "bind": f"{LOOPBACK}:{port}", "tls": "implicit"}
    gate.write_configuration({**gate.configuration, "listener": [*listeners[1:], more]})
    done = gate.cli("reload")
    assert done.returncode == 0, done.stderr

    visits = [_visit(port, context, None)[1] for _ in range(MANY)]
    assert set(_visited(gate, visits)) == {"worker-1", "worker-2"}
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((LOOPBACK, gate.ports.imaps))


# Live sessions.


def test_a_new_policy_cuts_on_every_worker(served: Callable[..., GateProcess], context: ssl.SSLContext) -> None:
    """Within two seconds of SIGHUP."""
    gate = served(policy_text=policy(NOT_YET))
    wires = _sessions_on_both(gate, context, BOB)
    gate.replace_policy(policy(ENFORCED))
    since = time.monotonic()
    gate.reload()
    _assert_all_cut(wires, since)
    eventually(lambda: len(coded(gate.audit_records(), "GK1101W")) == len(wires), within=15)
    assert set(map(_worker_of, coded(gate.audit_records(), "GK1101W"))) == {"worker-1", "worker-2"}


def test_what_is_put_on_record_cuts_on_every_worker(
    served: Callable[..., GateProcess], context: ssl.SSLContext
) -> None:
    """An import with a denied app, and a forgotten device; each is recorded once."""
    gate = served()
    wires = _sessions_on_both(gate, context, ALICE)
    gate.import_inventory(device(ALICE_PHONE, ALICE.login, TIKTOK))
    _assert_all_cut(wires, time.monotonic())
    gate.import_inventory(device(ALICE_PHONE, ALICE.login))
    eventually(lambda: _are_let_in(gate, context, ALICE), within=15, what="the removal, with every worker")
    wires = _sessions_on_both(gate, context, ALICE)
    assert gate.cli("device", "forget", ALICE_PHONE).returncode == 0
    _assert_all_cut(wires, time.monotonic())
    gate.wait_for_record(lambda record: code(record) == "GK4014I")
    gate.wait_for_records(2, lambda record: code(record) == "GK4012I")
    records = gate.audit_records()
    assert len(coded(records, "GK4012I")) == 2
    assert len(coded(records, "GK4014I")) == 1


# A worker's death, the drain, the parent's death.


def test_a_killed_worker_loses_nothing_that_was_acknowledged(
    make_gate: MakeGate, record: Callable[[Script], Recorder], context: ssl.SSLContext
) -> None:
    """Log-ins go on, the other worker accepts what waits for the dead one, and it is back; all of it is on record."""
    server = record(Script(passwords={ALICE.login: ALICE.password}))
    gate = make_gate(
        {
            "server": {"workers": WORKERS},
            "upstream": {"imap": upstream(server.port), "smtp": upstream(server.port)},
            "audit": {"fold": "0s"},
        }
    )
    allowed, failed, may_log_in = threading.Semaphore(0), threading.Semaphore(0), threading.Semaphore(0)
    seen = Counter[str]()
    lock = threading.Lock()

    def log_in() -> None:
        while may_log_in.acquire(timeout=60):
            outcome, told = "failed", failed
            with suppress(OSError, AssertionError), closing(Wire(gate.ports.imaps, context)) as wire:
                wire.line()
                reply = wire.imap(b"in " + login_command(ALICE))
                if reply and reply[-1].startswith(b"in OK"):
                    outcome, told = "allowed", allowed
            with lock:
                seen[outcome] += 1
            told.release()

    def log_ins(count: int) -> None:
        may_log_in.release(count)

    for _ in range(3):
        threading.Thread(target=log_in, daemon=True).start()
    deaths = 3
    for death in range(deaths):
        pid = _pids(gate)[death % WORKERS]
        log_ins(20)
        for _ in range(5):
            assert allowed.acquire(timeout=60), gate.log()
        os.kill(pid, signal.SIGKILL)
        for _ in range(5):
            assert allowed.acquire(timeout=60), gate.log()
        gate.wait_for_records(death + 1, lambda record: code(record) == "GK9010E")  # else it may still be called up
        eventually(lambda: all(one["state"] == "up" for one in _workers(gate).values()), within=60, what=gate.log)
    eventually(lambda: seen.total() == deaths * 20, within=60, what=lambda: str(seen))
    metrics = gate.get("/metrics").body.decode()
    assert gate.stop() == 0
    records = gate.audit_records()
    admitted = coded(records, "GK1001I")
    assert set(map(_worker_of, admitted)) == {"worker-1", "worker-2"}
    assert seen["allowed"] <= len(admitted) <= seen.total()
    assert seen["failed"] <= deaths * 3  # only those that the dead worker had
    assert Counter(detail(one)["how"] for one in coded(records, "GK9010E")) == {"was killed by SIGKILL": deaths}
    assert 'gatekeeper_worker_deaths_total{worker="1"} 2.0' in metrics
    assert 'gatekeeper_worker_deaths_total{worker="2"} 1.0' in metrics
    verified = gate.cli("audit", "verify")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    assert verified.stdout.count("RESULT     SOUND") == WORKERS


def test_metrics_add_up(served: Callable[..., GateProcess], context: ssl.SSLContext) -> None:
    """What all workers counted, behind one port, also of a worker that is gone."""
    gate = served()
    wires = _sessions_on_both(gate, context, ALICE)

    def figure(name: str) -> float:
        lines = [line for line in gate.get("/metrics").body.decode().splitlines() if line.startswith(name + " ")]
        return float(lines[0].rpartition(" ")[2])

    allowed = 'gatekeeper_decisions_total{phase="none",protocol="imap",reason="clean",verdict="allow"}'
    assert figure("gatekeeper_sessions_active") == len(wires)
    assert figure('gatekeeper_connections_total{listener="imaps"}') == len(wires)
    assert figure(allowed) == len(wires)
    os.kill(_pids(gate)[1], signal.SIGKILL)
    gate.wait_for_record(lambda record: code(record) == "GK9010E")
    left = int(figure("gatekeeper_sessions_active"))
    assert 0 < left < len(wires)
    assert figure(allowed) == len(wires)
    (death,) = coded(gate.audit_records(), "GK9010E")
    assert detail(death)["sessions_n"] == detail(death)["connections_n"] == len(wires) - left
    for wire in wires:
        wire.close()


def test_a_guess_slows_further_ones_on_every_worker(
    served: Callable[..., GateProcess], record: Callable[[Script], Recorder], context: ssl.SSLContext
) -> None:
    """Whichever worker the next attempts come to: none of them is tried before the delay is over."""
    server = record(Script(passwords={ALICE.login: ALICE.password}))  # says no at once, unlike Dovecot
    upstreams = {"imap": upstream(server.port), "smtp": upstream(server.port)}
    gate = served({"throttle": {"first_delay": "15s", "max_delay": "15s"}, "upstream": upstreams})
    wrong = replace(ALICE, password="wrong")
    wires = [imap_greeted(gate.ports.imaps, context) for _ in range(MANY)]
    wires[0].send(b"in " + login_command(wrong) + b"\r\n")
    gate.wait_for_record(lambda record: code(record) == "GK1011W")
    for wire in wires[1:]:
        wire.send(b"in " + login_command(wrong) + b"\r\n")

    def held() -> bool:
        lines = gate.get("/metrics").body.decode().splitlines()
        (line,) = (line for line in lines if line.startswith("gatekeeper_logins_throttled_total "))
        return float(line.rpartition(" ")[2]) >= MANY

    eventually(held, within=15)
    assert "gatekeeper_logins_failed_total 1.0" in gate.get("/metrics").body.decode()
    assert len(coded(gate.audit_records(), "GK1011W")) == 1
    for wire in wires:
        wire.close()


def test_limits_hold_over_all_workers(served: Callable[..., GateProcess], context: ssl.SSLContext) -> None:
    """As many connections from one address as are allowed, however they are spread; a dead worker's count no more."""
    limit = MANY  # as many as it may take until each worker has some
    gate = served({"limits": {"max_per_address": limit, "max_waiting_per_address": limit}})
    wires = _sessions_on_both(gate, context, ALICE)
    wires += [imap_session(gate.ports.imaps, context, ALICE) for _ in range(limit - len(wires))]
    for _ in range(MANY // 2):
        with pytest.raises(OSError):
            Wire(gate.ports.imaps, context)
    os.kill(_pids(gate)[0], signal.SIGKILL)
    gate.wait_for_record(lambda record: code(record) == "GK9010E")
    imap_session(gate.ports.imaps, context, ALICE).close()
    for wire in wires:
        wire.close()


def test_a_drain_ends_the_sessions_of_all(served: Callable[..., GateProcess], context: ssl.SSLContext) -> None:
    """SIGTERM to every process of the group, as a service manager does: within the window, exit code 0."""
    gate = served()
    wires = _sessions_on_both(gate, context, ALICE)
    pids = _pids(gate)
    since = time.monotonic()
    gate.signal(signal.SIGTERM)
    for pid in pids:
        os.kill(pid, signal.SIGTERM)
    for wire in wires:
        wire.rest(within=10)
        wire.close()
    assert gate.wait(10) == 0
    assert time.monotonic() - since < 6
    records = gate.audit_records()
    assert terminal_count(records) == len(wires)
    assert len(coded(records, "GK9003I")) == WORKERS
    assert not coded(records, "GK9010E")


def _is_over(pid: int) -> bool:
    """Whether a process has ended, be it that nobody has taken note of it."""
    try:
        return ") Z " in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return True


def test_workers_end_with_their_parent(served: Callable[..., GateProcess], context: ssl.SSLContext) -> None:
    """They drain, and close their logs."""
    gate = served()
    pids = _pids(gate)
    gate.kill()
    eventually(lambda: len(coded(gate.audit_records(), "GK9003I")) == WORKERS, within=15)
    eventually(lambda: all(_is_over(pid) for pid in pids), within=15)
    gate.start()
    assert imap_login_reply(gate.ports.imaps, context, ALICE).startswith(b"OK")
