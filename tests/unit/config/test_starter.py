"""What a site starts from."""

import tomllib
from pathlib import Path

from gatekeeper.config.starter import starter

CONFIG = Path(__file__).parents[3] / "config"


def test_it_is_what_lies_in_a_checkout() -> None:
    """After a change there: `cp config/*.toml gatekeeper/config/starter_files/`."""
    shipped = {path.name: path.read_text() for path in CONFIG.iterdir() if path.is_file()}
    assert starter(Path("config")) == shipped


def test_what_it_names_stands_where_it_is_written() -> None:
    """Whatever the directory is called."""
    text = starter(Path('/etc/a "b"'))["gatekeeper.toml"]
    assert tomllib.loads(text)["policy"]["file"] == '/etc/a "b"/policy.toml'
    assert '"config/' not in text
