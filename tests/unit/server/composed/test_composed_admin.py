"""The admin port and the control socket, by HTTP."""

from collections.abc import AsyncIterator

import pytest
import structlog
from aiohttp.test_utils import TestClient, TestServer

from gatekeeper import __version__
from gatekeeper.attestation.rejection import RejectionCode
from gatekeeper.server.admin import MAX_BODY_OCTETS, admin_app, control_app
from testkit.evidence import hmac_with_public_key, new_nonce
from testkit.reports import ALICE, NOTES, phone, report

from .conftest import House

AUDIENCE = "gatekeeper.example"
EAT = {"Content-Type": "application/eat+jwt"}
Client = TestClient


@pytest.fixture
async def client(house: House) -> AsyncIterator[Client]:
    """The admin port, with alice's phone registered."""
    now = house.gatekeeper.clock.now()
    await house.gatekeeper.registry.apply([report(phone("ph-1", ALICE), NOTES, at=now)], now=now)
    await house.gatekeeper.directory.refresh()
    async with TestClient(TestServer(admin_app(house.gatekeeper))) as client:
        yield client


async def _nonce(client: Client) -> str:
    answer = await client.post("/v1/challenge", json={"device_id": "ph-1"})
    assert answer.status == 200
    body = await answer.json()
    assert body["expires_in"] == 300
    return str(body["nonce"])


async def _token(house: House, client: Client) -> bytes:
    now = house.gatekeeper.clock.now()
    return house.configuration.agents.token("ph-1", [NOTES], await _nonce(client), AUDIENCE, now).encode()


async def test_health_is_told(house: House, client: Client) -> None:
    """Alive as long as the loop turns; ready as long as a phone could be served."""
    live = await client.get("/livez")
    assert (live.status, await live.text()) == (200, "ok\n")
    ready = await client.get("/readyz?verbose")
    assert (ready.status, await ready.text()) == (
        200,
        "ready\naudit: ok\npolicy: ok\nstore: ok\nlisteners: ok\nmail_servers: ok\nin_service: ok\n",
    )
    house.gatekeeper.listeners["imaps"].stop()
    house.gatekeeper.draining = True
    not_ready = await client.get("/readyz")
    assert (not_ready.status, await not_ready.text()) == (
        503,
        "not ready\nlisteners: not bound: imaps\nin_service: draining\n",
    )
    assert (await client.get("/livez")).status == 200


async def test_an_audit_log_that_cannot_be_written_is_not_ready(house: House, client: Client) -> None:
    """Nobody would be let in."""
    await house.gatekeeper.audit.close()
    answer = await client.get("/readyz")
    assert answer.status == 503
    assert "audit: " in await answer.text()


async def test_metrics_are_text_without_personal_data(client: Client) -> None:
    """Prometheus reads them; no account and no device is a label."""
    answer = await client.get("/metrics")
    text = await answer.text()
    assert answer.content_type == "text/plain"
    for line in ("gatekeeper_sessions_active 0.0", 'gatekeeper_connections_total{listener="imaps"} 0.0'):
        assert line in text.splitlines()
    assert "gatekeeper_audit_writable 1.0" in text
    assert f'gatekeeper_build_info{{version="{__version__}"}} 1.0' in text
    assert "alice" not in text
    assert "ph-1" not in text


async def test_the_version_is_told(client: Client) -> None:
    """For support."""
    assert await (await client.get("/version")).json() == {"version": __version__}


async def test_genuine_evidence_is_accepted_with_its_verdict(house: House, client: Client) -> None:
    """The agent learns what the policy makes of its phone now."""
    answer = await client.post("/v1/evidence", data=await _token(house, client), headers=EAT)
    body = await answer.json()

    assert answer.status == 200
    assert (body["verdict"], body["posture"], body["device"]) == ("allow", "clean", "ph-1")
    assert body["valid_until"].endswith("Z")
    assert 'outcome="accepted"} 1.0' in await (await client.get("/metrics")).text()


@pytest.mark.parametrize(
    ("kind", "status", "error"),
    [
        ("garbage", 400, "malformed"),
        ("forged", 401, "sig-invalid"),
        ("unregistered", 403, "device-unknown"),
        ("replayed", 409, "replay"),
        ("too large", 413, "too-large"),
    ],
)
async def test_rejected_evidence_has_its_status(
    house: House, client: Client, kind: str, status: int, error: str
) -> None:
    """And a reason in words, counted by its code."""
    agents, now = house.configuration.agents, house.gatekeeper.clock.now()
    match kind:
        case "garbage":
            token = b"x.y.z"
        case "forged":
            claims = agents.claims("ph-1", [NOTES], new_nonce(), AUDIENCE, now)
            token = hmac_with_public_key(claims, agents.leaf("ph-1")).encode()
        case "unregistered":
            token = agents.token("ph-9", [NOTES], new_nonce(), AUDIENCE, now).encode()
        case "replayed":
            token = await _token(house, client)
            assert (await client.post("/v1/evidence", data=token, headers=EAT)).status == 200
        case _:
            token = b"x" * (MAX_BODY_OCTETS + 1)
    answer = await client.post("/v1/evidence", data=token, headers=EAT)
    body = await answer.json()

    assert (answer.status, body["error"]) == (status, error)
    assert "Traceback" not in str(body)


async def test_another_media_type_is_refused(client: Client) -> None:
    """Nothing is guessed."""
    answer = await client.post("/v1/evidence", data=b"{}", headers={"Content-Type": "application/json"})
    assert (answer.status, (await answer.json())["error"]) == (415, "unsupported-media-type")


async def test_too_many_challenges_are_refused(client: Client) -> None:
    """Unused nonces of a device are few."""
    statuses = [(await client.post("/v1/challenge", json={"device_id": "ph-1"})).status for _ in range(60)]
    assert statuses[0] == 200
    assert statuses[-1] == 429


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'{"device_id": 5}',
        b'{"device_id": ""}',
        b'{"device_id": "' + b"x" * 256 + b'"}',
        b'{"device_id": "\\ud800"}',
        b'{"device_id": "a\\u0000"}',
        b"\xff",
        b"[" * 100_000,
    ],
)
async def test_a_challenge_for_nonsense_is_malformed(client: Client, body: bytes) -> None:
    """Whatever it is: 400, never a fault."""
    answer = await client.post("/v1/challenge", data=body, headers={"Content-Type": "application/json"})
    assert (answer.status, (await answer.json())["error"]) == (400, "malformed")


async def test_an_unknown_charset_is_malformed(client: Client) -> None:
    """Outside text selects no code."""
    answer = await client.post(
        "/v1/challenge", data=b'{"device_id":"ph-1"}', headers={"Content-Type": "application/json; charset=rot13"}
    )
    assert answer.status in (400, 415)


@pytest.mark.parametrize(
    ("path", "media"), [("/v1/challenge", "application/json"), ("/v1/evidence", "application/eat+jwt")]
)
async def test_a_body_that_does_not_unpack_is_malformed(client: Client, path: str, media: str) -> None:
    """It says gzip and is not: the sender's mistake, not a fault of ours."""
    headers = {"Content-Type": media, "Content-Encoding": "gzip"}
    answer = await client.post(path, data=b"not gzip at all", headers=headers, skip_auto_headers=["Content-Encoding"])
    assert (answer.status, (await answer.json())["error"]) == (400, "malformed")


async def test_what_does_not_exist_is_json_too(client: Client) -> None:
    """404 and 405."""
    assert await (await client.get("/nothing")).json() == {"error": "not-found"}
    assert (await client.get("/v1/evidence")).status == 405


async def test_without_store_or_audit_it_is_unavailable(house: House, client: Client) -> None:
    """503 with a time to come back."""
    await house.gatekeeper.audit.close()
    answer = await client.post("/v1/evidence", data=b"x.y.z", headers=EAT)
    assert (answer.status, await answer.json()) == (503, {"error": "unavailable"})
    assert answer.headers["Retry-After"]


async def test_no_text_of_an_exception_leaves_the_process(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even when the loop is in its debugging mode, where aiohttp would send the traceback; it is logged instead."""

    async def fail(_self: object, _account: str) -> None:
        raise ZeroDivisionError("the password is hunter2")

    monkeypatch.setattr(type(house.gatekeeper.directory), "of_account", fail)
    house.gatekeeper.loop.set_debug(True)
    with structlog.testing.capture_logs() as logs:
        async with TestClient(TestServer(admin_app(house.gatekeeper))) as client:
            answer = await client.get(f"/v1/decision?user={ALICE}")
            text = await answer.text()
    house.gatekeeper.loop.set_debug(False)

    assert (answer.status, text) == (500, '{"error": "internal"}')
    assert [log["event"] for log in logs] == ["admin.fault"]


@pytest.fixture
async def control(house: House) -> AsyncIterator[tuple[Client, list[str]]]:
    """The control socket's application, and what it asked for."""
    asked: list[str] = []
    app = control_app(house.gatekeeper, lambda: asked.append("drain"))
    async with TestClient(TestServer(app)) as client:
        yield client, asked


async def test_the_control_socket_tells_the_status(house: House, control: tuple[Client, list[str]]) -> None:
    """What `gatekeeper status` shows."""
    body = await (await control[0].get("/status")).json()
    assert body["version"] == __version__
    assert body["ready"]["audit"] == "ok"
    assert set(body["listeners"]) == {"imaps", "submission"}
    assert body["listeners"]["imaps"] == {
        "protocol": "imap",
        "port": house.gatekeeper.listeners["imaps"].port,
        "tls": "implicit",
    }
    assert (body["sessions"], body["waiting"]) == (0, 0)


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{}", b'{"code": "GK9999E", "detail": {}}', b'{"code": "GK1001I", "detail": {}}', b'{"code": 7, "detail": {}}',
     b'{"code": "GK4001I", "detail": []}', b'{"code": {}, "detail": {}}'],
)  # fmt: skip
async def test_an_import_that_makes_no_sense_is_not_recorded(control: tuple[Client, list[str]], body: bytes) -> None:
    """Another version of the command, or somebody's script: 400."""
    answer = await control[0].post("/record", data=body, headers={"Content-Type": "application/json"})
    assert answer.status == 400


async def test_what_a_command_did_is_recorded_by_the_gate(control: tuple[Client, list[str]]) -> None:
    """The log has one writer: `audit export` tells it."""
    body = {"code": "GK5001I", "detail": {"what": "export", "records_n": 3}}
    answer = await control[0].post("/record", json=body)
    assert (answer.status, await answer.json()) == (200, {"recorded": True})


async def test_the_control_socket_drains_and_reloads(house: House, control: tuple[Client, list[str]]) -> None:
    """A bad configuration is a conflict with its faults."""
    client, asked = control
    assert await (await client.post("/drain")).json() == {"draining": True}
    assert asked == ["drain"]
    good = await client.post("/reload")
    assert (good.status, (await good.json())["reloaded"]) == (200, True)
    house.configuration.policy_path.write_text("schema = 7\n")
    bad = await client.post("/reload")
    body = await bad.json()
    assert (bad.status, body["reloaded"]) == (409, False)
    assert "schema" in body["faults"][0]


def test_every_status_is_for_a_code_that_exists() -> None:
    """A renamed rejection would silently become 400."""
    from gatekeeper.server.admin import _STATUS

    assert set(_STATUS) <= set(RejectionCode)
