"""`audit prune` and `audit hold` on a gate's own log while the gate does not run, on real files."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gatekeeper.adapters.sinks.directory import note_head, segment_paths
from gatekeeper.adapters.sinks.operations import FileOperations
from gatekeeper.adapters.sinks.reader import lines
from gatekeeper.adapters.sinks.shipping.position import note_position
from gatekeeper.audit.stored import read
from gatekeeper.cli.main import cli
from testkit.audit_log import ORIGIN, head_of, log_of, write_segments
from testkit.merkle import KEY, sign_log

LOG = log_of(900)
AUDIT = Path("var/audit")
CONFIGURATION = f"""
[audit]
origin = "{ORIGIN}"
[[listener]]
name = "imap"
protocol = "imap"
bind = "127.0.0.1:0"
tls = "off"
[upstream.imap]
address = "127.0.0.1:143"
tls = "off"
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A gate with a log of 2020, in three segments, signed as a whole."""
    monkeypatch.chdir(tmp_path)
    Path("gatekeeper.toml").write_text(CONFIGURATION)
    write_segments(AUDIT, LOG[:300], LOG[300:600], LOG[600:])
    note_head(AUDIT, head_of(LOG), ORIGIN, FileOperations())
    sign_log(AUDIT)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["--config", "gatekeeper.toml", "audit", *arguments])


def coded(code: str) -> list[dict[str, object]]:
    found = map(json.loads, lines(AUDIT))
    return [record["unmapped"]["gatekeeper"] for record in found if record["metadata"]["event_code"] == code]


def first() -> int:
    return read(next(iter(lines(AUDIT)))).sequence


def test_without_yes_nothing_goes() -> None:
    """It says what would."""
    done = run("prune")
    assert done.exit_code == 0, done.output
    assert "would go: records 0 to 599 in 2 segments" in done.stdout
    assert "nothing was removed" in done.stdout
    assert (first(), len(segment_paths(AUDIT))) == (0, 3)


def test_old_segments_go_and_the_log_says_so() -> None:
    """Twice: the second time the record of the first is still there, or another one is."""
    run("query", "--user", "alice@example.com")  # an index, which must forget too; and three records
    done = run("prune", "--yes")
    assert done.exit_code == 0, done.output
    assert first() == 600
    (told,) = coded("GK9011I")
    assert (told["first"], told["last"], told["first_kept"], told["segments_n"]) == (0, 599, 600, 2)
    assert (told["last_sha256"], told["retention"]) == (head_of(LOG[:600]).sha256, "400d")
    assert told["by"]
    verified = run("verify")
    assert verified.exit_code == 0, verified.output
    assert "the log begins with record 600" in verified.stdout
    assert "as record 904 says" in verified.stdout
    assert len(run("query", "--user", "alice@example.com", "--json").stdout.splitlines()) == 299
    again = run("prune", "--yes")  # what was the open segment is closed now, but the signed head needs it
    assert again.exit_code == 0, again.output
    assert first() == 600
    assert run("verify").exit_code == 0


def test_what_is_left_is_proven_and_exported() -> None:
    """By the hashes of what went; whoever asks for a pruned record is told."""
    assert run("prune", "--yes").exit_code == 0
    assert run("prove", "inclusion", "650", "-o", "p", "--record", "r").exit_code == 0
    assert run("prove", "check", "p", "r", "--vkey", str(KEY.verifier)).exit_code == 0
    gone = run("prove", "inclusion", "12")
    assert (gone.exit_code, "begins with record 600" in gone.stderr) == (3, True)
    done = run("export", "--format", "tlog", "--out", "site")
    assert done.exit_code == 0, done.output
    assert sorted(path.name for path in Path("site/tile/entries").iterdir()) == ["003.p"]
    assert Path("site/tile/0/000").read_bytes() == (AUDIT / "tile/0/000").read_bytes()


def test_a_hold_keeps_what_it_covers_until_it_is_released() -> None:
    """Each of the two is on record, with who and why."""
    held = run(
        "hold", "add", "--reason", "Case 7 in court", "--case", "7", "--from", "2020-01-01", "--to", "2021-01-01"
    )
    assert held.exit_code == 0, held.output
    name = held.stdout.strip()
    (placed,) = coded("GK5010I")
    assert (placed["hold"], placed["reason"], placed["case"]) == (name, "Case 7 in court", "7")
    assert placed["hold_since"] == "2020-01-01T00:00:00.000Z"
    shown = json.loads(run("hold", "list", "--json").stdout)
    assert [(one["hold"], one["reason"]) for one in shown] == [(name, "Case 7 in court")]
    assert name in run("hold", "list").stdout
    done = run("prune", "--yes")
    assert (done.exit_code, first()) == (0, 0)
    assert f"kept by {name}: Case 7 in court" in done.stdout
    assert run("hold", "release", name, "--reason", "Case 7 is closed").exit_code == 0
    assert [one["reason"] for one in coded("GK5011I")] == ["Case 7 is closed"]
    assert run("hold", "list", "--json").stdout.strip() == "[]"
    assert (run("prune", "--yes").exit_code, first()) == (0, 600)


def test_a_hold_on_another_time_keeps_nothing_else() -> None:
    """Only what it names."""
    assert run("hold", "add", "--reason", "later", "--from", "2021-01-01").exit_code == 0
    assert (run("prune", "--yes").exit_code, first()) == (0, 600)


@pytest.mark.parametrize("content", [None, '{"holds": []}', "{"])
def test_a_hold_does_not_end_with_its_file(content: str | None) -> None:
    """The log tells of it: whoever deletes or empties the file releases nothing."""
    assert run("hold", "add", "--reason", "case").exit_code == 0
    (AUDIT / "holds.json").unlink()
    if content is not None:
        (AUDIT / "holds.json").write_text(content)
    done = run("prune", "--yes")
    assert (done.exit_code, first()) == (1, 0)
    assert "holds.json" in done.stderr


@pytest.mark.parametrize("arguments", [["add"], ["add", "--reason", " "], ["release", "hold-1"]])
def test_a_hold_wants_a_reason(arguments: list[str]) -> None:
    """Nothing is placed or released without one."""
    assert run("hold", *arguments).exit_code == 2
    assert not (AUDIT / "holds.json").exists()


def test_nobody_releases_what_is_not_there() -> None:
    """And nobody holds a time that ends before it begins."""
    assert run("hold", "release", "hold-1", "--reason", "x").exit_code == 2
    assert run("hold", "add", "--reason", "x", "--from", "2021-01-01", "--to", "2020-01-01").exit_code == 2


def test_a_log_that_is_not_sound_is_not_pruned() -> None:
    """What could show what happened stays."""
    path = segment_paths(AUDIT)[0]
    path.write_bytes(path.read_bytes().replace(b"TikTok", b"TikTak", 1))
    done = run("prune", "--yes")
    assert (done.exit_code, len(segment_paths(AUDIT))) == (1, 3)
    assert "is not sound" in done.stderr


def test_the_retention_is_the_configuration_s() -> None:
    """A longer one keeps everything; less than a day is refused."""
    Path("gatekeeper.toml").write_text(CONFIGURATION.replace("[audit]", '[audit]\nretention = "36500d"'))
    done = run("prune", "--yes", "--json")
    assert (done.exit_code, first()) == (0, 0)
    assert json.loads(done.stdout)["logs"][0]["segments"] == 0
    Path("gatekeeper.toml").write_text(CONFIGURATION.replace("[audit]", '[audit]\nretention = "1h"'))
    assert "audit.retention: is less than a day" in run("prune").stderr


def test_what_a_remote_does_not_have_yet_stays() -> None:
    """It may have been away for a while, or be gone for good, which a person must say."""
    note_position(AUDIT, "siem", ORIGIN, 599, FileOperations())
    done = run("prune", "--yes")
    assert done.exit_code == 1
    assert "the remote `siem` has only 599 records" in done.stderr
    assert first() == 0
    note_position(AUDIT, "siem", ORIGIN, 600, FileOperations())
    assert run("prune", "--yes").exit_code == 0
    assert first() == 600
