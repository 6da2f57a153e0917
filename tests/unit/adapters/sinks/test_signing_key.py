"""The key that signs a log: made once, its owner's alone, never over another file."""

import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gatekeeper.adapters.sinks.directory import AuditLogError
from gatekeeper.adapters.sinks.signing_key import before, key_of, keys_of, load_key, load_or_make_key, retire, rotate
from testkit.audit_log import ORIGIN


def test_it_is_made_once(tmp_path: Path) -> None:
    """For its owner alone; the second time it is the first one."""
    path = tmp_path / "new" / "signing.key"
    made = load_or_make_key(path, ORIGIN)
    assert path.stat().st_mode & 0o777 == 0o600
    assert [each.name for each in path.parent.iterdir()] == ["signing.key"]
    content = path.read_bytes()
    assert load_or_make_key(path, ORIGIN).verifier == made.verifier
    assert load_or_make_key(path, f"{ORIGIN}/worker-2").verifier.public == made.verifier.public
    assert path.read_bytes() == content


def test_many_at_once_make_one(tmp_path: Path) -> None:
    """As workers do that start together."""
    with ThreadPoolExecutor(8) as pool:
        keys = list(pool.map(lambda _: load_or_make_key(tmp_path / "signing.key", ORIGIN), range(16)))
    assert len({key.verifier for key in keys}) == 1
    assert [each.name for each in tmp_path.iterdir()] == ["signing.key"]


def test_openssl_reads_it(tmp_path: Path) -> None:
    """Its public half is the one that verifies."""
    key = load_or_make_key(tmp_path / "signing.key", ORIGIN)
    shown = subprocess.run(
        ["openssl", "pkey", "-in", tmp_path / "signing.key", "-pubout", "-outform", "DER"],
        check=True,
        capture_output=True,
    )
    assert shown.stdout[-32:] == key.verifier.public


@pytest.mark.parametrize("mode", [0o604, 0o644, 0o660, 0o601])
def test_one_that_is_open_to_others_is_refused(tmp_path: Path, mode: int) -> None:
    """Whoever else could read it could sign."""
    path = tmp_path / "signing.key"
    load_or_make_key(path, ORIGIN)
    path.chmod(mode)
    with pytest.raises(AuditLogError, match=f"mode {mode:04o}.*chmod 600"):
        load_key(path, ORIGIN)


def test_a_mounted_credential_may_be_read_by_its_group(tmp_path: Path) -> None:
    """That is how some platforms hand over secrets."""
    path = tmp_path / "signing.key"
    load_or_make_key(path, ORIGIN)
    path.chmod(0o440)
    assert load_key(path, ORIGIN) is not None


@pytest.mark.parametrize(
    "content", [b"", b"not a key", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"]
)
def test_what_is_no_key_is_refused_and_kept(tmp_path: Path, content: bytes) -> None:
    """Nothing is made over it."""
    path = tmp_path / "signing.key"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(AuditLogError, match="no private key"):
        load_or_make_key(path, ORIGIN)
    assert path.read_bytes() == content


def test_another_kind_of_key_is_refused(tmp_path: Path) -> None:
    """Checkpoints carry Ed25519."""
    path = tmp_path / "signing.key"
    subprocess.run(["openssl", "genpkey", "-algorithm", "X25519", "-out", path], check=True)
    path.chmod(0o600)
    with pytest.raises(AuditLogError, match="no Ed25519 key"):
        load_key(path, ORIGIN)


def test_places_where_none_can_be_made(tmp_path: Path) -> None:
    """Said with the path; a name that cannot stand in a note as well."""
    (tmp_path / "file").touch()
    with pytest.raises(AuditLogError, match="cannot be"):
        load_or_make_key(tmp_path / "file" / "signing.key", ORIGIN)
    with pytest.raises(AuditLogError, match="cannot be read"):
        load_or_make_key(tmp_path, ORIGIN)
    with pytest.raises(AuditLogError, match=r"audit\.origin"):
        load_or_make_key(tmp_path / "signing.key", "with space")


def test_a_log_that_was_signed_gets_no_new_key(tmp_path: Path) -> None:
    """Auditors know the old one."""
    path = tmp_path / "signing.key"
    (tmp_path / "checkpoint").touch()
    with pytest.raises(AuditLogError, match=r"is gone.*put it back"):
        key_of(tmp_path, path, ORIGIN)
    assert not path.exists()
    made = load_or_make_key(path, ORIGIN)
    assert key_of(tmp_path, path, ORIGIN).verifier == made.verifier


def test_a_key_is_changed(tmp_path: Path) -> None:
    """The older one signs as well until it is retired; each is its owner's alone."""
    path = tmp_path / "signing.key"
    first = load_or_make_key(path, ORIGIN)
    second = rotate(path, ORIGIN)
    assert second.verifier != first.verifier
    assert [key.verifier for key in keys_of(tmp_path, path, ORIGIN)] == [second.verifier, first.verifier]
    assert {each.stat().st_mode & 0o777 for each in (path, before(path))} == {0o600}
    with pytest.raises(AuditLogError, match="retire it first"):
        rotate(path, ORIGIN)
    retire(path)
    assert [key.verifier for key in keys_of(tmp_path, path, ORIGIN)] == [second.verifier]
    assert rotate(path, ORIGIN).verifier != second.verifier
    assert sorted(each.name for each in tmp_path.iterdir()) == ["signing.key", "signing.key.before"]


def test_a_change_that_was_interrupted_is_made_again(tmp_path: Path) -> None:
    """Between its steps the key is the old one."""
    path = tmp_path / "signing.key"
    first = load_or_make_key(path, ORIGIN)
    (tmp_path / "signing.key.next").write_text("half")
    before(path).hardlink_to(path)
    assert [key.verifier for key in keys_of(tmp_path, path, ORIGIN)] == [first.verifier]
    second = rotate(path, ORIGIN)
    assert [key.verifier for key in keys_of(tmp_path, path, ORIGIN)] == [second.verifier, first.verifier]


def test_what_is_not_there_is_not_changed(tmp_path: Path) -> None:
    """Nor where nothing can be written."""
    with pytest.raises(AuditLogError, match="makes it at its first start"):
        rotate(tmp_path / "signing.key", ORIGIN)
    load_or_make_key(tmp_path / "signing.key", ORIGIN)
    (tmp_path / "signing.key.next").mkdir()
    with pytest.raises(AuditLogError, match="cannot be changed"):
        rotate(tmp_path / "signing.key", ORIGIN)
    before(tmp_path / "signing.key").mkdir()
    with pytest.raises(AuditLogError, match="cannot be removed"):
        retire(tmp_path / "signing.key")


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file away")
def test_a_new_key_is_for_whom_the_old_one_was(tmp_path: Path) -> None:
    """Root changes the key of the gate's account; a group that may read it still may."""
    path = tmp_path / "signing.key"
    load_or_make_key(path, ORIGIN)
    os.chown(path, 65534, 65533)
    path.chmod(0o640)
    rotate(path, ORIGIN)
    found = path.stat()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (65534, 65533, 0o640)
