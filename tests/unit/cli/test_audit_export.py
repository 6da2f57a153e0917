"""The commands `audit export` and `audit check-export`."""

import csv
import hashlib
import json
from pathlib import Path

import duckdb
import pytest
from click.testing import CliRunner, Result

from gatekeeper.adapters.sinks.directory import note_head
from gatekeeper.adapters.sinks.operations import FileOperations
from gatekeeper.audit.event import EventCode
from gatekeeper.audit.stored import read
from gatekeeper.cli.main import cli
from gatekeeper.signing.note import parse_note
from testkit.audit_log import ORIGIN, chained, event, head_of, write_segments

LINES = chained(
    event(f"c{number}", account=("alice@example.com", "=cmd()")[number % 2], message=f"refused {number}")
    for number in range(6)
)
CONFIGURATION = """
[[listener]]
name = "imap"
protocol = "imap"
bind = "127.0.0.1:0"
tls = "off"
[upstream.imap]
address = "127.0.0.1:143"
tls = "off"
"""


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of a log, of two segments."""
    monkeypatch.chdir(tmp_path)
    write_segments(tmp_path / "copy", LINES[:4], LINES[4:])
    return tmp_path / "copy"


def export(directory: Path, *arguments: str, out: str = "out") -> Result:
    return CliRunner().invoke(cli, ["audit", "--directory", str(directory), "export", "--out", out, *arguments])


def check(*arguments: str, out: str = "out") -> Result:
    return CliRunner().invoke(cli, ["audit", "check-export", out, *arguments])


def manifest(out: str = "out") -> dict[str, str]:
    return dict(
        line.partition(": ")[::2] for line in parse_note(Path(out, "MANIFEST").read_bytes()).text.splitlines()[1:]
    )


def test_the_log_s_own_lines_are_exported_as_they_stand(directory: Path) -> None:
    """Octet by octet, so that they prove themselves; the manifest has their digest."""
    result = export(directory)
    assert result.exit_code == 0, result.output
    data = Path("out/records.jsonl").read_bytes()
    assert data == b"".join(LINES)
    said = manifest()
    assert said["sha256"] == hashlib.sha256(data).hexdigest()
    assert (said["records"], said["octets"], said["read"]) == ("6", str(len(data)), "log")
    assert said["log"] == "tests.example/audit/1 records 6 from 0 to 5"
    assert check().stdout.startswith("OK: 6 records in records.jsonl, as the manifest says")


def test_only_what_was_asked_for_is_exported(directory: Path) -> None:
    """The manifest says what that was, and that the index was used."""
    assert export(directory, "--user", "alice@example.com", "--since", "2020-07-10T10:00:00-07:00").exit_code == 0
    assert Path("out/records.jsonl").read_bytes() == b"".join(LINES[::2])
    assert manifest()["asked"] == "user=alice@example.com since=2020-07-10T17:00:00+00:00"
    assert (manifest()["read"], manifest()["log"]) == ("index", "tests.example/audit/1 records 3 from 0 to 4")


def test_an_address_that_was_asked_for_is_cut(directory: Path) -> None:
    """What was asked stands in the log too, which has no whole addresses."""
    assert export(directory, "--address", "198.51.100.77").exit_code == 0
    assert manifest()["asked"] == "address=198.51.100.0/24"
    assert export(directory, "--address", "2001:db8:1:2::7", out="again").exit_code == 0
    assert manifest("again")["asked"] == "address=2001:db8:1::/48"
    assert export(directory, "--address", "198.0.0.0/8", out="third").exit_code == 0
    assert manifest("third")["asked"] == "address=198.0.0.0/8"


def test_a_spreadsheet_finds_no_formula(directory: Path) -> None:
    """An account that is called like one is text."""
    assert export(directory, "--format", "csv").exit_code == 0
    with Path("out/records.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["user"] for row in rows] == ["alice@example.com", "'=cmd()"] * 3
    assert [row["sha256"] for row in rows] == [hashlib.sha256(line[:-1]).hexdigest() for line in LINES]


@pytest.mark.parametrize(
    ("name", "file"), [("ocsf", "records.jsonl"), ("ecs", "records.jsonl"), ("cef", "records.cef")]
)
def test_other_programs_get_a_line_a_record(directory: Path, name: str, file: str) -> None:
    """Each as its format wants it; the manifest fits."""
    assert export(directory, "--format", name).exit_code == 0
    lines = Path("out", file).read_bytes().splitlines()
    assert len(lines) == 6
    assert all(line.startswith(b"CEF:0|") if name == "cef" else json.loads(line) for line in lines)
    assert manifest()["format"] == name
    assert check().exit_code == 0


def test_another_program_reads_what_it_analyses(directory: Path) -> None:
    """DuckDB: typed columns, and the record itself, whose digest leads back to the log; the manifest fits."""
    assert export(directory, "--format", "parquet").exit_code == 0
    asked = "select \"user\", sequence, epoch_ms(time), sha256, record from 'out/records.parquet' order by sequence"
    with duckdb.connect() as database:
        rows = database.execute(asked).fetchall()
    assert [f"{row[4]}\n".encode() for row in rows] == LINES
    for line, (user, sequence, time, sha256, _) in zip(LINES, rows, strict=True):
        record = read(line)
        assert (user, sequence, time) == (record.account, record.sequence, record.time_ms)
        assert sha256 == hashlib.sha256(line[:-1]).hexdigest()
    assert (manifest()["format"], manifest()["file"], manifest()["records"]) == ("parquet", "records.parquet", "6")
    assert check().exit_code == 0


def test_what_is_exported_is_its_owner_s_alone(directory: Path) -> None:
    """Names of people who read mail."""
    assert export(directory).exit_code == 0
    modes = [path.stat().st_mode & 0o777 for path in (Path("out"), Path("out/records.jsonl"), Path("out/MANIFEST"))]
    assert modes == [0o700, 0o600, 0o600]


def test_nothing_is_written_over(directory: Path) -> None:
    """A directory in which something lies is refused."""
    assert export(directory).exit_code == 0
    before = Path("out/MANIFEST").read_bytes()
    again = export(directory, "--format", "csv")
    assert again.exit_code == 2
    assert "something in `out` already" in again.stderr
    assert Path("out/MANIFEST").read_bytes() == before


@pytest.fixture
def key(tmp_path: Path, directory: Path) -> str:
    """An auditor's key in `key`, with its passphrase in `pass`; gives the verifier key."""
    Path("pass").write_text("correct horse battery\n")
    made = CliRunner().invoke(cli, ["policy", "key", "new", "auditor", "key", "--passphrase-file", "pass"])
    assert made.exit_code == 0, made.output
    return made.stdout.strip()


def test_a_signed_manifest_says_who_made_it(directory: Path, key: str) -> None:
    """By the key file that `policy key new` makes."""
    assert export(directory, "--sign", "key", "--passphrase-file", "pass").exit_code == 0
    result = check("--vkey", key)
    assert (result.exit_code, result.stdout.rsplit(", ", 1)[1]) == (0, "signed by auditor\n")
    assert export(directory, out="unsigned").exit_code == 0
    unsigned = check("--vkey", key, out="unsigned")
    assert (unsigned.exit_code, unsigned.stderr) == (3, "error: the manifest is not signed by `auditor`\n")


@pytest.mark.parametrize(
    ("file", "change", "said"),
    [
        ("records.jsonl", (b"c3", b"c4"), "is not the file that the manifest names"),
        ("MANIFEST", (b"records: 6", b"records: 5"), "the signature of `auditor` does not fit"),
        ("MANIFEST", (b"gatekeeper audit export 1", b"gatekeeper audit export 2"), "is no manifest"),
        ("MANIFEST", (b"\n\n", b"\n"), "has no empty line"),
    ],
)
def test_what_was_changed_is_found(
    directory: Path, key: str, file: str, change: tuple[bytes, bytes], said: str
) -> None:
    """In the records or in what is said of them: exit code 1."""
    assert export(directory, "--sign", "key", "--passphrase-file", "pass").exit_code == 0
    path = Path("out", file)
    path.write_bytes(path.read_bytes().replace(*change, 1))
    result = check("--vkey", key)
    assert result.exit_code == 1
    assert said in result.stderr


def test_what_is_missing_is_said(directory: Path) -> None:
    """A file that is gone, a key that is none, a directory without a manifest."""
    assert export(directory).exit_code == 0
    assert check("--vkey", "nonsense").exit_code == 2
    Path("out/records.jsonl").unlink()
    assert "`out/records.jsonl` cannot be read: No such file" in check().stderr
    Path("out/MANIFEST").unlink()
    assert check().exit_code == 1


def test_of_a_copy_nothing_is_recorded(directory: Path) -> None:
    """It is said."""
    result = export(directory)
    assert result.stderr == "note: this is not the log of a gate that is configured here, so nothing is recorded\n"
    assert b"".join(path.read_bytes() for path in sorted((directory / "segments").iterdir())) == b"".join(LINES)


def test_an_export_of_the_gate_s_own_log_is_recorded_in_it(directory: Path) -> None:
    """Who, what was asked, how many records, and the digest of what was handed out."""
    Path("config").mkdir()
    Path("config/gatekeeper.toml").write_text(CONFIGURATION + f'[audit]\norigin = "{ORIGIN}"\n')
    write_segments(Path("var/audit"), LINES)
    note_head(Path("var/audit"), head_of(LINES), ORIGIN, FileOperations())
    result = CliRunner().invoke(cli, ["audit", "export", "--out", "out", "--conn", "c1", "--format", "csv"])
    assert (result.exit_code, result.stderr) == (0, "")
    lines = [line for path in sorted(Path("var/audit/segments").iterdir()) for line in path.read_bytes().splitlines()]
    found = [json.loads(line) for line in lines if EventCode.AUDIT_EXPORTED.encode() in line]
    assert len(found) == 1
    facts = found[0]["unmapped"]["gatekeeper"]
    assert {name: facts[name] for name in ("what", "format", "asked", "records_n", "sha256")} == {
        "what": "export",
        "format": "csv",
        "asked": "conn=c1",
        "records_n": 1,
        "sha256": hashlib.sha256(Path("out/records.csv").read_bytes()).hexdigest(),
    }
    assert facts["by"]
    assert "checkpoint" not in manifest()  # the log was not signed yet, and now it is
    assert CliRunner().invoke(cli, ["audit", "export", "--out", "again"]).exit_code == 0
    assert manifest("again")["checkpoint"].startswith(f"{ORIGIN} 9 ")
