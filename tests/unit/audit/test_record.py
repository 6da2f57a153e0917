"""One event becomes one line."""

import dataclasses
import json
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatekeeper.audit.event import Event, EventCode
from gatekeeper.audit.record import FIRST_PREV, MAX_RECORD, clean, encode
from gatekeeper.domain.decision import Decision, Reason
from gatekeeper.domain.device import DeviceId
from gatekeeper.domain.posture import Assurance, Binding, PostureState
from gatekeeper.domain.request import LoadBalancer, ReportedTls
from testkit.audit_log import BLOCKED, NOW, ORIGIN, connection, event, line


def test_a_refusal_says_who_what_where_and_why() -> None:
    """The whole record of a refused log-in, field by field."""
    assert json.loads(line(event("abc", detail={"listener_id": 3}), 12345, "c" * 64)) == {
        "class_uid": 3002,
        "category_uid": 3,
        "activity_id": 1,
        "type_uid": 300201,
        "severity_id": 3,
        "status_id": 2,
        "action_id": 2,
        "disposition_id": 2,
        "is_alert": True,
        "time": 1594400400000,
        "message": "Mail sign-in refused: TikTok is installed",
        "metadata": {
            "version": "1.8.0",
            "uid": "tests.example/audit/1#12345",
            "sequence": 12345,
            "event_code": "GK1002W",
            "profiles": ["host", "security_control"],
            "product": {"name": "gatekeeper", "vendor_name": "gatekeeper", "version": "0.1.0"},
        },
        "status_code": "block.app.match",
        "policy": {"uid": "gatekeeper", "version": "a" * 12, "is_applied": True},
        "user": {"name": "alice@example.com", "type_id": 1},
        "auth_protocol_id": 99,
        "auth_protocol": "PLAIN",
        "device": {"uid": "ph-001", "type_id": 0, "is_compliant": False},
        "service": {"name": "imap"},
        "src_endpoint": {"ip": "198.51.100.0"},
        "dst_endpoint": {"name": "imaps", "svc_name": "imap", "port": 9993},
        "unmapped": {
            "gatekeeper": {
                "v": 1,
                "log": ORIGIN,
                "prev": "c" * 64,
                "conn": "abc",
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
                "listener_id": 3,
            }
        },
    }


@pytest.mark.parametrize("code", EventCode)
@pytest.mark.parametrize("is_bare", [False, True], ids=["full", "bare"])
def test_every_code_makes_a_record_with_what_the_contract_promises(code: EventCode, is_bare: bool) -> None:
    """Whatever is known or not, the promised keys stand in the record, and its class's required ones."""
    bare = {"connection": None, "decision": None, "account": None, "mechanism": None, "message": ""}
    record = json.loads(line(event(code=code, **(bare if is_bare else {}))))
    facts = record["unmapped"]["gatekeeper"]

    assert record["metadata"]["event_code"] == code.value
    assert record["message"]
    promised = {"prev", "conn", "rules", "matched", "phase", "posture", "binding", "policy_sha256"}
    assert promised | {"evidence_sha256", "evidence_age_s"} <= set(facts)
    required = {
        3002: {"user", "dst_endpoint"},
        4001: {"dst_endpoint"},
        3004: {"entity"},
        2003: {"compliance", "finding_info"},
        5020: {"device"},
        6002: {"app"},
    }
    assert required[record["class_uid"]] <= set(record)
    profiles = record["metadata"]["profiles"]
    assert ("security_control" in profiles) == ("disposition_id" in record)
    assert is_bare or "host" in profiles


@pytest.mark.parametrize(
    ("address", "prefix", "endpoint", "kept"),
    [
        ("198.51.100.77", (24, 48), {"ip": "198.51.100.0"}, 24),
        ("198.51.100.77", (16, 48), {"ip": "198.51.0.0"}, 16),
        ("2001:db8:aa:bb::1", (24, 48), {"ip": "2001:db8:aa::"}, 48),
        ("::ffff:198.51.100.77", (24, 48), {"ip": "198.51.100.0"}, 24),
        ("fe80::1%eth0", (24, 48), {"ip": "fe80::"}, 48),
        ("198.51.100.77", None, {"ip": "198.51.100.77", "port": 40000}, None),
        ("/run/socket", (24, 48), {"name": "unknown"}, None),
    ],
)
def test_client_addresses_are_cut(
    address: str, prefix: tuple[int, int] | None, endpoint: dict[str, object], kept: int | None
) -> None:
    """Host bits are zeroed and the kept ones told; nothing else of the address is in the line."""
    made = line(event(connection=connection(address=address)), prefix=prefix)
    record = json.loads(made)

    assert record["src_endpoint"] == endpoint
    assert record["unmapped"]["gatekeeper"].get("src_prefix") == kept
    assert prefix is None or address.encode() not in made


def test_an_unknown_device_keeps_the_id_that_was_claimed() -> None:
    """When the certificate names a device that nobody registered, the help desk can see which."""
    binding = Binding(assurance=Assurance.PROVEN, method="client_certificate", claimed_device=DeviceId("ph-404"))
    decision = dataclasses.replace(
        BLOCKED, reasons=(Reason.UNKNOWN_DEVICE,), posture=PostureState.UNKNOWN, device_id=None, binding=binding
    )
    record = json.loads(line(event(code=EventCode.BLOCKED_UNKNOWN_DEVICE, decision=decision)))

    assert record["status_code"] == "block.device.unknown"
    assert record["unmapped"]["gatekeeper"]["claimed_device"] == "ph-404"
    assert "device" not in record


def test_what_a_decision_does_not_know_is_left_out() -> None:
    """No evidence at all: the promised keys are null, the others are absent."""
    decision = dataclasses.replace(
        BLOCKED, evidence_sha256=None, evidence_source=None, collected_at=None, apps_count=None, valid_until=None
    )
    facts = json.loads(line(event(decision=decision)))["unmapped"]["gatekeeper"]
    assert facts["evidence_sha256"] is None
    assert facts["evidence_age_s"] is None
    assert not {"evidence_src", "apps_n", "valid_until", "exemptions", "claimed_device"} & set(facts)


def test_a_clean_device_is_compliant() -> None:
    """The posture `clean`, and only that, is called compliant."""
    decision = dataclasses.replace(BLOCKED, posture=PostureState.CLEAN, exemptions=("ex-1",))
    record = json.loads(line(event(decision=decision)))
    assert record["device"]["is_compliant"] is True
    assert record["unmapped"]["gatekeeper"]["exemptions"] == ["ex-1"]
    stale = dataclasses.replace(BLOCKED, posture=PostureState.STALE)
    assert "is_compliant" not in json.loads(line(event(decision=stale)))["device"]


def test_detail_never_replaces_what_is_said() -> None:
    """An event's own facts fill gaps; they cannot change the chain or the decision."""
    detail = {"prev": "0", "log": "other", "posture": "clean", "device_id": "ph-7", "more": 2**70, "less": -(2**70)}
    record = json.loads(line(event(detail=detail), prev="c" * 64))
    facts = record["unmapped"]["gatekeeper"]

    assert (facts["prev"], facts["log"], facts["posture"]) == ("c" * 64, ORIGIN, "denied")
    assert (facts["more"], facts["less"]) == (2**63 - 1, -(2**63))
    about = json.loads(line(Event(code=EventCode.EVIDENCE_ACCEPTED, time=NOW, account="bob", detail=detail)))
    assert about["device"] == {"uid": "ph-7", "type_id": 0, "owner": {"name": "bob", "type_id": 1}}


def test_too_many_details_are_cut_and_that_is_said() -> None:
    """Only so many facts of an event are kept."""
    facts = json.loads(line(event(detail={f"n{i}": i for i in range(100)})))["unmapped"]["gatekeeper"]
    assert facts["n31"] == 31
    assert "n32" not in facts
    assert facts["cut"] is True


@pytest.mark.parametrize("micros", [0, 1, 999, 1000, 999_999])
def test_time_is_in_whole_milliseconds(micros: int) -> None:
    """Microseconds are rounded down, without the error of floating point."""
    record = json.loads(line(event(time=NOW + timedelta(microseconds=micros))))
    assert record["time"] == 1594400400000 + micros // 1000


@pytest.mark.parametrize(
    "text", ["a\r\nb", "\x1b[31mred", "a\x00b", "right\u202eleft", "\ud800", "line\u2028sep", "\x9b1m"]
)
def test_control_and_formatting_characters_are_replaced(text: str) -> None:
    """Nothing from outside can break a line, move a cursor or turn the reading direction."""
    assert clean(text).isprintable()
    assert len(clean(text)) == len(text)
    assert line(event(message=text, account=text)).isascii() is False


def test_texts_are_capped() -> None:
    """A long text ends in an ellipsis at its limit."""
    assert clean("x" * 600) == "x" * 511 + "…"
    assert clean("x" * 512) == "x" * 512


_TEXT = st.text(max_size=1500) | st.sampled_from(["\N{GRINNING FACE}" * 2000, '"' * 2000, "\\" * 2000, "\x00" * 2000])
_TEXTS = st.lists(_TEXT, max_size=70).map(tuple)


@settings(max_examples=150, deadline=None)
@given(text=_TEXT, texts=_TEXTS, number=st.integers())
def test_no_event_makes_a_line_that_is_too_long_or_more_than_one(
    text: str, texts: tuple[str, ...], number: int
) -> None:
    """Whatever the texts and lists: one line of JSON in UTF-8 of at most 16 KiB."""
    decision = dataclasses.replace(
        BLOCKED,
        rule_ids=texts,
        matched=texts,
        exemptions=texts,
        policy_sha256=text,
        evidence_sha256=text,
        evidence_source=text,
        device_id=DeviceId(text),
        binding=Binding(assurance=Assurance.USER, method=text, claimed_device=DeviceId(text + "x")),
    )
    detail = {one: one for one in texts} | {"number": number}
    made = encode(
        event(text, decision=decision, message=text, account=text, mechanism=text, detail=detail),
        sequence=2**40,
        prev=FIRST_PREV,
        origin="o" * 200,
        address_prefix=None,
    )
    assert len(made) <= MAX_RECORD
    assert b"\n" not in made
    assert json.loads(made)["unmapped"]["gatekeeper"]["prev"] == FIRST_PREV


def test_a_load_balancer_is_told_beside_the_phone() -> None:
    """Whole, for it is no person's address; what it says of TLS is marked as its own words, and cleaned."""
    tls = ReportedTls(version="TLSv1.3", is_certificate_verified=True, common_name="phone\n\u202e1" + "x" * 100)
    through = dataclasses.replace(connection(), load_balancer=LoadBalancer("10.0.0.17", tls=tls))
    record = json.loads(line(event(code=EventCode.CONNECTION_CLOSED, decision=None, connection=through)))
    facts = record["unmapped"]["gatekeeper"]

    assert record["src_endpoint"] == {"ip": "198.51.100.0"}
    assert (facts["via"], facts["via_tls"], facts["via_certificate_verified"]) == ("10.0.0.17", "TLSv1.3", True)
    assert facts["via_common_name"].startswith("phone\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}1x")
    assert len(facts["via_common_name"]) == 64
    plain = dataclasses.replace(connection(), load_balancer=LoadBalancer("10.0.0.17"))
    facts = json.loads(line(event(connection=plain)))["unmapped"]["gatekeeper"]
    assert {name for name in facts if name.startswith("via")} == {"via"}


def test_a_record_may_stand_for_many() -> None:
    """`count` is there when it is not one (OCSF)."""
    assert "count" not in json.loads(line(event()))
    assert json.loads(line(event(code=EventCode.CONNECTION_CLOSED, decision=None, count=300)))["count"] == 300


def test_a_counted_record_says_how_many_and_from_when_to_when() -> None:
    """In OCSF's own attributes; a record of one has none of them."""
    counted = json.loads(line(event(count=12, start_time=NOW - timedelta(seconds=40))))
    assert counted["count"] == 12
    assert counted["end_time"] - counted["start_time"] == 40_000
    assert counted["end_time"] == counted["time"]
    assert not {"count", "start_time", "end_time"} & json.loads(line(event())).keys()


def test_groups_of_the_directory_are_named_all_or_none() -> None:
    """Where the policy takes none nothing is said; where it takes some, also that the person is in none of them."""

    def said(**groups: object) -> tuple[object, object]:
        decision = dataclasses.replace(BLOCKED, **groups)  # type: ignore[arg-type]  # spelled like the fields
        facts = json.loads(line(event("abc", decision=decision)))["unmapped"]["gatekeeper"]
        return facts.get("groups"), facts.get("groups_unknown")

    assert said() == (None, None)
    assert said(groups=()) == ([], None)
    assert said(groups=("press",), groups_unknown=("lab",)) == (["press"], ["lab"])
    assert said(groups=tuple(f"g{number}" for number in range(65))) == (None, None)


def test_the_postures_that_were_judged_are_named_all_or_none() -> None:
    """A decision can be performed again on all of its devices, never on a part of them."""
    few = dataclasses.replace(BLOCKED, judged=((DeviceId("ph-001"), 17), (DeviceId("ph@2"), 18)))
    many = dataclasses.replace(BLOCKED, judged=tuple((DeviceId(f"ph-{number}"), 1) for number in range(65)))

    def judged(decision: Decision) -> object:
        return json.loads(line(event("abc", decision=decision)))["unmapped"]["gatekeeper"]["judged"]

    assert judged(few) == ["ph-001@17", "ph@2@18"]
    assert judged(many) is None
