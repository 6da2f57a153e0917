"""The evidence desk: what is put on record, what is recorded, and in which order."""

import asyncio
import hashlib
from dataclasses import replace
from datetime import timedelta

import pytest

from gatekeeper.attestation.rejection import EvidenceRejected, RejectionCode
from gatekeeper.audit.event import EventCode
from gatekeeper.domain.decision import Verdict
from gatekeeper.domain.posture import PostureState
from gatekeeper.ports.devices import Unavailable
from gatekeeper.server.evidence import NONCE_LIFETIME
from testkit.evidence import AttestationAuthority, new_nonce
from testkit.evidence_desk import AUDIENCE, DEVICE, Bed
from testkit.reports import ALICE, BOB, NOTES, NOW, TIKTOK, phone, report


@pytest.fixture(scope="module")
def authority() -> AttestationAuthority:
    """The company's attestation CA."""
    return AttestationAuthority(NOW)


@pytest.fixture
async def bed(authority: AttestationAuthority) -> Bed:
    """One registered phone without a denied app."""
    bed = Bed(authority)
    await bed.registry.apply([report(None, NOTES)], now=NOW)
    await bed.directory.refresh()
    return bed


async def test_a_clean_list_is_accepted(bed: Bed) -> None:
    """It is on record, recorded, and the answer is what the policy makes of it."""
    token = await bed.token()
    decision = await bed.desk.submit(token)

    assert (decision.verdict, decision.posture) == (Verdict.ALLOW, PostureState.CLEAN)
    assert decision.evidence_sha256 == hashlib.sha256(token).hexdigest()
    assert bed.audit.codes() == [EventCode.EVIDENCE_ACCEPTED]
    assert bed.audit.events[0].account == ALICE
    assert bed.audit.events[0].detail == {"device_id": DEVICE}


async def test_a_denied_app_is_seen_and_gone_again(bed: Bed) -> None:
    """The device is denied by the one list and clean by the next; both are told once."""
    first = await bed.desk.submit(await bed.token(TIKTOK))
    again = await bed.desk.submit(await bed.token(TIKTOK))
    last = await bed.desk.submit(await bed.token())

    assert [decision.verdict for decision in (first, again, last)] == [Verdict.BLOCK, Verdict.BLOCK, Verdict.ALLOW]
    assert bed.audit.codes() == [
        EventCode.EVIDENCE_ACCEPTED,
        EventCode.DEVICE_DENIED,
        EventCode.EVIDENCE_ACCEPTED,
        EventCode.EVIDENCE_ACCEPTED,
        EventCode.DEVICE_CLEAN,
    ]


async def test_no_app_list_is_recorded(bed: Bed) -> None:
    """Beyond the app that a rule names."""
    await bed.desk.submit(await bed.token(TIKTOK))

    assert NOTES.id not in repr(bed.audit.events)


async def test_the_answer_waits_for_the_record(bed: Bed) -> None:
    """Nothing is answered, and no session decided again, before the record is durable."""
    bed.audit.holds = True
    token = await bed.token(TIKTOK)
    cut = asyncio.Event()
    bed.session(cut.set)

    async with asyncio.TaskGroup() as tasks:
        submission = tasks.create_task(bed.desk.submit(token))
        for code in (EventCode.EVIDENCE_ACCEPTED, EventCode.DEVICE_DENIED):
            await bed.audit.until(lambda: bed.audit.held)
            assert bed.audit.codes()[-1] is code
            assert not submission.done()
            assert not cut.is_set()
            bed.audit.release()
    assert cut.is_set()
    assert submission.result().verdict is Verdict.BLOCK


async def test_acceptance_is_recorded_before_sessions_are_cut(bed: Bed) -> None:
    """In the log the cause stands before what follows from it."""
    admission = bed.session(lambda: bed.gate.ended(admission, {}))
    await bed.desk.submit(await bed.token(TIKTOK))

    assert bed.audit.codes() == [
        EventCode.EVIDENCE_ACCEPTED,
        EventCode.DEVICE_DENIED,
        EventCode.SESSION_REVOKED,
    ]
    assert admission.revoked


async def test_a_session_that_stands_is_left_alone(bed: Bed) -> None:
    """A clean list cuts nobody."""
    admission = bed.session(lambda: pytest.fail("cut"))
    await bed.desk.submit(await bed.token())

    assert not admission.revoked


@pytest.mark.parametrize(
    ("overrides", "code"),
    [
        pytest.param({"aud": "somebody.else"}, RejectionCode.AUD_MISMATCH, id="for somebody else"),
        pytest.param({"sub": BOB}, RejectionCode.OWNER_MISMATCH, id="of another owner"),
        pytest.param({"inv_platform": "ios"}, RejectionCode.PLATFORM_MISMATCH, id="of another platform"),
        pytest.param({"eat_nonce": new_nonce()}, RejectionCode.NONCE_INVALID, id="with a nonce of its own"),
        pytest.param({"location": {}}, RejectionCode.CLAIM_PROHIBITED, id="with a place"),
        pytest.param({"eat_profile": "x"}, RejectionCode.PROFILE_UNKNOWN, id="of another profile"),
        pytest.param({"inv_scope": "all"}, RejectionCode.MALFORMED, id="of no scope"),
    ],
)
async def test_a_rejected_token_changes_nothing_and_is_recorded(
    bed: Bed, overrides: dict[str, object], code: RejectionCode
) -> None:
    """By its reason and digest, durable before the answer, and the sessions go on."""
    admission = bed.session(lambda: pytest.fail("cut"))
    token = await bed.token(TIKTOK, **overrides)
    rejection = await bed.rejection(token)

    assert rejection.code is code
    assert TIKTOK.id.lower() not in bed.apps()
    assert not admission.revoked
    assert bed.audit.codes() == [EventCode.EVIDENCE_REJECTED]
    (detail,) = bed.recorded(EventCode.EVIDENCE_REJECTED)
    assert detail["rejection"] == code.value
    assert detail["evidence_sha256"] == hashlib.sha256(token).hexdigest()
    assert TIKTOK.id not in repr(bed.audit.events)


async def test_a_rejection_waits_for_its_record(bed: Bed) -> None:
    """Who sends forged evidence is told no sooner than it is on record."""
    bed.audit.holds = True
    async with asyncio.TaskGroup() as tasks:
        rejected = tasks.create_task(bed.rejection(b"no.token.atall"))
        await bed.audit.until(lambda: bed.audit.held)
        assert not rejected.done()
        bed.audit.release()
    assert rejected.result().code is RejectionCode.MALFORMED


async def test_a_token_counts_once(bed: Bed) -> None:
    """The second time it is a replay, even with the nonce long used."""
    token = await bed.token()
    await bed.desk.submit(token)

    assert (await bed.rejection(token)).code is RejectionCode.REPLAY


async def test_a_nonce_counts_once(bed: Bed) -> None:
    """A second token with the same nonce is refused."""
    nonce = await bed.nonce()
    bed.clock.advance(60)
    tokens = [bed.authority.token(DEVICE, [NOTES], nonce, AUDIENCE, bed.clock.now()).encode() for _ in range(2)]
    await bed.desk.submit(tokens[0])

    assert (await bed.rejection(tokens[1])).code is RejectionCode.NONCE_INVALID


async def test_a_nonce_of_another_device_is_refused(bed: Bed) -> None:
    """A nonce is for the device that asked."""
    other = report(phone("ph-2"), NOTES)
    await bed.registry.apply([other], now=bed.clock.now())

    assert (await bed.rejection(await bed.token(device_id="ph-2"))).code is RejectionCode.NONCE_INVALID


async def test_a_nonce_expires(bed: Bed) -> None:
    """At the end of its lifetime, to the second."""
    nonce = await bed.nonce()
    bed.clock.advance(NONCE_LIFETIME.total_seconds())
    token = bed.authority.token(DEVICE, [NOTES], nonce, AUDIENCE, bed.clock.now()).encode()

    assert (await bed.rejection(token)).code is RejectionCode.NONCE_INVALID


async def test_older_evidence_is_refused(bed: Bed) -> None:
    """What was collected before the list on record does not replace it."""
    early = bed.authority.token(
        DEVICE, [TIKTOK], await bed.nonce(), AUDIENCE, bed.clock.now() + timedelta(seconds=1)
    ).encode()
    await bed.desk.submit(await bed.token())

    assert (await bed.rejection(early)).code is RejectionCode.STALE
    assert "com.zhiliaoapp.musically" not in bed.apps()


async def test_an_unregistered_device_is_refused(bed: Bed) -> None:
    """No nonce, and no evidence; its name from the genuine certificate is recorded."""
    with pytest.raises(EvidenceRejected) as caught:
        await bed.desk.challenge("ph-9")
    assert caught.value.code is RejectionCode.DEVICE_UNKNOWN
    assert (await bed.rejection(await bed.token(device_id="ph-9"))).code is RejectionCode.DEVICE_UNKNOWN
    assert bed.recorded(EventCode.EVIDENCE_REJECTED)[0]["device_id"] == "ph-9"


async def test_a_stranger_s_signature_is_refused(bed: Bed) -> None:
    """The device that it claims to be is not recorded as a fact."""
    stranger = AttestationAuthority(bed.clock.now())
    token = stranger.token(DEVICE, [NOTES], await bed.nonce(), AUDIENCE, bed.clock.now()).encode()

    assert (await bed.rejection(token)).code is RejectionCode.CHAIN_INVALID
    assert bed.recorded(EventCode.EVIDENCE_REJECTED)[0]["device_id"] == ""


async def test_without_issuers_nobody_is_believed(bed: Bed) -> None:
    """The port is there, the trust is not."""
    token = await bed.token()
    bed.desk.settings = None

    assert (await bed.rejection(token)).code is RejectionCode.CHAIN_INVALID


async def test_a_device_holds_few_nonces(bed: Bed) -> None:
    """More are refused until the first expire."""
    nonces = {await bed.nonce() for _ in range(4)}
    assert len(nonces) == 4
    with pytest.raises(EvidenceRejected) as caught:
        await bed.nonce()
    assert caught.value.code is RejectionCode.RATE_LIMITED
    bed.clock.advance(NONCE_LIFETIME.total_seconds())
    assert await bed.nonce()


async def test_a_device_forgotten_meanwhile_gets_no_nonce(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look-up and the write: unknown like any other."""
    posture = await bed.registry.device(phone().device_id)
    await bed.registry.forget(phone().device_id)

    async def still_there(_device_id: str) -> object:
        return posture

    monkeypatch.setattr(bed.registry, "device", still_there)
    with pytest.raises(EvidenceRejected) as caught:
        await bed.nonce()
    assert caught.value.code is RejectionCode.DEVICE_UNKNOWN


async def test_without_an_audit_log_nothing_is_taken(bed: Bed) -> None:
    """What could not be recorded is not put on record."""
    token = await bed.token(TIKTOK)
    bed.audit.writable = False
    with pytest.raises(Unavailable):
        await bed.desk.submit(token)

    assert bed.apps() == {NOTES.id}
    bed.audit.writable = True
    await bed.desk.submit(token)  # nothing was used up


@pytest.mark.parametrize("apps", [(), (TIKTOK,)])
async def test_a_record_that_is_lost_is_a_fault(bed: Bed, apps: tuple[()]) -> None:
    """The sender is not told that all is well."""
    token = await bed.token(*apps)
    bed.audit.durable = False
    with pytest.raises(Unavailable):
        await bed.desk.submit(token)


async def test_a_lost_record_of_a_rejection_is_a_fault(bed: Bed) -> None:
    """Rather than an answer without a trace."""
    bed.audit.durable = False
    with pytest.raises(Unavailable):
        await bed.desk.submit(b"x")


async def test_a_store_that_is_down_is_a_fault(bed: Bed) -> None:
    """Not a rejection: the same token counts later."""
    token = await bed.token()
    bed.registry.is_available = False
    with pytest.raises(Unavailable):
        await bed.desk.submit(token)
    with pytest.raises(Unavailable):
        await bed.nonce()
    assert bed.audit.events == []
    bed.registry.is_available = True
    assert (await bed.desk.submit(token)).verdict is Verdict.ALLOW


async def test_a_sender_that_went_away_does_not_trouble_the_log(bed: Bed) -> None:
    """The answer to a record that nobody waits for any more is dropped."""
    bed.audit.holds = True
    async with asyncio.TaskGroup() as tasks:
        submission = tasks.create_task(bed.desk.submit(b"x"))
        await bed.audit.until(lambda: bed.audit.held)
        submission.cancel()
    bed.audit.release()

    assert submission.cancelled()


async def test_new_settings_are_used(bed: Bed) -> None:
    """After a reload another audience counts."""
    token = await bed.token()
    assert bed.desk.settings is not None
    bed.desk.settings = replace(bed.desk.settings, audience="other.example")

    assert (await bed.rejection(token)).code is RejectionCode.AUD_MISMATCH
