"""The store of bundles: whole or not there, never replaced, one publisher first."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from gatekeeper.adapters.bundles.store import ROLLOUT_FILE, BundleStore, VersionTaken
from gatekeeper.publishing.bundle import parse_bundle
from testkit.publishing import bundle


@pytest.fixture
def store(tmp_path: Path) -> BundleStore:
    """A store whose directory is not there yet."""
    return BundleStore(tmp_path / "policy")


def test_what_is_published_is_there_and_its_neighbours_stay(store: BundleStore) -> None:
    """Versions by number, whatever their files are called."""
    assert store.versions() == ()
    for version in (2, 10, 9_999):
        store.publish(version, bundle(version).encode())

    assert store.versions() == (2, 10, 9_999)
    assert parse_bundle(store.read(10)).statement.version == 10


@pytest.mark.parametrize("version", [1, 2])
def test_a_version_is_never_replaced_nor_undercut(store: BundleStore, version: int) -> None:
    """What is there stays as it is."""
    store.publish(2, b"two")
    with pytest.raises(VersionTaken, match="versions only rise"):
        store.publish(version, b"other")

    assert (store.versions(), store.read(2)) == ((2,), b"two")


def test_of_many_publishers_one_is_first(store: BundleStore) -> None:
    """The others are refused, and the file is of one of them."""
    outcomes: list[bool] = []

    def publish(octets: bytes) -> None:
        try:
            store.publish(1, octets)
        except VersionTaken:
            outcomes.append(False)
        else:
            outcomes.append(True)

    threads = [threading.Thread(target=publish, args=(bytes([number]) * 50_000,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(outcomes) == [False] * 7 + [True]
    assert len(set(store.read(1))) == 1


_KILLED = """
import os, sys
from pathlib import Path
from gatekeeper.adapters.bundles import store as module
real_write, real_link, real_fsync = os.write, os.link, os.fsync
step = int(sys.argv[2])
count = 0
def die_at(function):
    def called(*args, **kwargs):
        global count
        count += 1
        if count == step:
            os.kill(os.getpid(), 9)
        return function(*args, **kwargs)
    return called
os.link, os.fsync, os.unlink, os.open = (die_at(f) for f in (os.link, os.fsync, os.unlink, os.open))
module.BundleStore(Path(sys.argv[1])).publish(2, Path(sys.argv[3]).read_bytes())
print("done")
"""


def test_a_publisher_killed_at_any_step_leaves_the_old_or_the_new(store: BundleStore, tmp_path: Path) -> None:
    """Before each of its system calls in turn; what is left over is swept by the next one."""
    old, new = bundle(1).encode(), bundle(2).encode()
    (tmp_path / "new").write_bytes(new)
    seen = set()
    for step in range(1, 40):
        for path in store.directory.iterdir() if store.directory.exists() else ():
            path.unlink()
        store.publish(1, old)
        command = [sys.executable, "-c", _KILLED, str(store.directory), str(step), str(tmp_path / "new")]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ})
        versions = store.versions()
        seen.add(versions)
        assert versions in ((1,), (1, 2)), step
        assert store.read(1) == old
        assert versions == (1,) or store.read(2) == new
        if done.stdout == "done\n":
            break
        assert done.returncode == -signal.SIGKILL, done.stderr
        if versions == (1,):
            store.publish(2, new)
            assert store.read(2) == new
            assert not list(store.directory.glob(".new-*"))
    else:
        pytest.fail("it never came to its end")
    assert seen == {(1,), (1, 2)}


def test_a_version_appears_whole_in_one_act(store: BundleStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until the link nothing has its name, and at the link every octet is there and synced."""
    store.publish(1, b"one")
    synced: list[int] = []
    acts: list[tuple[tuple[int, ...], bytes, bool]] = []
    real_link, real_fsync = os.link, os.fsync

    def fsync(descriptor: int) -> None:
        synced.append(os.fstat(descriptor).st_ino)
        real_fsync(descriptor)

    def link(source: Path, target: Path) -> None:
        acts.append((store.versions(), source.read_bytes(), source.stat().st_ino in synced))
        real_link(source, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "link", link)
    store.publish(2, bundle(2).encode())

    assert acts == [((1,), bundle(2).encode(), True)]
    assert synced[-1] == store.directory.stat().st_ino


def test_octets_aside_are_no_version(store: BundleStore) -> None:
    """However many of them were written when the publisher died."""
    store.publish(1, bundle(1).encode())
    data = bundle(2).encode()
    for end in range(0, len(data), 511):
        (store.directory / ".new-0000").write_bytes(data[:end])
        assert store.versions() == (1,)


def test_the_stamp_changes_with_what_is_published_and_with_state(store: BundleStore) -> None:
    """And with nothing else."""
    stamps = [store.stamp()]
    store.publish(1, b"one")
    stamps.append(store.stamp())
    (store.directory / ".new-1").write_bytes(b"half")
    assert store.stamp() == stamps[-1]
    for data in (b"a", b"b", None):
        with store.locked():
            store.write_state(ROLLOUT_FILE, data)
        assert store.read_state(ROLLOUT_FILE) == data
        stamps.append(store.stamp())

    assert len(set(stamps[:4])) == 4
    assert stamps[4] == stamps[1]


def test_a_full_disk_leaves_nothing_behind(store: BundleStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error goes to who publishes; the next attempt is as good as the first."""

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            store.publish(1, b"one")
    assert store.versions() == ()
    assert not list(store.directory.glob(".new-*"))
    store.publish(1, b"one")
