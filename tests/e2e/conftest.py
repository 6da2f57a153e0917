"""The bed of the end-to-end tests: real mail servers once per run, a gate in front of them, gates of one's own.

Client tests take `target` and run twice: straight at the mail servers, which proves that the test is right, and through
the gate, which must make no difference.
"""

import itertools
import os
import shutil
import ssl
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from testkit import dovecot as dovecot_server
from testkit import postfix as postfix_server
from testkit.bed import ALICE, ALICE_PHONE, BOB, BOB_PHONE, EVERYBODY, SPARE, Target
from testkit.dovecot import Dovecot, User
from testkit.gate import GateProcess, upstream
from testkit.inventory import TIKTOK, device
from testkit.parity_bed import ParityBed
from testkit.ports import free_port
from testkit.postfix import Postfix
from testkit.recorder import Recorder, Script
from testkit.tls import Authority, KeyPair
from testkit.wire import Wire

MakeGate = Callable[..., GateProcess]


@pytest.fixture(autouse=True)
def _close_wires() -> Iterator[None]:
    """Close what a failed test left open."""
    yield
    for wire in tuple(Wire.open):
        wire.close()


@pytest.fixture(scope="session")
def bed_directory() -> Iterator[Path]:
    """Return a directory that mail servers' own users may enter (pytest's are private)."""
    directory = Path(tempfile.mkdtemp(prefix="gk-bed-"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def servers_ca(bed_directory: Path) -> Authority:
    """Return the CA of the mail servers and of the gate."""
    return Authority(bed_directory, "servers")


@pytest.fixture(scope="session")
def devices_ca(bed_directory: Path) -> Authority:
    """Return the CA that issues the devices' certificates."""
    return Authority(bed_directory, "devices")


@pytest.fixture(scope="session")
def foreign_ca(bed_directory: Path) -> Authority:
    """Return a CA that nobody was told to trust."""
    return Authority(bed_directory, "foreign")


@pytest.fixture(scope="session")
def mail_certificate(servers_ca: Authority) -> KeyPair:
    """Return the mail servers' certificate."""
    return servers_ca.server_certificate("mail")


@pytest.fixture(scope="session")
def relay_port() -> int:
    """Return the port on which Postfix takes what Dovecot relays."""
    return free_port()


@pytest.fixture(scope="session")
def dovecot(mail_certificate: KeyPair, relay_port: int) -> Iterator[Dovecot]:
    """Run a Dovecot for the whole test run."""
    if dovecot_server.PROGRAM is None:
        pytest.skip("Dovecot is not installed")
    server = Dovecot(mail_certificate, EVERYBODY, relay_port=relay_port)
    yield server
    server.stop()


@pytest.fixture(scope="session")
def postfix(mail_certificate: KeyPair, dovecot: Dovecot, relay_port: int) -> Iterator[Postfix]:
    """Run a Postfix for the whole test run."""
    if postfix_server.PROGRAM is None:
        pytest.skip("Postfix is not installed")
    if os.getuid() != 0:
        pytest.skip("Postfix's master must be started by root")
    ports = (free_port(), free_port(), free_port())
    server = Postfix(mail_certificate, dovecot, EVERYBODY, relay_port=relay_port, ports=ports)
    yield server
    server.stop()


@pytest.fixture(scope="session")
def make_lasting_gate(bed_directory: Path, servers_ca: Authority, devices_ca: Authority) -> Iterator[MakeGate]:
    """Return a maker of gates that live as long as the test run."""
    numbers = itertools.count(1)
    made: list[GateProcess] = []

    def make(changes: Mapping[str, object], *, policy_text: str | None = None) -> GateProcess:
        directory = bed_directory / f"gate-{next(numbers)}"
        directory.mkdir()
        gate = GateProcess(directory, servers_ca, devices_ca, changes, policy_text=policy_text)
        made.append(gate)
        return gate

    yield make
    for gate in made:
        gate.discard()


@pytest.fixture(scope="module")
def make_gate_anywhere(make_lasting_gate: MakeGate) -> Iterator[MakeGate]:
    """Return a maker of gates that live no longer than the tests of one file: also an idle one costs time."""
    made: list[GateProcess] = []

    def make(changes: Mapping[str, object], *, policy_text: str | None = None) -> GateProcess:
        made.append(make_lasting_gate(changes, policy_text=policy_text))
        return made[-1]

    yield make
    for gate in made:
        gate.discard()


@pytest.fixture(scope="session")
def stocked_store(make_lasting_gate: MakeGate) -> Path:
    """Return a database with ALICE's and BOB's phones, to be copied: importing it each time costs a process."""
    gate = make_lasting_gate({"upstream": {"imap": upstream(143), "smtp": upstream(25)}})
    gate.import_inventory(device(ALICE_PHONE, ALICE.login), device(BOB_PHONE, BOB.login, TIKTOK))
    return gate.store_file


@pytest.fixture
def make_gate(make_gate_anywhere: MakeGate, stocked_store: Path) -> Iterator[MakeGate]:
    """Return a maker of started gates, with ALICE's and BOB's phones on record, that end with the test."""
    made: list[GateProcess] = []

    def make(changes: Mapping[str, object], *, policy_text: str | None = None) -> GateProcess:
        gate = make_gate_anywhere(changes, policy_text=policy_text)
        made.append(gate)
        shutil.copy(stocked_store, gate.store_file)
        gate.start()
        return gate

    yield make
    for gate in made:
        gate.discard()


@pytest.fixture(scope="session")
def gate(make_lasting_gate: MakeGate, dovecot: Dovecot, postfix: Postfix) -> GateProcess:
    """Run a gate in front of Dovecot and Postfix for the whole test run; nobody changes its policy or devices."""
    servers = {"imap": dovecot.imap_port, "smtp": postfix.clear_port}
    gate = make_lasting_gate({"upstream": {name: upstream(port) for name, port in servers.items()}})
    gate.start()
    gate.register(
        device(ALICE_PHONE, ALICE.login),
        device(BOB_PHONE, BOB.login, TIKTOK),
        *(device(f"ph-{number:02}", user.login) for number, user in enumerate(SPARE)),
    )
    return gate


@pytest.fixture(scope="session")
def direct_target(dovecot: Dovecot, postfix: Postfix, servers_ca: Authority) -> Target:
    """Return the mail servers themselves."""
    return Target(
        "direct",
        dovecot.imaps_port,
        dovecot.imap_port,
        postfix.submissions_port,
        postfix.submission_port,
        servers_ca.ca_file,
    )


@pytest.fixture(params=["direct", "gate"])
def target(request: pytest.FixtureRequest, direct_target: Target, servers_ca: Authority) -> Target:
    """Return where to connect to: the mail servers themselves, then the gate."""
    if request.param == "direct":
        return direct_target
    ports = request.getfixturevalue("gate").ports
    return Target("gate", ports.imaps, ports.imap, ports.submissions, ports.submission, servers_ca.ca_file)


@pytest.fixture(scope="session")
def parity_bed(mail_certificate: KeyPair, servers_ca: Authority, make_lasting_gate: MakeGate) -> Iterator[ParityBed]:
    """Run two equal Dovecots, one of them behind a gate, for the whole test run."""
    if dovecot_server.PROGRAM is None:
        pytest.skip("Dovecot is not installed")
    bed = ParityBed(mail_certificate, servers_ca, make_lasting_gate)
    yield bed
    bed.stop()


@pytest.fixture
def context(servers_ca: Authority) -> ssl.SSLContext:
    """Return a client's context that trusts the servers and shows no certificate."""
    return servers_ca.client_context()


@pytest.fixture
def record() -> Iterator[Callable[[Script], Recorder]]:
    """Return a starter of recorded upstreams that end with the test."""
    started: list[Recorder] = []

    def start(script: Script) -> Recorder:
        recorder = Recorder(script)
        started.append(recorder)
        return recorder

    yield start
    for recorder in started:
        recorder.stop()


_spare = iter(SPARE)


@pytest.fixture
def spare_user() -> User:
    """Return a clean user whose mailbox no other test touches."""
    return next(_spare)


@pytest.fixture
def program() -> Callable[[str], str]:
    """Return a finder of client programs that skips the test when one is missing."""

    def find(name: str) -> str:
        found = shutil.which(name)
        if found is None:
            pytest.skip(f"{name} is not installed")
        return found

    return find
