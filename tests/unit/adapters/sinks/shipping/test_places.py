"""Places of signed heads: files, an HTTP server, a syslog receiver, a witness that checks what it signs."""

import json
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner

from gatekeeper.adapters.sinks.directory import AuditLogError
from gatekeeper.adapters.sinks.shipping.channel import PeerFailed, Refused
from gatekeeper.adapters.sinks.shipping.places import FileCopies, HttpCopies, SyslogCopies, Witness, file_name
from gatekeeper.adapters.sinks.shipping.settings import HttpPeer, SyslogPeer
from gatekeeper.adapters.sinks.tiles import read_checkpoint_file
from gatekeeper.audit.checkpoint import Checkpoint, read_checkpoint
from gatekeeper.audit.cosignature import CosignerKey
from gatekeeper.cli.audit import audit
from testkit.audit_log import ORIGIN, log_of, write_segments
from testkit.merkle import KEY, OTHER_KEY, sign_log
from testkit.receivers import Certificates, HttpReceiver, Posted, SyslogReceiver

LOG = log_of(600)
FILE = "tests.example=2faudit=2f1"


def head_of(directory: Path, size: int) -> tuple[bytes, Checkpoint]:
    """Sign so many records; the note and what it says."""
    write_segments(directory, LOG[:size])
    sign_log(directory)
    note = read_checkpoint_file(directory)
    assert note is not None
    return note, read_checkpoint(note)[0]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    path = tmp_path / "shelf"
    path.mkdir()
    return path


def test_a_directory_has_the_last_head_and_one_of_each_minute(log: Path, shelf: Path) -> None:
    """The last one is a kept checkpoint for `audit verify`; the other file only grows."""
    now = 100.0
    place = FileCopies(shelf, ORIGIN, lambda: now)
    notes = []
    for size, after in ((10, 0), (20, 30), (30, 31), (40, 60)):
        now += after
        note, head = head_of(log, size)
        place.keep(note, head)
        notes.append(note)
    assert (shelf / f"{FILE}.checkpoint").read_bytes() == notes[3]
    assert (shelf / f"{FILE}.checkpoints").read_bytes() == b"\n".join([notes[0], notes[2], notes[3], b""])


def test_a_head_of_fewer_records_does_not_replace_one_of_more(log: Path, shelf: Path) -> None:
    """A log restored from a backup, or cut, shows there."""
    FileCopies(shelf, ORIGIN).keep(*head_of(log, 20))
    with pytest.raises(AuditLogError, match="restored from a backup"):
        FileCopies(shelf, ORIGIN).keep(*head_of(log, 10))
    assert read_checkpoint((shelf / f"{FILE}.checkpoint").read_bytes())[0].size == 20


def test_a_mount_that_is_gone_is_an_error(log: Path, shelf: Path) -> None:
    """The directory is not made in its place."""
    with pytest.raises(FileNotFoundError):
        FileCopies(shelf / "unmounted", ORIGIN).keep(*head_of(log, 5))


@pytest.mark.parametrize(("log_name", "name"), [("a.example/1", "a.example=2f1"), ("../x", "=2e.=2fx"), ("ü", "=fc")])
def test_a_logs_name_is_a_files_name(log_name: str, name: str) -> None:
    """Never one of another directory, nor hidden."""
    assert file_name(log_name) == name


def test_an_http_server_is_posted_the_note(log: Path, certificates: Certificates, collector: HttpReceiver) -> None:
    """As it is; anything but 2xx is tried again."""
    note, head = head_of(log, 10)
    place = HttpCopies(HttpPeer(url=collector.url, tls=certificates.tls), ORIGIN)
    place.keep(note, head)
    (posted,) = collector.posted
    assert posted.body == note
    assert posted.headers["Gatekeeper-Log"] == ORIGIN
    assert posted.headers["Gatekeeper-Size"] == "10"
    collector.answers.status = 500
    with pytest.raises(PeerFailed):
        place.keep(note, head)
    place.close()


def test_a_syslog_receiver_gets_the_note_in_a_message(
    log: Path, certificates: Certificates, syslog: SyslogReceiver
) -> None:
    """Under a MSGID of its own."""
    note, head = head_of(log, 10)
    place = SyslogCopies(
        SyslogPeer(host="localhost", port=syslog.port, tls=certificates.tls),
        ORIGIN,
        lambda: datetime(2020, 7, 10, 17, tzinfo=UTC),
    )
    place.keep(note, head)
    (message,) = syslog.wait_for(1)
    place.close()
    header, _, body = message.partition(b'"] ')
    assert header.split(b" ")[5] == b"checkpoint"
    assert json.loads(body)["checkpoint"].encode() == note


class Audited:
    """A witness with a state of its own behind `add-checkpoint`, as the audit team's program answers."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.asked: list[bytes] = []

    def __call__(self, posted: Posted) -> tuple[int, bytes]:
        old = int(posted.body.split(b"\n", 1)[0].removeprefix(b"old "))
        kept = max((size for size, _ in self._kept()), default=0)
        self.asked.append(posted.body)
        if old != kept:
            return 409, f"{kept}\n".encode()
        arguments = ["witness", "--name", "w.example/1", "--state", str(self.state), "--vkey", str(KEY.verifier)]
        result = CliRunner().invoke(audit, arguments, input=posted.body)
        return (200, result.stdout_bytes) if result.exit_code == 0 else (403, b"")

    def _kept(self) -> list[tuple[int, Path]]:
        found = []
        for path in self.state.rglob("*"):
            if path.is_file():
                try:
                    found.append((read_checkpoint(path.read_bytes())[0].size, path))
                except ValueError:
                    continue
        return found


def test_a_witness_cosigns_as_the_log_grows(
    log: Path, tmp_path: Path, certificates: Certificates, collector: HttpReceiver
) -> None:
    """From where it is, also when we have forgotten; what it signed lies beside the log."""
    collector.answer = audited = Audited(tmp_path / "witness")
    peer = HttpPeer(url=collector.url, tls=certificates.tls)
    witness = Witness(peer, log, "team")
    for size in (10, 300):
        witness.keep(*head_of(log, size))
        cosigned, note = read_checkpoint((log / "cosigned" / "team").read_bytes())
        assert cosigned.size == size
        assert [signature.name for signature in note.signatures] == [ORIGIN, "w.example/1"]
    witness.close()
    assert [request.split(b"\n", 1)[0] for request in audited.asked] == [b"old 0", b"old 10"]

    (log / "cosigned" / "team").unlink()
    forgetful = Witness(peer, log, "team")
    forgetful.keep(*head_of(log, 600))
    forgetful.close()
    assert [request.split(b"\n", 1)[0] for request in audited.asked[2:]] == [b"old 0", b"old 300"]


def test_a_witness_that_has_more_than_the_log_says_so(
    log: Path, tmp_path: Path, certificates: Certificates, collector: HttpReceiver
) -> None:
    """And one that does not sign is an error, with nothing put down."""
    collector.answer = Audited(tmp_path / "witness")
    peer = HttpPeer(url=collector.url, tls=certificates.tls)
    with closing(Witness(peer, log, "team")) as witness:
        witness.keep(*head_of(log, 300))
    with closing(Witness(peer, log, "team")) as witness, pytest.raises(PeerFailed, match="300"):
        witness.keep(*head_of(log, 20))
    sign_log(log, OTHER_KEY)
    note = read_checkpoint_file(log)
    assert note is not None
    collector.answer = lambda _: (403, b"")
    with closing(Witness(peer, log, "other")) as witness, pytest.raises(PeerFailed, match="403"):
        witness.keep(note, read_checkpoint(note)[0])
    assert not (log / "cosigned" / "other").exists()


def test_only_the_witness_s_own_cosignature_counts(
    log: Path, tmp_path: Path, certificates: Certificates, collector: HttpReceiver
) -> None:
    """When its key is known; somebody else's is nothing, and one that does not fit neither."""
    collector.answer = Audited(tmp_path / "witness")
    peer = HttpPeer(url=collector.url, tls=certificates.tls)
    shown = ["witness", "--name", "w.example/1", "--state", str(tmp_path / "witness"), "--show-key"]
    key = CosignerKey.parse(CliRunner().invoke(audit, shown).stdout)
    with closing(Witness(peer, log, "team", key)) as witness:
        witness.keep(*head_of(log, 10))
    other = CosignerKey("w.example/1", OTHER_KEY.verifier.public)
    with (
        closing(Witness(peer, log, "team", other)) as witness,
        pytest.raises(PeerFailed, match="without a cosignature"),
    ):
        witness.keep(*head_of(log, 20))


@pytest.mark.parametrize("status", [409, 422])
def test_a_witness_that_refuses_the_log_is_no_fault_of_the_line(
    log: Path, certificates: Certificates, collector: HttpReceiver, status: int
) -> None:
    """It says that the log is another one than it cosigned."""
    collector.answer = lambda _: (status, b"0\n")
    peer = HttpPeer(url=collector.url, tls=certificates.tls)
    with closing(Witness(peer, log, "team")) as witness, pytest.raises(Refused, match=f"answered {status}"):
        witness.keep(*head_of(log, 10))
    assert not (log / "cosigned" / "team").exists()
