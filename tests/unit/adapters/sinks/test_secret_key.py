"""Key files: made once, for their owner alone."""

from pathlib import Path

import pytest

from gatekeeper.adapters.sinks.directory import AuditLogError
from gatekeeper.adapters.sinks.secret_key import load_or_make_secret, load_secret


def test_a_key_is_made_once(tmp_path: Path) -> None:
    """256 bits that nobody else can read, and the same ever after."""
    path = tmp_path / "keys" / "identity.key"
    assert load_secret(path) is None
    key = load_or_make_secret(path)
    assert (len(key), path.stat().st_mode & 0o777) == (32, 0o600)
    assert load_or_make_secret(path) == key == load_secret(path)
    assert [one.name for one in path.parent.iterdir()] == ["identity.key"]


@pytest.mark.parametrize("content", [b"", b"ab" * 31, b"x" * 64, b"\xff" * 64, b"ab" * 33])
def test_what_is_no_key_is_refused(tmp_path: Path, content: bytes) -> None:
    """It is not written over, either."""
    path = tmp_path / "identity.key"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(AuditLogError, match="holds no key"):
        load_or_make_secret(path)
    assert path.read_bytes() == content


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    """With what to do."""
    path = tmp_path / "identity.key"
    load_or_make_secret(path)
    path.chmod(0o644)
    with pytest.raises(AuditLogError, match="chmod 600"):
        load_secret(path)
