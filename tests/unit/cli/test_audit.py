"""The commands `audit tail`, `audit query` and `audit verify`."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gatekeeper.adapters.sinks.directory import note_head
from gatekeeper.adapters.sinks.operations import FileOperations
from gatekeeper.audit.event import Event, EventCode
from gatekeeper.audit.stored import read
from gatekeeper.cli.audit import _for_people, audit
from gatekeeper.domain.request import MailProtocol
from testkit.audit_log import NOW, ORIGIN, chained, connection, event, head_of, write_segments
from testkit.merkle import sign_log

EVENTS: list[Event] = [
    event(code=EventCode.LOG_OPENED, connection=None, decision=None, account=None, message=""),
    event("c1"),
    event(
        "c2", EventCode.SESSION_ALLOWED, decision=None, message="", account="bob@example.com", time=NOW.replace(hour=18)
    ),
    event(
        "c3",
        EventCode.CONNECTION_CLOSED,
        decision=None,
        message="",
        connection=connection("c3", protocol=MailProtocol.SMTP),
    ),
    event("c4", EventCode.GATE_FAULT, decision=None, message="red \x1b[31m alert", time=NOW.replace(hour=19)),
]
LOG = chained(EVENTS)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """An audit directory with five records in two segments."""
    write_segments(tmp_path, LOG[:2], LOG[2:])
    note_head(tmp_path, head_of(LOG), ORIGIN, FileOperations())
    sign_log(tmp_path)
    return tmp_path


def run(directory: Path, *arguments: str) -> Result:
    return CliRunner().invoke(audit, ["--directory", str(directory), *arguments])


def conns(result: Result) -> list[str | None]:
    assert result.exit_code == 0, result.output
    return [json.loads(line)["unmapped"]["gatekeeper"]["conn"] for line in result.stdout.splitlines()]


def test_tail_shows_the_last_records_for_people(directory: Path) -> None:
    """Time, word, user, device, protocol and why; control characters stay out."""
    result = run(directory, "tail", "-n", "4")

    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert len(lines) == 4
    assert lines[0].split() == [
        *(["2020-07-10", "17:00:00Z", "block", "alice@example.com", "ph-001", "imap"]),
        *(
            [
                "Mail",
                "sign-in",
                "refused:",
                "TikTok",
                "is",
                "installed",
                "(app",
                "ios:com.zhiliaoapp.musically,",
                "rule",
                "no-tiktok)",
            ]
        ),
    ]
    assert lines[1].split()[:6] == ["2020-07-10", "18:00:00Z", "allow", "bob@example.com", "-", "imap"]
    assert "closed" in lines[2]
    assert "smtp" in lines[2]
    assert "unavailable" in lines[3]
    assert "\x1b" not in result.stdout


def test_only_the_word_is_coloured() -> None:
    """On a terminal the verdict has a colour; what stands in the log adds none."""
    text = _for_people(read(LOG[1]), is_coloured=True)
    assert text.count("\x1b") == 2
    assert "\x1b[31mblock" in text
    assert "\x1b" not in _for_people(read(LOG[0]), is_coloured=True)


def test_many_findings_are_summed_up(directory: Path) -> None:
    """A log that is wrong everywhere is not told line by line."""
    write_segments(directory, [b"garbage\n"] * 500)
    result = run(directory, "verify")
    assert result.exit_code == 1
    assert "more" in result.stdout
    assert len(result.stdout.splitlines()) < 120


def test_tail_gives_the_lines_as_they_stand(directory: Path) -> None:
    """`--json` is the exact bytes, so that digests can be taken over them."""
    assert run(directory, "tail", "--json").stdout_bytes == b"".join(LOG)
    assert run(directory, "tail", "-n", "2", "--json").stdout_bytes == b"".join(LOG[-2:])
    assert run(directory, "tail", "-n", "0").stdout == ""


def test_tail_follows_until_interrupted(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With `-f` new records are shown as they come; an interrupt is the ordinary end."""
    more = chained([event("c5")], head_of(LOG))
    waits = 0

    def wait(_: float) -> None:
        nonlocal waits
        waits += 1
        if waits > 1:
            raise KeyboardInterrupt
        (directory / "segments" / f"{len(LOG):020d}-20200710T200000Z.jsonl").write_bytes(b"".join(more))

    monkeypatch.setattr("gatekeeper.cli.audit.pause", wait)
    assert conns(run(directory, "tail", "-n", "1", "-f", "--json")) == ["c4", "c5"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], [None, "c1", "c2", "c3", "c4"]),
        (["--user", "Alice@Example.com"], [None, "c1", "c3", "c4"][1:]),
        (["--user", "alice"], []),
        (["--device", "ph-001"], ["c1"]),
        (["--verdict", "block"], ["c1"]),
        (["--verdict", "unavailable"], ["c4"]),
        (["--rule", "no-tiktok"], ["c1"]),
        (["--rule", "no-tik"], []),
        (["--app", "com.zhiliaoapp.musically"], ["c1"]),
        (["--app", "IOS:com.zhiliaoapp.*"], ["c1"]),
        (["--app", "com.other"], []),
        (["--code", "gk1001i"], ["c2"]),
        (["--protocol", "smtp"], ["c3"]),
        (["--conn", "c3"], ["c3"]),
        (["--since", "2020-07-10T18:00:00Z"], ["c2", "c4"]),
        (["--until", "2020-07-10T17:30:00Z"], [None, "c1", "c3"]),
        (["--since", "2020-07-10T10:30:00-07:00", "--until", "2020-07-10T18:30:00Z"], ["c2"]),
        (["--since", "1h"], []),
        (["--limit", "2"], [None, "c1"]),
        (["--user", "bob@example.com", "--verdict", "allow"], ["c2"]),
        (["--user", "bob@example.com", "--verdict", "block"], []),
    ],
)
def test_query_takes_what_fits_every_filter(directory: Path, arguments: list[str], expected: list[str | None]) -> None:
    """Each filter alone and together, oldest first."""
    assert conns(run(directory, "query", "--json", *arguments)) == expected


def test_query_says_that_a_line_is_no_record(directory: Path) -> None:
    """Garbage in the log is told on stderr and skipped."""
    write_segments(directory, LOG[:2], [b"garbage\n", *LOG[2:]])
    result = run(directory, "query", "--json")
    assert conns(result) == [None, "c1", "c2", "c3", "c4"]
    assert "no record" in result.stderr
    assert "no record" in run(directory, "tail").stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ["query", "--code", "GK9999E"],
        ["query", "--protocol", "imaps"],
        ["query", "--since", "yesterday"],
        ["query", "--verdict", "maybe"],
        ["tail", "-n", "-1"],
        ["verify", "--x"],
    ],
)
def test_wrong_usage_ends_with_2(directory: Path, arguments: list[str]) -> None:
    """What cannot be understood is said, with exit code 2."""
    assert run(directory, *arguments).exit_code == 2


@pytest.mark.parametrize("command", ["tail", "query", "verify"])
def test_a_directory_that_is_not_there_is_wrong_usage(tmp_path: Path, command: str) -> None:
    """The message names it."""
    result = run(tmp_path / "gone", command)
    assert result.exit_code == 2
    assert "gone" in result.stderr


def test_the_directory_comes_from_the_environment_too(directory: Path) -> None:
    """Without `--directory` the environment says where."""
    result = CliRunner().invoke(audit, ["tail", "--json"], env={"GATEKEEPER_AUDIT__DIRECTORY": str(directory)})
    assert len(result.stdout.splitlines()) == len(LOG)


def test_a_sound_log_verifies(directory: Path) -> None:
    """Exit code 0, and what was checked."""
    result = run(directory, "verify")

    assert result.exit_code == 0
    for text in (ORIGIN, "0 … 4 (5 in 2 segments)", "compared with head.json", "RESULT     SOUND", "1 block"):
        assert text in result.stdout
    document = json.loads(run(directory, "verify", "--json").stdout)
    assert (document["result"], document["entries"], document["findings"]) == ("SOUND", 5, [])


TAMPERING: dict[str, Callable[[list[bytes]], Sequence[bytes]]] = {
    "changed": lambda lines: [lines[0].replace(b"bob", b"eve"), *lines[1:]],
    "dropped": lambda lines: [lines[0], *lines[2:]],
    "reordered": lambda lines: [lines[1], lines[0], *lines[2:]],
    "inserted": lambda lines: [lines[0], *lines],
    "truncated": lambda lines: lines[:-1],
}


@pytest.mark.parametrize("tampering", TAMPERING)
def test_tampering_ends_with_1_and_the_place(directory: Path, tampering: str) -> None:
    """A change in the second segment is found there."""
    _, second = write_segments(directory, LOG[:2], TAMPERING[tampering](LOG[2:]))
    for result in (run(directory, "verify"), run(directory, "verify", "--json"), run(Path(), "verify", str(directory))):
        assert result.exit_code == 1
        assert second.name in result.stdout
        assert "TAMPERED" in result.stdout


def test_what_cannot_be_told_ends_with_3(directory: Path) -> None:
    """No head, an unreadable head, a torn end, no records: incomplete, with the reason."""
    (directory / "head.json").write_text("x")
    assert run(directory, "verify").exit_code == 3
    (directory / "head.json").unlink()
    result = run(directory, "verify")
    assert result.exit_code == 3
    assert "head.json" in result.stdout
    write_segments(directory, LOG[:2], [])
    note_head(directory, head_of(LOG[:2]), ORIGIN, FileOperations())
    sign_log(directory)
    assert run(directory, "verify").exit_code == 0


def test_a_torn_end_is_incomplete(directory: Path) -> None:
    """Half a line at the end that does not grow: a crash, to be recovered at the next start."""
    write_segments(directory, LOG[:2], [*LOG[2:], b'{"half'])
    result = run(directory, "verify")
    assert result.exit_code == 3
    assert "torn: 6 octets" in result.stdout


def test_a_torn_end_that_grows_is_a_write_under_way(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Verifying a live log does not mistake the line that is being written."""
    more = chained([event("c5")], head_of(LOG))
    write_segments(directory, LOG[:2], [*LOG[2:], more[0][:40]])
    monkeypatch.setattr(
        "gatekeeper.cli.audit_report.pause", lambda _: write_segments(directory, LOG[:2], [*LOG[2:], *more])
    )
    assert run(directory, "verify").exit_code == 0


def test_an_empty_directory_is_incomplete(tmp_path: Path) -> None:
    """Nothing to verify is not sound."""
    result = run(tmp_path, "verify")
    assert result.exit_code == 3
    assert "no records" in result.stdout
