"""The guide to policies says what is so: its quotations are the files, its sessions do what it says, its links lead."""

import re
import shutil
import tomllib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

from gatekeeper.cli.main import cli
from gatekeeper.decision.json_schema import json_schema
from gatekeeper.decision.schema import parse_policy
from gatekeeper.server.clock import SystemClock
from testkit.configuration import Configuration
from testkit.guide import EXAMPLES, GATE_SESSIONS, GUIDE, ROOT, Block, blocks, exchanges, perform
from testkit.inventory import TIKTOK, device
from testkit.json_schema import complaints

FRIDAY = datetime(2027, 1, 8, 9, 0, tzinfo=UTC)
"""A week before the Friday of the guide's first recipe."""
BASE = 'schema = 1\n[defaults]\nunknown_device = "block"\nstale = { action = "warn", then = "block", after = "72h" }\n'
RECIPES = sorted(path for path in EXAMPLES.glob("*.toml") if not path.name.endswith(".test.toml"))


def quotations() -> list[Block]:
    """The blocks that quote an example."""
    return [block for block in blocks() if block.quoted is not None]


@pytest.mark.parametrize("block", quotations(), ids=lambda block: f"line-{block.line}")
def test_what_it_quotes_is_the_file(block: Block) -> None:
    """Whole lines, one after the other."""
    assert block.quoted is not None
    assert f"\n{block.text}" in block.quoted.read_text(), f"{GUIDE.name}:{block.line} differs from {block.quoted.name}"


def test_every_recipe_is_quoted() -> None:
    """And has its tests beside it."""
    assert sorted({block.quoted for block in quotations() if block.quoted}) == RECIPES
    assert all(path.with_suffix(".test.toml").is_file() for path in RECIPES)


def test_the_other_policies_in_it_are_right() -> None:
    """The one in one piece, and what is said to stand in a policy or beside it."""
    texts = [block.text for block in blocks() if block.kind == "toml" and block.quoted is None]
    whole = [text for text in texts if "[[rule]]" in text]
    assert len(whole) == 1
    parse_policy(whole[0].encode(), source="guide")
    assert list(complaints(json_schema(), tomllib.loads(whole[0]))) == []
    assert all(tomllib.loads(text) for text in texts)


def test_every_key_of_the_language_is_explained() -> None:
    """Of defaults, rules, matchers, scopes, exemptions: each stands in code in the guide."""
    text = re.sub(r"(?ms)^```.*?^```$", "", GUIDE.read_text())
    explained = set(re.findall(r"[a-z_0-9]+", " ".join(re.findall(r"`[^`]+`", text))))
    assert set(keys(json_schema())) - explained == set()


def keys(schema: object) -> Iterator[str]:
    """Every key that a policy can have."""
    if isinstance(schema, dict):
        properties = schema.get("properties")
        if isinstance(properties, dict):
            yield from properties
        for each in schema.values():
            yield from keys(each)
    elif isinstance(schema, list):
        for each in schema:
            yield from keys(each)


def test_its_links_lead_somewhere() -> None:
    """Its own, and those of other documents into it."""
    here = {slug(title) for title in re.findall(r"(?m)^#+ (.+)$", GUIDE.read_text())}
    inward = set(re.findall(r"\]\(#([^)]+)\)", GUIDE.read_text()))
    for other in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        inward |= set(re.findall(r"policy\.md#([^)]+)\)", other.read_text()))
    assert inward - here == set()


def slug(title: str) -> str:
    """The anchor that a heading gets."""
    return re.sub(r"[^a-z0-9 _-]", "", title.lower()).replace(" ", "-")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The site of the guide, a week before its Friday: twenty phones, two of them with TikTok; version 1 in force."""
    monkeypatch.setattr(SystemClock, "now", lambda _self: FRIDAY)
    shutil.copytree(ROOT / "config", tmp_path / "config")
    (tmp_path / "var").mkdir()
    (tmp_path / "board.txt").write_text("chair@example.com\ncfo@example.com\n")
    configuration = Configuration(tmp_path)
    (tmp_path / "config" / "policy.toml").write_text(BASE)
    configuration.write({"policy": {"file": "config/policy.toml"}})
    people = ["alice", "bob", "chair", "dora", "cfo", *(f"user{number:02}" for number in range(15))]
    when = (FRIDAY - timedelta(hours=1)).isoformat()
    lines = [
        device(f"ph-{name}", f"{name}@example.com", *([TIKTOK] if name in {"bob", "dora"} else ()), collected_at=when)
        for name in people
    ]
    (tmp_path / "phones.jsonl").write_text("\n".join(lines))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GATEKEEPER_CONFIG", str(configuration.path))
    imported = CliRunner().invoke(cli, ["inventory", "import", "phones.jsonl"])
    assert imported.exit_code == 0, imported.output
    return tmp_path


def test_its_sessions_do_what_it_says(site: Path) -> None:
    """Those that need no running gate: one after the other, as they stand there."""
    performed = 0
    for block in blocks():
        if block.kind != "console":
            continue
        for exchange in exchanges(block):
            perform(exchange)
            performed += 1
    assert performed >= 5
    assert {block.gate_session for block in blocks() if block.gate_session} == GATE_SESSIONS
