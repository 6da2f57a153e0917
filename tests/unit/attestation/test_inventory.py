"""Inventories: JSON lines and CSV, read whole or not at all."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatekeeper.attestation import inventory
from gatekeeper.attestation.inventory import parse, parse_csv, parse_jsonl
from gatekeeper.domain.app import App
from gatekeeper.domain.device import DeviceClass, Ownership, Platform
from gatekeeper.domain.document import DocumentError
from gatekeeper.domain.identity import IdentitySettings
from gatekeeper.domain.posture import Report, Scope

NOW = datetime(2026, 7, 10, 17, 0, tzinfo=UTC)
APP = {"id": "com.example.notes", "name": "Notes", "version": "1.2"}
DEVICE: dict[str, object] = {
    "device_id": "ph-001",
    "user": "Alice@Example.com",
    "platform": "android",
    "collected_at": "2026-07-10T16:20:00Z",
    "apps": [APP],
}
CSV = """device_id,user,platform,collected_at,app_id,app_name,version
ph-001,alice@example.com,android,2026-07-10T16:20:00Z,com.example.notes,Notes,1.2
ph-002,bob@example.com,ios,2026-07-10T16:21:00Z,com.example.notes,"Notes, the ""best"" ones",
ph-001,alice@example.com,android,2026-07-10T16:20:00Z,com.example.chat,,7
lt-003,carol@example.com,macos,2026-07-10T16:22:00+02:00,,,
"""


def line(**changes: object) -> str:
    """One JSON line, the good device with some members replaced."""
    return json.dumps({**DEVICE, **changes})


def without(name: str) -> str:
    """The good device with a member left out."""
    return json.dumps({key: value for key, value in DEVICE.items() if key != name})


def read(*lines: str) -> tuple[Report, ...]:
    return parse_jsonl("\n".join(lines).encode(), source="mdm.jsonl", now=NOW)


def faults(*lines: str) -> list[tuple[str, str]]:
    with pytest.raises(DocumentError) as refused:
        read(*lines)
    assert {fault.source for fault in refused.value.faults} == {"mdm.jsonl"}
    return [(fault.key, fault.reason) for fault in refused.value.faults]


def csv_faults(text: str) -> list[tuple[str, str]]:
    with pytest.raises(DocumentError) as refused:
        parse_csv(text.encode(), source="mdm.csv", now=NOW)
    return [(fault.key, fault.reason) for fault in refused.value.faults]


def test_a_minimal_line_gets_the_defaults() -> None:
    """What a line does not say is filled in as documented."""
    [report] = read(line())

    assert report.device.device_id == "ph-001"
    assert report.device.account == "alice@example.com"
    assert report.device.platform is Platform.ANDROID
    assert report.device.device_class is DeviceClass.MOBILE
    assert report.device.ownership is None
    assert dict(report.device.identifiers) == {}
    assert report.result.source == "inventory"
    assert report.result.scope is Scope.FULL
    assert report.result.complete
    assert report.result.collected_at == datetime(2026, 7, 10, 16, 20, tzinfo=UTC)
    assert report.result.apps.apps == (App(id="com.example.notes", name="Notes", version="1.2"),)


def test_every_member_is_read() -> None:
    """A line with everything in it comes out whole."""
    signer = "AB" * 32
    full = line(
        platform="macos",
        device_class="mobile",
        ownership="company",
        source="mdm",
        scope="managed-only",
        complete=False,
        collected_at="2026-07-10T09:20:00.250-07:00",
        identifiers={"eas_device_id": "APPL123", "serial": "S 1"},
        apps=[{**APP, "version_code": 2**40, "signer_sha256": signer, "publisher": "Example Ltd"}],
    )
    [report] = read(full)

    assert report.device.device_class is DeviceClass.MOBILE
    assert report.device.ownership is Ownership.COMPANY
    assert dict(report.device.identifiers) == {"eas_device_id": "APPL123", "serial": "S 1"}
    assert (report.result.source, report.result.scope, report.result.complete) == ("mdm", Scope.MANAGED_ONLY, False)
    assert report.result.collected_at == datetime(2026, 7, 10, 16, 20, 0, 250_000, tzinfo=UTC)
    [app] = report.result.apps.apps
    assert (app.version_code, app.signer_sha256, app.publisher) == (2**40, (signer.lower(),), "Example Ltd")


def test_a_laptop_is_no_phone_by_default() -> None:
    """The class follows from the platform."""
    [report] = read(line(platform="windows"))

    assert report.device.device_class is DeviceClass.LAPTOP


def test_facts_of_an_app_may_be_null_or_a_list() -> None:
    """Exports write null for what is not known, and several signers as a list."""
    signers = ["a" * 64, "B" * 64]
    [report] = read(line(apps=[{"id": "a.b", "name": None, "version": None, "version_code": None, "publisher": None}]))
    [other] = read(line(apps=[{"id": "a.b", "signer_sha256": signers}, {"id": "c.d", "signer_sha256": None}]))

    assert report.result.apps.apps == (App(id="a.b"),)
    assert other.result.apps.apps[0].signer_sha256 == ("a" * 64, "b" * 64)


def test_the_digest_depends_on_content_not_on_spelling() -> None:
    """Spacing and the order of members do not make new evidence; another version does."""
    [compact] = read(json.dumps(DEVICE, separators=(",", ":")))
    [reordered] = read(json.dumps(dict(reversed(DEVICE.items())), indent=None))
    [changed] = read(line(apps=[{**APP, "version": "1.3"}]))

    assert compact.result.evidence_sha256 == reordered.result.evidence_sha256
    assert changed.result.evidence_sha256 != compact.result.evidence_sha256


def test_byte_order_mark_crlf_and_empty_lines_are_tolerated() -> None:
    """Files from Windows tools are read."""
    data = b"\xef\xbb\xbf" + line().encode() + b"\r\n\r\n  \n" + line(device_id="ph-002").encode()

    assert [report.device.device_id for report in parse_jsonl(data, source="x", now=NOW)] == ["ph-001", "ph-002"]


@pytest.mark.parametrize("data", [b"", b"\n\r\n", b"\xef\xbb\xbf"])
def test_an_empty_file_is_a_fault(data: bytes) -> None:
    """An export that failed must not look like one that changed nothing."""
    for name in ("a.jsonl", "a.csv", "a"):
        with pytest.raises(DocumentError, match="holds no device"):
            parse(data, source=name, now=NOW)


@pytest.mark.parametrize(
    ("bad", "key", "reason"),
    [
        ("{", "", "not JSON"),
        ("[1]", "", "must be one JSON object"),
        ("\x00", "", "not JSON"),
        ('{"user":"a","user":"b"}', "", "duplicate key `user`"),
        (line(apps=[{"id": "a.b", "version_code": 1.5}]), "", "fraction"),
        (without("device_id"), "device_id", "is required"),
        (without("user"), "user", "is required"),
        (without("platform"), "platform", "is required"),
        (without("collected_at"), "collected_at", "is required"),
        (without("apps"), "apps", "is required"),
        (line(device_id=None), "device_id", "must be a text"),
        (line(device_id=7), "device_id", "must be a text"),
        (line(device_id=""), "device_id", "must not be empty"),
        (line(device_id="a\u200bb"), "device_id", "invisible"),
        (line(device_id="x" * 256), "device_id", "longer than 255"),
        (line(user="Älice@example.com"), "user", "mail login"),
        (line(user="alice*admin"), "user", "mail login"),
        (line(platform="androd"), "platform", "did you mean `android`"),
        (line(platform=["ios"]), "platform", "must be a text"),
        (line(device_class="phone"), "device_class", "not one of mobile, laptop"),
        (line(ownership=None), "ownership", "must be a text"),
        (line(ownership="byod"), "ownership", "not one of company, personal"),
        (line(source=""), "source", "must not be empty"),
        (line(scope=None), "scope", "must be a text"),
        (line(scope="all"), "scope", "not one of"),
        (line(complete=None), "complete", "true or false"),
        (line(complete=1), "complete", "true or false"),
        (line(colected_at="x"), "colected_at", "did you mean `collected_at`"),
        (line(zzz=1), "zzz", "unknown key"),
        (line(collected_at="2026-07-10"), "collected_at", "is not a date and time"),
        (line(collected_at="2026-02-30T00:00:00Z"), "collected_at", "is not a date and time"),
        (line(collected_at="2026-07-10T16:20:00"), "collected_at", "no time zone"),
        (line(collected_at="0001-01-01T00:00:00+23:59"), "collected_at", "is not a date and time"),
        (line(collected_at="2026-07-10T17:01:01Z"), "collected_at", "lies in the future"),
        (line(collected_at=1790000000), "collected_at", "must be a text"),
        (line(identifiers=[]), "identifiers", "must be an object"),
        (line(identifiers={"Serial": "x"}), "identifiers.Serial", "lower_snake"),
        (line(identifiers={"s" * 65: "x"}), "identifiers." + "s" * 64, "at most 64"),
        (line(identifiers={"device_id": "x"}), "identifiers.device_id", "own id"),
        (line(identifiers={"serial": 5}), "identifiers.serial", "must be a text"),
        (line(identifiers={f"n{i}": "x" for i in range(33)}), "identifiers", "more than 32"),
        (line(apps={}), "apps", "must be a list"),
        (line(apps=[APP] * 2001), "apps", "more than 2000"),
        (line(apps=[APP, "x"]), "apps[1]", "must be an object"),
        (line(apps=[{}]), "apps[0].id", "is required"),
        (line(apps=[APP, {"id": "a\u0007"}]), "apps[1].id", "control"),
        (line(apps=[{"id": "\ud800"}]), "apps[0].id", "control"),
        (line(apps=[{"id": "a" * 256}]), "apps[0].id", "longer than 255"),
        (line(apps=[{**APP, "version": "1" * 65}]), "apps[0].version", "longer than 64"),
        (line(apps=[{**APP, "version": 2}]), "apps[0].version", "must be a text"),
        (line(apps=[{**APP, "name": "a\nb"}]), "apps[0].name", "control"),
        (line(apps=[{**APP, "version_code": "7"}]), "apps[0].version_code", "whole number"),
        (line(apps=[{**APP, "version_code": True}]), "apps[0].version_code", "whole number"),
        (line(apps=[{**APP, "version_code": 2**63}]), "apps[0].version_code", "whole number"),
        (line(apps=[{**APP, "signer_sha256": "ab"}]), "apps[0].signer_sha256", "64 hex digits"),
        (line(apps=[{**APP, "signer_sha256": ["a" * 64, 1]}]), "apps[0].signer_sha256", "64 hex digits"),
        (line(apps=[{**APP, "versoin": "1"}]), "apps[0].versoin", "did you mean `version`"),
    ],
)
def test_a_bad_line_is_told_with_its_place(bad: str, key: str, reason: str) -> None:
    """One fault, at the line and member that is wrong."""
    [(where, why)] = faults(line(device_id="ph-000"), "", bad)

    assert where == (f"line 3: {key}" if key else "line 3")
    assert reason in why


def test_all_faults_are_told_at_once_and_nothing_comes_out() -> None:
    """One run of the import shows everything there is to repair."""
    told = faults(line(), line(device_id="b", platform="x", apps=[{"id": ""}, {"id": " a"}]), "nonsense")

    assert [key for key, _ in told] == ["line 2: platform", "line 2: apps[0].id", "line 2: apps[1].id", "line 3"]


def test_no_fault_shows_an_app() -> None:
    """App lists are private: what is wrong with an entry is told without the entry."""
    told = faults(line(apps=[{"id": "com.secret.app ", "name": "Secret\n", "version": "9" * 70}]))

    assert len(told) == 3
    assert "secret" not in repr(told).lower()


def test_a_report_from_the_edge_of_the_allowed_skew_is_taken() -> None:
    """Clocks may differ by a minute."""
    assert read(line(collected_at="2026-07-10T17:01:00Z"))


def test_the_same_device_twice_must_say_the_same() -> None:
    """An identical line is taken once; a contradicting one is a fault."""
    assert len(read(line(), line())) == 1
    assert faults(line(), line(apps=[])) == [
        ("line 2: device_id", "the same device stands in this file with different content")
    ]


def test_the_number_of_listed_faults_is_bounded() -> None:
    """A wrong file of any size gives a bounded answer that says how much was left out."""
    told = faults(*["x"] * (inventory.MAX_FAULTS + 5))

    assert len(told) == inventory.MAX_FAULTS + 1
    assert told[-1] == ("", "5 more faults are not listed")


def test_sizes_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines and files over their limits are refused unread."""
    [(key, reason)] = faults("x" * (inventory.MAX_LINE_OCTETS + 1))
    assert (key, reason) == ("line 1", "longer than 1048576 octets")

    monkeypatch.setattr(inventory, "MAX_FILE_OCTETS", 10)
    for name in ("a.jsonl", "a.csv"):
        with pytest.raises(DocumentError, match="larger than 10 octets"):
            parse(line().encode(), source=name, now=NOW)


def test_csv_lines_are_grouped_by_device() -> None:
    """One app a line; the lines of a device need not stand together; a device may have no app."""
    phone, iphone, laptop = parse_csv(CSV.encode(), source="mdm.csv", now=NOW)

    assert [app.id for app in phone.result.apps.apps] == ["com.example.notes", "com.example.chat"]
    assert phone.result.apps.apps[1] == App(id="com.example.chat", version="7")
    assert iphone.result.apps.apps == (App(id="com.example.notes", name='Notes, the "best" ones'),)
    assert iphone.device.platform is Platform.IOS
    assert len(laptop.result.apps) == 0
    assert laptop.result.collected_at == datetime(2026, 7, 10, 14, 22, tzinfo=UTC)


def test_csv_and_json_of_the_same_content_are_the_same_evidence() -> None:
    """Changing the export's form changes nothing on record."""
    [from_csv] = parse_csv("\n".join(CSV.splitlines()[:2]).encode(), source="a.csv", now=NOW)
    [from_json] = read(line(user="alice@example.com"))

    assert from_csv == from_json


@pytest.mark.parametrize("encode", ["\r\n", "\n\n", "\n"])
def test_csv_with_byte_order_mark_and_other_line_ends(encode: str) -> None:
    """Spreadsheet programs write both."""
    data = b"\xef\xbb\xbf" + CSV.replace("\n", encode).encode()

    assert len(parse_csv(data, source="a.csv", now=NOW)) == 3


@pytest.mark.parametrize(
    ("text", "key", "reason"),
    [
        ("device_id,user\n", "line 1", "lacks platform, collected_at, app_id"),
        (CSV.replace("app_name", "app_nam"), "line 1", "unknown column `app_nam`"),
        (CSV.replace("app_name", "version"), "line 1", "twice"),
        (CSV.replace("app_name", "app;name"), "line 1", "unknown column `app;name`"),
        (CSV + "a,b\n", "line 6", "has 2 fields where the header has 7"),
        (CSV + 'a,"b\n', "line 6", "not CSV"),
        (CSV.replace("lt-003,", 'lt-003,"') + "a,b\nc,d\n", "line 5", "(in line 7, to which its quotes go on)"),
        (CSV.replace(",", ";"), "line 1", "are to be separated by commas, not by semicolons"),
        (CSV.replace(",", '";"'), "line 1", "are to be separated by commas, not by semicolons"),
        (CSV.replace(",", "\t"), "line 1", "are to be separated by commas, not by tabs"),
        (CSV.replace("chat,,7", "chat,,7\x00"), "line 4: version", "control"),
        (CSV.replace("com.example.chat", "com.example .chat\u200b"), "line 4: app_id", "invisible"),
        (CSV.replace("com.example.chat,,7", ",Chat,7"), "line 4", "app_id is missing"),
        (CSV.replace("lt-003,carol", "lt-003,c%rol"), "line 5: user", "mail login"),
        (CSV.replace("ph-001,alice", "ph-001,bob", 1), "line 4", "user differs from line 2"),
        (CSV.replace("lt-003", ""), "line 5: device_id", "must not be empty"),
    ],
)
def test_a_bad_csv_line_is_told_with_its_place(text: str, key: str, reason: str) -> None:
    """Faults name the line and the column of the file, not of some inner form."""
    [(where, why)] = csv_faults(text)

    assert where == key
    assert reason in why


def test_faults_are_told_in_the_order_of_the_file() -> None:
    """Whatever is found first: a line by itself, or a device that has all of its lines."""
    text = CSV.replace("ph-001,alice", "ph-001,b%b", 1).replace("lt-003,carol", "lt-003,c%rol") + "a,b\n"
    assert [key.partition(":")[0] for key, _ in csv_faults(text)] == ["line 2", "line 4", "line 5", "line 6"]


def test_csv_that_is_not_utf8_names_the_line() -> None:
    """Old spreadsheets write Latin-1."""
    with pytest.raises(DocumentError, match="line 3: is not UTF-8"):
        parse_csv(CSV.replace("best", "b\xe9st").encode("latin-1"), source="a.csv", now=NOW)


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (CSV, "inventory.CSV"),
        (CSV, "-"),
        (line(), "x.jsonl"),
        (line(), "x.json"),
        (line(), "-"),
        ("\n  " + line(), "export.txt"),
    ],
)
def test_the_form_is_chosen_by_name_then_by_content(data: str, name: str) -> None:
    """The usual endings decide; without one the first character does."""
    assert parse(data.encode(), source=name, now=NOW)[0].device.device_id == "ph-001"


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_garbage_raises_only_document_errors(data: bytes) -> None:
    """Arbitrary octets never come out as anything but faults."""
    for name in ("a.jsonl", "a.csv"):
        with pytest.raises(DocumentError):
            parse(data, source=name, now=NOW)


@given(st.dictionaries(st.sampled_from([*DEVICE, "scope", "complete", "identifiers"]), st.none() | st.integers()))
def test_wrong_types_never_come_out_as_reports(changes: dict[str, object]) -> None:
    """No member of the wrong type is taken over, and none of them crashes the reader."""
    if changes:
        assert faults(line(**changes))


def test_age_is_no_fault() -> None:
    """Whether evidence is too old is the policy's matter."""
    old = (NOW - timedelta(days=4000)).isoformat()

    assert read(line(collected_at=old))


@pytest.mark.parametrize("name", ["mdm.jsonl", "mdm.csv"])
def test_owners_are_named_as_configured(name: str) -> None:
    """The registry has the accounts that the listeners look up."""
    text = line(user="Kim") if name.endswith("jsonl") else "\n".join(CSV_KIM)
    (report,) = parse(text.encode(), source=name, now=NOW, names=IdentitySettings(default_domain="example.com"))
    assert report.device.account == "kim@example.com"


CSV_KIM = (
    "device_id,user,platform,collected_at,app_id,app_name,version",
    "ph-1,Kim,android,2026-07-10T16:20:00Z,,,",
)
