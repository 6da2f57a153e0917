"""The Merkle log on the disk: what is published is what is recorded, whatever it is interrupted by."""

import os
from pathlib import Path

import pytest

from gatekeeper.adapters.sinks import publisher as publishing
from gatekeeper.adapters.sinks.directory import AuditLogDamaged, AuditLogError
from gatekeeper.adapters.sinks.operations import FileOperations
from gatekeeper.adapters.sinks.publisher import Publisher
from gatekeeper.adapters.sinks.tiles import read_tile
from gatekeeper.audit.tree import Tile, partial_widths
from testkit.audit_log import log_of, write_segments
from testkit.disks import FaultyDisk
from testkit.merkle import KEY, OTHER_KEY, assert_published, checkpoint_of

LOG = log_of(1400)
LEAVES = [line[:-1] for line in LOG]


class Time:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class PowerCut(BaseException):
    """The machine stops."""


class CuttingDisk(FileOperations):
    """Stops at some call; what was not synced until then is lost: new names, whole files or the second half of them."""

    def __init__(self, after: int = 10**9) -> None:
        self.calls_left = after
        self.unsynced: set[Path] = set()
        self.unnamed: set[Path] = set()
        self.paths: dict[int, Path] = {}

    def _call(self) -> None:
        self.calls_left -= 1
        if self.calls_left < 0:
            raise PowerCut

    def open(self, path: Path, flags: int) -> int:
        self._call()
        fd = super().open(path, flags)
        self.paths[fd] = path
        self.unsynced.add(path)
        return fd

    def write(self, fd: int, data: memoryview) -> int:
        try:
            self._call()
        except PowerCut:
            super().write(fd, data[: len(data) // 2])
            raise
        return super().write(fd, data)

    def fdatasync(self, fd: int) -> None:
        self._call()
        self.unsynced.discard(self.paths[fd])

    def replace(self, source: Path, target: Path) -> None:
        self._call()
        if not target.exists():
            self.unnamed.add(target)
        super().replace(source, target)
        self.unsynced.discard(target)
        if source in self.unsynced:
            self.unsynced.discard(source)
            self.unsynced.add(target)

    def unlink(self, path: Path) -> None:
        self._call()
        super().unlink(path)

    def sync_directory(self, path: Path) -> None:
        self._call()
        self.unnamed = {name for name in self.unnamed if name.parent != path}

    def lose(self, number: int) -> None:
        for path in self.unnamed:
            path.unlink(missing_ok=True)
        for path in self.unsynced:
            if path.exists():
                os.truncate(path, 0 if number % 2 else path.stat().st_size // 2)


def publisher(directory: Path, records: int, time: Time, files: FileOperations | None = None) -> Publisher:
    return Publisher(directory, KEY, records=records, files=files or CuttingDisk(), monotonic=time)


def publish(directory: Path, records: int, files: FileOperations | None = None) -> Publisher:
    """Everything there is."""
    made = publisher(directory, records, Time(), files)
    made.finish(records, within_s=3600)
    return made


@pytest.mark.parametrize("size", [2, 255, 256, 257, 512, 1400])
def test_an_existing_log_is_taken_up(tmp_path: Path, size: int) -> None:
    """All its records, over all its segments."""
    third = size // 3
    write_segments(tmp_path, LOG[:third], LOG[third : third * 2], LOG[third * 2 : size])
    publish(tmp_path, size)
    assert_published(tmp_path, LEAVES[:size])


def test_a_log_grows(tmp_path: Path) -> None:
    """Published again and again, by one process and by the next; unfinished tiles go when the full one is there."""
    (segment,) = write_segments(tmp_path, LOG[:0])
    written = 0
    made = publish(tmp_path, 0)
    for size in (1, 2, 100, 255, 256, 300, 700, 701, 1023, 1024, 1025, 1400):
        with segment.open("ab") as file:
            file.write(b"".join(LOG[written:size]))
        written = size
        if size % 2:
            made = publish(tmp_path, size)
        else:
            made.finish(size, within_s=3600)
        assert_published(tmp_path, LEAVES[:size])
    assert not (tmp_path / "tile/0/000.p").exists()
    assert not list(tmp_path.rglob("*.new"))


def test_once_a_second(tmp_path: Path) -> None:
    """In steps; nothing is due in between, and nothing when nothing was recorded."""
    write_segments(tmp_path, LOG)
    time = Time()
    made = publisher(tmp_path, 300, time)
    steps = 0
    while made.due(300) is not None:
        assert made.due(300) == time.now
        made.step(300)
        steps += 1
    assert steps > 300 // 64
    assert_published(tmp_path, LEAVES[:300])
    assert made.due(301) == time.now + 1
    made.step(301)
    assert made.published == 300
    time.now += 1
    for _ in range(20):
        made.step(301)
    assert_published(tmp_path, LEAVES[:301])


class Working(Time):
    """Every look at it is so much later: that long takes a step."""

    def __init__(self, step_s: float) -> None:
        super().__init__()
        self.step_s = step_s

    def __call__(self) -> float:
        self.now += self.step_s
        return super().__call__()


def published_after(directory: Path, records: int, time: Working) -> tuple[float, list[float]]:
    """When all is published, in seconds, and how long it rested each time; nothing is done before a rest is over."""
    write_segments(directory, LOG)
    made = publisher(directory, records, time)
    begun, rests = time.now, []
    while made.published < records:
        due = made.due(records)
        assert due is not None
        if due > time.now + time.step_s:  # asking takes as long
            rests.append(due - time.now)
            before = list(directory.rglob("*"))
            made.step(records)
            assert list(directory.rglob("*")) == before
            time.now = max(time.now, due)
        made.step(records)
    return time.now - begun, rests


def test_it_rests_between_its_steps(tmp_path: Path) -> None:
    """Ten times as long as each took, so that log-ins get in between."""
    after_s, rests = published_after(tmp_path, 300, Working(0.0002))

    assert len(rests) > 10
    assert rests == pytest.approx([0.002] * len(rests))
    assert after_s < 0.1


@pytest.mark.parametrize("step_s", [0.002, 0.01, 0.1])
def test_it_rests_less_when_there_is_much_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step_s: float) -> None:
    """Whoever writes more than it could publish so would be ahead of it for ever."""
    with_rests, _ = published_after(tmp_path / "one", 1400, Working(step_s))
    monkeypatch.setattr(publishing, "_REST", 0)
    without, _ = published_after(tmp_path / "other", 1400, Working(step_s))

    assert with_rests < max(1.0, 1.6 * without)


def test_a_long_log_is_published_on_the_way(tmp_path: Path) -> None:
    """What is taken up for longer than a second is not lost when the process ends."""
    write_segments(tmp_path, LOG)
    time = Time()
    made = publisher(tmp_path, 1400, time)
    sizes = set()
    while made.due(1400) is not None:
        made.step(1400)
        time.now += 0.1
        sizes.add(made.published)
    assert len(sizes) > 2
    assert_published(tmp_path, LEAVES)


def test_at_the_end_there_is_little_time(tmp_path: Path) -> None:
    """What is done until then is signed; the next process goes on."""
    write_segments(tmp_path, LOG)
    made = publisher(tmp_path, 1400, Time())
    for _ in range(3):
        made.step(1400)
    made.finish(1400, within_s=0)
    assert 0 < made.published < 1400
    assert_published(tmp_path, LEAVES[: made.published])
    publish(tmp_path, 1400)
    assert_published(tmp_path, LEAVES)


def assert_rests_on_durable_tiles(directory: Path, size: int) -> None:
    """All but the unfinished tile of the leaves, which the log gives back."""
    for level, width in enumerate(partial_widths(size)):
        full = size // 256 ** (level + 1)
        for index in range(full):
            read_tile(directory, level, index)
        if level and width:
            read_tile(directory, level, full, width)


@pytest.mark.parametrize("first", [200, 256, 511])
def test_power_fails_at_any_moment(tmp_path: Path, first: int) -> None:
    """The log is taken up where it was; what was signed before is part of what is signed then."""
    cut_at = 0
    while True:
        directory = tmp_path / str(cut_at)
        write_segments(directory, LOG[:800])
        publish(directory, first)
        disk = CuttingDisk(cut_at)
        try:
            publish(directory, 800, disk)
        except PowerCut:
            disk.lose(cut_at)
        else:
            break
        size = checkpoint_of(directory).size
        assert size in {first, 800}
        assert_rests_on_durable_tiles(directory, size)
        publish(directory, 800)
        assert_published(directory, LEAVES[:800])
        cut_at += 1
    assert cut_at > 20


@pytest.mark.parametrize("size", [1, 255, 256, 257, 511, 512, 513, 1024, 1400])
def test_a_log_is_resumed_by_its_tiles(tmp_path: Path, size: int) -> None:
    """Whatever was published before; only when a tile is lost all is read again."""
    write_segments(tmp_path, LOG)
    publish(tmp_path, size)
    assert publisher(tmp_path, 1400, Time())._tree.size == size


def test_lost_tiles_are_made_again(tmp_path: Path) -> None:
    """From the log, when it is the one that was signed."""
    write_segments(tmp_path, LOG)
    publish(tmp_path, 1000)
    (tmp_path / "tile/1/000.p/3").unlink()
    (tmp_path / "tile/0/001").write_bytes(b"x" * 8192)
    publish(tmp_path, 1400)
    assert_published(tmp_path, LEAVES)


def test_a_changed_tile_is_not_believed(tmp_path: Path) -> None:
    """The root tells."""
    write_segments(tmp_path, LOG)
    publish(tmp_path, 1000)
    path = tmp_path / "tile/1/000.p/3"
    path.write_bytes(bytes(96))
    publish(tmp_path, 1001)
    assert_published(tmp_path, LEAVES[:1001])


def test_a_log_older_than_its_checkpoint_is_not_continued(tmp_path: Path) -> None:
    """Restored from a backup; the operator is told what to do."""
    (segment,) = write_segments(tmp_path, LOG)
    publish(tmp_path, 1000)
    segment.write_bytes(b"".join(LOG[:900]))
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(
        AuditLogDamaged, match=r"has 900 records, but 1000 were signed.*backup.*another `audit\.origin`"
    ):
        publisher(tmp_path, 900, Time())
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("changed", [1, 500, 767, 768, 999])
@pytest.mark.parametrize("is_tile_lost", [False, True], ids=["tiles", "no-tiles"])
def test_a_log_with_other_records_is_not_continued(tmp_path: Path, changed: int, is_tile_lost: bool) -> None:
    """The last tile's records are always read again; all of them when a tile is lost."""
    write_segments(tmp_path, LOG)
    publish(tmp_path, 1000)
    if is_tile_lost:
        (tmp_path / "tile/1/000.p/3").unlink()
    other = [*LOG]
    other[changed] = LOG[changed].replace(b"TikTok", b"Signal")
    write_segments(tmp_path, other)
    if changed < 768 and not is_tile_lost:
        publisher(tmp_path, 1400, Time())  # left to `audit verify`
        return
    tiles = sorted((path, path.read_bytes()) for path in tmp_path.rglob("tile/*/*") if path.is_file())
    with pytest.raises(AuditLogDamaged, match=r"first 1000 records .* are not those that were signed"):
        publisher(tmp_path, 1400, Time())
    assert sorted((path, path.read_bytes()) for path in tmp_path.rglob("tile/*/*") if path.is_file()) == tiles


def test_a_log_of_another_key_is_not_continued(tmp_path: Path) -> None:
    """Nor one whose checkpoint was changed."""
    write_segments(tmp_path, LOG)
    publish(tmp_path, 1000)
    with pytest.raises(AuditLogError, match="not signed by the key"):
        Publisher(tmp_path, OTHER_KEY, records=1400, files=FileOperations(), monotonic=Time())
    path = tmp_path / "checkpoint"
    path.write_bytes(path.read_bytes().replace(b"\n1000\n", b"\n999\n"))
    with pytest.raises(AuditLogDamaged, match="is damaged"):
        publisher(tmp_path, 1400, Time())


def test_a_full_disk_is_tried_again(tmp_path: Path) -> None:
    """It is counted, and what was written stays."""
    write_segments(tmp_path, LOG)
    time = Time()
    disk = FaultyDisk()
    made = publisher(tmp_path, 600, time, disk)
    disk.room = 9000
    for _ in range(30):
        made.step(600)
    assert made.failures == 1
    assert made.fault is not None
    assert made.published == 0
    disk.room = None
    assert made.due(600) == time.now + 1
    made.finish(600, within_s=3600)
    assert made.fault is None
    assert_published(tmp_path, LEAVES[:600])


def test_a_record_that_is_not_there(tmp_path: Path) -> None:
    """A segment vanished: nothing is signed beyond it."""
    paths = write_segments(tmp_path, LOG[:300], LOG[300:600], LOG[600:])
    paths[1].unlink()
    made = publisher(tmp_path, 1400, Time())
    for _ in range(30):
        made.step(1400)
    assert made.fault is not None
    assert "record 300 is not in the segments" in made.fault
    assert made.published == 0


def test_tiles_are_not_for_others(tmp_path: Path) -> None:
    """As the log itself."""
    write_segments(tmp_path, LOG)
    publish(tmp_path, 600)
    for path in (tmp_path / "tile").rglob("*"):
        assert path.stat().st_mode & 0o027 == 0, path
    assert (tmp_path / Tile(0, 1, bytes(8192)).path).is_file()


def test_a_head_is_never_lowered(tmp_path: Path) -> None:
    """Also while a log whose tiles were lost is read from its beginning for longer than a second."""
    write_segments(tmp_path, LOG)
    publish(tmp_path, 1000)
    (tmp_path / "tile/1/000.p/3").unlink()
    time = Time()
    made = publisher(tmp_path, 1400, time)
    while made.due(1400) is not None:
        made.step(1400)
        time.now += 0.2
        assert checkpoint_of(tmp_path).size >= 1000
    assert_published(tmp_path, LEAVES)
