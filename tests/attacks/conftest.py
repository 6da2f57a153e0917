"""The bed of the attacks: one gate for most of them, with recording mail servers that let everybody in."""

import itertools
import os
import shutil
import ssl
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from testkit.attack_bench import AttackedGate, AuditTail, Bench, upstreams
from testkit.inventory import TIKTOK, device
from testkit.recorder import Recorder, Script
from testkit.smtp_talks import GREETING
from testkit.tls import Authority
from testkit.toml import merged
from testkit.waiting import eventually
from testkit.wire import Wire

MakeBench = Callable[..., Bench]
FEATURES = (b"SIZE 35882577", b"8BITMIME", b"AUTH PLAIN XOAUTH2 OAUTHBEARER")
HOSTNAME = GREETING.split()[1].decode()
_MEMORY = Path("/dev/shm")
_ROOM_OCTETS = 256 * 1024 * 1024
"""Several processes' gates; those of one need some ten MiB."""

_running: list[Bench] = []


@pytest.fixture(autouse=True)
def _close_wires() -> Iterator[None]:
    """Close what a failed test left open, and let no test read another's records."""
    for bench in _running:
        bench.audit.forget()
    yield
    for wire in tuple(Wire.open):
        wire.close()


@pytest.fixture(scope="session")
def directory() -> Iterator[Path]:
    """Return a directory for all gates, in memory where there is room: a busy disk is not to answer an attack late."""
    has_room = os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free > _ROOM_OCTETS
    made = Path(tempfile.mkdtemp(prefix="gk-attacks-", dir=_MEMORY if has_room else None))
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture(scope="session")
def servers_ca(directory: Path) -> Authority:
    """Return the CA of the mail servers and of the gate."""
    return Authority(directory, "servers")


@pytest.fixture(scope="session")
def devices_ca(directory: Path) -> Authority:
    """Return the CA that issues the devices' certificates."""
    return Authority(directory, "devices")


@pytest.fixture(scope="session")
def make_lasting_bench(directory: Path, servers_ca: Authority, devices_ca: Authority) -> Iterator[MakeBench]:
    """Return a maker of started benches that end with the run."""
    numbers = itertools.count(1)

    def make(servers: Mapping[str, Recorder], changes: Mapping[str, object] | None = None) -> Bench:
        place = directory / f"gate-{next(numbers)}"
        place.mkdir()
        defaults = {
            "server": {"hostname": HOSTNAME},
            # Every attack comes from one address, and each is looked for in the log by itself.
            "audit": {"client_address": "full", "fold": "0s"},
            "limits": {"max_waiting_per_address": 10_000, "max_per_address": 100_000},
            "upstream": upstreams(dict(servers)),
        }
        gate = AttackedGate(place, servers_ca, devices_ca, merged(defaults, changes or {}))
        bench = Bench(gate, dict(servers), AuditTail(gate.audit_directory))
        _running.append(bench)
        gate.start()
        gate.register(device("ph-alice", "alice"), device("ph-bob", "bob"), device("ph-mallory", "mallory", TIKTOK))
        return bench

    yield make
    for bench in tuple(_running):
        _end(bench)


@pytest.fixture(scope="module")
def make_bench(make_lasting_bench: MakeBench) -> Iterator[MakeBench]:
    """Return a maker of started benches that end with the tests of one file: also an idle one costs time."""
    made: list[Bench] = []

    def make(servers: Mapping[str, Recorder], changes: Mapping[str, object] | None = None) -> Bench:
        made.append(make_lasting_bench(servers, changes))
        return made[-1]

    yield make
    for bench in made:
        _end(bench)


def _end(bench: Bench) -> None:
    _running.remove(bench)
    bench.gate.discard()
    for server in bench.servers.values():
        server.stop()


@pytest.fixture(scope="session")
def context(servers_ca: Authority) -> ssl.SSLContext:
    """Return a client's context that trusts the gate and shows no certificate."""
    return servers_ca.client_context()


def _recorders(script: Script, smtp: Script) -> dict[str, Recorder]:
    return {"imap": Recorder(script), "smtp": Recorder(smtp)}


@pytest.fixture(scope="session")
def choosy(make_lasting_bench: MakeBench, context: ssl.SSLContext) -> Bench:
    """Run a gate whose mail servers know one password for each account, and one token."""
    passwords = {"alice": "wonderland", "mallory": "evil"}
    made = make_lasting_bench(
        _recorders(
            Script(passwords=passwords, tokens=("good",)),
            Script(protocol="smtp", passwords=passwords, tokens=("good",), features=FEATURES),
        )
    )
    _wait_for_offers(made, context)
    return made


@pytest.fixture(scope="session")
def impatient(make_lasting_bench: MakeBench, context: ssl.SSLContext) -> Bench:
    """Run a gate with short deadlines, whose mail servers take no token."""
    made = make_lasting_bench(
        _recorders(Script(), Script(protocol="smtp", features=FEATURES)),
        {"limits": {"login_timeout": "2s", "handshake_timeout": "1s"}},
    )
    _wait_for_offers(made, context)
    return made


@pytest.fixture(scope="session")
def bench(make_lasting_bench: MakeBench, context: ssl.SSLContext) -> Bench:
    """Run the gate that most attacks share; it knows what its mail servers offer."""
    made = make_lasting_bench(
        _recorders(Script(accepts_all=True), Script(protocol="smtp", accepts_all=True, features=FEATURES))
    )
    _wait_for_offers(made, context)
    return made


def _wait_for_offers(bench: Bench, context: ssl.SSLContext) -> None:
    ports = bench.gate.ports

    def knows_the_offers() -> bool:
        with (
            Wire(ports.imaps, context) as imap,
            Wire(ports.submissions, context) as smtp,
            Wire(ports.submission) as old,
        ):
            return (
                b"AUTH=XOAUTH2" in imap.line()
                and all(wire.smtp_reply() for wire in (smtp, old))
                and all(len(wire.smtp(b"EHLO x")) > 2 for wire in (smtp, old))
            )

    eventually(knows_the_offers, within=15, what="the gate to learn its mail servers' offers")
