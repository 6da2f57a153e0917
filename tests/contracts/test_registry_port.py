"""What every implementation of `ports.registry.Registry` does."""

import asyncio
import dataclasses
from datetime import timedelta

import pytest

from gatekeeper.domain.device import DeviceId, Ownership
from gatekeeper.domain.posture import AttestationResult, DeviceFlag, Posture, Report, Scope
from gatekeeper.ports.registry import (
    Applied,
    IdentifierTaken,
    NonceInvalid,
    OlderEvidence,
    Registry,
    Replayed,
    TooManyNonces,
)
from testkit.reports import ALICE, BOB, MINUTE, NOTES, NOW, TIKTOK, phone, report

PHONE = DeviceId("ph-1")
LATER = NOW + timedelta(minutes=5)
DIGEST = b"n" * 32


async def test_a_registered_device_is_found_with_its_evidence(registry: Registry) -> None:
    """What was applied is what is found, to the last field."""
    said = report(phone(identifiers={"serial": "R58", "eas_device_id": "APPL1"}), NOTES, TIKTOK)

    assert await registry.apply([said], now=NOW) == Applied(created=1)
    assert await registry.device(PHONE) == Posture(device=said.device, result=said.result)


async def test_an_unknown_device_is_not_found(registry: Registry) -> None:
    """Nobody invents a device."""
    assert await registry.device(PHONE) is None


async def test_the_same_reports_again_change_nothing(registry: Registry) -> None:
    """An import can be repeated."""
    reports = [report(phone("ph-1"), NOTES), report(phone("ph-2", BOB), TIKTOK)]
    await registry.apply(reports, now=NOW)

    assert await registry.apply(reports, now=LATER) == Applied(unchanged=2)


async def test_newer_evidence_replaces_older_of_the_same_source(registry: Registry) -> None:
    """A complete list shows what is gone."""
    await registry.apply([report(phone(), NOTES, TIKTOK)], now=NOW)

    assert await registry.apply([report(phone(), NOTES, at=LATER)], now=LATER) == Applied(changed=1)
    assert (await _result(registry)).apps.apps == (NOTES,)


async def test_older_evidence_is_refused_and_nothing_of_the_call_is_applied(registry: Registry) -> None:
    """The refusal names the report, and the reports before it leave no trace."""
    await registry.apply([report(phone(), NOTES, at=LATER)], now=LATER)

    with pytest.raises(OlderEvidence) as refusal:
        await registry.apply([report(phone("ph-2"), NOTES), report(phone(), TIKTOK, at=NOW)], now=LATER)

    assert (refusal.value.index, refusal.value.on_record) == (1, LATER)
    assert await registry.device(DeviceId("ph-2")) is None
    assert (await _result(registry)).apps.apps == (NOTES,)


async def test_evidence_of_the_same_instant_is_taken(registry: Registry) -> None:
    """Only older is refused."""
    await registry.apply([report(phone(), NOTES)], now=NOW)

    assert await registry.apply([report(phone(), TIKTOK)], now=NOW) == Applied(changed=1)


async def test_age_is_compared_within_one_source(registry: Registry) -> None:
    """A slow source is not refused because a quick one was there before."""
    await registry.apply([report(phone(), NOTES, at=LATER)], now=LATER)

    assert await registry.apply([report(phone(), NOTES, source="other")], now=LATER) == Applied(changed=1)


async def test_two_answers_about_one_device_in_one_call_can_be_repeated(registry: Registry) -> None:
    """The same file twice changes nothing, also when it tells how a device developed."""
    reports = [report(phone(), TIKTOK), report(phone(), NOTES, at=LATER)]

    assert await registry.apply(reports, now=LATER) == Applied(created=1, changed=1)
    assert await registry.apply(reports, now=LATER) == Applied(unchanged=2)
    assert (await _result(registry)).apps.apps == (NOTES,)


async def test_an_incomplete_list_does_not_take_an_app_away(registry: Registry) -> None:
    """Presence stands until a list that could see the app shows that it is gone."""
    await registry.apply([report(phone(), TIKTOK)], now=NOW)
    await registry.apply([report(phone(), NOTES, at=LATER, complete=False)], now=LATER)

    assert set((await _result(registry)).apps.apps) == {TIKTOK, NOTES}


async def test_what_another_source_sees_counts_too(registry: Registry) -> None:
    """The sources of a device are folded into one result."""
    await registry.apply([report(phone(), NOTES)], now=NOW)
    seen = report(phone(), TIKTOK, source="agent", scope=Scope.USER_VISIBLE, complete=False, at=LATER)
    await registry.apply([seen], now=LATER)

    assert set((await _result(registry)).apps.apps) == {TIKTOK, NOTES}


async def test_a_device_can_change_hands(registry: Registry) -> None:
    """The owner is the one last stated."""
    await registry.apply([report(phone(), NOTES)], now=NOW)

    assert await registry.apply([report(phone(account=BOB), NOTES)], now=NOW) == Applied(changed=1)
    assert await registry.all_devices(account=ALICE) == ()
    assert len(await registry.all_devices(account=BOB)) == 1


async def test_facts_that_are_not_stated_stay(registry: Registry) -> None:
    """A source that knows neither owner nor serial number does not take them away."""
    full = phone(ownership=Ownership.COMPANY, identifiers={"serial": "R58", "certificate_sha256": "aa"})
    await registry.apply([report(full, NOTES)], now=NOW)
    sparse = phone(ownership=None, identifiers={"certificate_sha256": "bb"})
    await registry.apply([report(sparse, NOTES, source="csv")], now=NOW)

    found = await registry.device(PHONE)
    assert found is not None
    assert found.device == phone(identifiers={"serial": "R58", "certificate_sha256": "bb"})


async def test_an_identifier_moves_to_the_device_that_states_it(registry: Registry) -> None:
    """A phone that was enrolled anew keeps its serial number; the old entry loses it."""
    await registry.apply([report(phone("old", identifiers={"serial": "R58", "eas_device_id": "A"}), NOTES)], now=NOW)
    await registry.apply([report(phone("new", identifiers={"serial": "R58"}), NOTES)], now=NOW)

    old, new = await registry.device(DeviceId("old")), await registry.device(DeviceId("new"))
    assert old is not None
    assert new is not None
    assert (dict(old.device.identifiers), dict(new.device.identifiers)) == ({"eas_device_id": "A"}, {"serial": "R58"})


async def test_an_identifier_claimed_twice_in_one_call_is_refused(registry: Registry) -> None:
    """What names two devices names none."""
    reports = [report(phone("ph-1", identifiers={"serial": "0"})), report(phone("ph-2", identifiers={"serial": "0"}))]

    with pytest.raises(IdentifierTaken) as refusal:
        await registry.apply(reports, now=NOW)

    assert (refusal.value.index, refusal.value.kind, refusal.value.other) == (1, "serial", "ph-1")
    assert await registry.all_devices() == ()


async def test_devices_are_listed_by_id_in_pages(registry: Registry) -> None:
    """The order is stable, so that pages neither repeat nor miss one."""
    await registry.apply([report(phone(name)) for name in ("c", "a", "d", "b")], now=NOW)

    pages = [await registry.all_devices(limit=3), await registry.all_devices(limit=3, offset=3)]
    assert [[posture.device.device_id for posture in page] for page in pages] == [["a", "b", "c"], ["d"]]


async def test_a_forgotten_device_is_gone_with_all_that_was_known(registry: Registry) -> None:
    """Nothing of it answers afterwards, not even its nonces, and its identifiers are free."""
    await registry.apply([report(phone(identifiers={"serial": "R58"}), NOTES)], now=NOW)
    await registry.issue_nonce(PHONE, DIGEST, expires=LATER, now=NOW)

    assert await registry.forget(PHONE)
    assert await registry.device(PHONE) is None
    assert not await registry.forget(PHONE)
    assert await registry.apply([report(phone("ph-2", identifiers={"serial": "R58"}))], now=NOW) == Applied(created=1)
    with pytest.raises(NonceInvalid):
        await _accept(registry, report(phone(), NOTES, at=LATER))


async def test_accepted_evidence_is_on_record(registry: Registry) -> None:
    """The list of the token is the list of the device."""
    await _with_nonce(registry)
    said = report(phone(), NOTES, source="agent", at=NOW + MINUTE)

    assert await _accept(registry, said) == Applied(changed=1)
    assert await _result(registry) == said.result


async def test_evidence_leaves_the_facts_of_the_device(registry: Registry) -> None:
    """A phone's evidence says what is on it, never whose it is."""
    await _with_nonce(registry)
    before = await registry.device(PHONE)
    await _accept(registry, report(phone(account=BOB, identifiers={"serial": "X"}), NOTES, at=NOW + MINUTE))
    after = await registry.device(PHONE)

    assert before is not None
    assert after is not None
    assert after.device == before.device


async def test_a_nonce_is_used_up(registry: Registry) -> None:
    """The same nonce does not vouch for a second token."""
    await _with_nonce(registry)
    await _accept(registry, report(phone(), NOTES, at=NOW + MINUTE))

    with pytest.raises(NonceInvalid):
        await _accept(registry, report(phone(), TIKTOK, at=LATER), token_id="second")
    assert (await _result(registry)).apps.apps == (NOTES,)


async def test_of_two_tokens_with_one_nonce_one_wins(registry: Registry) -> None:
    """Sent at the same time, only one is taken."""
    await _with_nonce(registry)
    outcomes: list[Applied | type[Exception]] = []

    async def send(token_id: str, minutes: int) -> None:
        try:
            outcomes.append(await _accept(registry, report(phone(), at=NOW + minutes * MINUTE), token_id=token_id))
        except NonceInvalid as exc:
            outcomes.append(type(exc))

    async with asyncio.TaskGroup() as group:
        group.create_task(send("one", 1))
        group.create_task(send("two", 2))

    assert sorted(map(str, outcomes)) == sorted(map(str, [Applied(changed=1), NonceInvalid]))


async def test_a_nonce_of_another_device_is_refused(registry: Registry) -> None:
    """One phone cannot borrow the nonce of another."""
    await _with_nonce(registry)
    await registry.apply([report(phone("ph-2"))], now=NOW)

    with pytest.raises(NonceInvalid):
        await _accept(registry, report(phone("ph-2"), NOTES, at=NOW + MINUTE))


async def test_an_expired_nonce_is_refused(registry: Registry) -> None:
    """At its expiry a nonce is worth nothing."""
    await _with_nonce(registry)

    with pytest.raises(NonceInvalid):
        await registry.accept_evidence(
            report(phone(), NOTES, at=NOW + MINUTE),
            token_id="jti",
            token_expires=LATER,
            nonce_digest=DIGEST,
            now=LATER,
        )


@pytest.mark.parametrize("digest", [DIGEST, None], ids=["nonce", "no-nonce"])
async def test_evidence_of_an_unregistered_device_is_refused(registry: Registry, digest: bytes | None) -> None:
    """No evidence registers a device."""
    with pytest.raises(NonceInvalid):
        await _accept(registry, report(phone(), NOTES), digest=digest)
    assert await registry.device(PHONE) is None


async def test_a_source_without_nonces_is_taken(registry: Registry) -> None:
    """A connector's evidence has no nonce; its token id still counts once."""
    await registry.apply([report(phone())], now=NOW)

    assert await _accept(registry, report(phone(), NOTES, at=LATER), digest=None) == Applied(changed=1)
    with pytest.raises(Replayed):
        await _accept(registry, report(phone(), NOTES, at=LATER), digest=None)


async def test_a_replayed_token_leaves_the_nonce(registry: Registry) -> None:
    """A refused token takes nothing with it: the phone can try again with the nonce it holds."""
    await _with_nonce(registry)
    await _accept(registry, report(phone(), NOTES, at=NOW + MINUTE), digest=None)

    with pytest.raises(Replayed):
        await _accept(registry, report(phone(), TIKTOK, at=LATER))
    assert await _accept(registry, report(phone(), TIKTOK, at=LATER), token_id="second") == Applied(changed=1)


async def test_older_evidence_in_a_token_leaves_nonce_and_token_id(registry: Registry) -> None:
    """All or none holds for what is consumed as well."""
    await _with_nonce(registry)

    with pytest.raises(OlderEvidence):
        await _accept(registry, report(phone(), TIKTOK, at=NOW - MINUTE))
    assert await _accept(registry, report(phone(), TIKTOK, at=LATER)) == Applied(changed=1)


async def test_a_device_holds_four_live_nonces_at_most(registry: Registry) -> None:
    """The fifth has to wait until one is used up or expired."""
    await registry.apply([report(phone()), report(phone("ph-2"))], now=NOW)
    for number in range(4):
        await registry.issue_nonce(PHONE, bytes([number]) * 32, expires=LATER, now=NOW)

    with pytest.raises(TooManyNonces):
        await registry.issue_nonce(PHONE, DIGEST, expires=LATER, now=NOW)
    await registry.issue_nonce(DeviceId("ph-2"), b"o" * 32, expires=LATER, now=NOW)
    await registry.issue_nonce(PHONE, DIGEST, expires=LATER + MINUTE, now=LATER)


async def test_no_nonce_for_an_unregistered_device(registry: Registry) -> None:
    """Nobody can fill the store with nonces of made-up devices."""
    with pytest.raises(NonceInvalid):
        await registry.issue_nonce(PHONE, DIGEST, expires=LATER, now=NOW)


async def _result(registry: Registry) -> AttestationResult:
    posture = await registry.device(PHONE)
    assert posture is not None
    assert posture.result is not None
    return posture.result


async def _with_nonce(registry: Registry) -> None:
    await registry.apply([report(phone())], now=NOW)
    await registry.issue_nonce(PHONE, DIGEST, expires=LATER, now=NOW)


async def _accept(
    registry: Registry, said: Report, *, token_id: str = "first", digest: bytes | None = DIGEST
) -> Applied:
    return await registry.accept_evidence(
        said, token_id=token_id, token_expires=LATER + MINUTE, nonce_digest=digest, now=NOW + MINUTE
    )


async def test_what_is_said_of_the_device_and_when_it_was_first_seen_is_on_record(registry: Registry) -> None:
    """The first sight stays through new facts and new evidence, and a list that is silent takes nothing back."""
    first = report(phone(), NOTES)
    said = dataclasses.replace(first.result, os_version="14", flags={DeviceFlag.COMPROMISED: True})
    await registry.apply([dataclasses.replace(first, result=said)], now=NOW)
    await registry.apply([report(phone(identifiers={"serial": "R58"}), NOTES, at=LATER)], now=LATER)
    found = await registry.device(PHONE)

    assert found is not None
    assert found.device.first_seen == NOW
    assert found.result is not None
    assert (found.result.os_version, found.result.flags) == ("14", {DeviceFlag.COMPROMISED: True})
