"""A signed head's thread, driven look by look."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from gatekeeper.adapters.sinks.shipping.channel import PeerFailed, Refused
from gatekeeper.adapters.sinks.shipping.heads import LOOK_S, HeadCopier
from gatekeeper.audit.checkpoint import Checkpoint
from testkit.audit_log import log_of, write_segments
from testkit.merkle import sign_log

LOG = log_of(40)


class Shelf:
    def __init__(self) -> None:
        self.kept: list[int] = []
        self.refuses: Exception | None = None
        self.closed = 0

    def keep(self, note: bytes, head: Checkpoint) -> None:
        if self.refuses is not None:
            raise self.refuses
        assert note.startswith(head.text.encode())
        self.kept.append(head.size)

    def close(self) -> None:
        self.closed += 1


class Bench:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.signed = 0
        self.now = 100.0
        self.shelf = Shelf()
        self.told: list[tuple[str, Mapping[str, str | int]]] = []
        self.copier = HeadCopier(
            "auditors",
            self.shelf,
            where="there",
            directory=directory,
            signed=lambda: self.signed,
            tell=lambda what, detail: self.told.append((what, detail)),
            monotonic=lambda: self.now,
            chance=lambda: 1.0,
        )

    def sign(self, size: int) -> None:
        write_segments(self.directory, LOG[:size])
        sign_log(self.directory)
        self.signed = size

    def look(self) -> float:
        return self.copier._look()


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_each_new_head_is_copied_once(bench: Bench) -> None:
    """And nothing while there is none."""
    bench.look()
    bench.sign(10)
    assert bench.look() == LOOK_S
    bench.look()
    bench.sign(30)
    bench.look()
    assert bench.shelf.kept == [10, 30]
    assert bench.copier.copied == 30
    assert bench.copier.is_up


def test_a_place_that_fails_gets_the_newest_head_when_it_is_back(bench: Bench) -> None:
    """It is asked less and less often, and what it says it wants is heeded."""
    bench.sign(10)
    bench.shelf.refuses = PeerFailed("it answered 503", wait_s=120)
    assert bench.look() == 120
    bench.shelf.refuses = OSError(30, "Read-only file system")
    assert bench.look() == 2
    assert (bench.copier.fault, bench.copier.failures, bench.copier.is_up) == ("Read-only file system", 2, False)
    assert bench.shelf.closed == 2
    bench.sign(40)
    bench.shelf.refuses = None
    bench.look()
    assert bench.shelf.kept == [40]
    assert bench.copier.fault is None


def test_a_place_that_stays_away_is_on_record(bench: Bench) -> None:
    """As a remote is."""
    bench.sign(10)
    bench.shelf.refuses = PeerFailed("it answered 503")
    for _ in range(3):
        bench.look()
        bench.now += 3
    bench.shelf.refuses = None
    bench.look()
    assert bench.told == [
        ("lost", {"remote": "auditors", "reason": "it answered 503", "behind_n": 10}),
        ("found", {"remote": "auditors", "seconds": 9}),
    ]


def test_a_head_that_cannot_be_read_is_not_copied(bench: Bench) -> None:
    """What is no checkpoint is nobody's business elsewhere."""
    bench.sign(10)
    (bench.directory / "checkpoint").write_bytes(b"?")
    bench.look()
    assert bench.shelf.kept == []
    assert bench.copier.fault is not None


def test_the_last_head_is_copied_at_the_end(bench: Bench) -> None:
    """The one that is signed when the log is closed."""
    bench.sign(40)
    bench.copier.stop(bench.now + 2)
    bench.copier.run()
    assert bench.shelf.kept == [40]
    assert bench.shelf.closed == 1


def test_a_connection_that_was_lost_meanwhile_does_not_cost_the_last_head(bench: Bench) -> None:
    """The first try finds out that it is gone, the next one makes it again."""
    bench.sign(40)
    keep = bench.shelf.keep
    tries = [PeerFailed("the connection was closed"), None]

    def keep_later(note: bytes, head: Checkpoint) -> None:
        fault = tries.pop(0)
        if fault is not None:
            raise fault
        keep(note, head)

    bench.shelf.keep = keep_later  # type: ignore[method-assign]
    bench.copier.stop(bench.now + 2)
    bench.copier.run()
    assert (len(bench.shelf.kept), bench.copier.copied, tries) == (1, 40, [])


def test_a_witness_that_refuses_is_told_once(bench: Bench) -> None:
    """Until it takes a head again; other faults are told by `fault` alone."""
    told: list[tuple[str, Mapping[str, str | int]]] = []
    bench.copier._tell = lambda what, detail: told.append((what, detail))
    bench.sign(10)
    bench.shelf.refuses = PeerFailed("it does not answer")
    bench.look()
    assert not bench.copier.is_refused
    bench.shelf.refuses = Refused("forked")
    bench.look()
    bench.look()
    assert (bench.copier.is_refused, bench.copier.fault) == (True, "forked")
    assert told == [("refused", {"witness": "auditors", "reason": "forked"})]
    bench.shelf.refuses = None
    bench.look()
    assert (bench.copier.is_refused, bench.copier.fault) == (False, None)
    bench.sign(20)
    bench.shelf.refuses = Refused("forked")
    bench.look()
    assert len(told) == 2
