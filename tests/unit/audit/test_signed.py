"""The signed head against the records: every way of tampering, and what cannot be told."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from gatekeeper.adapters.sinks.reader import all_pieces
from gatekeeper.adapters.sinks.tiles import TileMissing, read_checkpoint_file, read_tile
from gatekeeper.audit.chain import verify
from gatekeeper.audit.checkpoint import Checkpoint
from gatekeeper.audit.report import Kind
from gatekeeper.audit.signed import SignedReport, SignedVerification, as_known
from gatekeeper.signing.note import VerifierKey
from testkit.audit_log import ORIGIN, log_of, write_segments
from testkit.merkle import KEY, OTHER_KEY, definition, sign_log

LOG = log_of(600)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A signed log in two segments."""
    write_segments(tmp_path, LOG[:400], LOG[400:])
    sign_log(tmp_path)
    return tmp_path


def verification(
    directory: Path, known: Sequence[VerifierKey] = (KEY.verifier,), since: Sequence[Checkpoint] = ()
) -> SignedReport:
    def tile(level: int, index: int, width: int) -> bytes | None:
        try:
            return read_tile(directory, level, index, width)
        except TileMissing:
            return None

    made = SignedVerification(read_checkpoint_file(directory), known=known, since=since, read_tile=tile)
    report = verify(made.along(all_pieces(directory)))
    return made.finish(report.log)


def kinds(report: SignedReport) -> set[Kind]:
    return {finding.kind for finding in report.findings}


def head(size: int) -> Checkpoint:
    return Checkpoint(ORIGIN, size, definition([line[:-1] for line in LOG[:size]]))


def test_a_signed_log(directory: Path) -> None:
    """Root, signature, every tile, and any older head of it."""
    report = verification(directory, since=[head(0), head(1), head(256), head(600)])
    assert (report.findings, report.missing, report.unsigned) == ((), (), 0)
    assert report.checkpoint == head(600)
    assert report.key == KEY.verifier
    assert report.tiles == 4


def test_records_after_the_head_are_not_signed_yet(directory: Path) -> None:
    """No fault of a live log."""
    write_segments(directory, log_of(700))
    for path in (directory / "segments").iterdir():
        if path.name.startswith("00000000000000000400"):
            path.unlink()
    report = verification(directory)
    assert report.unsigned == 100
    assert kinds(report) == {Kind.REWRITTEN, Kind.TILE}  # `log_of` closes: record 599 is another one
    write_segments(directory, [*LOG, b"one more\n"])
    assert (verification(directory).findings, verification(directory).unsigned) == ((), 1)


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        ([*LOG[:300], LOG[300].replace(b"TikTok", b"Signal"), *LOG[301:]], {Kind.REWRITTEN, Kind.TILE}),
        ([*LOG[:300], *LOG[301:]], {Kind.TRUNCATED, Kind.TILE}),
        ([*LOG[:300], *LOG[300:301], *LOG[300:]], {Kind.REWRITTEN, Kind.TILE}),
        ([*LOG[:300], LOG[301], LOG[300], *LOG[302:]], {Kind.REWRITTEN, Kind.TILE}),
        ([*LOG[:599], b"x" * 40_000 + b"\n"], {Kind.REWRITTEN, Kind.TILE}),
        ([*LOG[:599], LOG[599][:-1]], {Kind.TRUNCATED}),
        (LOG[:500], {Kind.TRUNCATED}),
        ([], {Kind.TRUNCATED}),
    ],
    ids=["flip", "drop", "insert", "reorder", "overlong", "torn", "truncate", "empty"],
)
def test_tampering_with_the_records(directory: Path, lines: list[bytes], found: set[Kind]) -> None:
    """What was signed is not there any more."""
    for path in (directory / "segments").iterdir():
        path.unlink()
    write_segments(directory, lines)
    assert kinds(verification(directory)) == found


def test_a_log_that_was_written_and_signed_anew(directory: Path) -> None:
    """With the right key it is whole by itself; a head that was kept tells."""
    write_segments(directory, LOG[:400], [line.replace(b"TikTok", b"Signal") for line in LOG[400:]])
    sign_log(directory)
    assert verification(directory).findings == ()
    assert kinds(verification(directory, since=[head(500)])) == {Kind.REWRITTEN}
    assert kinds(verification(directory, since=[head(400)])) == set()


def test_an_older_log_with_its_older_head(directory: Path) -> None:
    """As a backup: only a head that was kept tells."""
    write_segments(directory, LOG[:400], LOG[400:500])
    sign_log(directory)
    assert verification(directory).findings == ()
    assert kinds(verification(directory, since=[head(600)])) == {Kind.TRUNCATED}


def test_a_lowered_size_is_not_signed(directory: Path) -> None:
    """The signature is of the other size."""
    path = directory / "checkpoint"
    path.write_bytes(path.read_bytes().replace(b"\n600\n", b"\n500\n"))
    assert Kind.FORGED in kinds(verification(directory))


def test_another_key(directory: Path) -> None:
    """It is said who signed; without any key the records are compared all the same."""
    sign_log(directory, OTHER_KEY)
    report = verification(directory)
    assert (report.findings, report.key) == ((), None)
    (missing,) = report.missing
    assert f"signed by {ORIGIN}+{OTHER_KEY.verifier.key_id.hex()}, not by" in missing
    (missing,) = verification(directory, known=[]).missing
    assert "--vkey" in missing


def test_another_origin(directory: Path) -> None:
    """A head of another log does not count for this one."""
    (directory / "checkpoint").write_bytes(Checkpoint("other.example/1", 600, head(600).root).signed(KEY))
    assert kinds(verification(directory)) == {Kind.FOREIGN}


@pytest.mark.parametrize("content", [b"", b"x", b"a\n5\nb\n\n", bytes(100_000)])
def test_a_head_that_cannot_be_read(directory: Path, content: bytes) -> None:
    """Somebody wrote it."""
    (directory / "checkpoint").write_bytes(content)
    report = verification(directory)
    assert kinds(report) == {Kind.FORGED}
    assert report.checkpoint is None


def test_no_head(directory: Path) -> None:
    """Nothing is signed, as far as can be told."""
    (directory / "checkpoint").unlink()
    report = verification(directory)
    assert report.findings == ()
    assert report.missing == ("there is no `checkpoint`: nothing is signed",)


def test_tiles(directory: Path) -> None:
    """A changed one is tampering, a missing one is not there."""
    (directory / "tile/0/001").write_bytes(bytes(8192))
    report = verification(directory)
    assert kinds(report) == {Kind.TILE}
    (directory / "tile/0/001").unlink()
    report = verification(directory)
    assert report.findings == ()
    assert report.missing == ("1 tiles are not there: the gate makes them at its next start",)


def test_whose_keys_may_sign_what() -> None:
    """A gate's key signs the logs of its workers, and no others."""
    worker = f"{ORIGIN}/worker-2"
    assert as_known([KEY.verifier], ORIGIN) == [KEY.verifier]
    assert as_known([KEY.verifier], worker) == [VerifierKey(worker, KEY.verifier.public)]
    assert as_known([KEY.verifier], f"{ORIGIN}2") == []
    assert as_known([VerifierKey(worker, KEY.verifier.public)], ORIGIN) == []
