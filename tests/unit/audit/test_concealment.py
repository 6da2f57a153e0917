"""No name gets into a record that is to have pseudonyms, whatever the event."""

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatekeeper.audit.concealment import Concealment
from gatekeeper.audit.event import Event, EventCode
from gatekeeper.audit.pseudonyms import PSEUDONYM, Kind, pseudonym, quarter_of
from gatekeeper.audit.record import FIRST_PREV, encode
from gatekeeper.audit.stored import read
from gatekeeper.audit.terms import Kind as Term
from gatekeeper.audit.terms import terms_of
from gatekeeper.domain.device import DeviceId
from gatekeeper.domain.posture import Assurance, Binding
from testkit.audit_log import BLOCKED, NOW, ORIGIN, balanced_connection, event
from testkit.ocsf import faults

ALICE, PHONE, OTHER_PHONE = "alice@example.com", "ph-001", "Alice's iPhone"
KEY = b"k" * 32


class Made:
    """Pseudonyms by one key."""

    def pseudonym(self, kind: Kind, name: str, at: datetime) -> str:
        return pseudonym(KEY, quarter_of(at), kind, name)


NAMES = Made()


def called(kind: Kind, name: str) -> str:
    return NAMES.pseudonym(kind, name, NOW)


def line(of: Event) -> bytes:
    return encode(of, sequence=0, prev=FIRST_PREV, origin=ORIGIN, address_prefix=(24, 48), names=NAMES)


DECISION = replace(
    BLOCKED,
    binding=Binding(assurance=Assurance.PROVEN, method="client_certificate", claimed_device=DeviceId(OTHER_PHONE)),
    judged=((DeviceId(PHONE), 17), (DeviceId(OTHER_PHONE), 18)),
    exemptions=(f"ex-for-{ALICE}",),
)
DETAIL: Mapping[str, str | int] = {
    "device_id": PHONE,
    "client_id": f"{OTHER_PHONE} 19.1",
    "authcid": ALICE,
    "author": ALICE,
    "approved_by": f"bob@example.com {ALICE}",
    "reason": f"{ALICE} asked for <{ALICE}>, ({PHONE}) is theirs; mailto:{ALICE}",
    "asked": f"user={ALICE} device={PHONE} since=2020-07-10T17:00:00+00:00",
    "first_fault": f"policy.toml: rule[0].users[0]: `{ALICE}` is no group",
    "fault": f"claims the same serial as device `{OTHER_PHONE}`",
    "octets": 7,
}


@pytest.mark.parametrize("code", EventCode)
@pytest.mark.parametrize("variant", ["decided", "about a device", "bare"])
def test_no_event_of_any_code_names_anybody(code: EventCode, variant: str) -> None:
    """Every field at once: account, devices, what clients say, texts that quote; and it is valid OCSF still."""
    about = {"decided": {"decision": DECISION}, "about a device": {"decision": None}, "bare": {"connection": None}}
    one = event(
        code=code,
        connection=balanced_connection(),
        account=ALICE,
        message=f"refused `{PHONE}` of {ALICE}",
        detail=DETAIL,
    )
    made = line(replace(one, **about[variant]))  # type: ignore[arg-type]  # fields by name
    for name in (ALICE, "alice", "Alice", "bob@", PHONE, "198.51.100.77"):
        assert name.encode() not in made, made
    assert faults(made) == []


def test_addresses_are_cut_in_every_code() -> None:
    """With names as well."""
    for code in EventCode:
        for names in (None, NAMES):
            made = encode(
                event(code=code), sequence=0, prev=FIRST_PREV, origin=ORIGIN, address_prefix=(24, 48), names=names
            )
            assert b"198.51.100.77" not in made


def test_a_name_is_the_same_pseudonym_wherever_it_stands() -> None:
    """So that records about one person or device are found together, by search and by index."""
    record = read(line(event(account=ALICE, decision=DECISION, detail=DETAIL)))
    person, phone = called(Kind.PERSON, ALICE), called(Kind.DEVICE, PHONE)
    other = called(Kind.DEVICE, OTHER_PHONE)
    assert (record.account, record.device) == (person, phone)
    assert record.texts("judged") == (f"{phone}@17", f"{other}@18")
    assert (record.text("claimed_device"), record.text("authcid")) == (other, person)
    assert record.text("asked") == f"user={person} device={phone} since=2020-07-10T17:00:00+00:00"
    assert record.text("approved_by") == f"{called(Kind.PERSON, 'bob@example.com')} {person}"
    assert record.text("client_id") == called(Kind.CLIENT, f"{OTHER_PHONE} 19.1")
    words = dict(terms_of(line(event(account=ALICE, decision=DECISION))).words)
    assert (words[Term.ACCOUNT], words[Term.DEVICE]) == (person.encode(), phone.encode())


def test_what_names_nobody_stays() -> None:
    """Texts without names, numbers, and pseudonyms that somebody asked about."""
    asked = f"user={called(Kind.PERSON, ALICE)}"
    detail: dict[str, str | int] = {"asked": asked, "reason": "Case 7 -- see there", "n": 3, "client_id": ""}
    record = read(line(event(code=EventCode.AUDIT_EXPORTED, decision=None, account=None, detail=detail)))
    assert (record.text("asked"), record.text("reason"), record.facts["n"]) == (asked, "Case 7 -- see there", 3)
    assert record.text("client_id") == ""


def test_files_and_tokens_are_not_quoted() -> None:
    """What an import or evidence was refused for quotes names that nobody knows as such."""
    one = event(code=EventCode.INVENTORY_REJECTED, decision=None, account=None, detail={"first_fault": "`bob`: twice"})
    assert read(line(one)).text("first_fault") == f"`{called(Kind.CLIENT, 'bob')}`: twice"


@given(st.text(min_size=2).filter(lambda text: text.strip() == text), st.text(), st.text())
def test_a_device_s_name_does_not_show_in_texts(name: str, before: str, after: str) -> None:
    """Whatever it is called, and whatever stands around it."""
    one = event(code=EventCode.EVIDENCE_REJECTED, account=None, decision=None, detail={"device_id": name})
    text = Concealment(one, NAMES).text(f"{before} {name} {after}")
    assert f" {name} " not in text or name in PSEUDONYM.sub("", f"{before} {after}")
    assert json.dumps(text)
