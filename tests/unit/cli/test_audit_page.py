"""The command `audit report`."""

import hashlib
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gatekeeper.adapters.sinks.directory import note_head
from gatekeeper.adapters.sinks.operations import FileOperations
from gatekeeper.cli.main import cli
from testkit.audit_log import ORIGIN, chained, event, head_of, write_segments
from testkit.pages import Page, check

LINES = chained(event(f"c{number}") for number in range(6))
POLICY = """
schema = 1
[[rule]]
id = "no-tiktok"
title = "No TikTok"
apps = [{ platform = "ios", id = "com.zhiliaoapp.musically" }]
phases = { enforce = "2020-07-10T12:00:00Z" }
[[exemption]]
id = "ex-press"
rule = "no-tiktok"
users = ["press@example.com"]
expires = "2020-09-30"
reason = "Runs the channel"
approved_by = ["ciso@example.com"]
"""
CONFIGURATION = f"""
[[listener]]
name = "imap"
protocol = "imap"
bind = "127.0.0.1:0"
tls = "off"
[upstream.imap]
address = "127.0.0.1:143"
tls = "off"
[audit]
origin = "{ORIGIN}"
[policy]
file = "policy.toml"
"""


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of a log."""
    monkeypatch.chdir(tmp_path)
    Path("policy.toml").write_text(POLICY)
    write_segments(tmp_path / "copy", LINES)
    note_head(tmp_path / "copy", head_of(LINES), ORIGIN, FileOperations())
    return tmp_path / "copy"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["audit", *arguments])


def report(directory: Path, *arguments: str) -> Result:
    return run("--directory", str(directory), "report", "--from", "2020-07-10", "--to", "2020-07-11", *arguments)


def page(result: Result) -> Page:
    assert result.exit_code == 0, result.output
    return check(result.stdout)


def test_a_copy_of_a_log_is_reported_on(directory: Path) -> None:
    """To stdout, whole; verified first; without a policy no deadlines."""
    result = report(directory)
    found = page(result).text
    assert "6 log-ins by 1 people: 0 let through, 6 blocked by policy" in found
    assert "INCOMPLETE" in found
    assert "0 … 5 (6 in 1 segments)  sequence and prev-chain OK" in found
    assert "No policy was at hand" in found
    assert result.stderr == "note: this is not the log of a gate that is configured here, so nothing is recorded\n"


def test_deadlines_and_exemptions_come_from_the_policy(directory: Path) -> None:
    """One that is named."""
    found = page(report(directory, "--policy", "policy.toml")).text
    assert "no-tiktok enforced 2020-07-10 12:00" in found
    assert "ex-press" in found
    assert "ciso@example.com" in found


def test_a_log_that_was_changed_is_called_so(directory: Path) -> None:
    """On the page."""
    path = next((directory / "segments").iterdir())
    path.write_bytes(path.read_bytes().replace(b"TikTok", b"TokTik", 1))
    assert "TAMPERED" in page(report(directory)).text
    assert "NOT VERIFIED" in page(report(directory, "--no-verify")).text


def test_what_is_no_record_is_said(directory: Path) -> None:
    """It is not counted, and not passed over in silence."""
    path = next((directory / "segments").iterdir())
    path.write_bytes(b"garbage\n" + path.read_bytes())
    assert "1 lines of the log are no records" in page(report(directory)).text


def test_it_is_written_into_a_new_file_of_its_owner(directory: Path) -> None:
    """Nothing is written over."""
    result = report(directory, "--out", "page.html")
    assert (result.exit_code, result.stdout) == (0, "")
    assert Path("page.html").stat().st_mode & 0o777 == 0o600
    check(Path("page.html").read_text(encoding="utf-8"))
    again = report(directory, "--out", "page.html")
    assert again.exit_code == 2
    assert "`page.html` cannot be written: File exists" in again.stderr


@pytest.mark.parametrize(
    "arguments",
    [["--to", "2020-07-01"], ["--policy", "absent.toml"], ["--from", "yesterday"]],
    ids=["order", "policy", "time"],
)
def test_wrong_usage_ends_with_2(directory: Path, arguments: list[str]) -> None:
    """Said in a line."""
    assert report(directory, *arguments).exit_code == 2


def test_a_report_on_the_gate_s_own_log_is_recorded_in_it(directory: Path) -> None:
    """The policy at hand is that of the gate; the record has the digest of the page."""
    Path("config").mkdir()
    Path("config/gatekeeper.toml").write_text(CONFIGURATION)
    digest = hashlib.sha256(POLICY.encode()).hexdigest().encode()
    lines = [line.replace(b"a" * 64, digest) for line in LINES]
    write_segments(Path("var/audit"), lines[:1])
    note_head(Path("var/audit"), head_of(lines[:1]), ORIGIN, FileOperations())
    result = run("report", "--from", "2020-07-10", "--to", "2020-07-11")
    assert "no-tiktok enforced 2020-07-10 12:00" in page(result).text
    text = b"".join(path.read_bytes() for path in sorted(Path("var/audit/segments").iterdir())).splitlines()
    facts = [json.loads(line)["unmapped"]["gatekeeper"] for line in text if b"GK5001I" in line]
    assert [(each["what"], each["records_n"]) for each in facts] == [("report", 1)]
    assert facts[0]["sha256"] == hashlib.sha256(result.stdout_bytes).hexdigest()
