"""The ingest pipeline, carried out here as Elasticsearch's documentation says, makes the documents that `ecs` makes.

The one script cannot be run without Elasticsearch; `_script` does here what it says.
"""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from gatekeeper.audit.event import EventCode
from gatekeeper.audit.mappings import ecs
from gatekeeper.audit.mappings.ecs_pipeline import SCRIPT, pipeline
from gatekeeper.audit.stored import read
from testkit.audit_log import NOW, balanced_connection, connection, event, line

_VARIANTS: dict[str, dict[str, object]] = {
    "full": {},
    "balanced": {"connection": balanced_connection()},
    "whole-address": {"connection": connection(address="2001:db8::1")},
    "folded": {"count": 3, "start_time": NOW},
    "bare": {"connection": None, "decision": None, "account": None, "mechanism": None, "message": ""},
    "of a device": {"detail": {"device_id": "ph-9"}, "decision": None},
}
_LISTS = ("related.user", "related.ip")
"""A value and a list of one are the same to Elasticsearch."""


def _get(document: Any, path: str) -> Any:
    for name in path.split("."):
        document = document.get(name) if isinstance(document, dict) else None
    return document


def _set(document: Any, path: str, value: Any) -> None:
    *holders, name = path.split(".")
    for holder in holders:
        document = document.setdefault(holder, {})
    document[name] = value


def _remove(document: Any, path: str) -> None:
    *holders, name = path.split(".")
    for holder in holders:
        document = document.get(holder, {})
    document.pop(name, None)


def _date(document: Any, step: Any) -> None:
    if "if" in step:
        assert step["if"] == f"ctx.{step['field']} != null"
        if _get(document, step["field"]) is None:
            return
    assert step["formats"] == ["UNIX_MS"]
    instant = datetime.fromtimestamp(_get(document, step["field"]) / 1000, UTC)
    _set(document, step.get("target_field", "@timestamp"), f"{instant:%Y-%m-%dT%H:%M:%S}.000Z")


def _script(document: Any, params: Any) -> None:
    own, told = document["gk"], document["event"]
    code = own["metadata"]["event_code"]
    placed = params["codes"].get(code, params["unknown"])
    told["action"], told["type"] = placed.get("action", code), placed["type"]
    if placed["category"]:
        told["category"] = placed["category"]
    if own["class_uid"] != params["finding"]:
        told["outcome"] = params["outcomes"].get(str(own.get("status_id")), "unknown")
    told["kind"] = "alert" if own.get("is_alert") is True else "event"
    rules = document["gatekeeper"].get("rules")
    if rules:
        document.setdefault("rule", {})["id"] = rules[0]


def ingest(made: bytes) -> dict[str, Any]:
    """What Elasticsearch would make of a line."""
    document: dict[str, Any] = {"message": made.decode()}
    for step in pipeline()["processors"]:  # type: ignore[attr-defined]  # a list
        ((kind, how),) = step.items()
        match kind:
            case "json":
                _set(document, how["target_field"], json.loads(_get(document, how["field"])))
            case "rename":
                _set(document, how["target_field"], _get(document, how["field"]))
                _remove(document, how["field"])
            case "date":
                _date(document, how)
            case "set":
                value = _get(document, how["copy_from"]) if "copy_from" in how else how["value"]
                if value not in (None, "") or not how.get("ignore_empty_value"):
                    _set(document, how["field"], json.loads(json.dumps(value)))
            case "script":
                assert how["source"] == SCRIPT
                _script(document, how["params"])
            case "remove":
                for path in how["field"]:
                    _remove(document, path)
            case _:
                pytest.fail(f"`{kind}` is not known here")
    return document


def plain(document: dict[str, Any]) -> dict[str, Any]:
    """Without what is null, and with what the pipeline cannot know."""
    found = {name: plain(value) if isinstance(value, dict) else value for name, value in document.items()}
    return {name: value for name, value in found.items() if value not in (None, {})}


@pytest.mark.parametrize("code", EventCode)
@pytest.mark.parametrize("variant", _VARIANTS)
def test_it_makes_the_same_documents(code: EventCode, variant: str) -> None:
    """Of every code."""
    made = line(event(code=code, **_VARIANTS[variant]), prefix=None if variant == "whole-address" else (24, 48))
    expected = plain(json.loads(ecs.line(read(made), "ab" * 32)))
    del expected["event"]["hash"]
    found = plain(ingest(made))
    assert found["event"].pop("original") == made.decode()
    for path in _LISTS:
        if _get(found, path) is not None:
            _set(found, path, [_get(found, path)])
    assert found == expected


def test_a_code_of_another_version_is_an_event_all_the_same() -> None:
    """Receivers are not always brought up to date with the gate."""
    made = line(event()).replace(b"GK1002W", b"GK0000I")
    found = ingest(made)["event"]
    assert (found["action"], found["type"], found["outcome"]) == ("GK0000I", ["info"], "failure")
    assert "category" not in found
