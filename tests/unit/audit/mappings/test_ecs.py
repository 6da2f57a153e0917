"""Records as documents of the Elastic Common Schema, held to the schema's own tables."""

import json
from collections.abc import Iterator
from datetime import datetime
from ipaddress import ip_address
from pathlib import Path

import pytest

from gatekeeper.audit.codes import Word
from gatekeeper.audit.event import EventCode
from gatekeeper.audit.mappings import ecs
from gatekeeper.audit.stored import read
from testkit.audit_log import NOW, balanced_connection, connection, event, line

SCHEMA = json.loads(Path(__file__).with_name("ecs-9.4.0.json").read_text(encoding="utf-8"))
_TYPES = {"keyword": str, "wildcard": str, "match_only_text": str, "long": int, "date": str, "ip": str}
_VARIANTS: dict[str, dict[str, object]] = {
    "full": {},
    "balanced": {"connection": balanced_connection()},
    "whole-address": {"connection": connection(address="2001:db8::1")},
    "folded": {"count": 3, "start_time": NOW},
    "bare": {"connection": None, "decision": None, "account": None, "mechanism": None, "message": ""},
}


def leaves(document: dict[str, object], before: str = "") -> Iterator[tuple[str, object]]:
    for name, value in document.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{before}{name}.")
        else:
            yield before + name, value


def check(document: dict[str, object]) -> None:
    """Hold a document to the schema: known fields, their types, known values, types that a category has."""
    for name, value in leaves({name: value for name, value in document.items() if name != "gatekeeper"}):
        kind, _, is_list = SCHEMA["fields"][name].partition(" ")
        assert isinstance(value, list) is bool(is_list), name
        for item in value if isinstance(value, list) else [value]:
            assert type(item) is _TYPES[kind], name
            if kind == "ip":
                ip_address(item)
            if kind == "date":
                datetime.fromisoformat(item)
            assert name not in SCHEMA["values"] or item in SCHEMA["values"][name], name
    told = document["event"]
    assert isinstance(told, dict)
    allowed = {kind for category in told["category"] for kind in SCHEMA["values"]["event.category"][category]}
    assert set(told["type"]) <= allowed


@pytest.mark.parametrize("code", EventCode)
@pytest.mark.parametrize("variant", _VARIANTS)
def test_documents_of_every_code_are_of_the_schema(code: EventCode, variant: str) -> None:
    """Field by field."""
    made = line(event(code=code, **_VARIANTS[variant]), prefix=None if variant == "whole-address" else (24, 48))
    check(json.loads(ecs.line(read(made), "ab" * 32)))


def test_a_refusal_says_who_what_where_and_why() -> None:
    """The whole document of a refused log-in."""
    assert json.loads(ecs.line(read(line(event("c1"), 7)), "ab" * 32)) == {
        "@timestamp": "2020-07-10T17:00:00.000Z",
        "ecs": {"version": "9.4.0"},
        "message": "Mail sign-in refused: TikTok is installed",
        "event": {
            "kind": "alert",
            "category": ["authentication", "network"],
            "type": ["start", "denied"],
            "outcome": "failure",
            "action": "block",
            "code": "GK1002W",
            "reason": "block.app.match",
            "sequence": 7,
            "hash": "ab" * 32,
            "id": "tests.example/audit/1#7",
            "severity": 3,
            "provider": "gatekeeper",
            "module": "gatekeeper",
            "dataset": "gatekeeper.audit",
        },
        "user": {"name": "alice@example.com"},
        "device": {"id": "ph-001"},
        "source": {"ip": "198.51.100.0"},
        "destination": {"port": 9993},
        "network": {"protocol": "imap"},
        "observer": {
            "vendor": "gatekeeper",
            "product": "gatekeeper",
            "version": "0.1.0",
            "type": "proxy",
            "name": "tests.example/audit/1",
        },
        "rule": {"id": "no-tiktok", "ruleset": "a" * 64},
        "related": {"user": ["alice@example.com"], "ip": ["198.51.100.0"]},
        "gatekeeper": {
            "conn": "c1",
            "src_prefix": 24,
            "rules": ["no-tiktok"],
            "matched": ["ios:com.zhiliaoapp.musically"],
            "phase": "enforce",
            "posture": "denied",
            "binding": "proven",
            "binding_method": "client_certificate",
            "reasons": ["app.match"],
            "policy_sha256": "a" * 64,
            "evidence_sha256": "b" * 64,
            "evidence_age_s": 412,
            "evidence_src": "company-agents",
            "apps_n": 143,
            "valid_until": "2020-07-10T18:00:00+00:00",
            "judged": [],
            "engine": "1",
            "count": 1,
            "listener": "imaps",
        },
    }


def test_every_word_has_its_place() -> None:
    """A new word without one would be called unknown."""
    assert set(ecs.BY_WORD) == set(Word)


def test_what_this_version_does_not_know_is_told_all_the_same() -> None:
    """A log of a newer version, read by an older one."""
    made = read(line(event()).replace(b"GK1002W", b"GK7777I"))
    told = ecs.document(made, "ab" * 32)["event"]
    assert isinstance(told, dict)
    assert (told["code"], told["action"], told["type"]) == ("GK7777I", "GK7777I", ["info"])
    assert "category" not in told


@pytest.mark.parametrize(
    "wrong", [{"outcome": "maybe"}, {"type": ["installation"]}, {"sequence": "7"}, {"invented": 1}, {"code": ["x"]}]
)
def test_the_check_can_fail(wrong: dict[str, object]) -> None:
    """A value that is not in the list, a type that the category has not, a wrong type, a foreign field, a list."""
    good = json.loads(ecs.line(read(line(event())), "ab" * 32))
    with pytest.raises((AssertionError, KeyError)):
        check(good | {"event": good["event"] | wrong})


def test_a_pseudonym_is_no_name() -> None:
    """ECS has a field for what is anonymised, and so it is correlated all the same."""
    hidden = "u2020q3:" + "0f" * 16
    made = json.loads(ecs.line(read(line(event(account=hidden))), "0" * 64))
    check(made)
    assert made["user"] == {"hash": hidden}
