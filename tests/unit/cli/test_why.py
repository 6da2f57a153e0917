"""`device why` in its depths."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gatekeeper.cli.main import cli
from testkit.configuration import Configuration
from testkit.inventory import TIKTOK, device

POLICY = """
schema = 1
[defaults]
evidence_max_age = "3650d"
[[rule]]
id = "no-tiktok"
apps = [{ platform = "android", id = "com.zhiliaoapp.musically" }]
scope = { listeners = ["imaps"], networks = ["192.0.2.0/24"] }
phases = { zone = "Europe/Berlin", warn = "2020-07-10", enforce = "2030-01-07T09:00:00" }
[rule.message.en]
short = "TikTok is on this phone."
fix = "Remove it."
[rule.message.de]
short = "TikTok ist auf diesem Telefon."
fix = "Entfernen."
"""
DRAFT = """
schema = 1
[defaults]
evidence_max_age = "3650d"
[groups]
press = { directory = "CN=Press" }
[[rule]]
id = "no-tiktok"
apps = [{ platform = "android", id = "com.zhiliaoapp.musically" }]
scope = { listeners = ["imaps"], not_groups = ["press"] }
phases = { enforce = "2020-07-10" }
message = { en = { short = "TikTok is on this phone.", fix = "Remove it at {check_url}." } }
"""
SESSION = ("--listener", "imaps", "--address", "192.0.2.7", "--at", "2029-12-31")


@pytest.fixture
def question(tmp_path: Path) -> list[str]:
    """A store with alice's phone, and the policy."""
    policy, phones, store = tmp_path / "policy.toml", tmp_path / "phones.jsonl", f"sqlite:///{tmp_path}/gate.sqlite3"
    policy.write_text(POLICY)
    phones.write_text(device("ph-1", "alice@example.com", TIKTOK))
    result = CliRunner().invoke(cli, ["--config", "/nowhere", "inventory", "import", str(phones), "--store", store])
    assert result.exit_code == 0
    return ["alice@example.com", "--store", store, "--policy", str(policy)]


def ask(question: list[str], *more: str) -> Result:
    return CliRunner().invoke(cli, ["--config", "/nowhere/gatekeeper.toml", "device", "why", *question, *more])


def test_for_the_person(question: list[str]) -> None:
    """What, how, by when; in the language and time zone asked for."""
    result = ask(question, *SESSION, "--for", "person")
    assert (result.exit_code, result.stdout) == (
        0,
        (
            "TikTok is on this phone.\nRemove it.\n"
            "From Monday, 7 January 2030, 09:00 CET on your mail is paused unless that is done.\n"
        ),
    )
    german = ask(question, *SESSION, "--for", "person", "--language", "de", "--zone", "Asia/Tokyo").stdout
    assert german.startswith(
        "TikTok ist auf diesem Telefon.\nEntfernen.\nAb dem 07.01.2030, 17:00 Uhr (JST) ist Ihre E-Mail"
    )


def test_for_the_operator(question: list[str]) -> None:
    """Predicates, evidence and instants."""
    found = ask(question, *SESSION, "--for", "operator").stdout
    assert "verdict     warn (app.match)\nchanges at  2030-01-07T08:00:00+00:00\n" in found
    assert "  rule no-tiktok: broken; phase warn; does warn; changes at 2030-01-07T08:00:00+00:00\n" in found
    assert "    true     scope.listeners\n    true     scope.networks\n" in found
    assert "    true     apps[0] com.zhiliaoapp.musically: id\n" in found
    unknown = ask(question, "--listener", "imaps", "--at", "2029-12-31", "--for", "operator").stdout
    assert "    unknown  scope.networks\n" in unknown
    outside = ask(question, "--for", "operator", "--address", "198.51.100.1", "--at", "2029-12-31").stdout
    assert "    false    scope.networks\n" in outside
    assert "broken; phase warn; does nothing; changes at never" in outside


def test_machines_get_all_depths(question: list[str]) -> None:
    """In one document."""
    facts = json.loads(ask(question, *SESSION, "--json").stdout)
    assert facts["verdict"] == "warn"
    assert facts["deadline"] == "2030-01-07T08:00:00Z"
    assert (facts["person"]["what"], facts["person"]["by"]) == ("TikTok is on this phone.", "2030-01-07T09:00:00+01:00")
    (only,) = facts["operator"]["devices"]
    assert only["rules"][0]["rule"] == "no-tiktok"
    assert {"name": "scope.networks", "answer": "true"} in only["rules"][0]["predicates"]
    assert only["evidence"]["apps_count"] == 2


def test_a_device_is_no_person(question: list[str]) -> None:
    """Who gives its id is told how to ask about it."""
    result = ask(["ph-1", *question[1:]], *SESSION)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "`ph-1` is a device, not a person; ask with: alice@example.com --device ph-1" in result.stderr
    assert ask(["nobody", *question[1:]], *SESSION).exit_code == 1
    assert ask(question, "--device", "ph-1", *SESSION).exit_code == 0


def test_a_zone_that_does_not_exist(question: list[str]) -> None:
    """Wrong usage."""
    result = ask(question, "--zone", "Europe/Berln")
    assert result.exit_code == 2
    assert "`Europe/Berln` is no time zone such as Europe/Berlin" in result.stderr


def test_another_policy_is_asked_with_the_names_of_the_configuration(tmp_path: Path) -> None:
    """Of the listeners, of the page for people, and of who is in the directory's groups."""
    configuration = Configuration(tmp_path)
    (tmp_path / "groups.csv").write_text("group,user\nCN=Press,alice@example.com\n")
    configuration.write(
        {"server": {"check_url": "https://gate.example/why"}, "groups": {"file": str(tmp_path / "groups.csv")}}
    )
    (tmp_path / "draft.toml").write_text(DRAFT)
    lines = [device(f"ph-{name}", f"{name}@example.com", TIKTOK) for name in ("alice", "bob")]
    (tmp_path / "phones.jsonl").write_text("\n".join(lines))
    (tmp_path / "var").mkdir()

    def said(*arguments: object) -> str:
        return CliRunner().invoke(cli, ["--config", str(configuration.path), *map(str, arguments)]).stdout

    said("inventory", "import", tmp_path / "phones.jsonl")
    bob = said("device", "why", "bob@example.com", "--policy", tmp_path / "draft.toml", "--at", "2020-07-11")
    assert "What to do: Remove it at https://gate.example/why.\n" in bob
    alice = said("device", "why", "alice@example.com", "--policy", tmp_path / "draft.toml", "--at", "2020-07-11")
    assert alice.startswith("alice@example.com over imap goes through"), alice
