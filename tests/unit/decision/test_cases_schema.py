"""The published JSON Schema of a policy's tests."""

import json
import tomllib
from pathlib import Path

import pytest

from gatekeeper.decision.cases import read_cases
from gatekeeper.decision.cases_schema import cases_schema
from gatekeeper.domain.document import DocumentError
from testkit import toml
from testkit.json_schema import complaints, gone_bad, unmarked

CONFIG = Path(__file__).parents[3] / "config"
DATES = frozenset({"at", "deadline", "valid_until", "first_seen", "collected"})
SHIPPED = tomllib.loads((CONFIG / "policy.test.toml").read_text())
EVERYTHING = tomllib.loads("""
schema = 1
policy = "policy.toml"
zone = "Europe/Berlin"
[device.phone]
user = "a@example.com"
platform = "ios"
device_id = "ph-1"
device_class = "mobile"
ownership = "company"
first_seen = 2020-01-01
source = "mdm"
scope = "full"
complete = true
collected = "2h"
os_version = "17.4"
flags = { compromised = false, unverified_boot = true, debuggable = false }
[[device.phone.apps]]
id = "com.a.b"
name = "A"
version = "1"
version_code = 7
publisher = "P"
installer = "com.android.vending"
signer_sha256 = ["ab"]
[[device.phone.apps]]
id = "com.a.c"
signer_sha256 = "ab"
[[test]]
name = "n"
at = 2020-07-10T12:00:00
devices = ["phone"]
session = { user = "a@example.com", protocol = "smtp", listener = "l", address = "192.0.2.1", languages = ["de"], groups = ["g"], binding = "user" }
expect = { verdict = "block", rules = ["r"], reasons = ["app.match"], posture = "denied", phase = "warn", exemptions = ["e"], message = "m", deadline = "2020-07-11", valid_until = 2020-07-11 }
""")


def test_the_published_file_is_what_the_command_prints() -> None:
    """After a change of these files: `gatekeeper policy schema --tests > config/policy.test.schema.json`."""
    assert json.loads((CONFIG / "policy.test.schema.json").read_text()) == cases_schema()


@pytest.mark.parametrize("document", [SHIPPED, EVERYTHING], ids=["shipped", "everything"])
def test_what_the_reader_takes_fits(document: dict[str, object]) -> None:
    """The shipped tests, and tests that use every key."""
    read_cases(toml.dumps(document).encode(), source="p.test.toml")
    assert complaints(cases_schema(), document) == []


def test_no_key_is_left_out() -> None:
    """The schema knows no more than the reader."""
    properties = cases_schema()["properties"]
    assert properties.keys() == EVERYTHING.keys()
    device = properties["device"]["additionalProperties"]["properties"]
    assert device.keys() == EVERYTHING["device"]["phone"].keys()
    (test,) = EVERYTHING["test"]
    of_test = properties["test"]["items"]["properties"]
    assert of_test.keys() == test.keys()
    for name in ("session", "expect"):
        assert of_test[name]["properties"].keys() == test[name].keys()


def test_every_key_and_type_is_marked() -> None:
    """As the reader does."""
    bad = gone_bad(EVERYTHING, DATES)
    assert len(bad) > 50
    assert unmarked(cases_schema(), bad) == []
    for _, document in bad:
        with pytest.raises(DocumentError):
            read_cases(toml.dumps(document).encode(), source="p.test.toml")


@pytest.mark.parametrize("name", ["schema", "test"])
def test_what_is_required(name: str) -> None:
    """At the top, in a test, in what it expects, of a device."""
    assert complaints(cases_schema(), {key: value for key, value in EVERYTHING.items() if key != name})


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('verdict = "allow"', 'verdict = "alow"'),
        ('platform = "ios"', 'platform = "iso"'),
        ("schema = 1", "schema = 2"),
        ('name = "laptops stay untouched"', ""),
        ('reasons = ["device.unknown"]', 'reasons = ["device.unknwon"]'),
        ('user = "alice@example.com"', ""),
    ],
)
def test_choices_and_what_is_required_in_the_shipped_file(old: str, new: str) -> None:
    """Each slip is marked."""
    text = (CONFIG / "policy.test.toml").read_text()
    assert old in text
    assert complaints(cases_schema(), tomllib.loads(text.replace(old, new)))
