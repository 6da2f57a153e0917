"""`deploy/received_audit.py`: a log made of what a receiver got, however it came."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from testkit.audit_log import ORIGIN, chained, event, log_of, write_segments
from testkit.merkle import KEY, sign_log

DEPLOY = Path(__file__).parents[2] / "deploy"
LINES = log_of(40)


@pytest.fixture
def note(tmp_path: Path) -> bytes:
    """The signed head of the first 30."""
    write_segments(tmp_path / "gate", LINES[:30])
    sign_log(tmp_path / "gate")
    return (tmp_path / "gate" / "checkpoint").read_bytes()


def made(tmp_path: Path, *files: list[bytes], heads: bytes = b"", more: tuple[str, ...] = ()) -> tuple[int, str]:
    """Exit code and output for these files of records."""
    names = []
    for number, lines in enumerate(files):
        path = tmp_path / f"records-{number}.jsonl"
        path.write_bytes(b"".join(lines))
        names.append(str(path))
    head = tmp_path / "heads"
    head.write_bytes(heads)
    command = [sys.executable, str(DEPLOY / "received_audit.py"), *names, "--out", str(tmp_path / "out"), *more]
    done = subprocess.run(
        [*command, *(("--heads", str(head)) if heads else ())], capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout + done.stderr


def in_order(tmp_path: Path) -> list[bytes]:
    (segment,) = (tmp_path / "out" / "segments").iterdir()
    return segment.read_bytes().splitlines(keepends=True)


def test_repeats_another_order_and_torn_lines_make_the_log(tmp_path: Path, note: bytes) -> None:
    """And the newest head that the records reach; what comes out verifies."""
    heads = [json.dumps({"records": 30, "checkpoint": note.decode()}), json.dumps({"checkpoint": f"{ORIGIN}\n99\nx\n"})]
    received = [*LINES[10:], *LINES[:12], LINES[12][:100] + LINES[13], *LINES[14:20], LINES[20][:50]]
    code, said = made(tmp_path, received, heads="\n".join(heads).encode())
    assert (code, said) == (0, f"MADE: 40 records of {ORIGIN}, with a head (9 repeats, 2 torn lines)\n")
    assert in_order(tmp_path) == LINES
    verified = subprocess.run(
        [sys.executable, str(DEPLOY / "verify_audit.py"), str(tmp_path / "out"), "--vkey", str(KEY.verifier)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert verified.returncode == 0, verified.stdout
    assert verified.stdout.startswith("SOUND: 30 records")


def test_a_record_behind_a_torn_one_is_found(tmp_path: Path) -> None:
    """The receiver was killed within a line, and went on behind it."""
    received = [*LINES[:5], LINES[5][:300] + LINES[5], *LINES[6:]]
    assert made(tmp_path, received)[0] == 0
    assert in_order(tmp_path) == LINES


def test_lines_that_a_forwarder_put_into_objects_are_taken_out(tmp_path: Path) -> None:
    """As Fluent Bit sends them, escapes and all; one is torn, and the next stands behind it."""
    wrapped = [b'{"message":%s}\n' % json.dumps(line.decode().removesuffix("\n")).encode() for line in LINES]
    code, said = made(tmp_path, [*wrapped[:5], wrapped[5][:300] + wrapped[5], *wrapped[6:], b'["?"]\n', b'{"a":1}\n'])
    assert (code, said) == (0, f"MADE: 40 records of {ORIGIN}, without a head (0 repeats, 3 torn lines)\n")
    assert in_order(tmp_path) == LINES


def test_a_record_in_two_versions_is_tampering(tmp_path: Path) -> None:
    """Whichever is true."""
    code, said = made(tmp_path, LINES, [LINES[7].replace(b"alice", b"mally")])
    assert code == 1
    assert "record 7 came before with other octets" in said


@pytest.mark.parametrize(
    ("received", "words"),
    [
        (LINES[:7] + LINES[9:], "records 7 to 8 are missing"),
        (LINES[3:], "the first 3 records are missing"),
        ([b"?\n"], "no record"),
    ],
)
def test_what_is_missing_is_said(tmp_path: Path, received: list[bytes], words: str) -> None:
    """With another exit code."""
    code, said = made(tmp_path, received)
    assert code == 3
    assert words in said


def test_of_several_logs_one_is_chosen(tmp_path: Path) -> None:
    """By its name, else the first one that comes."""
    other = [line.replace(ORIGIN.encode(), b"tests.example/audit/1/worker-2") for line in chained([event("x")] * 3)]
    assert made(tmp_path, [*LINES, *other], heads=b"", more=("--log", "tests.example/audit/1/worker-2"))[0] == 0
    assert in_order(tmp_path) == other


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    """What lies there may be evidence."""
    (tmp_path / "out").mkdir()
    assert made(tmp_path, LINES)[0] == 2
