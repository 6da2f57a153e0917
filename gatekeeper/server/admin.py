"""The admin port (health, metrics, evidence, decisions) and the control socket (reload, drain, status).

Never on a mail port. The control socket lies in the state directory and is its owner's alone; whoever may write there
may also stop the process.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import TYPE_CHECKING

import structlog
from aiohttp import web

from gatekeeper import __version__
from gatekeeper.attestation.rejection import EvidenceRejected, RejectionCode
from gatekeeper.audit.event import Event, EventCode
from gatekeeper.domain.decision import Decision
from gatekeeper.ports.audit import AuditLog
from gatekeeper.ports.devices import Unavailable
from gatekeeper.publishing.approval import Flaw
from gatekeeper.server import break_glass
from gatekeeper.server.decisions import Decisions
from gatekeeper.server.whole import Alone, Whole

if TYPE_CHECKING:
    from gatekeeper.server.compose import Gatekeeper

_log = structlog.get_logger("gatekeeper.admin")

MAX_BODY_OCTETS = 262_144
"""Of the evidence profile: a token is at most 256 KiB."""
_EVIDENCE_TYPE = "application/eat+jwt"
_STATUS = {
    RejectionCode.SIG_INVALID: 401,
    RejectionCode.CHAIN_INVALID: 401,
    RejectionCode.DEVICE_UNKNOWN: 403,
    RejectionCode.OWNER_MISMATCH: 403,
    RejectionCode.PLATFORM_MISMATCH: 403,
    RejectionCode.REPLAY: 409,
    RejectionCode.TOO_LARGE: 413,
    RejectionCode.RATE_LIMITED: 429,
}
_FROM_COMMANDS = (
    *(EventCode.INVENTORY_IMPORTED, EventCode.INVENTORY_REJECTED),
    *(EventCode.POLICY_REJECTED, EventCode.AUDIT_EXPORTED),
    *(EventCode.HOLD_PLACED, EventCode.HOLD_RELEASED, EventCode.QUARTER_DESTROYED),
    *(EventCode.IDENTITY_RESOLVED, EventCode.IDENTITY_ERASED),
)
_RECORDED_WITHIN_S = 2.0
"""As the audit log's stall limit: whoever waits here is told that it is not recorded."""
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def admin_app(gatekeeper: "Gatekeeper", whole: Whole | None = None) -> web.Application:
    """What the admin port serves; `whole`: when this is one of several workers."""
    desk = _Desk(gatekeeper, whole or Alone(gatekeeper))
    app = web.Application(client_max_size=MAX_BODY_OCTETS, middlewares=[_guard])
    app.add_routes(
        [
            web.get("/livez", desk.livez),
            web.get("/readyz", desk.readyz),
            web.get("/metrics", desk.metrics),
            web.get("/version", desk.version),
            web.post("/v1/challenge", desk.challenge),
            web.post("/v1/evidence", desk.evidence),
            web.get("/v1/decision", Decisions(gatekeeper).ask),
        ]
    )
    return app


def control_app(gatekeeper: "Gatekeeper", drain: Callable[[], None], whole: Whole | None = None) -> web.Application:
    """What the control socket serves; `whole`: when this is one of several workers."""
    desk = _Desk(gatekeeper, whole or Alone(gatekeeper))

    async def start_drain(_request: web.Request) -> web.Response:
        drain()
        return web.json_response({"draining": True})

    app = web.Application(middlewares=[_guard])
    app.add_routes(
        [
            web.post("/reload", desk.reload),
            web.post("/drain", start_drain),
            web.post("/record", desk.record),
            web.post("/record-in", desk.record_in),
            web.get("/status", desk.status),
        ]
    )
    return app


@web.middleware
async def _guard(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Faults become fixed texts; nothing of an exception reaches the client."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        return web.json_response({"error": error.reason.lower().replace(" ", "-")}, status=error.status)
    except Unavailable as error:
        _log.warning("admin.unavailable", path=request.path, reason=str(error))
        return web.json_response({"error": "unavailable"}, status=503, headers={"Retry-After": "5"})
    except EvidenceRejected as error:
        body = {"error": error.code.value, "detail": error.detail}
        return web.json_response(body, status=_STATUS.get(error.code, 400))
    except Exception as error:  # noqa: BLE001  the guard of every request: aiohttp would send the traceback in debug mode
        _log.error("admin.fault", path=request.path, exc_info=error)
        return web.json_response({"error": "internal"}, status=500)


class _Desk:
    """The handlers."""

    def __init__(self, gatekeeper: "Gatekeeper", whole: Whole) -> None:
        self._gatekeeper = gatekeeper
        self._whole = whole

    async def livez(self, _request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(self, request: web.Request) -> web.Response:
        checks = await self._whole.checks()
        ready = all(result.startswith("ok") for result in checks.values())
        opened = break_glass.describe(self._gatekeeper)
        loud = [f"break_glass: {opened}"] if opened else []
        lines = [f"{name}: {result}" for name, result in checks.items() if "verbose" in request.query or result != "ok"]
        return web.Response(
            text="\n".join(["ready" if ready else "not ready", *loud, *lines, ""]), status=200 if ready else 503
        )

    async def metrics(self, _request: web.Request) -> web.Response:
        return web.Response(body=await self._whole.metrics(), content_type="text/plain", charset="utf-8")

    async def version(self, _request: web.Request) -> web.Response:
        return web.json_response({"version": __version__})

    async def challenge(self, request: web.Request) -> web.Response:
        body = await _json(request)
        device_id = body.get("device_id") if isinstance(body, dict) else None
        if not isinstance(device_id, str) or not 0 < len(device_id) <= 255 or not device_id.isprintable():
            raise EvidenceRejected(RejectionCode.MALFORMED, 'the body must be {"device_id": "..."}')
        challenge = await self._gatekeeper.evidence.challenge(device_id)
        return web.json_response({"nonce": challenge.nonce, "expires_in": challenge.expires_in_s})

    async def evidence(self, request: web.Request) -> web.Response:
        if request.content_type != _EVIDENCE_TYPE:
            return web.json_response(
                {"error": "unsupported-media-type", "detail": f"send {_EVIDENCE_TYPE}"}, status=415
            )
        outcomes = self._gatekeeper.metrics.evidence
        try:
            decision = await self._gatekeeper.evidence.submit(await _body(request))
        except EvidenceRejected as error:
            outcomes.labels(error.code.value).inc()
            raise
        outcomes.labels("accepted").inc()
        await self._whole.refresh()
        return web.json_response(_described(decision))

    async def reload(self, _request: web.Request) -> web.Response:
        outcome = await self._whole.reload()
        body = {"reloaded": outcome.reloaded, "faults": list(outcome.faults), "notes": list(outcome.notes)}
        return web.json_response(body, status=200 if outcome.reloaded else 409)

    async def record(self, request: web.Request) -> web.Response:
        """The command line tells what came of a command, for the audit log's one writer to record."""
        body = await _json(request)
        code, facts = (body.get("code"), body.get("detail")) if isinstance(body, dict) else (None, None)
        if code not in _FROM_COMMANDS or not isinstance(facts, dict):
            raise web.HTTPBadRequest(reason="not an event of a command")
        detail = {str(name): value if isinstance(value, int) else str(value) for name, value in facts.items()}
        gatekeeper = self._gatekeeper
        if code == EventCode.POLICY_REJECTED:
            gatekeeper.metrics.bundle_errors.labels(_flaw(detail.get("flaw"))).inc()
        event = Event(code=EventCode(code), time=gatekeeper.clock.now(), detail=detail)
        is_recorded = await _appended(gatekeeper.audit, event)
        return web.json_response({"recorded": is_recorded}, status=200 if is_recorded else 503)

    async def record_in(self, request: web.Request) -> web.Response:
        """The command line is about to prune one log, which has to say so first."""
        is_recorded = await self._whole.record_in(await _json(request))
        return web.json_response({"recorded": is_recorded}, status=200 if is_recorded else 503)

    async def status(self, _request: web.Request) -> web.Response:
        return web.json_response(await self._whole.status())


async def _appended(audit: AuditLog, event: Event) -> bool:
    """Whether the record is durable, in time."""
    answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    def recorded(is_recorded: bool) -> None:
        if not answer.done():
            answer.set_result(is_recorded)

    audit.append(event, recorded)
    try:
        async with asyncio.timeout(_RECORDED_WITHIN_S):
            return await answer
    except TimeoutError:
        return False


async def _json(request: web.Request) -> object:
    """The body, None when it is no JSON: also in an unknown charset, or brackets without end."""
    try:
        return json.loads((await _body(request)).decode(request.charset or "utf-8"))
    except (ValueError, LookupError, RecursionError):
        return None


async def _body(request: web.Request) -> bytes:
    try:
        return await request.read()
    except web.RequestPayloadError as error:
        raise EvidenceRejected(RejectionCode.MALFORMED, "the body is not what its Content-Encoding says") from error
    except web.HTTPRequestEntityTooLarge as error:
        detail = f"the body is larger than {MAX_BODY_OCTETS} octets"
        raise EvidenceRejected(RejectionCode.TOO_LARGE, detail) from error


def _flaw(value: object) -> str:
    return value if value in tuple(Flaw) else "other"  # type: ignore[return-value]


def _described(decision: Decision) -> dict[str, object]:
    return {
        "verdict": decision.verdict.value,
        "posture": decision.posture.value,
        "reasons": [reason.value for reason in decision.reasons],
        "rules": list(decision.rule_ids),
        "device": decision.device_id,
        "valid_until": _text(decision.valid_until),
        "policy_sha256": decision.policy_sha256,
    }


def _text(instant: datetime | None) -> str | None:
    return None if instant is None else instant.isoformat().replace("+00:00", "Z")
