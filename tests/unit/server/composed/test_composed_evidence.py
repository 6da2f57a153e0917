"""The evidence desk on a real store and log: what is accepted is in force at once, what is rejected changes nothing."""

import pytest

from gatekeeper.attestation.rejection import EvidenceRejected, RejectionCode
from gatekeeper.domain.decision import Verdict
from gatekeeper.domain.device import DeviceId
from gatekeeper.domain.posture import PostureState
from gatekeeper.ports.devices import Unavailable
from gatekeeper.server.reload import reload
from testkit.evidence import hmac_with_public_key, new_nonce
from testkit.reports import ALICE, NOTES, TIKTOK, phone, report

from .conftest import House

AUDIENCE = "gatekeeper.example"
DENY = """
schema = 1
[[rule]]
id = "no-tiktok"
apps = [{ platform = "android", id = "com.zhiliaoapp.musically" }]
phases = { enforce = "2020-01-01" }
"""


@pytest.fixture
async def registered(house: House) -> House:
    """With a rule and a registered phone of alice's."""
    house.configuration.policy_path.write_text(DENY)
    assert (await reload(house.gatekeeper)).reloaded
    now = house.gatekeeper.clock.now()
    await house.gatekeeper.registry.apply([report(phone("ph-1", ALICE))], now=now)
    await house.gatekeeper.directory.refresh()
    return house


async def _token(house: House, *apps: object, device_id: str = "ph-1", nonce: str | None = None) -> bytes:
    if nonce is None:
        nonce = (await house.gatekeeper.evidence.challenge(device_id)).nonce
    now = house.gatekeeper.clock.now()
    return house.configuration.agents.token(device_id, list(apps) or [NOTES], nonce, AUDIENCE, now).encode()


async def test_accepted_evidence_is_in_force_and_recorded(registered: House) -> None:
    """Memory knows it when the answer goes out; what changed for the device is recorded too."""
    house = registered
    decision = await house.gatekeeper.evidence.submit(await _token(house))
    assert (decision.verdict, decision.posture) == (Verdict.ALLOW, PostureState.CLEAN)
    decision = await house.gatekeeper.evidence.submit(await _token(house, NOTES, TIKTOK))
    assert (decision.verdict, decision.posture) == (Verdict.BLOCK, PostureState.DENIED)
    known = await house.gatekeeper.directory.of_account(ALICE)
    assert known[0].result is not None
    assert len(known[0].result.apps) == 2

    assert len(await house.records("GK4010I")) == 2
    assert len(await house.records("GK4001I")) == 1
    await house.gatekeeper.evidence.submit(await _token(house))
    assert await house.records("GK4002I")


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("garbage", RejectionCode.MALFORMED),
        ("forged", RejectionCode.SIG_INVALID),
        ("replayed", RejectionCode.REPLAY),
        ("made-up nonce", RejectionCode.NONCE_INVALID),
        ("unregistered", RejectionCode.DEVICE_UNKNOWN),
    ],
)
async def test_rejected_evidence_is_recorded_and_changes_nothing(
    registered: House, kind: str, code: RejectionCode
) -> None:
    """With its reason and the digest of what was sent, never with the list."""
    house = registered
    agents = house.configuration.agents
    match kind:
        case "garbage":
            token = b"not.a.token"
        case "forged":
            claims = agents.claims("ph-1", [TIKTOK], new_nonce(), AUDIENCE, house.gatekeeper.clock.now())
            token = hmac_with_public_key(claims, agents.leaf("ph-1")).encode()
        case "replayed":
            token = await _token(house)
            await house.gatekeeper.evidence.submit(token)
        case "made-up nonce":
            token = await _token(house, TIKTOK, nonce=new_nonce())
        case _:
            token = await _token(house, TIKTOK, device_id="ph-9", nonce=new_nonce())
    before = await house.gatekeeper.registry.device(DeviceId("ph-1"))
    with pytest.raises(EvidenceRejected) as raised:
        await house.gatekeeper.evidence.submit(token)

    assert raised.value.code is code
    assert await house.gatekeeper.registry.device(DeviceId("ph-1")) == before
    (record,) = await house.records("GK4011W")
    facts = record["unmapped"]["gatekeeper"]
    assert isinstance(facts, dict)
    assert facts["rejection"] == code.value
    assert len(facts["evidence_sha256"]) == 64
    assert "musically" not in str(record)


async def test_without_an_audit_log_no_evidence_is_taken(registered: House) -> None:
    """A fault of ours: the agent tries again, and its nonce and token are still good."""
    house = registered
    token = await _token(house, TIKTOK)
    before = await house.gatekeeper.registry.device(DeviceId("ph-1"))
    await house.gatekeeper.audit.close()
    with pytest.raises(Unavailable):
        await house.gatekeeper.evidence.submit(token)
    assert await house.gatekeeper.registry.device(DeviceId("ph-1")) == before


async def test_without_an_evidence_section_every_token_is_rejected(registered: House) -> None:
    """Nobody's signature is believed."""
    token = await _token(registered)
    registered.gatekeeper.evidence.settings = None
    with pytest.raises(EvidenceRejected):
        await registered.gatekeeper.evidence.submit(token)
