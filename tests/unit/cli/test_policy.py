"""The commands `policy check` and `policy explain`."""

import hashlib
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gatekeeper.cli.main import cli
from testkit.inventory import TIKTOK, device

RULE = """
schema = 1
[defaults]
unknown_device = "block"
[[rule]]
id = "no-tiktok"
title = "TikTok is not allowed"
reason = "Directive"
apps = [{ platform = "android", id = "com.zhiliaoapp.musically" }]
phases = { enforce = "2020-07-10" }
[rule.message.en]
short = "TikTok is on this phone."
fix = "Remove it."
"""


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    """A right policy."""
    path = tmp_path / "policy.toml"
    path.write_text(RULE)
    return path


def run(*arguments: object) -> Result:
    """Run a command without any configuration."""
    return CliRunner().invoke(cli, ["--config", "/nowhere/gatekeeper.toml", *map(str, arguments)])


def test_a_right_policy_is_fine(policy: Path) -> None:
    """Told with its size and digest; a file that is named needs no configuration."""
    result = run("policy", "check", policy)
    digest = hashlib.sha256(policy.read_bytes()).hexdigest()

    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == f"{policy}: fine (1 rule, 0 exemptions, sha256 {digest[:16]})\n"
    assert json.loads(run("policy", "check", policy, "--json").stdout) == {"ok": True, "sha256": digest, "warnings": []}


def test_what_is_probably_not_meant_is_a_warning(policy: Path) -> None:
    """It stays fine."""
    policy.write_text(
        RULE + '[[exemption]]\nid = "ex"\nrule = "no-tiktok"\nusers = ["a@example.com"]\nexpires = "2020-01-01"\n'
        'reason = "r"\napproved_by = ["b@example.com"]\n'
    )
    result = run("policy", "check", policy)

    assert result.exit_code == 0
    assert "exemption[0].expires: `ex` has expired" in result.stderr
    assert [one["key"] for one in json.loads(run("policy", "check", policy, "--json").stdout)["warnings"]] == [
        "exemption[0].expires"
    ]


def test_it_can_be_warned_of_as_on_another_day(policy: Path) -> None:
    """So that a check of the same file says the same next year."""
    policy.write_text(RULE.replace("2020-07-10", "2020-07-11"))  # a Saturday

    assert run("policy", "check", policy).stderr == ""
    assert "begins on a weekend" in run("policy", "check", policy, "--at", "2020-07-01").stderr
    assert run("policy", "check", policy, "--at", "soon").exit_code == 2


def test_every_fault_is_a_line(policy: Path) -> None:
    """The check failed: exit code 1."""
    policy.write_text(RULE.replace("enforce", "enforced").replace("unknown_device", "unknown"))
    result = run("policy", "check", policy)

    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.splitlines()[0].split(": ")[:3] == [
        "error",
        str(policy),
        "defaults.unknown",
    ]
    assert "rule[0].phases.enforced: unknown key (did you mean `enforce`?)" in result.stderr
    faults = json.loads(run("policy", "check", policy, "--json").stdout)
    assert faults["ok"] is False
    assert {fault["source"] for fault in faults["faults"]} == {str(policy)}


def test_a_file_of_tests_is_told_from_a_policy(tmp_path: Path) -> None:
    """With the command that is meant."""
    path = tmp_path / "policy.test.toml"
    path.write_text("schema = 1\n[[test]]\n")

    assert "is a file of tests: `gatekeeper policy test` runs it" in run("policy", "check", path).stderr


def test_without_a_file_the_configured_one_is_meant() -> None:
    """So a configuration is needed."""
    result = run("policy", "check")

    assert result.exit_code == 78
    assert "/nowhere/gatekeeper.toml: cannot be read" in result.stderr


def test_explain_says_why(policy: Path, tmp_path: Path) -> None:
    """The same words as `device why`, asked from the policy's side."""
    phones, store = tmp_path / "phones.jsonl", f"sqlite:///{tmp_path}/gate.sqlite3"
    phones.write_text(device("ph-1", "alice@example.com", TIKTOK))
    assert run("inventory", "import", phones, "--store", store).exit_code == 0
    question = ["alice@example.com", "--store", store, "--policy", policy]
    result = run("policy", "explain", *question)

    assert result.exit_code == 1
    assert "no-tiktok" in result.stdout
    assert result.stdout == run("device", "why", *question).stdout


def test_the_schema_of_the_language_is_printed() -> None:
    """By its own command, and by the one that checks."""
    printed = json.loads(run("policy", "schema").stdout)
    assert printed["properties"].keys() >= {"schema", "defaults", "rule", "exemption"}
    assert json.loads(run("policy", "check", "--schema").stdout) == printed
    of_tests = json.loads(run("policy", "schema", "--tests").stdout)
    assert of_tests["properties"].keys() == {"schema", "policy", "zone", "device", "test"}


def test_what_is_on_a_third_of_all_devices_is_a_warning(policy: Path, tmp_path: Path) -> None:
    """When the devices are asked."""
    phones, store = tmp_path / "phones.jsonl", f"sqlite:///{tmp_path}/gate.sqlite3"
    phones.write_text(device("ph-1", "alice@example.com", TIKTOK))
    assert run("inventory", "import", phones, "--store", store).exit_code == 0

    assert run("policy", "check", policy).stderr == ""
    asked = run("policy", "check", policy, "--devices", "--store", store)
    assert asked.exit_code == 0
    assert "rule[0].apps[0]: means an app on 1 of 1 devices, more than a third" in asked.stderr
