"""Nobody waits for a disk that hangs, and what nobody waited for is written when the disk is back."""

import asyncio

from gatekeeper.adapters.sinks.overdue import Overdue
from gatekeeper.audit.event import Event
from testkit.audit_log import event


class Disk:
    """Hangs or works, as it is told."""

    def __init__(self, *, hangs: bool = False) -> None:
        self.is_stalled = hangs
        self.is_local_writable = not hangs
        self.written: list[Event] = []

    def append(self, event: Event) -> None:
        self.written.append(event)


def overdue(disk: Disk) -> Overdue:
    return Overdue(asyncio.get_running_loop(), disk, stall_limit_s=3600.0)


async def test_who_waits_for_a_disk_that_hangs_is_told() -> None:
    """False, once; while it merely is slow they go on waiting."""
    disk, got = Disk(), list[bool]()
    watched = overdue(disk)
    watched.answers.owe(event("a"), got.append)
    watched._look()
    assert got == []
    disk.is_stalled = True
    watched._look()
    watched._look()
    assert got == [False]
    watched.stop()


async def test_what_was_kept_is_written_once_that_can_be_done() -> None:
    """In its order, and by itself: the first look comes soon."""
    disk = Disk(hangs=True)
    watched = overdue(disk)
    watched.keep(event("a"))
    watched.keep(event("b"))
    watched._look()
    assert disk.written == []
    disk.is_stalled, disk.is_local_writable = False, True
    watched._look()
    assert disk.written == [event("a"), event("b")]
    assert len(watched.kept) == 0
    watched.stop()


async def test_much_is_written_a_little_at_a_time() -> None:
    """The sessions of the others go on meanwhile; the end does not wait."""
    disk = Disk()
    watched = overdue(disk)
    for number in range(600):
        watched.kept.add(event(str(number)))
    watched._look()
    assert len(disk.written) == 256
    watched.write_all()
    assert len(disk.written) == 600
    watched.stop()


async def test_it_looks_only_while_there_is_something() -> None:
    """And never after it was stopped."""
    watched = overdue(Disk(hangs=True))
    assert watched._timer is None
    watched._look()
    assert watched._timer is None
    watched.keep(event("a"))
    timer = watched._timer
    assert timer is not None
    watched.look()
    assert watched._timer is timer
    watched.stop()
    assert timer.cancelled()
    watched._look()
    assert watched._timer is None
