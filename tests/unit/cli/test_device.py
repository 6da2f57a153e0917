"""The commands `device list`, `device show` and `device why`."""

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gatekeeper.cli import device as module
from gatekeeper.cli.main import cli
from gatekeeper.cli.store import duration_words
from testkit.inventory import TIKTOK, device

POLICY = """
schema = 1
[defaults]
unknown_device = "block"
[[rule]]
id = "no-tiktok"
title = "TikTok is not allowed"
reason = "Directive"
apps = [{ platform = "android", id = "com.zhiliaoapp.musically" }]
scope = { device_class = ["mobile"] }
phases = { enforce = "2020-07-10T17:00:00-07:00" }
[rule.message.en]
short = "TikTok is on this phone."
fix = "Remove it."
"""

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run a command on a database with the phones of three people."""

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(cli, [*arguments, "--store", f"sqlite:///{tmp_path}/gate.sqlite3"])

    path = tmp_path / "phones.jsonl"
    lines = [
        device("ph-1", "alice@example.com", TIKTOK, identifiers={"serial": "R58"}, age=timedelta(hours=3)),
        device("ph-2", "bob@example.com", ownership="personal", scope="managed-only"),
        device("ph-3", "bob@example.com"),
    ]
    path.write_text("\n".join(lines))
    assert run("inventory", "import", str(path)).exit_code == 0
    return run


@pytest.fixture
def why(run: Run, tmp_path: Path) -> Run:
    """Run `device why` with a policy that denies TikTok."""
    path = tmp_path / "policy.toml"
    path.write_text(POLICY)
    return lambda *arguments: run("device", "why", *arguments, "--policy", str(path))


def test_devices_are_listed(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Owner, evidence and its age, and how many apps, never which; also when it takes several pages."""
    monkeypatch.setattr(module, "PAGE", 2)
    result = run("device", "list")
    header, first, *others = result.stdout.splitlines()

    assert header.split() == ["DEVICE", "USER", "PLATFORM", "CLASS", "OWNER", "SOURCE", "AGE", "LIST", "APPS"]
    assert first.split() == [
        "ph-1",
        "alice@example.com",
        "android",
        "mobile",
        "company",
        "mdm",
        "3",
        "h",
        "full,",
        "complete",
        "2",
    ]
    assert [line.split()[0] for line in others] == ["ph-2", "ph-3"]
    assert "musically" not in result.output


def test_devices_of_one_user_are_listed_for_machines(run: Run) -> None:
    """The login is put into its canonical form first."""
    devices = json.loads(run("device", "list", "--user", "Bob@Example.com", "--json").stdout)

    assert [(one["device_id"], one["scope"], one["ownership"]) for one in devices] == [
        ("ph-2", "managed-only", "personal"),
        ("ph-3", "full", "company"),
    ]
    assert "apps" not in devices[0]


def test_a_user_without_devices_is_told_on_stderr(run: Run) -> None:
    """No rows on stdout."""
    result = run("device", "list", "--user", "carol@example.com")

    assert (result.exit_code, result.stdout) == (0, "")
    assert "no device is registered for carol@example.com" in result.stderr


def test_a_device_is_shown_without_its_apps(run: Run) -> None:
    """Facts, source, age, completeness and the count."""
    result = run("device", "show", "ph-1")
    shown = dict(line.split(maxsplit=1) for line in result.stdout.splitlines())

    assert shown["device"] == "ph-1"
    assert shown["user"] == "alice@example.com"
    assert shown["age"] == "3 h"
    assert shown["list"] == "full, complete"
    assert shown["apps"] == "2"
    assert shown["serial"] == "R58"
    assert "musically" not in result.output


def test_apps_are_shown_on_request(run: Run) -> None:
    """Who asks for the list gets it, for people and for machines."""
    assert "com.zhiliaoapp.musically  TikTok  16.6.5" in run("device", "show", "ph-1", "--apps").stdout
    document = json.loads(run("device", "show", "ph-1", "--apps", "--json").stdout)

    assert [app["id"] for app in document["apps"]] == ["com.example.notes", "com.zhiliaoapp.musically"]
    assert "apps" not in json.loads(run("device", "show", "ph-1", "--json").stdout)


def test_a_device_that_is_not_registered_is_told(run: Run) -> None:
    """With exit code 1."""
    result = run("device", "show", "ph-9")

    assert (result.exit_code, result.stdout) == (1, "")
    assert "no device `ph-9` is registered" in result.stderr


def test_why_a_person_is_blocked(why: Run) -> None:
    """In words that name the app, and an exit code for scripts."""
    result = why("Alice@example.com")

    assert result.exit_code == 1
    assert "alice@example.com over imap is blocked" in result.stdout
    assert "com.zhiliaoapp.musically" in result.stdout
    assert "com.example.notes" not in result.stdout


def test_why_for_machines(why: Run) -> None:
    """The decision's own words beside the sentences."""
    document = json.loads(why("alice@example.com", "--json", "--protocol", "smtp").stdout)

    assert (document["verdict"], document["reasons"], document["rules"]) == ("block", ["app.match"], ["no-tiktok"])
    assert (document["device"], document["protocol"]) == ("ph-1", "smtp")
    assert document["why"]


def test_why_at_another_time(why: Run) -> None:
    """Before the rule is enforced the same person gets in."""
    assert why("alice@example.com", "--at", "2020-07-10T16:59:59-07:00").exit_code == 0


def test_why_for_one_device(why: Run) -> None:
    """A session that is tied to a device is judged by that device alone."""
    assert why("bob@example.com", "--device", "ph-3").exit_code == 0
    stranger = why("bob@example.com", "--device", "ph-9")
    assert stranger.exit_code == 1
    assert "ph-9" in stranger.stdout


def test_why_of_a_user_without_devices(why: Run) -> None:
    """An unknown device is judged by the default."""
    assert why("carol@example.com").exit_code == 1


@pytest.mark.parametrize(
    "arguments", [["carol*admin"], ["carol@example.com", "--at", "noon"], ["carol@example.com", "--protocol", "nntp"]]
)
def test_a_question_that_makes_no_sense_is_wrong_usage(why: Run, arguments: list[str]) -> None:
    """With exit code 2."""
    assert why(*arguments).exit_code == 2


def test_a_policy_that_cannot_be_used_is_told(run: Run, tmp_path: Path) -> None:
    """As bad configuration."""
    path = tmp_path / "policy.toml"
    path.write_text("schema = 1\nrules = 3\n")
    result = run("device", "why", "alice@example.com", "--policy", str(path))

    assert result.exit_code == 78
    assert "rules: unknown key" in result.stderr


@pytest.mark.parametrize(
    ("duration", "words"),
    [
        (timedelta(0), "0 s"),
        (timedelta(seconds=59), "59 s"),
        (timedelta(minutes=12), "12 min"),
        (timedelta(minutes=12, seconds=5), "12 min 5 s"),
        (timedelta(days=2, hours=4, minutes=9), "2 d 4 h"),
        (timedelta(days=2, minutes=9), "2 d"),
        (timedelta(minutes=-5), "-5 min"),
    ],
)
def test_a_duration_has_its_two_largest_units(duration: timedelta, words: str) -> None:
    """Enough for people."""
    assert duration_words(duration) == words
