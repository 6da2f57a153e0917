"""The filters that commands on the log share, and when its index is used."""

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gatekeeper.adapters.sinks.index import NAME
from gatekeeper.audit.event import EventCode
from gatekeeper.cli.audit import audit
from testkit.audit_log import NOW, chained, connection, event, write_segments

LINES = chained(
    event(
        f"c{number}",
        EventCode.BLOCKED_APP if number % 2 else EventCode.BLOCKED_STALE,
        account=f"user-{number % 3}@example.com",
        time=NOW + timedelta(seconds=number),
        connection=connection(f"c{number}", address=f"198.51.{number}.7"),
    )
    for number in range(9)
)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Nine refusals of three people in three segments."""
    write_segments(tmp_path, LINES[:3], LINES[3:6], LINES[6:])
    return tmp_path


def run(directory: Path, *arguments: str) -> Result:
    return CliRunner().invoke(audit, ["--directory", str(directory), *arguments, "--json"])


def found(result: Result) -> str:
    assert result.exit_code == 0, result.output
    return " ".join(json.loads(line)["unmapped"]["gatekeeper"]["conn"] for line in result.stdout.splitlines())


@pytest.mark.parametrize("more", [[], ["--no-index"]], ids=["index", "log"])
@pytest.mark.parametrize(
    ("arguments", "all_of_them", "last_two"),
    [
        (["--user", "USER-1@example.com"], "c1 c4 c7", "c4 c7"),
        (["--device", "ph-001"], "c0 c1 c2 c3 c4 c5 c6 c7 c8", "c7 c8"),
        (["--address", "198.51.3.99"], "c3", "c3"),
        (["--address", "198.51.0.0/22"], "c0 c1 c2 c3", "c2 c3"),
        (["--code", "gk1002w", "--until", "2020-07-10T17:00:05Z"], "c1 c3 c5", "c3 c5"),
        (["--verdict", "block", "--code", "GK1003W", "--since", "2020-07-10T17:00:03Z"], "c4 c6 c8", "c6 c8"),
        (["--verdict", "allow", "--code", "GK1003W"], "", ""),
        (["--conn", "c5"], "c5", "c5"),
        (["--rule", "no-tiktok", "--app", "*tiktok*"], "", ""),
        (["--protocol", "imap", "--user", "user-0@example.com"], "c0 c3 c6", "c3 c6"),
    ],
)
def test_query_and_tail_take_the_same_filters(
    directory: Path, arguments: list[str], all_of_them: str, last_two: str, more: list[str]
) -> None:
    """With the index and without it; `tail` shows the last that fit, not those of the last that fit."""
    assert found(run(directory, "query", *arguments, *more)) == all_of_them
    assert found(run(directory, "tail", "-n", "2", *arguments, *more)) == last_two
    assert (directory / NAME).exists() is not bool(more)


def test_following_takes_what_fits(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Filters hold for what comes later too."""
    waits: list[Callable[[], None]] = [
        lambda: write_segments(directory, LINES[:3], LINES[3:6], [*LINES[6:], *LINES[:3]]) and None
    ]

    def wait(_: float) -> None:
        if not waits:
            raise KeyboardInterrupt
        waits.pop()()

    monkeypatch.setattr("gatekeeper.cli.audit.pause", wait)
    assert found(run(directory, "tail", "-f", "-n", "1", "--user", "user-1@example.com")) == "c7 c1"


def test_a_search_by_time_alone_makes_no_index(directory: Path) -> None:
    """Segments are named by their times: nothing would be won."""
    assert found(run(directory, "query", "--until", "2020-07-10T17:00:01Z")) == "c0 c1"
    assert not (directory / NAME).exists()


def test_where_no_index_can_be_the_log_is_read(directory: Path) -> None:
    """A note on stderr, the records on stdout."""
    (directory / NAME).mkdir()
    result = run(directory, "query", "--conn", "c5")
    assert found(result) == "c5"
    assert result.stderr.startswith("note: no index")


def test_what_was_pruned_leaves_the_index(directory: Path) -> None:
    """The next search forgets the names in segments that are gone."""
    assert found(run(directory, "query", "--user", "user-2@example.com")) == "c2 c5 c8"
    assert b"user-2@example.com" in (directory / NAME).read_bytes()
    for path in sorted((directory / "segments").iterdir())[:2]:
        path.unlink()
    assert found(run(directory, "query", "--user", "user-2@example.com")) == "c8"
    assert b"user-2@example.com" not in (directory / NAME).read_bytes()


@pytest.mark.parametrize("address", ["nonsense", "198.51.100.0/33", "198.51.100"])
def test_what_is_no_address_is_wrong_usage(directory: Path, address: str) -> None:
    """One line says what is expected."""
    result = run(directory, "query", "--address", address)
    assert result.exit_code == 2
    assert f"`{address}` is neither an address nor a network" in result.stderr
