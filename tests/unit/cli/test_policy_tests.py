"""The command `policy test`."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gatekeeper.cli.main import cli

CONFIG = Path(__file__).parents[3] / "config"
POLICY = 'schema = 1\n[[rule]]\nid = "r"\napps = [{ id = "com.a" }]\nphases = { warn = "2020-01-01", enforce = "2020-02-01" }\n'
TEST = """
schema = 1
[device.phone]
user = "a@example.com"
platform = "ios"
apps = [{ id = "com.a" }]
[[test]]
name = "blocked"
at = 2020-03-01
devices = ["phone"]
expect = { verdict = "block" }
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "policy.toml").write_text(POLICY)
    (tmp_path / "policy.test.toml").write_text(TEST)
    return tmp_path


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["--config", "/nowhere/gatekeeper.toml", "policy", "test", *map(str, arguments)])


def test_the_shipped_policy_passes_its_shipped_tests() -> None:
    """All of it is covered, and every rule would be missed."""
    result = run("--policy", CONFIG / "policy.toml", "--min-coverage", 100)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.endswith("6 of 6 tests passed; rules x phases covered: 2 of 2 (100 %)\n")


def test_tests_that_pass(folder: Path) -> None:
    """What they do not cover is told; it fails when more is wanted."""
    result = run(folder / "policy.test.toml")
    assert result.exit_code == 0
    assert "not covered: rule r in its phase warn" in result.stdout
    assert run(folder / "policy.test.toml", "--min-coverage", "51").exit_code == 1


def test_tests_that_fail(folder: Path) -> None:
    """With place, name and difference."""
    (folder / "policy.test.toml").write_text(TEST.replace('"block"', '"allow"'))
    result = run(folder / "policy.test.toml")
    assert result.exit_code == 1
    assert (
        f"FAILED {folder}/policy.test.toml: test[0] (blocked)\n  verdict: is block, expected allow\n" in result.stdout
    )


def test_a_rule_that_would_not_be_missed_fails(folder: Path) -> None:
    """Unless that is not asked."""
    (folder / "policy.toml").write_text(POLICY + POLICY.partition("\n")[2].replace('"r"', '"s"'))
    result = run(folder / "policy.test.toml")
    assert result.exit_code == 1
    assert "NOT NOTICED: without rule s every test still passes" in result.stdout
    assert run(folder / "policy.test.toml", "--no-mutation").exit_code == 0
    facts = json.loads(run(folder / "policy.test.toml", "--json").stdout)
    assert facts["ok"] is False
    assert facts["policies"][0]["not_noticed"] == ["r", "s"]
    assert facts["policies"][0]["tests"][0]["passed"] is True


def test_two_files_of_tests_cover_together(folder: Path) -> None:
    """They name the policy that they test."""
    (folder / "more.test.toml").write_text(
        'policy = "policy.toml"\n' + TEST.replace("2020-03-01", "2020-01-15").replace('"block"', '"warn"')
    )
    result = run("--policy", folder / "policy.toml", "--min-coverage", 100)
    assert (result.exit_code, result.stdout.count("2 of 2 tests passed")) == (0, 1)
    assert run(folder / "policy.test.toml", folder / "more.test.toml", "--min-coverage", 100).exit_code == 0


def test_faults_of_both_files_are_told(folder: Path) -> None:
    """A line each."""
    (folder / "policy.test.toml").write_text(TEST.replace("expect", "expects"))
    (folder / "policy.toml").write_text(POLICY.replace("phases", "fases"))
    (folder / "other.test.toml").write_text("schema = 2")
    result = run(folder / "policy.test.toml", folder / "other.test.toml")
    assert result.exit_code == 1
    assert "policy.test.toml: test[0].expects: unknown key (did you mean `expect`?)" in result.stderr
    assert "other.test.toml: schema: must be 1" in result.stderr


def test_without_a_test_nothing_is_proven(folder: Path) -> None:
    """Exit code 3: incomplete."""
    (folder / "policy.test.toml").unlink()
    result = run("--policy", folder / "policy.toml")
    assert (result.exit_code, result.stderr) == (
        3,
        "error: there is no test: write a NAME.test.toml beside the policy\n",
    )


def test_a_directory_stands_for_its_tests(folder: Path) -> None:
    """And a policy that is taken for its tests is told from them."""
    assert run(folder).stdout == run(folder / "policy.test.toml").stdout
    assert "is no file of tests: those of it stand in policy.test.toml" in run(folder / "policy.toml").stderr
