"""Logs that lie behind what they signed: set aside, and followed by a new one that says so; never forked."""

import json
import shutil
from pathlib import Path

import pytest

from gatekeeper.adapters.sinks.directory import AuditLogDamaged, AuditLogError
from gatekeeper.adapters.sinks.file import FileAuditLog
from gatekeeper.adapters.sinks.operations import FileOperations
from gatekeeper.adapters.sinks.reader import lines
from gatekeeper.adapters.sinks.several import log_directories
from gatekeeper.adapters.sinks.succession import Remembered, Succession, earlier, generation, settle
from gatekeeper.adapters.sinks.tiles import read_checkpoint_file
from gatekeeper.audit.checkpoint import Checkpoint, read_checkpoint
from gatekeeper.audit.event import EventCode
from gatekeeper.audit.stored import read
from testkit.audit_log import ORIGIN, StandingClock, event

PARTS = ("segments", "tile", "checkpoint", "head.json")


async def write(directory: Path, count: int, *, origin: str = ORIGIN) -> None:
    """What a gate does from its start to its end."""
    log = FileAuditLog.open(
        directory / "audit",
        origin=origin,
        clock=StandingClock(),
        signing_key=directory / "key",
        remember_in=directory / "state" / "heads",
    )
    for number in range(count):
        log.append(event(f"c{number}"))
    assert await log.close()


def head(directory: Path) -> Checkpoint:
    note = read_checkpoint_file(directory)
    assert note is not None
    return read_checkpoint(note)[0]


def successions(directory: Path) -> list[dict[str, object]]:
    """What the log there says of the one before it."""
    found = [json.loads(line) for line in lines(directory)]
    return [one["unmapped"]["gatekeeper"] for one in found if one["metadata"]["event_code"] == EventCode.LOG_SUCCEEDS]


def backup(directory: Path, into: Path) -> None:
    shutil.copytree(directory / "audit", into)


def restore(directory: Path, backup: Path, parts: tuple[str, ...] = PARTS) -> None:
    for name in parts:
        path = directory / "audit" / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        (shutil.copytree if (backup / name).is_dir() else shutil.copy)(backup / name, path)


async def test_a_log_is_gone_on_with(tmp_path: Path) -> None:
    """As long as nothing is missing, by every start."""
    for _ in range(3):
        await write(tmp_path, 300)
    assert log_directories(tmp_path / "audit") == [tmp_path / "audit"]
    assert head(tmp_path / "audit").origin == ORIGIN
    assert head(tmp_path / "audit").size == 3 * 302
    assert Remembered(tmp_path / "state" / "heads", ORIGIN).read() == head(tmp_path / "audit")


@pytest.mark.parametrize(
    "parts", [PARTS, ("segments", "head.json"), ("segments",)], ids=["as a whole", "without the head", "segments"]
)
async def test_a_restored_log_is_followed_by_a_new_one(tmp_path: Path, parts: tuple[str, ...]) -> None:
    """However much of it was restored: it stays as it is, and the new one names it and what it had signed."""
    await write(tmp_path, 10)
    backup(tmp_path, tmp_path / "backup")
    await write(tmp_path, 700)
    known = head(tmp_path / "audit")
    restore(tmp_path, tmp_path / "backup", parts)

    await write(tmp_path, 1)
    await write(tmp_path, 1)

    log = tmp_path / "audit"
    aside = log / "before-1"
    assert log_directories(log) == [aside, log]
    assert list(lines(aside)) == list(lines(tmp_path / "backup"))
    assert head(log).origin == f"{ORIGIN}/2"
    assert [read(line).sequence for line in lines(log)] == list(range(len(list(lines(log)))))
    (told,) = successions(log)
    assert (told["predecessor"], told["predecessor_size"], told["found_n"]) == (ORIGIN, known.size, 12)
    assert (told["predecessor_root"], told["set_aside"]) == (known.root.hex(), "before-1")


async def test_what_is_of_the_log_goes_with_it(tmp_path: Path) -> None:
    """What remotes have of it, and what witnesses cosigned; not the key, nor what is of all logs."""
    await write(tmp_path, 1)
    backup(tmp_path, tmp_path / "backup")
    await write(tmp_path, 1)
    restore(tmp_path, tmp_path / "backup")
    for name in ("shipped", "cosigned"):
        (tmp_path / "audit" / name).mkdir()
        (tmp_path / "audit" / name / "team").touch()
    (tmp_path / "audit" / "index.sqlite3").touch()
    await write(tmp_path, 1)
    aside = {path.name for path in (tmp_path / "audit" / "before-1").iterdir()}
    assert aside == {*PARTS, "shipped", "cosigned"}
    assert (tmp_path / "audit" / "index.sqlite3").exists()


async def test_names_are_never_begun_anew(tmp_path: Path) -> None:
    """Restored again and again, from before and after; emptied; each time it is the next name."""
    await write(tmp_path, 1)
    backup(tmp_path, tmp_path / "first")
    await write(tmp_path, 2)
    restore(tmp_path, tmp_path / "first")
    await write(tmp_path, 3)
    assert head(tmp_path / "audit").origin == f"{ORIGIN}/2"
    restore(tmp_path, tmp_path / "first")  # the first log in the place of the second
    await write(tmp_path, 4)
    assert head(tmp_path / "audit").origin == f"{ORIGIN}/3"
    shutil.rmtree(tmp_path / "audit")
    await write(tmp_path, 5)
    assert head(tmp_path / "audit").origin == f"{ORIGIN}/4"
    (told,) = successions(tmp_path / "audit")
    assert (told["predecessor"], told["found_n"]) == (f"{ORIGIN}/3", -1)
    assert "set_aside" not in told
    assert earlier(tmp_path / "audit") == []


async def test_a_newer_log_than_is_remembered_goes_on(tmp_path: Path) -> None:
    """The state directory was restored, or is new; the log knows better."""
    await write(tmp_path, 1)
    shutil.copytree(tmp_path / "state", tmp_path / "old")
    await write(tmp_path, 600)
    for _ in range(2):
        shutil.rmtree(tmp_path / "state")
        shutil.copytree(tmp_path / "old", tmp_path / "state")
        await write(tmp_path, 1)
        shutil.rmtree(tmp_path / "audit" / "tile")
    shutil.rmtree(tmp_path / "state")
    await write(tmp_path, 1)
    assert head(tmp_path / "audit").origin == ORIGIN
    assert log_directories(tmp_path / "audit") == [tmp_path / "audit"]


async def test_a_log_that_was_changed_is_not_continued_at_all(tmp_path: Path) -> None:
    """As many records, but not those that were signed: nobody restored that. The tiles are there, or gone."""
    await write(tmp_path, 500)
    remembered = Remembered(tmp_path / "state" / "heads", ORIGIN)
    true = remembered.read()
    assert true is not None
    note = remembered.path.read_bytes()
    for checkpoint in (Checkpoint(ORIGIN, true.size, bytes(32)), Checkpoint(ORIGIN, true.size - 9, bytes(32))):
        remembered.path.write_bytes(checkpoint.text.encode() + b"\n")
        with pytest.raises(AuditLogDamaged, match="were signed"):
            await write(tmp_path, 1)
    shutil.rmtree(tmp_path / "audit" / "tile")
    with pytest.raises(AuditLogDamaged, match="were signed"):
        await write(tmp_path, 1)
    remembered.path.write_bytes(note)
    await write(tmp_path, 1)
    assert head(tmp_path / "audit").origin == ORIGIN


async def test_what_was_signed_is_remembered_before_it_is_published(tmp_path: Path) -> None:
    """When the process ends between the two, the log goes on."""
    await write(tmp_path, 500)
    checkpoint = (tmp_path / "audit" / "checkpoint").read_bytes()
    await write(tmp_path, 500)
    (tmp_path / "audit" / "checkpoint").write_bytes(checkpoint)
    await write(tmp_path, 1)
    assert head(tmp_path / "audit") == Remembered(tmp_path / "state" / "heads", ORIGIN).read()
    assert head(tmp_path / "audit").origin == ORIGIN


async def test_a_memory_that_cannot_be_read_is_no_first_time(tmp_path: Path) -> None:
    """Nothing is written until somebody looked."""
    await write(tmp_path, 1)
    remembered = Remembered(tmp_path / "state" / "heads", ORIGIN)
    remembered.path.write_bytes(b"")
    before = list(lines(tmp_path / "audit"))
    with pytest.raises(AuditLogError, match="remove the file"):
        await write(tmp_path, 1)
    assert list(lines(tmp_path / "audit")) == before


async def test_another_log_is_left_alone(tmp_path: Path) -> None:
    """The name in the configuration was changed, the directory was not."""
    await write(tmp_path, 1)
    with pytest.raises(AuditLogError, match="holds the audit log"):
        await write(tmp_path, 1, origin="other.example/audit/1")
    assert log_directories(tmp_path / "audit") == [tmp_path / "audit"]


class Interrupted(OSError):
    """The process ends here."""


class Ending(FileOperations):
    """Fails at one call that changes names."""

    def __init__(self, after: int) -> None:
        self.left = after

    def replace(self, source: Path, target: Path) -> None:
        self.left -= 1
        if self.left < 0:
            raise Interrupted
        super().replace(source, target)


@pytest.mark.parametrize("after", range(6))
async def test_setting_aside_is_finished_where_it_was_interrupted(tmp_path: Path, after: int) -> None:
    """By the next start, with no part in the wrong log."""
    await write(tmp_path, 1)
    backup(tmp_path, tmp_path / "backup")
    await write(tmp_path, 300)
    restore(tmp_path, tmp_path / "backup")
    remembered = Remembered(tmp_path / "state" / "heads", ORIGIN)
    try:
        settle(tmp_path / "audit", ORIGIN, remembered, Ending(after))
    except Interrupted:
        assert after < 5
    found = settle(tmp_path / "audit", ORIGIN, remembered, FileOperations())
    assert found.origin == f"{ORIGIN}/2"
    aside = tmp_path / "audit" / "before-1"
    assert sorted(path.name for path in aside.iterdir()) == sorted(PARTS)
    assert list(lines(aside)) == list(lines(tmp_path / "backup"))
    assert not any((tmp_path / "audit" / "segments").iterdir())


@pytest.mark.parametrize(
    ("origin", "number"),
    [
        ("a/1", 1),
        ("a/1/2", 2),
        ("a/1/10", 10),
        ("a/1/1", None),
        ("a/1/02", None),
        ("a/1/x", None),
        ("a/12", None),
        ("b", None),
    ],
)
def test_names_have_numbers(origin: str, number: int | None) -> None:
    """Of one log and those after it; nothing else is taken for one of them."""
    assert generation("a/1", origin) == number


def test_nothing_is_nothing(tmp_path: Path) -> None:
    """The first start."""
    (tmp_path / "segments").mkdir()
    assert settle(tmp_path, ORIGIN, Remembered(tmp_path / "state", ORIGIN), FileOperations()) == Succession(ORIGIN)
