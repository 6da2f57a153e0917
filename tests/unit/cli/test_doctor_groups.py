"""What the doctor finds of a directory that runs, and of one that does not."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from gatekeeper.cli.doctor_groups import groups
from gatekeeper.cli.findings import State
from gatekeeper.config.load import load
from testkit.configuration import Configuration
from testkit.ports import free_port
from testkit.scim import TOKEN, Scim
from testkit.tls import Authority, KeyPair

POLICY = """
schema = 1
[defaults]
unknown_device = "allow"
[groups]
press = { directory = "Press" }
lab = { directory = "Lab" }
"""


@pytest.fixture
def pair(tmp_path: Path) -> KeyPair:
    """The provider's."""
    return Authority(tmp_path, "scim").server_certificate("scim")


@pytest.fixture
def scim(pair: KeyPair) -> Iterator[Scim]:
    """A provider with one of the groups."""
    server = Scim(pair)
    server.group("Press", server.user("alice@example.com"), server.user("no log-in at all"))
    yield server
    server.stop()


@pytest.fixture
def configuration(tmp_path: Path) -> Configuration:
    """The example with a policy that names groups."""
    found = Configuration(tmp_path)
    found.policy_path.write_text(POLICY)
    return found


def _found(configuration: Configuration, port: int, mode: int = 0o600) -> list[tuple[State, str]]:
    token = configuration.directory / "token"
    token.write_text(TOKEN)
    token.chmod(mode)
    ca = configuration.directory / "scim.pem"
    url = f"https://localhost:{port}/v2"
    configuration.write({"groups": {"scim": {"url": url, "token_file": str(token), "ca": str(ca)}}})
    return [(each.state, each.found) for each in groups(load(configuration.path, {}))]


def test_each_group_that_is_missing_is_told(configuration: Configuration, scim: Scim) -> None:
    """By both of its names, after what is well; and who is left out, counted."""
    (well, words), missing, note = _found(configuration, scim.port)
    assert well is State.OK
    assert words.endswith("1 groups with 1 people")
    assert missing == (
        State.FAIL,
        "group `lab` of the policy, `Lab`: there is no such group that the gate may see",
    )
    assert note == (State.WARN, "group `Press`: 1 members have no `userName` that can log in; left out")


def test_a_directory_that_does_not_answer_fails(configuration: Configuration, pair: KeyPair) -> None:
    """With the reason."""
    assert pair.certificate.exists()
    ((state, words),) = _found(configuration, free_port())
    assert state is State.FAIL
    assert "Connection refused" in words


def test_a_secret_that_everybody_can_read_is_told(configuration: Configuration, scim: Scim) -> None:
    """Whoever reads it asks in the gate's name."""
    first, *_ = _found(configuration, scim.port, 0o644)
    assert first == (
        State.WARN,
        f"{configuration.directory / 'token'}: everybody on this machine can read it",
    )


def test_groups_without_a_source_are_told(configuration: Configuration) -> None:
    """A file is told of by the policy's own test; without groups there is nothing to say."""
    (finding,) = groups(load(configuration.path, {}))
    assert (finding.state, finding.found) == (State.WARN, "the policy takes 2 groups from a directory")
    configuration.write({"groups": {"file": "groups.csv"}})
    assert groups(load(configuration.path, {})) == []
    configuration.policy_path.write_text("schema = 2")
    assert groups(load(configuration.path, {})) == []
