"""`audit resolve`, `audit erase`, and searches by name, on a log with pseudonyms while the gate does not run."""

import asyncio
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gatekeeper.adapters.sinks.file import FileAuditLog
from gatekeeper.adapters.sinks.identities import open_identities
from gatekeeper.adapters.sinks.reader import lines
from gatekeeper.adapters.sinks.secret_key import load_or_make_secret
from gatekeeper.adapters.stores.archive import Archive
from gatekeeper.audit.event import EventCode
from gatekeeper.audit.pseudonyms import Kind
from gatekeeper.cli.main import cli
from gatekeeper.domain.device import DeviceId
from gatekeeper.domain.posture import Posture
from testkit.audit_log import BLOCKED, ORIGIN, StandingClock, event
from testkit.reports import phone

ALICE, PHONE = "alice@example.com", "ph-001"
CONFIGURATION = f"""
[audit]
origin = "{ORIGIN}"
privacy = "pseudonyms"
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
    """A gate that ran in two quarters: alice was refused in both, bob in the second."""
    monkeypatch.chdir(tmp_path)
    Path("gatekeeper.toml").write_text(CONFIGURATION)
    asyncio.run(ran())


async def ran() -> None:
    names = open_identities(Path("var/identities.sqlite3"), Path("var/identity.key"))
    clock = StandingClock()
    log = FileAuditLog.open(
        Path("var/audit"), origin=ORIGIN, clock=clock, names=names, signing_key=Path("var/audit/signing.key")
    )
    for account, days in ((ALICE, 0), (ALICE, 90), ("bob@example.com", 90)):
        at = clock.instant + timedelta(days=days)
        log.append(event(account=account, time=at, detail={"client_id": f"iPhone of {account}"}))
    await log.close()
    names.close()


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["--config", "gatekeeper.toml", "audit", *arguments])


def found(*arguments: str) -> list[dict[str, dict[str, str]]]:
    done = run("query", *arguments, "--verdict", "block", "--json")
    assert done.exit_code == 0, done.output
    return [json.loads(line) for line in done.stdout.splitlines()]


def coded(code: str) -> list[dict[str, object]]:
    records = map(json.loads, lines(Path("var/audit")))
    return [record["unmapped"]["gatekeeper"] for record in records if record["metadata"]["event_code"] == code]


@pytest.mark.parametrize("more", [[], ["--no-index"]])
def test_people_are_found_by_name_in_every_quarter(more: list[str]) -> None:
    """With the key; the names do not stand there."""
    of_alice = found("--user", ALICE.upper(), *more)
    people = {record["user"]["uid"] for record in of_alice}
    assert (len(of_alice), {one[:8] for one in people}) == (2, {"u2020q3:", "u2020q4:"})
    assert len(found("--device", PHONE, *more)) == 3
    assert len(found("--user", "bob@example.com", "--device", PHONE, *more)) == 1
    assert found("--user", "carol@example.com", *more) == []
    assert [found("--user", one, *more)[0]["user"]["uid"] for one in sorted(people)] == sorted(people)


def test_without_the_key_people_are_found_by_pseudonym_only() -> None:
    """A key that is there and cannot be used is told."""
    (person,) = {record["user"]["uid"] for record in found("--user", "bob@example.com")}
    key = Path("var/identity.key")
    key.rename("elsewhere")
    done = run("query", "--user", "bob@example.com", "--verdict", "block", "--json")
    assert done.stdout == ""
    Path("elsewhere").rename(key)
    key.chmod(0o644)
    done = run("query", "--user", person, "--verdict", "block", "--json")
    assert len(done.stdout.splitlines()) == 1
    assert "none with pseudonyms: the key `var/identity.key` is open to others" in done.stderr


def test_whoever_asks_whose_a_pseudonym_is_is_on_record_with_the_reason() -> None:
    """Without a reason, or a record, nobody is told."""
    person = found("--user", "bob@example.com")[0]["user"]["uid"]
    assert run("resolve", person).exit_code == 2
    assert run("resolve", person, "--reason", "").exit_code == 2
    assert run("resolve", "bob", "--reason", "x").exit_code == 2
    assert coded("GK5002I") == []
    told = run("resolve", person, "--reason", f"Case 7, against {ALICE}")
    assert (told.exit_code, told.stdout) == (0, "bob@example.com\n")
    (record,) = coded("GK5002I")
    assert (record["pseudonym"], record["outcome"]) == (person, "named")
    assert ALICE not in str(record["reason"])
    assert str(record["reason"]).startswith("Case 7, against u20")
    unknown = run("resolve", "u2020q3:" + "0" * 32, "--reason", "x")
    assert (unknown.exit_code, unknown.stdout) == (3, "")
    Path("var/audit/signing.key").unlink()
    refused = run("resolve", person, "--reason", "x")
    assert (refused.exit_code, refused.stdout) == (1, "")


def test_a_person_is_erased_with_what_their_records_name() -> None:
    """Pseudonyms of both quarters, device and client; other people stay, and the log is sound."""
    before = {record["user"]["uid"] for record in found("--user", ALICE)}
    done = run("erase", ALICE, "--reason", "left")
    assert (done.exit_code, done.stdout) == (
        0,
        "7 names erased, behind 7 pseudonyms; 0 archived postures of their devices\n",  # one by the search above
    )
    for person in before:
        gone = run("resolve", person, "--reason", "to see")
        assert (gone.exit_code, gone.stdout) == (3, "")
        assert "was erased at" in gone.stderr
    bob = found("--user", "bob@example.com")[0]["user"]["uid"]
    assert run("resolve", bob, "--reason", "to see").stdout == "bob@example.com\n"
    (told,) = coded("GK5003I")
    assert (told["pseudonyms_n"], told["devices_n"], told["reason"]) == (7, 1, "left")
    assert run("erase", ALICE, "--reason", "again").exit_code == 3
    assert run("verify").exit_code == 0
    assert {record["user"]["uid"] for record in found("--user", ALICE)} == before  # whoever has the key can try a name


def test_a_hold_on_somebody_s_records_keeps_their_names() -> None:
    """Until it is released; one on another time keeps nobody's."""
    assert run("hold", "add", "--reason", "another time", "--from", "2019-01-01", "--to", "2019-02-01").exit_code == 0
    held = run("hold", "add", "--reason", "Case 7", "--to", "2020-08-01").stdout.strip()
    refused = run("erase", ALICE, "--reason", "left")
    assert (refused.exit_code, f"{held} keeps records of theirs: Case 7" in refused.stderr) == (1, True)
    assert coded("GK5003I") == []
    assert run("erase", "bob@example.com", "--reason", "left").exit_code == 0
    assert run("hold", "release", held, "--reason", "closed").exit_code == 0
    assert run("erase", ALICE, "--reason", "left").exit_code == 0


def test_old_quarters_are_destroyed_with_the_last_of_their_records() -> None:
    """A prune that leaves none of them destroys their secret; until then, and under a hold, it stays."""
    Path("gatekeeper.toml").write_text(CONFIGURATION.replace("[audit]", '[audit]\nretention = "36500d"'))
    assert json.loads(run("prune", "--yes", "--json").stdout)["quarters"] == []
    names = open_identities(Path("var/identities.sqlite3"), Path("var/identity.key"))
    gone = names.pseudonym(Kind.PERSON, ALICE, datetime(2019, 2, 1, tzinfo=UTC))
    names.flush()
    would = run("prune")
    assert "the names of 2019q1 would be destroyed" in would.stdout
    done = run("prune", "--yes")
    assert (done.exit_code, "the names of 2019q1 are destroyed" in done.stdout) == (0, True)
    assert [one["quarter"] for one in coded(EventCode.QUARTER_DESTROYED)] == ["2019q1"]
    assert names.quarters()[:2] == ["2020q3", "2020q4"]
    assert names.name_of(gone) is None
    names.close()


def test_what_was_archived_of_a_person_goes_too_whoever_records_name() -> None:
    """With pseudonyms and with names in the records: decisions about their devices cannot be performed again."""
    for number, privacy in enumerate(["pseudonyms", "names"]):
        Path("gatekeeper.toml").write_text(CONFIGURATION.replace("pseudonyms", privacy))
        archive = Archive(Path("var/archive.sqlite3"), load_or_make_secret(Path("var/archive.key")))
        kept = [Posture(device=phone(name), result=None, revision=7) for name in (PHONE, "ph-9")]
        archive.put(kept)
        if number:
            asyncio.run(named())
        done = run("erase", ALICE, "--reason", "left")
        assert (done.exit_code, "; 1 archived postures" in done.stdout) == (0, True), done.output
        assert [archive.posture(one.device.device_id, 7) for one in kept] == [None, kept[1]]
        archive.close()
        Path("var/identities.sqlite3").unlink(missing_ok=True)


async def named() -> None:
    log = FileAuditLog.open(
        Path("var/audit"), origin=ORIGIN, clock=StandingClock(), signing_key=Path("var/audit/signing.key")
    )
    log.append(event(account=ALICE, decision=replace(BLOCKED, judged=((DeviceId(PHONE), 7),))))
    await log.close()


def test_who_was_searched_for_is_no_name_in_the_log() -> None:
    """That somebody looked is recorded since reads are; whom for, by the pseudonym."""
    assert found("--user", ALICE)
    told = coded("GK5001I")
    assert told
    assert not any(ALICE in json.dumps(one) for one in told)
    assert str(told[-1]["asked"]).startswith("user=u2")
