"""Reading a line back."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatekeeper.audit.event import Event, EventCode
from gatekeeper.audit.stored import codes_of, read, why, word_of
from testkit.audit_log import NOW, ORIGIN, event, line


def test_what_was_written_is_read() -> None:
    """The fields of the chain and the facts that people ask for come back."""
    record = read(line(event("abc"), 7, "c" * 64))

    assert (record.sequence, record.prev, record.log, record.code) == (7, "c" * 64, ORIGIN, "GK1002W")
    assert (record.account, record.device, record.protocol) == ("alice@example.com", "ph-001", "imap")
    assert record.time == NOW
    assert record.word == "block"
    assert record.text("conn") == "abc"
    assert record.texts("rules") == ("no-tiktok",)


def test_account_is_found_wherever_its_class_puts_it() -> None:
    """Log-ins have a user, other connections an actor, findings about devices an owner."""
    closed = read(line(event(code=EventCode.CONNECTION_CLOSED)))
    evidence = Event(code=EventCode.EVIDENCE_REJECTED, time=NOW, account="bob", detail={"device_id": "d"})
    assert closed.account == "alice@example.com"
    assert read(line(evidence)).account == "bob"
    assert read(line(Event(code=EventCode.LOG_OPENED, time=NOW))).account is None


def test_why_names_what_the_message_does_not() -> None:
    """Rule and app are added to the message unless it names them itself."""
    assert why(read(line(event()))).endswith("(app ios:com.zhiliaoapp.musically, rule no-tiktok)")
    told = "refused by no-tiktok for com.zhiliaoapp.musically"
    assert why(read(line(event(message=told)))) == told


def test_codes_this_version_does_not_know_are_shown_as_they_are() -> None:
    """A log written by a later version can still be read."""
    assert word_of("GK7777I") == "GK7777I"
    assert codes_of("unavailable") == {"GK1007E"}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda record: record["metadata"].pop("sequence"), "metadata.sequence"),
        (lambda record: record["metadata"].update(sequence=True), "metadata.sequence"),
        (lambda record: record["metadata"].update(sequence=-1), "metadata.sequence"),
        (lambda record: record.update(time="now"), "time"),
        (lambda record: record.update(metadata=[]), "metadata.sequence"),
        (lambda record: record["metadata"].update(event_code=""), "metadata.event_code"),
        (lambda record: record["unmapped"]["gatekeeper"].update(prev="abc"), "SHA-256"),
        (lambda record: record["unmapped"]["gatekeeper"].update(log=None), "unmapped.gatekeeper.log"),
    ],
)
def test_what_lacks_the_fields_of_the_chain_is_no_record(change: object, reason: str) -> None:
    """The text of the error names the field."""
    document = json.loads(line(event()))
    change(document)  # type: ignore[operator]  # a lambda of the table
    with pytest.raises(ValueError, match=reason):
        read(json.dumps(document).encode())


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b"\xff", b"[" * 15_000, b"1" * 10_000, b"null"])
def test_garbage_is_no_record(data: bytes) -> None:
    """Nothing but a ValueError comes of bytes that are no record."""
    with pytest.raises(ValueError):
        read(data)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(name=st.sampled_from(["user", "actor", "device", "dst_endpoint", "message", "service"]), value=_JSON)
def test_other_fields_may_hold_anything(name: str, value: object) -> None:
    """A wrong type in a field that the chain does not need reads as nothing."""
    record = read(json.dumps(json.loads(line(event())) | {name: value}).encode())
    for text in (record.account, record.device, record.protocol):
        assert text is None or isinstance(text, str)
    assert isinstance(why(record), str)


def test_a_counted_record_is_told_with_its_count() -> None:
    """Whatever else stands there."""
    counted = read(line(event(count=12, start_time=NOW)))
    assert counted.count == 12
    assert "12 times" in why(counted)
    assert read(line(event())).count == 1
