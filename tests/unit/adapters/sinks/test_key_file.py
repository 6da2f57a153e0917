"""Files of keys, whatever the key: what `signing_key` and `secret_key` share."""

from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

import pytest

from gatekeeper.adapters.sinks.directory import AuditLogError
from gatekeeper.adapters.sinks.key_file import load_or_make, make_key, read_key


def test_so_much_is_read_and_no_more(tmp_path: Path) -> None:
    """A pipe or a disk in its place has no end."""
    path = tmp_path / "key"
    assert read_key(path, "the key", 4) is None
    make_key(path, b"abcdef")
    assert read_key(path, "the key", 4) == b"abcd"
    with pytest.raises(AuditLogError, match=r"^the key `.*` cannot be read: Is a directory"):
        read_key(tmp_path, "the key", 4)


@pytest.mark.parametrize("mode", [0o604, 0o602, 0o620, 0o610])
def test_nobody_else_may_use_it(tmp_path: Path, mode: int) -> None:
    """And it says what to do."""
    path = tmp_path / "key"
    make_key(path, b"abc")
    path.chmod(mode)
    with pytest.raises(AuditLogError, match=rf"the key `.*` is open to others \(mode {mode:04o}\): chmod 600"):
        read_key(path, "the key", 4)


def test_whoever_is_late_uses_what_is_there(tmp_path: Path) -> None:
    """And leaves nothing behind."""
    path, number = tmp_path / "keys" / "key", count()

    def use() -> bytes:
        return load_or_make(path, "the key", lambda: read_key(path, "the key", 100), lambda: b"key %d" % next(number))

    with ThreadPoolExecutor(8) as pool:
        found = {pool.submit(use).result() for _ in range(8)} | set(pool.map(lambda _: use(), range(8)))
    assert len(found) == 1
    assert [one.name for one in path.parent.iterdir()] == ["key"]


def test_one_that_goes_at_once_is_told(tmp_path: Path) -> None:
    """Rather than made again for ever."""
    with pytest.raises(AuditLogError, match=r"the key `.*` was removed again"):
        load_or_make(tmp_path / "key", "the key", lambda: None, lambda: b"x")
