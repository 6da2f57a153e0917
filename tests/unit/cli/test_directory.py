"""What `policy check` and `policy plan` say of groups, with a directory that runs and one that does not."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gatekeeper.cli.main import cli
from gatekeeper.config.load import load
from gatekeeper.server.group_source import STATE_FILE
from testkit.configuration import Configuration
from testkit.inventory import TIKTOK, device
from testkit.scim import TOKEN, Scim
from testkit.tls import Authority, KeyPair

HEAD = 'schema = 1\n[defaults]\nunknown_device = "allow"\nevidence_max_age = "3650d"\n'
RULE = """
[groups]
press = { directory = "Press" }
lab = { directory = "Lab" }
[[rule]]
id = "no-tiktok"
apps = [{ id = "com.zhiliaoapp.musically" }]
scope = { not_groups = ["press"] }
phases = { enforce = "2020-01-01" }
"""


@pytest.fixture
def pair(tmp_path: Path) -> KeyPair:
    """The provider's."""
    return Authority(tmp_path, "scim").server_certificate("scim")


@pytest.fixture
def scim(pair: KeyPair) -> Iterator[Scim]:
    """A provider with one of the groups."""
    server = Scim(pair)
    server.group("Press", server.user("alice@example.com"))
    yield server
    server.stop()


@pytest.fixture
def configuration(tmp_path: Path) -> Configuration:
    """The example, in force a policy without rules, and a candidate with one."""
    found = Configuration(tmp_path)
    found.policy_path.write_text(HEAD)
    (tmp_path / "candidate.toml").write_text(HEAD + RULE)
    return found


def _asks(configuration: Configuration, scim: Scim) -> None:
    token = configuration.directory / "token"
    token.write_text(TOKEN)
    ca = configuration.directory / "scim.pem"
    url = f"https://localhost:{scim.port}/v2"
    configuration.write({"groups": {"scim": {"url": url, "token_file": str(token), "ca": str(ca)}}})


def _run(configuration: Configuration, *words: str) -> Result:
    return CliRunner().invoke(cli, ["--config", str(configuration.path), *words])


def _concerns(configuration: Configuration) -> list[dict[str, str]]:
    done = _run(configuration, "policy", "check", str(configuration.directory / "candidate.toml"), "--json")
    assert done.exit_code == 0, done.output
    found: list[dict[str, str]] = json.loads(done.stdout)["warnings"]
    return [each for each in found if each["key"].startswith("groups")]


def test_check_warns_of_groups_that_the_directory_does_not_have(configuration: Configuration, scim: Scim) -> None:
    """Asked as it is now; a directory that cannot be asked, or is not configured, is warned of, too."""
    (without,) = _concerns(configuration)
    assert without["reason"] == "come from a directory, and the configuration names none in [groups]"
    _asks(configuration, scim)
    (missing,) = _concerns(configuration)
    assert missing["key"] == "groups.lab"
    assert missing["reason"] == "`Lab` in the directory: there is no such group that the gate may see"
    scim.stop()
    (away,) = _concerns(configuration)
    assert away["reason"].startswith("the directory cannot be asked: https://localhost")
    file = configuration.directory / "groups.csv"
    file.write_text("group,user\nPress,alice@example.com\n")
    configuration.write({"groups": {"file": str(file), "scim": None}})
    (named,) = _concerns(configuration)
    assert named["reason"] == f"`Lab`: {file} has no such group"


def test_a_plan_knows_who_is_in_the_groups(configuration: Configuration, scim: Scim) -> None:
    """Alice is of the press and keeps her mail, Bob is not; nothing is written where the gate keeps its answer."""
    _asks(configuration, scim)
    inventory = configuration.directory / "phones.jsonl"
    inventory.write_text(
        f"{device('ph-1', 'alice@example.com', TIKTOK)}\n{device('ph-2', 'bob@example.com', TIKTOK)}\n"
    )
    (configuration.directory / "var").mkdir()
    assert _run(configuration, "inventory", "import", str(inventory)).exit_code == 0
    candidate = str(configuration.directory / "candidate.toml")
    done = _run(configuration, "policy", "plan", candidate, "--json")
    assert done.exit_code == 0, done.output
    assert {each["user"] for each in json.loads(done.stdout)["blocked"]} == {"bob@example.com"}
    assert "`Lab`: there is no such group" in done.stderr
    assert not (load(configuration.path, {}).state_directory / STATE_FILE).exists()

    scim.stop()
    done = _run(configuration, "policy", "plan", candidate, "--json")
    assert {each["user"] for each in json.loads(done.stdout)["blocked"]} == {"alice@example.com", "bob@example.com"}
    assert done.stderr.startswith(
        "warning: who is in a group is not known, so rules for it count for everybody: https:"
    )
