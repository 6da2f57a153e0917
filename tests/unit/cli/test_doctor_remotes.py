"""What `doctor` says about the places that the audit log is sent to."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from gatekeeper.adapters.sinks.shipping.settings import HttpPeer, SyslogPeer, Tls
from gatekeeper.cli.doctor_remotes import remotes
from gatekeeper.cli.findings import State
from gatekeeper.config.load import load
from testkit.audit_log import log_of, write_segments
from testkit.configuration import Configuration
from testkit.merkle import sign_log
from testkit.ports import free_port
from testkit.receivers import Certificates, HttpReceiver, SyslogReceiver, mutual
from testkit.tls import Authority


@pytest.fixture
def configuration(tmp_path: Path) -> Configuration:
    """The example with its files."""
    return Configuration(tmp_path)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """One authority for all."""
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def collector(certificates: Certificates) -> Iterator[HttpReceiver]:
    """A server that wants a certificate."""
    receiver = HttpReceiver(certificates.mutual())
    yield receiver
    receiver.stop()


def own(certificates: Certificates) -> dict[str, object]:
    return {key: str(path) for key, path in certificates.tls.files}


def examine(configuration: Configuration, audit: dict[str, object]) -> tuple[State, str, str]:
    """What is found about the one place in `audit`."""
    configuration.write({"audit": audit})
    (found,) = remotes(load(configuration.path, {}))
    return found.state, found.found, found.advice


def syslog(port: int, certificates: Certificates) -> dict[str, object]:
    return {"remote": [{"name": "siem", "kind": "syslog", "address": f"localhost:{port}", **own(certificates)}]}


def test_nothing_is_said_where_nothing_is_sent(configuration: Configuration) -> None:
    """Most gates have no remote."""
    assert remotes(load(configuration.path, {})) == []


def test_a_receiver_that_answers(configuration: Configuration, certificates: Certificates) -> None:
    """It gets no message."""
    receiver = SyslogReceiver(certificates.mutual())
    try:
        state, found, _ = examine(configuration, syslog(receiver.port, certificates))
    finally:
        receiver.stop()
    assert state is State.OK
    assert "its certificate is good" in found
    assert receiver.messages == []


def test_a_receiver_that_is_not_there_or_refuses_us(
    configuration: Configuration, certificates: Certificates, tmp_path: Path
) -> None:
    """With what to do."""
    state, found, advice = examine(configuration, syslog(free_port(), certificates))
    assert (state, found.partition(": ")[2]) == (State.FAIL, "Connection refused")
    assert "is it running" in advice
    receiver = SyslogReceiver(mutual(certificates.server, Authority(tmp_path, "strangers")))
    try:
        state, found, advice = examine(configuration, syslog(receiver.port, certificates))
    finally:
        receiver.stop()
    assert state is State.FAIL


def test_a_receiver_that_cannot_prove_itself(
    configuration: Configuration, certificates: Certificates, tmp_path: Path
) -> None:
    """The certificate is to blame, and said so."""
    receiver = SyslogReceiver(mutual(Authority(tmp_path, "strangers").server_certificate("r"), certificates.authority))
    try:
        state, found, advice = examine(configuration, syslog(receiver.port, certificates))
    finally:
        receiver.stop()
    assert state is State.FAIL
    assert "its certificate is not good" in found
    assert "`ca`" in advice


@pytest.mark.parametrize(
    ("status", "state", "advice"),
    [
        (200, State.OK, ""),
        (401, State.FAIL, "token_file"),
        (404, State.FAIL, "url"),
        (503, State.FAIL, "log"),
        (400, State.WARN, "status"),
    ],
)
def test_an_http_server_is_sent_an_empty_batch(
    configuration: Configuration,
    certificates: Certificates,
    collector: HttpReceiver,
    status: int,
    state: State,
    advice: str,
) -> None:
    """And its answer is read."""
    collector.answers.status = status
    remote = {"name": "c", "kind": "http", "url": collector.url, **own(certificates)}
    found = examine(configuration, {"remote": [remote]})
    assert found[0] is state
    assert advice in found[2]
    assert [posted.body for posted in collector.posted] == [b""]


def test_a_witness_refuses_an_empty_request(
    configuration: Configuration, certificates: Certificates, collector: HttpReceiver
) -> None:
    """Which shows that it is one."""
    head = {"name": "w", "kind": "witness", "url": collector.url, **own(certificates)}
    collector.answers.status = 400
    assert examine(configuration, {"checkpoint": [head]})[0] is State.OK
    collector.answers.status = 404
    assert examine(configuration, {"checkpoint": [head]})[0] is State.FAIL


def test_a_place_of_heads_is_sent_the_published_one(
    configuration: Configuration, certificates: Certificates, collector: HttpReceiver
) -> None:
    """Nothing while there is none."""
    head = {"name": "auditors", "kind": "http", "url": collector.url, **own(certificates)}
    assert examine(configuration, {"checkpoint": [head]})[0] is State.WARN
    assert collector.posted == []
    log = configuration.directory / "var" / "audit"
    write_segments(log, log_of(10))
    sign_log(log)
    assert examine(configuration, {"checkpoint": [head]})[0] is State.OK
    assert collector.posted[0].body == (log / "checkpoint").read_bytes()


def test_a_directory_on_the_same_disk_is_no_other_place(configuration: Configuration, tmp_path: Path) -> None:
    """One that cannot be written is a failure."""
    (configuration.directory / "var" / "audit").mkdir(parents=True)
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    audit: dict[str, object] = {"checkpoint": [{"name": "auditors", "kind": "file", "path": str(shelf)}]}
    state, found, _ = examine(configuration, audit)
    assert state is State.WARN
    assert "same file system" in found
    configuration.write({"audit": audit})
    settings = load(configuration.path, {})
    shelf.rmdir()
    assert remotes(settings)[0].state is State.FAIL


def test_the_kinds_are_all_there() -> None:
    """A place says where it is."""
    assert SyslogPeer(host="h", port=1, tls=None).place == "h:1"
    assert HttpPeer(url="https://a/", tls=Tls()).place == "https://a/"
