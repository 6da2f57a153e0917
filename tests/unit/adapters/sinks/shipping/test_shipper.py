"""A remote's thread, driven turn by turn: what it sends, from where it goes on, and what it says."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path

import pytest

from gatekeeper.adapters.sinks.compressor import compress
from gatekeeper.adapters.sinks.directory import AuditLogError, segment_paths
from gatekeeper.adapters.sinks.operations import FileOperations
from gatekeeper.adapters.sinks.shipping.channel import PeerFailed, TooLarge
from gatekeeper.adapters.sinks.shipping.position import read_position
from gatekeeper.adapters.sinks.shipping.settings import RemoteSettings, Start, SyslogPeer
from gatekeeper.adapters.sinks.shipping.shipper import Shipper
from testkit.audit_log import ORIGIN, log_of, write_segments

LINES = log_of(300)
PEER = SyslogPeer(host="localhost", port=1, tls=None)


class Channel:
    """A peer that takes everything until it is told otherwise, and its connection."""

    def __init__(self) -> None:
        self.batch = 64
        self.taken: list[bytes] = []
        self.firsts: list[int] = []
        self.refuses: Exception | None = None
        self.refuses_to_confirm: Exception | None = None
        self.closed = 0
        self.idled = 0

    def send(self, first: int, lines: Sequence[bytes]) -> None:
        if self.refuses is not None:
            raise self.refuses
        self.firsts.append(first)
        self.taken += lines

    def confirm(self) -> None:
        if self.refuses_to_confirm is not None:
            raise self.refuses_to_confirm

    def idle(self) -> None:
        self.idled += 1
        if self.refuses is not None:
            raise self.refuses

    def close(self) -> None:
        self.closed += 1


class Bench:
    """A log of 300 records of which `durable` are there, a channel, and a clock."""

    def __init__(
        self, directory: Path, *, durable: int = 300, start: Start = Start.BEGINNING, resend_s: float = 10
    ) -> None:
        if not (directory / "segments").exists():
            write_segments(directory, LINES[:100], LINES[100:])
        self.now = 1000.0
        self.durable = durable
        self.channel = Channel()
        self.told: list[tuple[str, Mapping[str, str | int]]] = []
        self.advances: list[int] = []
        self.shipper = Shipper(
            RemoteSettings(name="siem", peer=PEER, start=start, resend=timedelta(seconds=resend_s)),
            self.channel,
            directory=directory,
            origin=ORIGIN,
            durable=lambda: self.durable,
            current_within_s=5.0,
            advanced=lambda: self.advances.append(self.shipper.acknowledged),
            tell=lambda what, detail: self.told.append((what, detail)),
            monotonic=lambda: self.now,
            chance=lambda: -1.0,  # which makes every wait one of no time at all
        )
        self.directory = directory

    def turn(self) -> None:
        self.shipper._turn_guarded()

    @property
    def noted(self) -> int | None:
        return read_position(self.directory, "siem", ORIGIN)


@pytest.fixture(autouse=True)
def _never_sleeps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gatekeeper.adapters.sinks.shipping.shipper.LOOK_S", 0.0)


def test_a_new_remote_gets_every_record_as_it_stands_in_the_log(tmp_path: Path) -> None:
    """Across segments, in batches, in order; and only those that are durable."""
    bench = Bench(tmp_path, durable=250)
    assert not bench.shipper.is_up
    bench.turn()
    assert bench.channel.taken == LINES[:250]
    assert bench.channel.firsts == [0, 64, 128, 192]
    assert bench.advances == [250]
    assert bench.shipper.is_up
    assert bench.shipper.lag_records == 0
    bench.durable = 300
    bench.turn()
    assert bench.channel.taken == LINES


def test_a_remote_can_begin_with_what_comes(tmp_path: Path) -> None:
    """For receivers that want no past."""
    bench = Bench(tmp_path, durable=299, start=Start.NOW)
    bench.durable = 300
    bench.turn()
    assert bench.channel.taken == LINES[299:]


def test_a_new_remote_of_a_pruned_log_begins_with_what_is_left(tmp_path: Path) -> None:
    """What was removed under the retention is nowhere to be had."""
    first, _ = write_segments(tmp_path, LINES[:100], LINES[100:])
    first.unlink()
    bench = Bench(tmp_path)
    bench.turn()
    assert bench.channel.taken == LINES[100:]


def test_a_segment_that_is_compressed_under_way_is_read_on(tmp_path: Path) -> None:
    """From where it was, and again from where it is settled."""
    bench = Bench(tmp_path, durable=40)
    bench.turn()
    compress(segment_paths(tmp_path)[0], FileOperations())
    bench.durable = 300
    bench.turn()
    assert bench.channel.taken == LINES
    bench.channel.refuses, bench.channel.taken = PeerFailed("gone"), []
    bench.turn()
    bench.channel.refuses = None
    bench.turn()
    assert bench.channel.taken == LINES


def test_after_a_lost_connection_what_was_sent_of_late_is_sent_again(tmp_path: Path) -> None:
    """What a peer's TCP took may never have been read by the program behind it."""
    bench = Bench(tmp_path, durable=100)
    bench.turn()
    bench.now += 9
    bench.durable = 200
    bench.turn()
    bench.now += 2  # the first hundred are settled
    bench.turn()
    bench.channel.refuses = PeerFailed("the connection was closed")
    bench.turn()
    assert bench.channel.closed == 1
    assert bench.shipper.fault == "the connection was closed"
    assert bench.shipper.acknowledged == 200  # which whoever waited for was told already
    bench.channel.refuses, bench.channel.taken = None, []
    bench.turn()
    assert bench.channel.taken == LINES[100:200]


def test_what_was_not_acknowledged_is_sent_again(tmp_path: Path) -> None:
    """Sending is nothing."""
    bench = Bench(tmp_path, durable=10, resend_s=0)
    bench.channel.refuses_to_confirm = PeerFailed("nothing was acknowledged")
    bench.turn()
    assert bench.shipper.acknowledged == 0
    assert bench.advances == []
    bench.channel.refuses_to_confirm = None
    bench.turn()
    assert bench.channel.taken == LINES[:10] * 2
    assert bench.shipper.sent == 20
    assert bench.shipper.failures == 1


def test_what_cannot_be_sent_is_read_once(tmp_path: Path) -> None:
    """A remote that is away for hours costs no look into the log at each attempt."""
    bench = Bench(tmp_path, durable=250)
    bench.channel.refuses = PeerFailed("gone")
    bench.turn()
    for path in segment_paths(tmp_path):
        path.rename(path.with_suffix(".away"))
    bench.turn()
    assert bench.shipper.fault == "gone"
    for path in (tmp_path / "segments").iterdir():
        path.rename(path.with_suffix(".jsonl"))
    bench.channel.refuses = None
    bench.turn()
    assert bench.channel.taken == LINES[:250]


def test_the_position_survives_and_never_runs_ahead(tmp_path: Path) -> None:
    """It is put down for settled records only, and another process goes on from there."""
    bench = Bench(tmp_path, durable=100)
    bench.turn()
    assert bench.noted is None
    bench.now += 11
    bench.turn()
    assert bench.noted == 100
    bench.durable = 200
    bench.turn()
    assert bench.noted == 100

    after = Bench(tmp_path, durable=300)
    after.turn()
    assert after.channel.taken == LINES[100:]


def test_at_the_end_what_came_up_last_is_sent_and_the_position_put_down(tmp_path: Path) -> None:
    """The record that the log was closed arrives too."""
    bench = Bench(tmp_path, durable=300, resend_s=0)
    bench.shipper.stop(bench.now + 2)
    bench.shipper.run()
    assert bench.channel.taken == LINES
    assert bench.noted == 300
    assert bench.channel.closed == 1


def test_a_remote_that_stays_away_is_on_record_once_and_once_when_it_is_back(tmp_path: Path) -> None:
    """A short break, as a restart is, is not worth a record."""
    bench = Bench(tmp_path, durable=5)
    bench.channel.refuses = ConnectionRefusedError(111, "Connection refused")
    bench.turn()
    bench.now += 2
    bench.turn()
    assert bench.told == []
    bench.now += 1
    bench.turn()
    bench.now += 60
    bench.turn()
    assert bench.told == [("lost", {"remote": "siem", "reason": "Connection refused", "behind_n": 5})]
    bench.channel.refuses = None
    bench.turn()
    assert bench.told[1:] == [("found", {"remote": "siem", "seconds": 63})]
    bench.turn()
    assert len(bench.told) == 2


def test_a_break_that_is_over_soon_is_not_on_record(tmp_path: Path) -> None:
    """And the next one counts from its own beginning."""
    bench = Bench(tmp_path, durable=5)
    for _ in range(2):
        bench.channel.refuses = PeerFailed("gone")
        bench.turn()
        bench.channel.refuses = None
        bench.now += 2
        bench.turn()
    assert bench.told == []


def test_how_far_it_is_behind(tmp_path: Path) -> None:
    """In records, and in seconds since it last had everything; up to date means within the limit."""
    bench = Bench(tmp_path, durable=100)
    bench.turn()
    assert bench.shipper.is_current
    bench.durable = 130
    bench.channel.refuses = PeerFailed("gone")
    bench.turn()
    assert not bench.shipper.is_up
    assert bench.shipper.is_current  # a restart of the receiver is no outage
    bench.now += 7
    assert not bench.shipper.is_current
    assert (bench.shipper.lag_records, bench.shipper.lag_s) == (30, 7.0)
    bench.channel.refuses = None
    bench.turn()
    assert bench.shipper.is_current
    assert bench.shipper.lag_s == 0


def test_a_peer_that_is_gone_shows_though_there_is_nothing_to_send(tmp_path: Path) -> None:
    """Before anybody waits for it."""
    bench = Bench(tmp_path, durable=0)
    bench.turn()
    assert bench.channel.idled == 1
    assert bench.shipper.is_current
    bench.channel.refuses = PeerFailed("the connection was closed")
    bench.turn()
    assert not bench.shipper.is_up
    bench.now += 5
    assert not bench.shipper.is_current


def test_a_batch_that_is_too_large_is_tried_again_smaller_at_once(tmp_path: Path) -> None:
    """The channel chooses how much smaller."""
    bench = Bench(tmp_path, durable=64)
    bench.channel.refuses = TooLarge("it takes less")
    bench.turn()
    bench.channel.batch, bench.channel.refuses = 16, None
    bench.turn()
    assert bench.channel.firsts == [0, 16, 32, 48]


def test_records_that_are_gone_stop_the_remote_and_say_so(tmp_path: Path) -> None:
    """Nothing is left out in silence."""
    bench = Bench(tmp_path, durable=301)
    bench.turn()
    assert bench.shipper.fault is not None
    assert "not in the segments" in bench.shipper.fault


def test_a_log_that_is_behind_its_remote_is_not_continued(tmp_path: Path) -> None:
    """It was restored from a backup: what would be sent contradicts what the remote has."""
    bench = Bench(tmp_path, durable=300, resend_s=0)
    bench.turn()
    with pytest.raises(AuditLogError, match="restored from a backup"):
        Bench(tmp_path, durable=200)
