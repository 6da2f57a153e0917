"""The JSON Schema of the configuration."""

import json
import re
import socket
import tomllib
from functools import cache
from pathlib import Path

import pytest

from gatekeeper.config.json_schema import json_schema as made
from gatekeeper.config.load import load
from gatekeeper.domain.document import DocumentError
from testkit import toml
from testkit.json_schema import complaints, gone_bad, unmarked

CONFIG = Path(__file__).parents[3] / "config"
SHIPPED = (CONFIG / "gatekeeper.toml").read_text()
json_schema = cache(made)
EVERY_KEY = re.sub(r"(?m)^# (?=\[|[a-z_]+ = )", "", SHIPPED)


def test_the_published_file_is_what_the_command_prints() -> None:
    """After a change of the configuration: `gatekeeper config schema > config/gatekeeper.schema.json`."""
    assert json.loads((CONFIG / "gatekeeper.schema.json").read_text()) == json_schema()


def test_the_shipped_files_name_their_schemas() -> None:
    """In the first line, where editors that know `#:schema` look for it; relative to the file."""
    files = sorted(CONFIG.rglob("*.toml"))
    assert len(files) > 20
    for path in files:
        kind = "policy.test" if path.name.endswith(".test.toml") else "policy"
        kind = "gatekeeper" if path.name == "gatekeeper.toml" else kind
        first, _, _ = path.read_text().partition("\n")
        assert first.startswith("#:schema ./" if path.parent == CONFIG else "#:schema ../"), path
        named = (path.parent / first.removeprefix("#:schema ")).resolve()
        assert named == CONFIG / f"{kind}.schema.json"
        assert complaints(json.loads(named.read_text()), tomllib.loads(path.read_text())) == [], path


def test_the_shipped_configuration_fits() -> None:
    """As it is, and with everything taken in that is commented out."""
    assert complaints(json_schema(), tomllib.loads(SHIPPED)) == []
    every = tomllib.loads(EVERY_KEY)
    assert "throttle" in every
    assert complaints(json_schema(), every) == []


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
    assert complaints(json_schema(), tomllib.loads(text))


def test_it_says_nothing_of_the_machine_it_was_made_on() -> None:
    """So that everybody's is the same, and no password has a place in the file."""
    schema = json_schema()
    assert schema["properties"]["server"]["properties"]["hostname"] == {"type": "string"}
    assert f"'{socket.gethostname()}'" not in str(schema)
    imap = schema["properties"]["upstream"]["properties"]["imap"]["properties"]
    assert "service_password_file" in imap
    assert "service_password" not in imap


def test_every_key_and_type_is_marked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the reader does."""
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none.pem"))  # reading the system's CAs takes 40 ms each time
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    bad = gone_bad(tomllib.loads(EVERY_KEY), frozenset())
    assert len(bad) > 100
    assert unmarked(json_schema(), bad) == []
    file = tmp_path / "gatekeeper.toml"
    for where, document in bad:
        file.write_text(toml.dumps(document))
        with pytest.raises(DocumentError) as refused:
            load(file, {})
        assert any(fault.key.startswith(where.split(".")[0]) for fault in refused.value.faults), where
