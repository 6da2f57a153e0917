"""What every implementation of `ports.devices.Devices` does."""

from collections.abc import Sequence

from gatekeeper.campaign.outline import Outline
from gatekeeper.decision.schema import parse_policy
from gatekeeper.domain.app import App
from gatekeeper.domain.device import DeviceId
from gatekeeper.domain.posture import Posture
from gatekeeper.ports.devices import DeviceChange, Devices
from testkit.reports import ALICE, BOB, MINUTE, NOTES, NOW, TIKTOK, phone, report
from testkit.stores import Adapter

SERIAL = {"serial": "R58"}


async def test_an_account_has_its_devices_by_id(adapter: Adapter) -> None:
    """All of them, in order, and nobody else's."""
    await adapter.registry.apply([report(phone("b")), report(phone("a")), report(phone("c", BOB))], now=NOW)
    await adapter.synchronise()

    assert _ids(await adapter.devices.of_account(ALICE)) == ["a", "b"]


async def test_an_account_without_devices_has_none(adapter: Adapter) -> None:
    """That nobody registered one is an answer, and it is remembered."""
    assert await adapter.devices.of_account(ALICE) == ()
    assert adapter.devices.known_of_account(ALICE) == ()


async def test_what_was_looked_up_is_known(adapter: Adapter) -> None:
    """The next log-in needs no store."""
    await adapter.registry.apply([report(phone(identifiers=SERIAL), NOTES)], now=NOW)
    await adapter.synchronise()
    by_account = await adapter.devices.of_account(ALICE)
    by_serial = await adapter.devices.by_identifier("serial", "R58")

    assert adapter.devices.known_of_account(ALICE) == by_account == (by_serial,)
    assert adapter.devices.known_by_identifier("serial", "R58") == by_serial


async def test_a_device_is_found_by_its_own_id_and_by_each_identifier(adapter: Adapter) -> None:
    """Kinds do not mix: a serial number is no certificate."""
    await adapter.registry.apply([report(phone(identifiers=SERIAL))], now=NOW)
    await adapter.synchronise()

    assert _id(await adapter.devices.by_identifier("device_id", "ph-1")) == "ph-1"
    assert _id(await adapter.devices.by_identifier("serial", "R58")) == "ph-1"
    assert await adapter.devices.by_identifier("certificate_sha256", "R58") is None
    assert await adapter.devices.by_identifier("device_id", "R58") is None


async def test_new_evidence_is_known_when_it_is_told(adapter: Adapter) -> None:
    """A subscriber that decides again decides on the new list, by whatever key it looks."""
    await adapter.registry.apply([report(phone(identifiers=SERIAL), TIKTOK)], now=NOW)
    await adapter.synchronise()
    await adapter.devices.of_account(ALICE)
    await adapter.devices.by_identifier("serial", "R58")
    seen: list[list[tuple[App, ...]]] = []
    adapter.devices.subscribe(lambda _: seen.append(_known_apps(adapter.devices)))

    await adapter.registry.apply([report(phone(identifiers=SERIAL), NOTES, at=NOW + MINUTE)], now=NOW)
    await adapter.synchronise()

    assert seen == [[(NOTES,), (NOTES,)]]


async def test_a_change_says_what_changed_it(adapter: Adapter) -> None:
    """An import is told with its file's digest, and once with its counts; evidence with its own digest."""
    told = _listen(adapter.devices)
    await adapter.registry.apply([report(phone("a")), report(phone("b", BOB))], now=NOW, digest="f00")
    await adapter.synchronise()
    evidence = report(phone("a"), NOTES, at=NOW + MINUTE)
    await adapter.registry.accept_evidence(
        evidence, token_id="jti", token_expires=NOW + MINUTE, nonce_digest=None, now=NOW
    )
    await adapter.synchronise()

    counts = {"created": 2, "changed": 0, "unchanged": 0}
    assert told == [
        DeviceChange(DeviceId("a"), ALICE, "inventory", "f00"),
        DeviceChange(DeviceId("b"), BOB, "inventory", "f00", counts),
        DeviceChange(DeviceId("a"), ALICE, "evidence", evidence.result.evidence_sha256),
    ]


async def test_what_changes_nothing_is_not_told(adapter: Adapter) -> None:
    """Sessions are not decided again for the same file."""
    await adapter.registry.apply([report(phone())], now=NOW)
    await adapter.synchronise()
    told = _listen(adapter.devices)
    await adapter.registry.apply([report(phone())], now=NOW)
    await adapter.synchronise()

    assert told == []


async def test_a_device_that_changes_hands_is_told_to_both_accounts(adapter: Adapter) -> None:
    """The old owner's sessions are decided again, too, and no longer on that device."""
    await adapter.registry.apply([report(phone())], now=NOW)
    await adapter.synchronise()
    await adapter.devices.of_account(ALICE)
    await adapter.devices.of_account(BOB)
    told = _listen(adapter.devices)

    await adapter.registry.apply([report(phone(account=BOB))], now=NOW)
    await adapter.synchronise()

    assert {change.account for change in told} == {ALICE, BOB}
    assert adapter.devices.known_of_account(ALICE) == ()
    assert _ids(adapter.devices.known_of_account(BOB)) == ["ph-1"]


async def test_a_first_device_ends_the_memory_of_having_none(adapter: Adapter) -> None:
    """An account that just got its first phone is not refused for being unknown."""
    await adapter.devices.of_account(ALICE)
    await adapter.devices.by_identifier("serial", "R58")
    await adapter.devices.by_identifier("device_id", "ph-1")
    await adapter.registry.apply([report(phone(identifiers=SERIAL))], now=NOW)
    await adapter.synchronise()

    assert _ids(adapter.devices.known_of_account(ALICE)) == ["ph-1"]
    assert _id(adapter.devices.known_by_identifier("serial", "R58")) == "ph-1"
    assert _id(adapter.devices.known_by_identifier("device_id", "ph-1")) == "ph-1"


async def test_an_identifier_that_moved_leads_to_its_new_device(adapter: Adapter) -> None:
    """And the device that lost it is told as changed."""
    await adapter.registry.apply([report(phone("old", identifiers=SERIAL))], now=NOW)
    await adapter.synchronise()
    await adapter.devices.by_identifier("serial", "R58")
    told = _listen(adapter.devices)

    await adapter.registry.apply([report(phone("new", BOB, identifiers=SERIAL))], now=NOW)
    await adapter.synchronise()

    assert _id(adapter.devices.known_by_identifier("serial", "R58")) == "new"
    assert {(change.device_id, change.account) for change in told} == {("old", ALICE), ("new", BOB)}


async def test_a_forgotten_device_is_unknown_at_once(adapter: Adapter) -> None:
    """Its owner is told."""
    await adapter.registry.apply([report(phone(identifiers=SERIAL))], now=NOW)
    await adapter.synchronise()
    await adapter.devices.of_account(ALICE)
    await adapter.devices.by_identifier("serial", "R58")
    told = _listen(adapter.devices)

    await adapter.registry.forget(DeviceId("ph-1"))
    await adapter.synchronise()

    assert told == [DeviceChange(DeviceId("ph-1"), ALICE, "forget")]
    assert adapter.devices.known_of_account(ALICE) == ()
    assert await adapter.devices.by_identifier("serial", "R58") is None


def _listen(devices: Devices) -> list[DeviceChange]:
    told: list[DeviceChange] = []
    devices.subscribe(told.extend)
    return told


def _known_apps(devices: Devices) -> list[tuple[App, ...]]:
    postures = (*(devices.known_of_account(ALICE) or ()), devices.known_by_identifier("serial", "R58"))
    return [posture.result.apps.apps for posture in postures if posture is not None and posture.result is not None]


def _ids(postures: Sequence[Posture] | None) -> list[str]:
    assert postures is not None
    return [posture.device.device_id for posture in postures]


def _id(posture: Posture | None) -> str:
    assert posture is not None
    return posture.device.device_id


async def test_very_many_are_told_at_once_with_what_a_policy_asks_of_them(adapter: Adapter) -> None:
    """By account and by identifier; lists keep what is meant and their length, whoever has nothing is told so."""
    await adapter.registry.apply(
        [
            report(phone("b", identifiers=SERIAL), NOTES, TIKTOK),
            report(phone("a"), NOTES),
            report(phone("c", BOB), TIKTOK),
        ],
        now=NOW,
    )
    await adapter.synchronise()
    outline = Outline([parse_policy(RULE.encode(), source="p")])
    keys = {("serial", "R58"), ("device_id", "c"), ("serial", "none")}
    accounts, found = await adapter.devices.outlined(outline, {ALICE, "nobody@example.com"}, keys)

    assert {account: _ids(postures) for account, postures in accounts.items()} == {
        ALICE: ["a", "b"],
        "nobody@example.com": [],
    }
    assert {key: _id(posture) for key, posture in found.items()} == {("serial", "R58"): "b", ("device_id", "c"): "c"}
    lists = [posture.result.apps for posture in accounts[ALICE] if posture.result]
    assert [(each.apps, len(each)) for each in lists] == [((), 1), ((TIKTOK,), 2)]
    assert await adapter.devices.outlined(outline, set(), set()) == ({}, {})


async def test_what_was_written_since_is_told(adapter: Adapter) -> None:
    """An app that nobody had before counts from the moment it is on record."""
    await adapter.registry.apply([report(phone(), NOTES)], now=NOW)
    await adapter.synchronise()
    outline = Outline([parse_policy(RULE.encode(), source="p")])
    await adapter.devices.outlined(outline, {ALICE}, set())
    await adapter.registry.apply([report(phone(), TIKTOK, at=NOW + MINUTE)], now=NOW)
    accounts, _ = await adapter.devices.outlined(outline, {ALICE}, set())

    (posture,) = accounts[ALICE]
    assert posture.result is not None
    assert posture.result.apps.apps == (TIKTOK,)


RULE = 'schema = 1\n[[rule]]\nid = "r"\napps = [{ id = "com.zhiliaoapp.*" }]\nphases = { enforce = "2020-01-01" }\n'
