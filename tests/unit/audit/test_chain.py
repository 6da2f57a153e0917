"""The tamper suite: every way to change a log is found, and where."""

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatekeeper.audit.chain import MAX_PIECE, verify
from gatekeeper.audit.event import EventCode
from gatekeeper.audit.record import FIRST_PREV, encode
from gatekeeper.audit.report import Finding, Head, Kind, Report
from testkit.audit_log import NOW, ORIGIN, chained, event, head_of, log_of

COUNT = 12
LOG = log_of(COUNT)


def found(report: Report) -> list[tuple[Kind, int]]:
    """Kind and line of every finding."""
    return [(finding.kind, finding.place.line if finding.place else 0) for finding in report.findings]


def checked(lines: Sequence[bytes], head: Head | None = None) -> Report:
    return verify([("segment", lines)], head=head)


def rechained(lines: Sequence[bytes], *, first: int = 0) -> list[bytes]:
    """The same records numbered and chained anew: what somebody with time does after a change."""
    made: list[bytes] = []
    prev = FIRST_PREV
    for sequence, line in enumerate(lines, first):
        record = json.loads(line)
        record["metadata"]["sequence"] = sequence
        record["unmapped"]["gatekeeper"]["prev"] = prev
        data = json.dumps(record, separators=(",", ":")).encode()
        prev = hashlib.sha256(data).hexdigest()
        made.append(data + b"\n")
    return made


def renumbered(line: bytes, sequence: int) -> bytes:
    record = json.loads(line)
    record["metadata"]["sequence"] = sequence
    return json.dumps(record).encode() + b"\n"


def test_a_whole_log_is_sound() -> None:
    """Nothing is found, and the figures are those of the log."""
    report = checked(LOG, head_of(LOG))

    assert report.is_sound
    assert (report.log, report.entries, report.first_sequence, report.segments) == (ORIGIN, COUNT, 0, 1)
    assert report.last == head_of(LOG)
    assert report.words == {"log": 2, "block": COUNT - 2}
    assert (report.openings, report.unclean, report.is_closed) == (1, 0, True)
    assert report.policies == ("a" * 64,)
    assert report.torn is None


def test_an_empty_log_is_empty() -> None:
    """No line, no finding; with a head that was noted, everything is missing."""
    assert verify([]).entries == 0
    assert [finding.kind for finding in verify([], head=head_of(LOG)).findings] == [Kind.TRUNCATED]


def flip(lines: list[bytes], at: int, old: bytes, new: bytes) -> list[bytes]:
    assert lines[at].count(old) >= 1
    return [*lines[:at], lines[at].replace(old, new, 1), *lines[at + 1 :]]


@pytest.mark.parametrize(
    ("tampered", "expected"),
    [
        pytest.param(flip(LOG, 4, b"alice", b"malle"), [(Kind.CHANGED, 5)], id="flip-text"),
        pytest.param(flip(LOG, 0, b'"time":1', b'"time":2'), [(Kind.CHANGED, 1)], id="flip-first"),
        pytest.param(flip(LOG, 4, b'{"class', b'["class'), [(Kind.UNREADABLE, 5)], id="flip-to-garbage"),
        pytest.param([*LOG[:4], renumbered(LOG[4], 400), *LOG[5:]], [(Kind.RENUMBERED, 5)], id="number-up"),
        pytest.param([*LOG[:4], renumbered(LOG[4], 1), *LOG[5:]], [(Kind.RENUMBERED, 5)], id="number-down"),
        pytest.param([*LOG[:4], *LOG[5:]], [(Kind.MISSING, 5)], id="drop-one"),
        pytest.param([*LOG[:4], *LOG[8:]], [(Kind.MISSING, 5)], id="drop-four"),
        pytest.param(LOG[1:], [(Kind.MISSING, 1)], id="drop-first"),
        pytest.param([*LOG[:4], LOG[5], LOG[4], *LOG[6:]], [(Kind.REORDERED, 5), (Kind.REORDERED, 6)], id="swap"),
        pytest.param(
            [*LOG[:3], *LOG[4:9], LOG[3], *LOG[9:]], [(Kind.REORDERED, 4), (Kind.REORDERED, 9)], id="move-back"
        ),
        pytest.param([*LOG[:5], LOG[4], *LOG[5:]], [(Kind.DUPLICATE, 6)], id="copy-beside"),
        pytest.param([*LOG[:9], LOG[4], *LOG[9:]], [(Kind.DUPLICATE, 10)], id="copy-later"),
        pytest.param([*LOG[:5], b"garbage\n", *LOG[5:]], [(Kind.UNREADABLE, 6)], id="insert-garbage"),
        pytest.param([*LOG[:5], b"\n", *LOG[5:]], [(Kind.UNREADABLE, 6)], id="insert-empty"),
        pytest.param([*LOG, b"garbage\n"], [(Kind.UNREADABLE, 13)], id="append-garbage"),
    ],
)
def test_tampering_is_found_at_its_place(tampered: list[bytes], expected: list[tuple[Kind, int]]) -> None:
    """One change, one finding (two for records that changed places), at the line that was touched."""
    assert found(checked(tampered, head_of(LOG))) == expected


def cut(line: bytes) -> Iterator[bytes]:
    """A line as a reader hands it over."""
    for start in range(0, len(line), MAX_PIECE):
        yield line[start : start + MAX_PIECE]


def test_a_forged_record_that_is_well_chained_is_found() -> None:
    """An insertion chained to the record before it has the number of the next one, which shows it."""
    prev = hashlib.sha256(LOG[4][:-1]).hexdigest()
    forged = encode(event("forged"), sequence=5, prev=prev, origin=ORIGIN, address_prefix=(24, 48)) + b"\n"
    assert found(checked([*LOG[:5], forged, *LOG[5:]], head_of(LOG))) == [(Kind.DUPLICATE, 7)]


def test_a_forged_record_that_is_chained_with_a_used_number_is_found() -> None:
    """An insertion chained to the record before it, with a number that was there before."""
    prev = hashlib.sha256(LOG[4][:-1]).hexdigest()
    forged = encode(event("forged"), sequence=2, prev=prev, origin=ORIGIN, address_prefix=(24, 48)) + b"\n"
    assert found(checked([*LOG[:5], forged, *LOG[5:]], head_of(LOG))) == [(Kind.RENUMBERED, 6)]


@pytest.mark.parametrize("kept", [1, 5, COUNT - 1])
def test_a_cut_tail_is_found_with_the_noted_head_only(kept: int) -> None:
    """The chain cannot know what came after; the head that was noted can."""
    report = checked(LOG[:kept], head_of(LOG))
    assert found(report) == [(Kind.TRUNCATED, kept)]
    assert str(COUNT - 1) in report.findings[0].what
    assert checked(LOG[:kept]).is_sound


def test_a_changed_last_record_is_found_with_the_noted_head() -> None:
    """No record follows that would be chained to it."""
    changed = flip(LOG, COUNT - 1, b"closed", b"opened")
    assert found(checked(changed, head_of(LOG))) == [(Kind.REWRITTEN, COUNT)]


@pytest.mark.parametrize(
    "tampered",
    [
        rechained(flip(LOG, 4, b"alice", b"malle")),
        rechained([*LOG[:4], *LOG[5:], LOG[5]]),
    ],
    ids=["change", "drop"],
)
def test_a_log_chained_anew_is_found_with_the_noted_head(tampered: list[bytes]) -> None:
    """A changed log in which every `prev` is right again differs from its head."""
    assert checked(tampered).is_sound
    assert found(checked(tampered, head_of(LOG))) == [(Kind.REWRITTEN, COUNT)]


def test_a_shorter_log_chained_anew_is_found_with_the_noted_head() -> None:
    """A record dropped and the rest chained anew leaves the log one too short."""
    tampered = rechained([*LOG[:4], *LOG[5:]])
    assert found(checked(tampered, head_of(LOG))) == [(Kind.TRUNCATED, COUNT - 1)]


@pytest.mark.parametrize("at", range(0, len(LOG[5]), 7))
def test_every_byte_counts(at: int) -> None:
    """A flipped bit anywhere in a record is found in that line, or where the next one says so."""
    line = bytearray(LOG[5])
    line[at] ^= 0x01
    report = checked([*LOG[:5], bytes(line), *LOG[6:]], head_of(LOG))
    assert not report.is_sound
    assert report.findings[0].place is not None
    assert report.findings[0].place.line in (5, 6)


def test_an_overlong_line_is_found_and_counts_once() -> None:
    """A line longer than a record may be, in as many pieces as it takes."""
    long = [*cut(b"x" * 3 * MAX_PIECE + b"\n")]
    report = checked([*LOG[:5], *long, *LOG[5:]], head_of(LOG))
    assert found(report) == [(Kind.OVERLONG, 6)]
    assert report.entries == COUNT


def test_a_joined_line_is_found() -> None:
    """A newline that is gone makes one line of two."""
    report = checked([*LOG[:4], LOG[4][:-1] + LOG[5], *LOG[6:]], head_of(LOG))
    assert found(report)[0] == (Kind.UNREADABLE, 5)


def test_a_torn_last_line_is_no_tampering() -> None:
    """What has no newline at the very end was never acknowledged: it is told, with its digest."""
    report = checked([*LOG[:5], LOG[5][:40]])
    assert report.is_sound
    assert report.torn is not None
    assert (report.torn.place.line, report.torn.length) == (6, 40)
    assert report.torn.sha256 == hashlib.sha256(LOG[5][:40]).hexdigest()


def test_a_torn_line_within_the_log_is_tampering() -> None:
    """A segment that ends without newline although another one follows."""
    report = verify([("one", [*LOG[:5], LOG[5][:-1]]), ("two", LOG[6:])])
    assert [(finding.kind, finding.place and finding.place.segment) for finding in report.findings] == [
        (Kind.UNREADABLE, "one")
    ]


def test_places_name_segment_line_offset_and_sequence() -> None:
    """A finding in the second segment points into the second segment."""
    tampered = flip(LOG, 8, b"alice", b"malle")
    report = verify([("one", tampered[:6]), ("two", tampered[6:])])
    (finding,) = report.findings
    place = finding.place
    assert place is not None
    assert (place.segment, place.line, place.sequence) == ("two", 3, 8)
    assert place.offset == len(LOG[6]) + len(LOG[7])


def test_a_dropped_segment_is_found() -> None:
    """Records missing between two files."""
    report = verify([("one", LOG[:4]), ("three", LOG[8:])])
    assert found(report) == [(Kind.MISSING, 1)]
    assert "records 4 to 7" in report.findings[0].what


def test_a_renamed_segment_is_found() -> None:
    """The name says with which record a file begins."""
    report = verify([(f"{1:020d}-20200710T170000Z.jsonl", LOG)])
    assert found(report) == [(Kind.MISNAMED, 1)]


def test_a_record_of_another_log_is_found() -> None:
    """Records carry the name of their log."""
    foreign = encode(event(), sequence=0, prev=FIRST_PREV, origin="other", address_prefix=None) + b"\n"
    report = checked([foreign, *chained([event()], Head(0, hashlib.sha256(foreign[:-1]).hexdigest()))])
    assert found(report) == [(Kind.FOREIGN, 2)]


def test_a_first_record_that_follows_something_is_found() -> None:
    """The first record of a log is chained to nothing."""
    assert found(checked(chained([event()], Head(-1, "c" * 64)))) == [(Kind.CHANGED, 1)]


def test_reading_can_start_within_a_log() -> None:
    """With the record before the first one known, the rest verifies; with another one, it does not."""
    assert verify([("two", LOG[6:])], start=head_of(LOG[:6])).is_sound
    wrong = dataclasses.replace(head_of(LOG[:6]), sha256="c" * 64)
    assert found(verify([("two", LOG[6:])], start=wrong)) == [(Kind.CHANGED, 1)]


def test_restarts_crashes_and_recoveries_are_counted() -> None:
    """Openings without a closing before them are crashes; cut tails are listed."""
    codes = [
        EventCode.LOG_OPENED,
        EventCode.LOG_CLOSED,
        EventCode.LOG_OPENED,
        EventCode.LOG_OPENED,
        EventCode.TAIL_RECOVERED,
    ]
    report = checked(chained(event(code=code) for code in codes))
    assert (report.openings, report.unclean, report.is_closed) == (3, 1, False)
    assert [place.sequence for place in report.recovered] == [4]


def test_a_clock_set_back_is_told_but_no_tampering() -> None:
    """Times going back are counted with the largest step."""
    times = [NOW, NOW.replace(second=30), NOW.replace(second=10), NOW.replace(second=9)]
    report = checked(chained(event(time=time) for time in times))
    assert report.is_sound
    assert (report.back_steps, report.max_back_step_ms) == (2, 20_000)


def test_a_record_of_many_is_no_step_of_the_clock() -> None:
    """It is written after its time; what the clock did before and after it still counts."""
    many = event(time=NOW, count=3, start_time=NOW)
    assert checked(chained([event(time=NOW.replace(second=30)), many])).back_steps == 0
    times = [NOW.replace(second=30), NOW.replace(second=20)]
    report = checked(chained([event(time=times[0]), many, event(time=times[1])]))
    assert (report.back_steps, report.max_back_step_ms) == (1, 10_000)


def test_findings_are_bounded() -> None:
    """A file of garbage is counted, not remembered."""
    report = checked([b"garbage\n"] * 5000)
    assert report.findings_total == 5000
    assert len(report.findings) == 100


def test_gaps_are_bounded() -> None:
    """A log with every second record gone is counted as well."""
    thinned = log_of(400)[::2]
    report = checked(thinned)
    assert report.findings_total == 199
    assert [finding.kind for finding in report.findings] == [Kind.MISSING] * 100


@settings(max_examples=200, deadline=None)
@given(
    pieces=st.lists(st.binary(max_size=80) | st.sampled_from(LOG), max_size=12),
    names=st.lists(st.text(max_size=30), min_size=1, max_size=3),
)
def test_no_content_makes_it_raise(pieces: list[bytes], names: list[str]) -> None:
    """Whatever the bytes, there is a report."""
    assert isinstance(verify([(name, pieces) for name in names], head=Head(3, "x")), Report)


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_any_edit_of_lines_is_found(data: st.DataObject) -> None:
    """Dropping, copying and moving lines in any combination never passes as the log that it was."""
    edited = list(LOG)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(edited) - 1))
        line = edited[at]
        if data.draw(st.booleans()):
            del edited[at]
        if data.draw(st.booleans()):
            edited.insert(data.draw(st.integers(0, len(edited))), line)
        if not edited:
            break
    report = checked(edited, head_of(LOG))
    assert report.is_sound == (edited == LOG), [str(finding) for finding in report.findings]


def test_a_finding_is_a_value() -> None:
    """Findings can be compared and kept."""
    assert Finding(Kind.MISSING, None, "x") == Finding(Kind.MISSING, None, "x")
