"""A witness's answers, as c2sp.org/tlog-witness has them, and its memory."""

import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gatekeeper.adapters.sinks.directory import AuditLogError
from gatekeeper.adapters.sinks.tiles import hashes_at, read_checkpoint_file
from gatekeeper.adapters.sinks.witnessing import Answer, WitnessDesk
from gatekeeper.audit.checkpoint import Checkpoint, read_checkpoint
from gatekeeper.audit.cosignature import cosigned_by
from gatekeeper.audit.proof import consistency, consistency_text
from testkit.audit_log import ORIGIN, log_of, write_segments
from testkit.merkle import KEY, OTHER_KEY, sign_log

LOG = log_of(600)
NAME = "audit.example.com/witness"
NOW = datetime(2026, 11, 27, tzinfo=UTC)


@pytest.fixture
def desk(tmp_path: Path) -> WitnessDesk:
    return WitnessDesk(tmp_path / "state", NAME, [KEY.verifier], lambda: NOW)


def head(directory: Path, size: int, lines: list[bytes] = LOG) -> bytes:
    write_segments(directory, lines[:size])
    sign_log(directory)
    note = read_checkpoint_file(directory)
    assert note is not None
    return note


def request(directory: Path, old: int, size: int) -> bytes:
    note = head(directory, size)
    return consistency_text(old, consistency(old, size, hashes_at(directory, size)), note)


def known(answer: Answer) -> tuple[int, str]:
    return answer.status, answer.content_type


def test_200_with_a_cosignature(tmp_path: Path, desk: WitnessDesk) -> None:
    """As the log grows, and again for the same head; it fits the note, with the time."""
    for old, size in ((0, 10), (10, 300), (300, 300), (300, 600)):
        answer = desk.answer(request(tmp_path / "log", old, size))
        assert (answer.status, answer.why) == (200, "")
        note = read_checkpoint((read_checkpoint_file(tmp_path / "log") or b"") + answer.body)[1]
        assert [one.time for one in cosigned_by(note, [desk.key])] == [int(NOW.timestamp())]


def test_the_other_statuses(tmp_path: Path, desk: WitnessDesk) -> None:
    """400, 403, 404, 409 with the size, 422."""
    log = tmp_path / "log"
    good = request(log, 0, 300)
    assert desk.answer(good).status == 200
    note = head(log, 300)
    forked = head(tmp_path / "fork", 300, [line.replace(b"TikTok", b"Signal") for line in LOG])
    larger = head(log, 600)
    other = Checkpoint("other.example/1", 1, bytes(32)).signed(KEY)
    stranger = Checkpoint(ORIGIN, 400, bytes(32)).signed(OTHER_KEY)
    changed = note.replace(b"\n300\n", b"\n301\n")
    for data in (b"", b"x", b"old 1\n", b"old 01\n\n" + note, b"old 300\n\nx\n", b"old 300\nAAAA\n\n" + note):
        assert desk.answer(data).status == 400
    assert desk.answer(b"old 301\n\n" + note).status == 400, "more than it has"
    assert known(desk.answer(b"old 0\n\n" + other)) == (404, "text/plain; charset=utf-8")
    assert desk.answer(b"old 300\n\n" + stranger).status == 403
    assert desk.answer(b"old 300\n\n" + changed).status == 403
    conflict = desk.answer(good)
    assert (*known(conflict), conflict.body) == (409, "text/x.tlog.size", b"300\n")
    assert desk.answer(b"old 300\n\n" + larger).status == 422, "no proof"
    split = desk.answer(b"old 300\n\n" + forked)
    assert (*known(split), split.is_proof) == (409, "text/x.tlog.size", True)
    assert desk.answer(request(log, 300, 600)).status == 200, "the true log goes on"


def test_what_proves_a_fork_is_kept(tmp_path: Path, desk: WitnessDesk) -> None:
    """And nothing that anybody could send takes its place."""
    desk.answer(request(tmp_path / "log", 0, 300))
    forks = [head(tmp_path / word, 300, [line.replace(b"TikTok", word.encode()) for line in LOG]) for word in "ab"]
    first, second = (desk.answer(b"old 300\n\n" + fork) for fork in forks)
    assert first.kept == second.kept
    assert first.kept is not None
    assert first.kept.read_bytes() == forks[0]
    smaller = desk.answer(b"old 300\n\n" + head(tmp_path / "log", 200))
    assert (smaller.status, smaller.is_proof) == (400, False)
    assert smaller.kept is not None
    assert smaller.kept.suffix == ".refused"
    assert first.kept.read_bytes() == forks[0]


def test_two_at_the_same_time_take_turns(tmp_path: Path, desk: WitnessDesk) -> None:
    """Of two that go on from the same head one has to ask again."""
    asked = [request(tmp_path / str(size), 0, size) for size in (300, 600)] * 4
    answers: list[int] = []
    threads = [threading.Thread(target=lambda data=data: answers.append(desk.answer(data).status)) for data in asked]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [200] + [409] * 7


def test_a_memory_that_cannot_be_used_is_500(tmp_path: Path, desk: WitnessDesk) -> None:
    """No first time; nothing is cosigned."""
    data = request(tmp_path / "log", 0, 300)
    assert desk.answer(data).status == 200
    (last,) = (tmp_path / "state").glob("*.checkpoint")
    last.write_bytes(b"")
    assert desk.answer(data).status == 500
    last.unlink()
    (tmp_path / "state" / "lock").unlink()
    (tmp_path / "state" / "lock").mkdir()
    assert desk.answer(data).status == 500
    (tmp_path / "file").touch()
    with pytest.raises(AuditLogError, match="cannot be made"):
        WitnessDesk(tmp_path / "file", NAME, [], lambda: NOW)
