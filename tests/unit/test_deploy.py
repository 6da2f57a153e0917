"""Configurations of programs that no test here can run: as much of them as can be looked at."""

import re
import tomllib
from pathlib import Path

DEPLOY = Path(__file__).parents[2] / "deploy"


def test_vectors_is_toml_whose_parts_fit() -> None:
    """Every input is a part that is there, and the sink acknowledges, without which 2xx would mean nothing."""
    document = tomllib.loads((DEPLOY / "vector" / "vector.toml").read_text())
    parts = {name for kind in ("sources", "transforms") for name in document[kind]}
    for kind in ("transforms", "sinks"):
        for one in document[kind].values():
            assert set(one["inputs"]) <= parts
    assert all(sink["acknowledgements"] == {"enabled": True} for sink in document["sinks"].values())
    assert document["sources"]["gatekeeper"]["tls"]["verify_certificate"] is True


def test_what_may_be_cut_is_large_enough() -> None:
    """A record has up to 16 KiB, and every one of these programs would cut it by default."""
    texts = {path: path.read_text() for path in DEPLOY.rglob("*") if path.suffix in (".toml", ".yml", ".conf")}
    assert len(texts) == 4
    for path, text in texts.items():
        assert re.search(r"32k|32768", text), path


def test_the_readme_says_how_far_each_is_tested() -> None:
    """Every file of deploy/."""
    readme = (DEPLOY / "README.md").read_text()
    for path in DEPLOY.rglob("*"):
        if path.is_file() and path.suffix in (".toml", ".yml", ".conf"):
            assert f"`{path.relative_to(DEPLOY)}`" in readme, path
