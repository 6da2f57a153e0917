"""The published JSON Schema of a policy."""

import json
import tomllib
from pathlib import Path

import pytest

from gatekeeper.decision.json_schema import json_schema
from gatekeeper.decision.schema import parse_policy
from gatekeeper.domain.document import DocumentError
from testkit import toml
from testkit.json_schema import complaints, gone_bad, unmarked

CONFIG = Path(__file__).parents[3] / "config"
DATES = frozenset({"observe", "warn", "enforce", "cap", "from", "expires"})

EVERYTHING = """
schema = 1
[defaults]
zone = "Europe/Berlin"
language = { default = "en", groups = { staff = "de" } }
unknown_device = { default = "block", mobile = "warn", smtp = "allow" }
evidence_max_age = "24h"
stale = { action = "warn", then = "block", after = "72h" }
insufficient = { company = "block", personal = "warn", default = "block" }
no_evidence = "block"
[groups]
staff = ["a@example.com"]
sales = { directory = "CN=Sales" }
[sources]
mdm = "mdm"
[[rule]]
id = "everything"
title = "t"
reason = "r"
apps = [
  { platform = "ios", id = "com.a.*", name = "A", publisher = "B", version = "<2", min_evidence = "mdm" },
  { signer_sha256 = ["abababababababababababababababababababababababababababababababab"], installer = "x", not_installer = ["y"] },
]
only_apps = [{ id = "com.b.*", signer_sha256 = "abababababababababababababababababababababababababababababababab" }]
required_apps = [{ id = "com.c.d", installer = ["x"] }]
min_os = { android = "14", ios = "17.4" }
flags = ["compromised"]
action = "block"
scope = { device_class = ["mobile"], ownership = ["company"], platforms = ["ios"], protocols = ["imap"], listeners = ["imaps"],
  networks = ["192.0.2.0/24"], not_networks = ["192.0.2.7"], users = ["a@example.com"], groups = ["sales"], not_users = ["b@example.com"], not_groups = ["staff"] }
phases = { zone = "Europe/Rome", observe = 2020-01-01, warn = "2020-02-01", enforce = 2020-03-01T09:00:00 }
grace = { per_device = "7d", cap = 2020-03-20 }
rollout = [{ from = 2020-03-01, percent = 100 }]
[rule.message.en]
short = "s"
fix = "f"
[[exemption]]
id = "e"
rule = "everything"
users = ["a@example.com"]
groups = ["staff"]
devices = ["ph-1"]
expires = 2030-01-01
reason = "x"
approved_by = ["y"]
""".replace("],\n  networks", "], networks")


def test_the_published_file_is_what_the_command_prints() -> None:
    """After a change of the language: `gatekeeper policy schema > config/policy.schema.json`."""
    assert json.loads((CONFIG / "policy.schema.json").read_text()) == json_schema()


def test_the_shipped_policy_names_its_schema_and_fits() -> None:
    """Editors that know `#:schema` complete it."""
    text = (CONFIG / "policy.toml").read_text()
    assert text.startswith("#:schema ./policy.schema.json\n")
    assert complaints(json_schema(), tomllib.loads(text)) == []


def test_everything_that_can_be_said_fits() -> None:
    """A policy that uses every key is one to the reader and to the schema, and no key of the schema is left out."""
    parse_policy(EVERYTHING.encode(), source="p")
    document = tomllib.loads(EVERYTHING)
    schema = json_schema()
    assert complaints(schema, document) == []
    rule = schema["properties"]["rule"]["items"]["properties"]
    assert rule.keys() == document["rule"][0].keys()
    assert rule["scope"]["properties"].keys() == document["rule"][0]["scope"].keys()
    assert rule["apps"]["items"]["properties"].keys() == {key for app in document["rule"][0]["apps"] for key in app}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("schema = 1", "schema = 2"),
        ("evidence_max_age", "evidence_age"),
        ('"24h"', '"24"'),
        ('flags = ["compromised"]', 'flags = ["rooted"]'),
        ('id = "everything"', 'id = "every thing"'),
        ("android =", "symbian ="),
        ("message.en", "message.English"),
        ('min_evidence = "mdm"', 'min_evidence = "MDM"'),
        ("percent = 100", "percent = 101"),
        ('devices = ["ph-1"]', 'devices = "ph-1"'),
        ("per_device", "per_phone"),
        ('approved_by = ["y"]', ""),
    ],
)
def test_what_the_reader_refuses_is_marked(old: str, new: str) -> None:
    """Keys, types and choices."""
    text = EVERYTHING.replace(old, new)
    assert text != EVERYTHING
    assert complaints(json_schema(), tomllib.loads(text))


def test_every_key_and_type_is_marked() -> None:
    """As the reader does."""
    bad = gone_bad(tomllib.loads(EVERYTHING), DATES)
    assert len(bad) > 50
    assert unmarked(json_schema(), bad) == []
    for _, document in bad:
        with pytest.raises(DocumentError):
            parse_policy(toml.dumps(document).encode(), source="p")
