"""The writer when the fault is its own: nobody is left without an answer."""

import hashlib
import time
from pathlib import Path

import pytest

from gatekeeper.adapters.sinks.operations import FileOperations
from gatekeeper.adapters.sinks.writer import Chain, Limits, Writer
from gatekeeper.audit.event import Event
from testkit.audit_log import StandingClock, event, line


class BrokenDisk(FileOperations):
    """A bug of ours in the middle of a write."""

    def fdatasync(self, fd: int) -> None:
        raise ZeroDivisionError


def encode(of: Event, chain: Chain) -> tuple[bytes, str]:
    made = line(of, chain.sequence, chain.prev)
    chain.sequence += 1
    chain.prev = hashlib.sha256(made).hexdigest()
    return made, chain.prev


def test_a_bug_in_the_writer_ends_the_log_and_answers_everybody(tmp_path: Path) -> None:
    """The exception is not swallowed, and no record queued before or after it counts as recorded."""
    (tmp_path / "segments").mkdir()
    answers: list[bool] = []

    def tell(count: int, is_recorded: bool) -> None:
        answers.extend([is_recorded] * count)

    writer = Writer(
        tmp_path,
        "tests.example/audit/1",
        last=None,
        encode=encode,
        tell=tell,
        clock=StandingClock(),
        monotonic=time.monotonic,
        limits=Limits(),
        files=BrokenDisk(),
    )
    chain = writer.chain
    assert chain is not None
    for _ in range(5000):  # more than one batch
        writer.queue.put([(chain, *encode(event(), chain))])

    with pytest.raises(ZeroDivisionError):
        writer.run()

    assert answers == [False] * 5000
    assert writer.chain is None
    assert writer.fault is not None
