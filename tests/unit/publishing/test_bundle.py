"""Bundles: one form, addressed by content, and nothing else is taken for one."""

import hashlib
import io
import subprocess
import tarfile
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatekeeper.publishing.bundle import BundleError, build, content_digest, parse_bundle, parse_statement
from gatekeeper.signing.note import Note
from testkit.publishing import CREATED, NOVAK, ORIGIN, POLICY, RUIZ, bundle, signed


def test_a_bundle_is_read_back_as_it_was_written() -> None:
    """Statement, signatures and files."""
    made = bundle(42)

    assert parse_bundle(made.encode()) == made
    assert made.statement.text == (
        f"{ORIGIN}\n42\nsha256:{made.statement.digest}\nauthor w.author\ncreated 2026-11-01T09:00:00Z\nreason a test\n"
    )


def test_the_same_files_have_the_same_digest_under_every_version() -> None:
    """Content is addressed by what it is; the octets of a bundle depend on nothing else."""
    assert bundle(1).statement.digest == bundle(2).statement.digest
    assert bundle(1, POLICY + "\n").statement.digest != bundle(1).statement.digest
    assert bundle(1, by=()).encode() == bundle(1, by=()).encode()


def test_the_digest_is_what_sha256sum_gives(tmp_path: Path) -> None:
    """An auditor needs no program of ours to check it: `sha256sum *.toml | sha256sum`."""
    files = {"policy.toml": POLICY.encode(), "groups.toml": b"x = []\n"}
    for name, octets in files.items():
        (tmp_path / name).write_bytes(octets)
    command = "LC_ALL=C; sha256sum *.toml | sha256sum | cut -d' ' -f1"
    printed = subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, text=True, check=True).stdout

    assert printed.strip() == content_digest(files)


def test_times_are_written_in_utc() -> None:
    """Whole seconds, wherever the author sits."""
    there = datetime(2026, 11, 1, 10, 0, 0, 999, tzinfo=timezone(timedelta(hours=1)))
    made = build({"policy.toml": b""}, origin=ORIGIN, version=1, author="w", reason="r", now=there)

    assert made.statement.created == CREATED


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("version", 0),
        ("version", 10**9 + 1),
        ("author", "two words"),
        ("author", ""),
        ("author", "line\nbreak"),
        ("reason", ""),
        ("reason", "line\nbreak"),
        ("reason", " padded"),
        ("reason", "x" * 301),
        ("reason", "\udcff"),
        ("origin", "a b"),
    ],
)
def test_facts_that_cannot_be_signed_are_refused(field: str, value: object) -> None:
    """Nothing that could be read as another line."""
    facts = {"origin": ORIGIN, "version": 1, "author": "w", "reason": "r", "now": CREATED, field: value}
    with pytest.raises(BundleError):
        build({"policy.toml": b""}, **facts)


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"other.toml": b""},
        {"policy.toml": b"", "../escape": b""},
        {"policy.toml": b"", "/etc/passwd": b""},
        {"policy.toml": b"", "statement.note": b""},
        {"policy.toml": b"x" * 9_300_000},
        {"policy.toml": b"", **{f"f{number}": b"" for number in range(20)}},
    ],
    ids=["none", "no-policy", "parent", "absolute", "reserved", "large", "many"],
)
def test_files_that_cannot_be_in_a_bundle_are_refused(files: dict[str, bytes]) -> None:
    """Names stay names."""
    with pytest.raises(BundleError):
        build(files, origin=ORIGIN, version=1, author="w", reason="r", now=CREATED)


def test_a_note_about_another_bundle_does_not_fit() -> None:
    """Signatures cannot be carried from one bundle to another."""
    with pytest.raises(BundleError, match="another bundle"):
        bundle(1).with_note(bundle(2).note)


def test_swapped_files_are_found_out() -> None:
    """The statement is about these files and no others."""
    data = bundle(1).encode().replace(b'"block"', b'"allow"')

    with pytest.raises(BundleError, match="not those that its statement is about"):
        parse_bundle(data)


def test_a_cut_bundle_is_refused_at_every_octet() -> None:
    """Also where only the padding at the end is missing."""
    data = bundle(1).encode()
    for end in [*range(0, len(data), 97), *range(len(data) - 600, len(data))]:
        with pytest.raises(BundleError):
            parse_bundle(data[:end])


def test_links_and_doubled_names_are_refused() -> None:
    """What tar can say and a bundle does not."""
    buffer = io.BytesIO(bundle(1).encode())
    with tarfile.open(fileobj=buffer, mode="a", format=tarfile.USTAR_FORMAT) as archive:
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    with pytest.raises(BundleError):
        parse_bundle(buffer.getvalue())
    buffer = io.BytesIO(bundle(1).encode())
    with tarfile.open(fileobj=buffer, mode="a", format=tarfile.USTAR_FORMAT) as archive:
        archive.addfile(tarfile.TarInfo("policy.toml"))
    with pytest.raises(BundleError):
        parse_bundle(buffer.getvalue())


@given(st.binary(max_size=2048))
def test_any_octets_are_an_error(data: bytes) -> None:
    """Nobody writes a bundle by chance."""
    with pytest.raises(BundleError):
        parse_bundle(data)


@given(st.integers(0, 5119), st.integers(1, 255))
def test_one_changed_octet_is_found_out_or_only_touches_signatures(place: int, change: int) -> None:
    """Whatever is changed: refused, or the statement and the files are what they were."""
    made = _MADE
    data = bytearray(made.encode())
    data[place % len(data)] ^= change
    try:
        read = parse_bundle(bytes(data))
    except BundleError:
        return
    assert (read.statement, read.files) == (made.statement, made.files) or read.statement.digest == content_digest(
        read.files
    )


@given(st.text(max_size=200))
def test_a_statement_is_read_in_its_one_form_only(text: str) -> None:
    """Total: a statement that makes the same text, or an error."""
    try:
        statement = parse_statement(text)
    except BundleError:
        return
    assert statement.text == text


def test_a_member_that_claims_more_than_there_is_is_refused() -> None:
    """A sparse file of a tebibyte in ten kilobytes: it is not unpacked to be looked at."""
    name, size = "policy.toml", 1 << 40
    packed = f"1\n{size - 1}\n1\n".encode().ljust(tarfile.BLOCKSIZE, b"\0") + b"x"
    member = tarfile.TarInfo(name)
    member.size = len(packed)
    sparse = {"major": "1", "minor": "0", "name": name, "realsize": str(size)}
    member.pax_headers = {f"GNU.sparse.{key}": value for key, value in sparse.items()}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(member, io.BytesIO(packed))

    with pytest.raises(BundleError, match="does not hold"):
        parse_bundle(buffer.getvalue())


def test_an_override_travels_with_its_bundle() -> None:
    """A second note beside the statement."""
    made = bundle(3, by=())
    with_word = type(made)(statement=made.statement, files=made.files, override=NOVAK.sign(Note("go ahead\n")))

    assert parse_bundle(with_word.encode()).override == with_word.override
    assert hashlib.sha256(with_word.encode()).digest() != hashlib.sha256(made.encode()).digest()


_MADE = signed(
    build(
        {"policy.toml": POLICY.encode()},
        origin=ORIGIN,
        version=1,
        author="w",
        reason="r",
        now=datetime(2026, 1, 1, tzinfo=UTC),
    ),
    RUIZ,
)
