"""Records as lines of CEF."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatekeeper.audit.event import EventCode
from gatekeeper.audit.mappings import cef
from gatekeeper.audit.stored import read
from testkit.audit_log import connection, event, line


def parsed(data: bytes) -> tuple[list[str], dict[str, str]]:
    """Header and extension, as a reader of CEF takes them apart."""
    text = data.decode()
    assert text.endswith("\n")
    assert text.count("\n") == 1
    *header, extension = re.split(r"(?<!\\)(?:\\\\)*\|", text[:-1], maxsplit=7)
    places = list(re.finditer(r"(?:^| )(\w+)=", extension))
    ends = [place.start() for place in places[1:]] + [len(extension)]
    fields = {}
    for place, end in zip(places, ends, strict=True):
        assert place[1] not in fields
        fields[place[1]] = re.sub(r"\\([\\=])", r"\1", extension[place.end() : end])
    return header, fields


def test_a_refusal_is_a_line() -> None:
    """Header and fields."""
    header, fields = parsed(cef.line(read(line(event("c1"), 7)), "ab" * 32))
    assert header == [
        *("CEF:0", "gatekeeper", "gatekeeper", "0.1.0"),
        *("GK1002W", "Mail sign-in refused: TikTok is installed", "6"),
    ]
    assert fields == {
        "rt": "1594400400000",
        "externalId": "7",
        "deviceExternalId": "tests.example/audit/1",
        "act": "block",
        "outcome": "failure",
        "reason": "block.app.match",
        "suser": "alice@example.com",
        "app": "imap",
        "src": "198.51.100.0",
        "dpt": "9993",
        "cnt": "1",
        "cs1": "no-tiktok",
        "cs1Label": "rules",
        "cs2": "ios:com.zhiliaoapp.musically",
        "cs2Label": "matched",
        "cs3": "ph-001",
        "cs3Label": "device",
        "cs4": "a" * 64,
        "cs4Label": "policySha256",
        "cs5": "c1",
        "cs5Label": "connection",
        "cs6": "ab" * 32,
        "cs6Label": "recordSha256",
    }


@pytest.mark.parametrize("code", EventCode)
def test_every_code_makes_a_line(code: EventCode) -> None:
    """Also when next to nothing is known, and with an address of version 6."""
    made = line(event(code=code, connection=None, decision=None, account=None, message=""))
    assert parsed(cef.line(read(made), "ab" * 32))[0][4] == code
    made = line(event(code=EventCode.BLOCKED_APP, connection=connection(address="2001:db8::1")))
    fields = parsed(cef.line(read(made), "ab" * 32))[1]
    assert fields["c6a2"] == "2001:db8::"
    assert "src" not in fields


@pytest.mark.parametrize(
    ("text", "header", "value"),
    [
        ("a|b", "a\\|b", "a|b"),
        ("a=b", "a=b", "a\\=b"),
        ("a\\b", "a\\\\b", "a\\\\b"),
        ("a\nsuser=root", "a suser=root", "a suser\\=root"),
        ("a\r\u2028\x00\x1bb", "a    b", "a    b"),
    ],
)
def test_what_has_a_meaning_is_escaped(text: str, header: str, value: str) -> None:
    """By the place where it stands."""
    assert cef._header(text) == header
    assert cef._value(text) == value


@given(st.text())
def test_no_text_adds_a_field_or_a_line(text: str) -> None:
    """Whatever an account or message is called."""
    made = read(line(event(account=text, message=text)))
    header, fields = parsed(cef.line(made, "ab" * 32))
    assert len(header) == 7
    assert set(fields) <= {
        *["rt", "externalId", "deviceExternalId", "act", "outcome", "reason", "suser", "app", "src", "dpt", "cnt"]
    } | {f"cs{number}{label}" for number in range(1, 7) for label in ("", "Label")}
