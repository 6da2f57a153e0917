"""Configurations of programs that tests here cannot run, or not everywhere: as much of them as can be looked at."""

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


def test_fluent_bit_loses_nothing_by_its_defaults() -> None:
    """They do not verify the server's name, give a batch up after one attempt more, and begin at a file's end."""
    text = (DEPLOY / "fluent-bit" / "forwarder.yml").read_text()
    said = dict(re.findall(r"^ *(?:- )?([a-z_.]+): ([^#\n]*[^# \n])", text, re.MULTILINE))
    (directory,) = re.findall(r'^\[audit\]\ndirectory = "(.+)"$', (DEPLOY / "README.md").read_text(), re.MULTILINE)
    assert said["path"] == f"{directory}/segments/*.jsonl,{directory}/worker-*/segments/*.jsonl"
    assert said["retry_limit"] == "no_limits"
    assert said["storage.type"] == "filesystem"
    assert said["storage.checksum"] == "off"  # on: what was buffered when it was killed is lost
    for switch in ("tls", "tls.verify", "tls.verify_hostname", "read_from_head", "storage.pause_on_chunks_overlimit"):
        assert said[switch] == "on", switch


def test_what_may_be_cut_is_large_enough() -> None:
    """A record has up to 16 KiB, and every one of these programs would cut it by default."""
    texts = {path: path.read_text() for path in DEPLOY.rglob("*") if path.suffix in (".toml", ".yml", ".conf")}
    assert len(texts) == 5
    for path, text in texts.items():
        assert re.search(r"32k|32768", text), path


def test_the_readme_says_how_far_each_is_tested() -> None:
    """Every file of deploy/."""
    readme = (DEPLOY / "README.md").read_text()
    for path in DEPLOY.rglob("*"):
        if path.is_file() and path.suffix in (".toml", ".yml", ".conf"):
            assert f"`{path.relative_to(DEPLOY)}`" in readme, path
