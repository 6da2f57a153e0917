"""The command `policy plan`."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from click.testing import CliRunner, Result

from gatekeeper.cli.main import cli
from testkit.inventory import TIKTOK, device

NOW = datetime.now(UTC).replace(microsecond=0)  # noqa: DTZ901, TID251, RUF100  the command reads the clock itself
IN_FORCE = """
schema = 1
[defaults]
evidence_max_age = "72h"
stale = "warn"
"""
CANDIDATE = (
    IN_FORCE
    + f"""
[[rule]]
id = "no-tiktok"
apps = [{{ id = "com.zhiliaoapp.musically" }}]
phases = {{ warn = "2020-07-10", enforce = "{(NOW + timedelta(days=2)).isoformat()}" }}
"""
)

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run `policy plan` on the phones of three people, the policy in force being `IN_FORCE`."""
    store = f"sqlite:///{tmp_path}/gate.sqlite3"
    (tmp_path / "in-force.toml").write_text(IN_FORCE)
    (tmp_path / "candidate.toml").write_text(CANDIDATE)
    (tmp_path / "phones.jsonl").write_text(
        "\n".join(
            [
                device("ph-1", "alice@example.com", TIKTOK),
                device("ph-2", "bob@example.com", TIKTOK),
                device("ph-3", "bob@example.com"),
                device("ph-4", "carol@example.com", scope="managed-only"),
            ]
        )
    )
    command = ["inventory", "import", str(tmp_path / "phones.jsonl"), "--store", store]
    assert CliRunner().invoke(cli, command).exit_code == 0

    def run(*arguments: object) -> Result:
        words = ["policy", "plan", *map(str, arguments), "--against", str(tmp_path / "in-force.toml"), "--store", store]
        return CliRunner().invoke(cli, words)

    return run


def test_who_would_be_blocked_and_when(run: Run, tmp_path: Path) -> None:
    """Counts for both policies at each date, names with the instant, and who has no device left."""
    result = run(tmp_path / "candidate.toml", "--json")
    document = json.loads(result.stdout)

    assert result.exit_code == 0, result.stderr
    assert (document["devices"], document["people"]) == (4, 3)
    first = document["dates"][0]
    assert first["current"]["devices"] == {"allow": 3, "block": 1}
    assert first["proposed"]["devices"] == {"allow": 1, "block": 1, "warn": 2}
    assert first["net"] == {"allow": -2, "warn": 2, "block": 0}
    assert first["proposed"]["rules"] == {"no-tiktok": {"warned": 2}}
    (begin,) = [date for date in document["dates"] if "no-tiktok: enforce begins" in date["events"]]
    assert begin["proposed"]["devices"]["block"] == 3
    new = [(each["user"], each["device"], each["at"], each["rules"]) for each in document["blocked"] if each["new"]]
    at = (NOW + timedelta(days=2)).isoformat()
    assert new == [
        ("alice@example.com", "ph-1", at, ["no-tiktok"]),
        ("bob@example.com", "ph-2", at, ["no-tiktok"]),
    ]
    assert [each["user"] for each in document["cut_off"] if each["new"]] == ["alice@example.com"]
    assert [(each["user"], each["reasons"]) for each in document["cannot_answer"]] == [
        ("carol@example.com", ["evidence.insufficient"])
    ]


def test_a_deadline_beyond_the_age_of_reports(run: Run, tmp_path: Path) -> None:
    """Then both policies block everybody unless devices go on reporting, and the plan says so."""
    late = CANDIDATE.replace((NOW + timedelta(days=2)).isoformat(), (NOW + timedelta(days=7)).isoformat())
    (tmp_path / "in-force.toml").write_text(IN_FORCE.replace('"warn"', '"block"'))
    (tmp_path / "candidate.toml").write_text(late.replace('"warn"', '"block"'))
    silent, reporting = run(tmp_path / "candidate.toml"), run(tmp_path / "candidate.toml", "--reporting")

    assert "not by the policy in force: 0 devices" in silent.stdout
    assert "assumed    no device reports again" in silent.stdout
    assert "--reporting assumes that devices go on reporting" in silent.stdout
    assert "not by the policy in force: 2 devices" in reporting.stdout
    assert "assumed    devices go on reporting what they report now" in reporting.stdout
    assert "grows stale" not in reporting.stdout
    document = json.loads(run(tmp_path / "candidate.toml", "--reporting", "--json").stdout)
    assert (document["reporting"], document["newly_blocked"]) == (True, 2)


def test_for_people_it_is_a_table(run: Run, tmp_path: Path) -> None:
    """Current, proposed, net; names; and that nothing was changed."""
    result = run(tmp_path / "candidate.toml", "--names", "1")

    assert (result.exit_code, result.stderr) == (0, "")  # no bar where nobody looks
    lines = result.stdout.splitlines()
    assert any(line.split() == ["CURRENT", "PROPOSED", "NET"] for line in lines)
    assert any(line.split() == ["devices", "warn", "0", "2", "+2"] for line in lines)
    assert any(line.split() == ["rule", "no-tiktok:", "blocked", "0", "2", "+2"] for line in lines)
    assert "Would be blocked, and are not by the policy in force: 2 devices" in lines
    assert sum("alice@example.com" in line for line in lines) == 2  # blocked, and without a device
    assert "  … and 1 more (--names, --json)" in lines
    assert lines[-1].endswith("1 person would have no device left. Nothing was changed.")


def test_a_protected_person_who_is_hit_is_told_loudly(run: Run, tmp_path: Path) -> None:
    """Exit code 1, and a mark that cannot be overlooked; somebody who is not hit is no alarm."""
    (tmp_path / "board.txt").write_text("# the board\nBob@example.com  # has two phones\n")
    hit = run(tmp_path / "candidate.toml", "--watch", tmp_path / "board.txt")
    (tmp_path / "board.txt").write_text("bob@example.com\n")
    unhit = run("--watch", tmp_path / "board.txt")

    assert hit.exit_code == 1
    assert "!!! PROTECTED PEOPLE ARE HIT: 1 of 1 !!!" in hit.stdout
    assert "bob@example.com: ph-2 is blocked from" in hit.stdout
    assert unhit.exit_code == 0
    assert "none of 1 is hit" in unhit.stdout


def test_a_protected_person_without_a_device_is_hit(run: Run, tmp_path: Path) -> None:
    """An unknown device is blocked: somebody who is not in the inventory is not safe."""
    (tmp_path / "board.txt").write_text("ceo@example.com\n")
    result = run(tmp_path / "candidate.toml", "--watch", tmp_path / "board.txt")

    assert result.exit_code == 1
    assert "ceo@example.com: has no registered device" in result.stdout


def test_the_burn_down_is_drawn(run: Run, tmp_path: Path) -> None:
    """As a picture that names nobody, and as lines of text."""
    picture = tmp_path / "burn-down.svg"
    result = run(tmp_path / "candidate.toml", "--svg", picture)

    assert result.exit_code == 0, result.stderr
    text = picture.read_text()
    assert ET.fromstring(text).tag.endswith("svg")
    assert "blocked by rules of the candidate" in text
    assert "have an app that a rule means" in text
    assert "alice" not in text
    assert "Burn-down" in result.stdout
    assert "█" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nowhere.toml",), "`nowhere.toml` cannot be read"),
        (("--until", "soon"), "neither a time"),
        (("--until", "2020-01-01"), "lies in the past"),
        (("--watch", "nowhere.txt"), "--watch: `nowhere.txt` cannot be read"),
    ],
    ids=["candidate", "until", "past", "watch"],
)
def test_wrong_use_is_told_in_one_line(run: Run, arguments: tuple[str, ...], message: str) -> None:
    """Exit code 2, and nothing on stdout."""
    result = run(*arguments)

    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr


def test_a_line_that_is_no_account_protects_nobody(run: Run, tmp_path: Path) -> None:
    """A slip of the pen must not leave somebody unprotected."""
    (tmp_path / "board.txt").write_text("bob@example.com\n@\n")
    result = run(tmp_path / "candidate.toml", "--watch", tmp_path / "board.txt")

    assert result.exit_code == 2
    assert "board.txt: line 2: `@` is no mail login" in result.stderr


def test_an_empty_inventory_is_told(tmp_path: Path) -> None:
    """Nobody is hit where nobody is."""
    (tmp_path / "gate.db").touch()
    (tmp_path / "policy.toml").write_text(IN_FORCE)
    command = ["policy", "plan", "--against", str(tmp_path / "policy.toml"), "--store", f"sqlite:///{tmp_path}/gate.db"]
    result = CliRunner().invoke(cli, command)

    assert result.exit_code == 0
    assert result.stderr.startswith("note: no device is registered, so nobody can be hit")
