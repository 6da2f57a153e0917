"""The mapping to the Elastic Common Schema as an ingest pipeline, for records that come to Elasticsearch as they stand.

It makes of a record what `ecs.document` makes, by the same tables, but for `event.hash`, which Elasticsearch cannot
compute as the digest of a line. Only processors that Elasticsearch 7.11 and OpenSearch have are used.
"""

from gatekeeper.audit.codes import CLASSIFICATIONS, COMPLIANCE_FINDING
from gatekeeper.audit.event import EventCode
from gatekeeper.audit.mappings.ecs import BY_CODE, BY_WORD, VERSION

Processor = dict[str, dict[str, object]]

SCRIPT = (
    "def code = ctx.gk.metadata.event_code; def p = params.codes[code]; if (p == null) { p = params.unknown; } "
    "ctx.event.action = p.action == null ? code : p.action; "
    "ctx.event.type = p.type; if (p.category.size() > 0) { ctx.event.category = p.category; } "
    "if (ctx.gk.class_uid != params.finding) { def o = params.outcomes[String.valueOf(ctx.gk.status_id)]; "
    "ctx.event.outcome = o == null ? 'unknown' : o; } "
    "ctx.event.kind = ctx.gk.is_alert == true ? 'alert' : 'event'; "
    "def r = ctx.gatekeeper.rules; if (r != null && r.size() > 0) { if (ctx.rule == null) { ctx.rule = [:]; } "
    "ctx.rule.id = r[0]; }"
)
"""Looks the code up, and does what no other processor can."""

_CONSTANTS = {
    "ecs.version": VERSION,
    "event.provider": "gatekeeper",
    "event.module": "gatekeeper",
    "event.dataset": "gatekeeper.audit",
    "observer.type": "proxy",
    "gatekeeper.count": 1,
}
_COPIES = (
    ("message", "gk.message"),
    ("event.code", "gk.metadata.event_code"),
    ("event.reason", "gk.status_code"),
    ("event.sequence", "gk.metadata.sequence"),
    ("event.id", "gk.metadata.uid"),
    ("event.severity", "gk.severity_id"),
    ("user.name", "gk.device.owner.uid"),
    ("user.name", "gk.device.owner.name"),
    ("user.name", "gk.actor.user.uid"),
    ("user.name", "gk.actor.user.name"),
    ("user.name", "gk.user.uid"),
    ("user.name", "gk.user.name"),
    ("device.id", "gk.unmapped.gatekeeper.claimed_device"),
    ("device.id", "gk.device.uid"),
    ("source.ip", "gk.src_endpoint.ip"),
    ("source.port", "gk.src_endpoint.port"),
    ("destination.port", "gk.dst_endpoint.port"),
    ("network.protocol", "gk.service.name"),
    ("network.protocol", "gk.dst_endpoint.svc_name"),
    ("observer.vendor", "gk.metadata.product.vendor_name"),
    ("observer.product", "gk.metadata.product.name"),
    ("observer.version", "gk.metadata.product.version"),
    ("observer.name", "gk.unmapped.gatekeeper.log"),
    ("rule.ruleset", "gk.unmapped.gatekeeper.policy_sha256"),
    ("related.user", "user.name"),
    ("related.ip", "source.ip"),
    ("gatekeeper.count", "gk.count"),
    ("gatekeeper.listener", "gk.dst_endpoint.name"),
)
"""Field and where it is taken from, where that is there; of several for one field the last one counts."""


def pipeline() -> dict[str, object]:
    """The body of `PUT _ingest/pipeline/gatekeeper`; `message` of a document is a line of the log."""
    steps: list[Processor] = [
        {"json": {"field": "message", "target_field": "gk"}},
        {"rename": {"field": "message", "target_field": "event.original"}},
        {"date": {"field": "gk.time", "formats": ["UNIX_MS"]}},
        *(_instant(name) for name in ("start", "end")),
        {"set": {"field": "gatekeeper", "copy_from": "gk.unmapped.gatekeeper"}},
        *({"set": {"field": field, "value": value}} for field, value in _CONSTANTS.items()),
        *({"set": {"field": to, "copy_from": of, "ignore_empty_value": True}} for to, of in _COPIES),
        {"script": {"source": SCRIPT, "params": _params()}},
        {"remove": {"field": ["gk", "gatekeeper.prev", "gatekeeper.log", "gatekeeper.v"], "ignore_missing": True}},
    ]
    return {"description": "Gatekeeper's audit records in the Elastic Common Schema", "processors": steps}


def _instant(name: str) -> Processor:
    return {
        "date": {
            "field": f"gk.{name}_time",
            "target_field": f"event.{name}",
            "formats": ["UNIX_MS"],
            "if": f"ctx.gk.{name}_time != null",
        }
    }


def _params() -> dict[str, object]:
    codes = {}
    for code in EventCode:
        word = CLASSIFICATIONS[code].word
        placed = BY_CODE.get(code) or BY_WORD[word]
        codes[code.value] = {"action": word.value, "category": list(placed.category), "type": list(placed.type)}
    return {
        "codes": codes,
        "unknown": {"category": [], "type": ["info"]},
        "outcomes": {"1": "success", "2": "failure"},
        "finding": COMPLIANCE_FINDING,
    }
