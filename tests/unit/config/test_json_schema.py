"""The JSON Schema of the configuration."""

import re
import socket
import tomllib
from pathlib import Path

import pytest

from gatekeeper.config.json_schema import json_schema
from testkit.json_schema import complaints

SHIPPED = (Path(__file__).parents[3] / "config" / "gatekeeper.toml").read_text()
EVERY_KEY = re.sub(r"(?m)^# (?=\[|[a-z_]+ = )", "", SHIPPED)


def test_the_shipped_configuration_fits() -> None:
    """As it is, and with everything taken in that is commented out."""
    assert list(complaints(json_schema(), tomllib.loads(SHIPPED))) == []
    every = tomllib.loads(EVERY_KEY)
    assert "throttle" in every
    assert list(complaints(json_schema(), every)) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("state_directory", "state_dir"),
        ("workers = 1", 'workers = "1"'),
        ('protocol = "imap"', 'protocol = "imap4"'),
        ('drain_timeout = "30s"', 'drain_timeout = "30"'),
        ("[store]", "[stores]"),
    ],
)
def test_what_the_reader_refuses_is_marked(old: str, new: str) -> None:
    """Keys, types and choices."""
    text = SHIPPED.replace(old, new)
    assert text != SHIPPED
    assert list(complaints(json_schema(), tomllib.loads(text)))


def test_it_says_nothing_of_the_machine_it_was_made_on() -> None:
    """So that everybody's is the same, and no password has a place in the file."""
    schema = json_schema()
    assert schema["properties"]["server"]["properties"]["hostname"] == {"type": "string"}
    assert f"'{socket.gethostname()}'" not in str(schema)
    imap = schema["properties"]["upstream"]["properties"]["imap"]["properties"]
    assert "service_password_file" in imap
    assert "service_password" not in imap
