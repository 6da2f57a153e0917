"""`GET /v1/decision`, by HTTP."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp.test_utils import TestClient, TestServer

from gatekeeper.decision.schema import parse_policy
from gatekeeper.server.admin import admin_app
from gatekeeper.server.decisions import PARAMETERS, accepted_languages
from testkit.reports import ALICE, BOB, TIKTOK, phone, report

from .conftest import House

POLICY = """
schema = 1
[[rule]]
id = "no-tiktok"
apps = [{ platform = "android", id = "com.zhiliaoapp.musically" }]
scope = { listeners = ["imaps"], networks = ["192.0.2.0/24"] }
phases = { zone = "Europe/Berlin", warn = "2020-07-10", enforce = "2100-01-04T09:00:00" }
[rule.message.en]
short = "TikTok is on this phone."
fix = "Remove it."
[rule.message.de]
short = "TikTok ist auf diesem Telefon."
fix = "Entfernen."
"""
BAD = [
    ("", "user-is-required", "user: name the mail login"),
    ("user=", "user-is-required", "user:"),
    ("user=%00", "user-is-required", "user:"),
    ("user=a@example.com&user=b@example.com", "given-twice", "user: is given twice"),
    (f"user={ALICE}&depht=person", "unknown-parameter", "no parameter `depht` (did you mean `depth`?)"),
    (f"user={ALICE}&depth=persn", "unknown-depth", "`persn` is not one of person, operator, both"),
    (f"user={ALICE}&protocol=gopher", "unknown-protocol", "`gopher` is not one of imap, smtp"),
    (f"user={ALICE}&tz=Europe/Berln", "unknown-time-zone", "`Europe/Berln` is not a time zone"),
    (f"user={ALICE}&tz=", "unknown-time-zone", "tz:"),
    (f"user={ALICE}&tz=../../etc/passwd", "unknown-time-zone", "tz:"),
    (f"user={ALICE}&tz=Europe", "unknown-time-zone", "tz:"),
    (f"user={ALICE}&tz=%00", "unknown-time-zone", "tz:"),
    (f"user={ALICE}&tz={'x' * 5000}", "unknown-time-zone", "tz:"),
    (f"user={ALICE}&lang=german!", "bad-language", "`german!` is not a language tag"),
    (f"user={ALICE}&lang=", "bad-language", "lang:"),
    (f"user={ALICE}&lang={'de,' * 20}de", "bad-language", "are too many"),
    (f"user={ALICE}&at=yesterday", "bad-time", "`yesterday` is not a date"),
    (f"user={ALICE}&at=2020-07-10T17:00:00+02:00", "bad-time", "(a `+` is written %2B)"),
    (f"user={ALICE}&device=", "bad-device", "device:"),
    (f"user={ALICE}&device=%0a", "bad-device", "device:"),
    (f"user={ALICE}&device={'x' * 256}", "bad-device", "device:"),
    (f"user={ALICE}&address=here", "bad-address", "`here` is not an IP address"),
    (f"user={ALICE}&listener=imap", "unknown-listener", "no listener `imap` (did you mean `imaps`?)"),
    (f"user={ALICE}&listener=imaps&protocol=smtp", "unknown-listener", "`imaps` speaks imap"),
    (f"user={ALICE}&all_rules=maybe", "bad-value", "`maybe` is not true or false"),
    (f"user={ALICE}&%ff%1b[31m=1", "unknown-parameter", "there are user, device"),
]
Client = TestClient


@pytest.fixture
async def client(house: House) -> AsyncIterator[Client]:
    """The admin port, with alice's phone, which has TikTok."""
    async with TestClient(TestServer(admin_app(house.gatekeeper))) as client:
        house.gatekeeper.gate.redecision.replace_policy(parse_policy(POLICY.encode(), source="p"))
        now = house.gatekeeper.clock.now()
        await house.gatekeeper.registry.apply([report(phone("ph-1", ALICE), TIKTOK, at=now)], now=now)
        await house.gatekeeper.directory.refresh()
        yield client


async def ask(client: Client, query: str, **headers: str) -> dict[str, object]:
    answer = await client.get(f"/v1/decision?user={ALICE}&{query}", headers=headers)
    assert answer.status == 200, await answer.text()
    assert answer.headers["Cache-Control"] == "no-store"
    body: dict[str, object] = await answer.json()
    return body


async def test_two_depths(client: Client) -> None:
    """One of them, or both, which is what comes without asking."""
    both = await ask(client, "")
    assert {"person", "operator", "why", "reasons", "valid_until"} <= both.keys()
    person = await ask(client, "depth=person")
    assert person.keys() == {"user", "protocol", "at", "verdict", "device", "person"}
    assert "no-tiktok" not in str(person)
    operator = await ask(client, "depth=operator")
    assert both.keys() - operator.keys() == {"person"}
    (device,) = operator["operator"]["devices"]
    (rule,) = device["rules"]
    assert (rule["broken"], rule["does"], rule["phase"]) == ("true", "warn", "warn")
    assert {"name": "scope.networks", "answer": "unknown"} in rule["predicates"]
    assert device["evidence"]["age_s"] >= 0
    assert device["changes_at"] == operator["valid_until"]


@pytest.mark.parametrize(
    ("query", "header", "language"),
    [
        ("", "", "en"),
        ("", "fr;q=0.4, de-AT;q=0.9, en;q=0.1", "de"),
        ("", "de;q=0, en", "en"),
        ("&lang=de", "en", "de"),
        ("&lang=tlh,de-CH,en", "", "de"),
        ("", ";;;,q=1,*,\xe9", "en"),
    ],
)
async def test_in_the_persons_language(client: Client, query: str, header: str, language: str) -> None:
    """What the browser says, or what the parameter says in its place; the whole text is in one language."""
    headers = {"Accept-Language": header} if header else {}
    answer = await client.get(f"/v1/decision?user={ALICE}&depth=person{query}", headers=headers)
    person = (await answer.json())["person"]
    assert (person["language"], answer.headers["Content-Language"]) == (language, language)
    assert answer.headers["Vary"] == "Accept-Language"
    assert (
        person["sentences"][0] == {"en": "TikTok is on this phone.", "de": "TikTok ist auf diesem Telefon."}[language]
    )
    assert person["sentences"][-1].startswith({"en": "From ", "de": "Ab dem "}[language])


@pytest.mark.parametrize(
    ("query", "by", "words"),
    [
        ("", "2100-01-04T09:00:00+01:00", "Monday, 4 January 2100, 09:00 CET"),
        ("tz=Asia/Tokyo", "2100-01-04T17:00:00+09:00", "Monday, 4 January 2100, 17:00 JST"),
    ],
)
async def test_by_when_in_local_time(client: Client, query: str, by: str, words: str) -> None:
    """The person's, else the rule's."""
    person = (await ask(client, query, **{"Accept-Language": "en"}))["person"]
    assert person["by"] == by
    assert f"From {words} on" in person["sentences"][-1]


async def test_another_session_and_another_time(client: Client) -> None:
    """The listener, the address, and the instant count as in a log-in."""
    outside = await ask(client, "address=198.51.100.7")
    assert outside["verdict"] == "allow"
    assert (await ask(client, "address=192.0.2.7&listener=imaps"))["verdict"] == "warn"
    later = await ask(client, "at=2100-01-04T09:00:00%2B01:00")
    assert (later["at"], later["verdict"]) == ("2100-01-04T08:00:00Z", "block")
    assert (await ask(client, "listener=submission"))["protocol"] == "smtp"


async def test_rules_that_are_not_about_the_device_only_when_asked(house: House, client: Client) -> None:
    """With the predicates that are false."""
    now = house.gatekeeper.clock.now()
    await house.gatekeeper.registry.apply([report(phone("ph-2", BOB), at=now)], now=now)
    await house.gatekeeper.directory.refresh()

    async def rules(more: str) -> list[str]:
        body = await (await client.get(f"/v1/decision?user={BOB}&depth=operator{more}")).json()
        return [rule["rule"] for rule in body["operator"]["devices"][0]["rules"]]

    assert await rules("") == []
    assert await rules("&all_rules") == await rules("&all_rules=true") == ["no-tiktok"]
    assert await rules("&all_rules=false") == []


async def test_somebody_elses_device_is_an_unknown_one(client: Client) -> None:
    """And nothing of it is told."""
    body = await (await client.get(f"/v1/decision?user={BOB}&device=ph-1")).json()
    assert (body["posture"], body["operator"]) == ("unknown", {"devices": []})
    assert "TikTok" not in str(body)


async def test_a_question_that_makes_no_sense_is_400(client: Client) -> None:
    """One line says what is wrong and what to do."""
    for query, error, detail in BAD:
        answer = await client.get(f"/v1/decision?{query}")
        body = await answer.json()
        assert (answer.status, body["error"]) == (400, error), query
        assert detail in body["detail"], query
        assert body["detail"].isprintable(), query
        assert len(body["detail"]) < 300, query


def test_what_is_documented_is_there() -> None:
    """Every parameter has its line in the handbook."""
    text = (Path(__file__).parents[4] / "docs" / "operations.md").read_text()
    assert [name for name in PARAMETERS if f"`{name}`" not in text] == []


@pytest.mark.parametrize(
    ("header", "tags"),
    [
        ("", ()),
        ("de", ("de",)),
        ("en;q=0.5, de;q=0.7,fr", ("fr", "de", "en")),
        ("en;q=2, de;q=0.x, *;q=1", ("en", "de")),
        ("en;q=0", ()),
        (",".join(f"a{chr(97 + n % 26)}" for n in range(1000)), tuple(f"a{chr(97 + n)}" for n in range(10))),
    ],
)
def test_languages_of_a_browser(header: str, tags: tuple[str, ...]) -> None:
    """By their weight; nonsense is passed over, and there is an end to it."""
    assert accepted_languages(header) == tags
