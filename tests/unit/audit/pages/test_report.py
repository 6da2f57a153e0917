"""The whole page."""

from dataclasses import replace
from datetime import timedelta

import pytest

from gatekeeper.audit.event import EventCode
from gatekeeper.audit.pages.report import Integrity, Report, page
from gatekeeper.audit.pages.sections import Exemption, Rule
from gatekeeper.audit.period import Period
from gatekeeper.audit.record import clean
from gatekeeper.audit.stored import read
from testkit.audit_log import BLOCKED, NOW, chained, event
from testkit.pages import check

EVIL = "</td></svg><script>alert(1)</script>\"' onload=x <img src=x onerror=y> \u202e"


def report(text: str = "usual", **changed: object) -> Report:
    decision = replace(BLOCKED, device_id=text, rule_ids=(text,), matched=(f"ios:{text}",), exemptions=(text,))
    about = {"author": text, "approved_by": text, "reason": text, "by": text, "what": text, "asked": text}
    more = {"connection": None, "decision": None, "account": text, "message": text, "detail": about}
    period = Period(NOW, NOW + timedelta(days=2))
    codes = (
        EventCode.POLICY_PUBLISHED,
        EventCode.AUDIT_EXPORTED,
        EventCode.WORKER_DIED,
        EventCode.CONFIGURATION_LOADED,
    )
    events = [event(account=text, decision=decision, message=text), *(event(code=code, **more) for code in codes)]
    for line in chained(events):
        period.add(read(line.replace(b"tests.example/audit/1", b"tests.example/<b>/1")))
    period.finish(NOW + timedelta(days=3))
    facts: dict[str, object] = {
        "period": period,
        "made": NOW + timedelta(days=3),
        "by": text,
        "integrity": [Integrity(log=text, result="SOUND", facts=[("entries", text)])],
        "rules": [Rule(id=clean(text), title=text, reason=text, enforce=NOW + timedelta(days=1))],
        "exemptions": [
            Exemption(
                id=clean(text), rule=text, expires=NOW + timedelta(days=9), reason=text, approved_by=(text, "ciso")
            )
        ],
        "policy": text,
        "notes": [text],
    }
    return Report(**(facts | changed))  # type: ignore[arg-type]  # fields by name


def test_the_page_runs_nothing_and_loads_nothing() -> None:
    """And says of itself that it may not."""
    text = page(report())
    found = check(text)
    assert text.startswith('<!doctype html>\n<html lang="en">')
    policy = [meta["content"] for meta in found.all("meta") if meta.get("http-equiv") == "Content-Security-Policy"]
    assert policy == ["default-src 'none'; style-src 'unsafe-inline'"]
    assert [meta["content"] for meta in found.all("meta") if meta.get("name") == "viewport"]


def test_nothing_from_outside_becomes_part_of_the_page() -> None:
    """Names of devices, people, apps, rules, reasons and logs are text, whatever is in them."""
    text = page(report(EVIL))
    found = check(text)
    assert [name for name, _ in found.elements] == [name for name, _ in check(page(report())).elements]
    assert "alert(1)" in found.text
    assert "\u202e" not in text


def test_every_section_says_what_it_should() -> None:
    """Each thing that an auditor asks for is there."""
    found = check(page(report())).text
    for said in (
        "Mail access from 2020-07-10 17:00 to 2020-07-12 17:00",
        "1 log-ins by 1 people: 0 let through, 1 blocked by policy",
        "SOUND",
        "Log-ins by their outcome, for each hour",
        "ios:usual",
        "usual enforced 2020-07-11 17:00",
        "usual, ciso",
        "Changes of policy and configuration",
        "Devices by the age of the evidence",
        "Silences, longest first",
        "Who did what with the log",
    ):
        assert said in found, said


def test_a_page_about_nothing_is_a_page() -> None:
    """No records, no policy, no log."""
    period = Period(NOW, NOW + timedelta(days=30))
    period.finish(NOW)
    found = check(page(report(period=period, rules=[], exemptions=[], policy="", integrity=[], notes=[])))
    assert "No policy was at hand" in found.text
    assert "0 log-ins by 0 people" in found.text


@pytest.mark.parametrize(
    ("result", "kind"), [("SOUND", "good"), ("TAMPERED", "bad"), ("INCOMPLETE", "open"), ("NOT VERIFIED", "open")]
)
def test_the_verdict_on_the_log_stands_out(result: str, kind: str) -> None:
    """In words, and by its frame."""
    found = check(page(report(integrity=[Integrity(log="x", result=result)])))
    assert f"verdict {kind}" in [each.get("class") for each in found.all("div")]
    assert result in found.text
