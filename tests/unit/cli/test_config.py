"""`gatekeeper config init | check | show`, and `gatekeeper policy check`."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gatekeeper.cli.main import cli
from testkit.configuration import Configuration


@pytest.fixture
def configuration(tmp_path: Path) -> Configuration:
    """The example with its files."""
    return Configuration(tmp_path)


def _run(configuration: Configuration, *arguments: str) -> Result:
    return CliRunner().invoke(cli, ["--config", str(configuration.path), *arguments])


def test_a_good_configuration_is_fine(configuration: Configuration) -> None:
    """Said on stdout; what has no effect is noted on stderr."""
    configuration.write({"binding": {"order": ["device_credential", "user"]}})
    result = _run(configuration, "config", "check")
    assert (result.exit_code, result.stdout) == (0, f"{configuration.path}: fine\n")
    assert result.stderr.startswith("note: binding.order: ")


def test_all_faults_of_configuration_and_policy_are_told_at_once(configuration: Configuration) -> None:
    """A line each, with file, key and reason."""
    configuration.policy_path.write_text("schema = 2\n")
    configuration.write({"server": {"hostnam": "x"}, "tls": {"certificate": "absent"}})
    result = _run(configuration, "config", "check")
    lines = result.stderr.splitlines()

    assert result.exit_code == 78
    assert f"error: {configuration.path}: tls.certificate: `absent` does not exist" in lines
    assert f"error: {configuration.path}: server.hostnam: unknown key (did you mean `hostname`?)" in lines
    assert any(line.startswith(f"error: {configuration.policy_path}: ") for line in lines)


def test_faults_are_for_machines_too(configuration: Configuration) -> None:
    """One JSON document, whatever is wrong."""
    good = _run(configuration, "config", "check", "--json")
    assert (good.exit_code, json.loads(good.stdout)) == (0, {"ok": True, "faults": [], "notes": []})
    configuration.write({"store": {"url": 5, "colour": 1}})
    bad = _run(configuration, "config", "check", "--json")
    body = json.loads(bad.stdout)
    assert (bad.exit_code, body["ok"]) == (78, False)
    assert {fault["key"] for fault in body["faults"]} == {"store.url", "store.colour"}


def test_an_unreadable_policy_is_one_clear_line(configuration: Configuration) -> None:
    """With its name."""
    configuration.policy_path.unlink()
    result = _run(configuration, "config", "check")
    assert result.exit_code == 78
    assert result.stderr == f"error: {configuration.policy_path}: cannot be read: No such file or directory\n"


def test_a_mail_server_whose_name_does_not_resolve_is_told(configuration: Configuration) -> None:
    """Phones would be refused."""
    configuration.write({"upstream": {"smtp": {"address": "no such host:25"}}})
    result = _run(configuration, "config", "check")
    assert result.exit_code == 78
    assert "upstream" in result.stderr
    configuration.write({"upstream": {"smtp": {"address": ["127.0.0.1:25", "nobody.invalid:25"]}}})
    result = _run(configuration, "config", "check")
    assert result.exit_code == 78
    assert "upstream.smtp.address: `nobody.invalid` cannot be resolved" in result.stderr


def test_show_gives_what_is_in_force_without_secrets(
    configuration: Configuration, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With defaults and environment."""
    monkeypatch.setenv("GATEKEEPER_SERVER__CHECK_URL", "https://gate.example/why")
    monkeypatch.setenv("GATEKEEPER_STORE__URL", "sqlite:///var/gate:hunter2@x.sqlite3")
    result = _run(configuration, "config", "show")
    shown = json.loads(result.stdout)

    assert result.exit_code == 0
    assert shown["check_url"] == "https://gate.example/why"
    assert shown["limits"]["max_attempts"] == 5
    assert shown["upstreams"]["imap"]["tls"] == "off"
    assert shown["store_url"] == "(hidden)"
    assert "hunter2" not in result.output
    assert "BEGIN CERTIFICATE" not in result.output


def test_a_good_policy_is_fine(configuration: Configuration) -> None:
    """The configured one, or the one that is named; with its digest."""
    result = _run(configuration, "policy", "check")
    assert result.exit_code == 0
    assert result.stdout.startswith(f"{configuration.policy_path}: fine (0 rules, 0 exemptions, sha256 ")
    named = CliRunner().invoke(cli, ["--config", "absent", "policy", "check", str(configuration.policy_path)])
    assert named.exit_code == 0
    as_json = json.loads(_run(configuration, "policy", "check", "--json").stdout)
    assert (as_json["ok"], as_json["warnings"]) == (True, [])


def test_a_policys_faults_are_told_at_once(configuration: Configuration) -> None:
    """Exit code 1: the check failed."""
    configuration.policy_path.write_text("schema = 2\ncolour = 1\n")
    result = _run(configuration, "policy", "check")
    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) >= 2
    body = json.loads(_run(configuration, "policy", "check", "--json").stdout)
    assert not body["ok"]
    assert {"schema", "colour"} <= {fault["key"] for fault in body["faults"]}


def test_a_policy_that_is_probably_not_meant_so_is_warned_of(configuration: Configuration) -> None:
    """It is still fine."""
    configuration.policy_path.write_text(
        'schema = 1\n[[rule]]\nid = "r"\napps = [{ platform = "android", id = "x.y" }]\n'
        'phases = { enforce = "2020-01-01" }\n[[exemption]]\nid = "e"\nrule = "r"\nusers = ["a@example.com"]\n'
        'expires = "2020-01-02"\nreason = "x"\napproved_by = ["b@example.com"]\n'
    )
    result = _run(configuration, "policy", "check")
    assert result.exit_code == 0, result.output
    assert "warning: " in result.stderr


def test_the_schema_of_the_configuration_is_printed(configuration: Configuration) -> None:
    """For editors; it needs no configuration."""
    printed = json.loads(_run(configuration, "config", "schema").stdout)
    assert printed["properties"].keys() >= {"server", "listener", "policy"}


def test_the_file_of_groups_is_read_too(configuration: Configuration, tmp_path: Path) -> None:
    """It would keep the gate from starting."""
    groups = tmp_path / "groups.csv"
    groups.write_text("group,user\na,*\n")
    configuration.write({"groups": {"file": str(groups)}})
    result = _run(configuration, "config", "check")
    assert result.exit_code == 78
    assert f"{groups}: line 2: `*` is not an account" in result.stderr


def test_a_site_starts_from_a_configuration_that_only_lacks_its_certificates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Written into a directory of its own; the policy and its tests are good as they are."""
    monkeypatch.chdir(tmp_path)
    made = CliRunner().invoke(cli, ["config", "init", "etc/gate"])
    assert (made.exit_code, made.stdout.splitlines()[0]) == (0, "etc/gate/gatekeeper.toml")
    assert sorted(made.stdout.split()) == sorted(map(str, Path("etc/gate").iterdir()))

    checked = CliRunner().invoke(cli, ["--config", "etc/gate/gatekeeper.toml", "config", "check"])
    assert checked.exit_code == 78
    assert all("`certs/" in line for line in checked.stderr.splitlines())
    assert CliRunner().invoke(cli, ["policy", "test", "etc/gate"]).exit_code == 0
    policy = CliRunner().invoke(cli, ["policy", "check", "etc/gate/policy.toml"])
    assert (policy.exit_code, policy.stderr) == (0, "")


def test_a_start_overwrites_nothing(tmp_path: Path) -> None:
    """Not even half: a file that is there ends the command before it writes."""
    there = tmp_path / "policy.toml"
    there.write_text("mine")
    made = CliRunner().invoke(cli, ["config", "init", str(tmp_path)])
    assert (made.exit_code, made.stderr) == (
        2,
        f"error: {there}: exists, and is not overwritten; nothing was written\n",
    )
    assert (list(tmp_path.iterdir()), there.read_text()) == ([there], "mine")

    file = CliRunner().invoke(cli, ["config", "init", str(there)])
    assert file.exit_code == 2
    assert len(file.stderr.splitlines()) == 1
