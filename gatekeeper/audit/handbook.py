"""The public table of event codes and fields, made from the tables that records are made from (docs/audit-events.md).

Inside holds: nothing is said here that a record does not do; a test compares the page with what `page` returns.
"""

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType

from gatekeeper.audit.codes import CLASSIFICATIONS, EVENT_MEANINGS
from gatekeeper.audit.event import TERMINAL, EventCode

CLASS_NAMES: Mapping[int, str] = MappingProxyType(
    {
        2003: "Compliance Finding",
        3002: "Authentication",
        3004: "Entity Management",
        4001: "Network Activity",
        5020: "Software Inventory Info",
        6002: "Application Lifecycle",
    }
)
"""Captions of the classes in OCSF 1.8.0."""

ACTIVITY_NAMES: Mapping[int, str] = MappingProxyType(
    {
        200301: "Create",
        200303: "Close",
        300201: "Logon",
        300202: "Logoff",
        300401: "Create",
        300402: "Read",
        300403: "Update",
        300404: "Delete",
        300410: "Activate",
        400102: "Close",
        502002: "Collect",
        600203: "Start",
        600204: "Stop",
        600299: "Other",
    }
)
"""Captions of the activities, by `type_uid`."""

_SEVERITIES = ("Unknown", "Informational", "Low", "Medium", "High", "Critical", "Fatal")

FIELDS: Mapping[str, str] = MappingProxyType(
    {
        "v": "Version of these fields: 1.",
        "log": "Name of the log (`audit.origin`).",
        "prev": "SHA-256 (hex) of the line before, without its newline; 64 zeros in the first.",
        "conn": "Id of the connection, as in the operational log; null: the event is about none.",
        "src_prefix": "Bits that were kept of the client's address; absent: it is whole.",
        "via": "Address of the load balancer that brought the connection.",
        "via_tls": "Version of the TLS session that the load balancer says it ended.",
        "via_certificate_verified": "Whether it says that it verified the phone's certificate.",
        "via_common_name": "Common name of that certificate, by its word.",
        "rules": "Ids of the rules that decided.",
        "matched": "The denied apps that were found, as `platform:id`; never other apps.",
        "phase": "Phase of the deciding rule: `observe`, `warn`, `enforce`.",
        "posture": "`clean`, `denied`, `stale`, `unknown`, `insufficient`, `invalid`.",
        "binding": "How surely the session is tied to the device: `proven`, `credential`, `claimed`, `user`.",
        "binding_method": "By what.",
        "reasons": "Reason codes, the deciding one first; `status_code` is the verdict and that one.",
        "policy_sha256": "SHA-256 of the policy that decided.",
        "evidence_sha256": "SHA-256 of the evidence that it was decided on.",
        "evidence_age_s": "Age of that evidence in seconds.",
        "evidence_src": "Its source.",
        "apps_n": "How many apps it lists.",
        "exemptions": "Ids of the exemptions that were used.",
        "valid_until": "When time alone can change the verdict.",
        "claimed_device": "Id of a device that was claimed and is not the one decided on.",
        "groups": "Groups that the policy takes from a directory and the person was in; absent: it takes none.",
        "groups_unknown": "Those of them of which it was not known.",
        "judged": "The devices that counted, each with the revision of its posture: `id@revision`.",
        "engine": "Version of the procedure that decides.",
        "client_id": "What an IMAP client said of itself by `ID`: a hint, by which nothing is decided.",
        "authcid": "Who logged in, where that is somebody else than whose mailbox was asked for.",
        "authzid": "Whose mailbox was asked for, where no delegation allows it.",
        "fault": "Of a temporary refusal: what the gate, or a mail server, could not do.",
        "break_glass": "`open`: the session was let through by break-glass.",
        "attempts": "How many log-ins there were on a connection that none of them let in.",
        "ended": "Why a session or a connection ended: who did it, the limit, or the kind of the fault; `lost`: one"
        " side was gone before the first octet.",
        "octets_up": "How many octets were relayed to the mail server.",
        "octets_down": "How many octets were relayed to the phone.",
        "cut": "True: there were more details than a record has room for.",
    }
)
"""Fields under `unmapped.gatekeeper` that several events have."""

ALWAYS = frozenset(
    {
        *("v", "log", "prev", "conn"),
        *("rules", "matched", "phase", "posture", "binding"),
        *("policy_sha256", "evidence_sha256", "evidence_age_s"),
    }
)
"""Those that stand in every record, null or empty where nothing is known."""

_BEFORE = """# Audit events

<!-- Made by `gatekeeper audit codes --markdown`; a test fails when it is stale. -->

One record is one line of JSON, an event of [OCSF](https://schema.ocsf.io/1.8.0/) 1.8.0 with Gatekeeper's own facts
under `unmapped.gatekeeper`. Records of every code are validated against the published schema in the tests. How records
are written, counted and kept: [operations.md](operations.md#event-codes).

## Codes

`metadata.event_code`: stable, never reused. The last letter: `I` is fine, `W` a refusal or an alarm, `E` a fault of the
gate. The word is what `audit query --verdict` takes. A code in **bold** ends a connection: connections accepted = the
sum of `count` (1 when absent) over their records.
"""

_BETWEEN = """
## Fields under `unmapped.gatekeeper`

Those with a star stand in every record, null or empty where nothing is known. An event may have more of its own: the
table above names the important ones in parentheses.
"""

_AFTER = """
## Fields of OCSF

| field | |
|---|---|
| `time` | when it happened, milliseconds since 1970 (UTC); of counted ones the last, from `start_time` to `end_time` |
| `metadata.sequence` · `metadata.uid` | number in its log, from 0, without gaps · unique among all logs |
| `user.name` · `actor.user.name` · `device.owner.name` | the account, where there is a place; pseudonym: `uid` |
| `device.uid` | the device; `device.is_compliant` where its posture is `clean` or `denied` |
| `src_endpoint.ip` | the client's address, cut to its network unless `audit.client_address = "full"` |
| `dst_endpoint` | the listener: `name`, `svc_name` (protocol), `port` |
| `status_code` | verdict and deciding reason, such as `block.app.match` |
| `policy.version` | first 12 digits of `policy_sha256` |
| `message` | a line for people |
"""


def page() -> str:
    """The whole of docs/audit-events.md."""
    return "".join([_BEFORE, "\n", *_codes(), _BETWEEN, "\n", *_fields(), _AFTER])


def _codes() -> Iterator[str]:
    yield from _row(["code", "word", "meaning", "OCSF type", "severity"])
    yield from _row(["---"] * 5)
    for code in sorted(EventCode):
        row = CLASSIFICATIONS[code]
        type_uid = int(str(row.fixed["type_uid"]))
        yield from _row(
            [
                f"**`{code.value}`**" if code in TERMINAL else f"`{code.value}`",
                row.word.value,
                EVENT_MEANINGS[code],
                f"{type_uid} {CLASS_NAMES[row.class_uid]}: {ACTIVITY_NAMES[type_uid]}",
                f"{row.fixed['severity_id']} {_SEVERITIES[int(str(row.fixed['severity_id']))]}",
            ]
        )


def _fields() -> Iterator[str]:
    yield from _row(["field", "meaning"])
    yield from _row(["---"] * 2)
    for name, meaning in FIELDS.items():
        yield from _row([f"`{name}`" + (" \\*" if name in ALWAYS else ""), meaning])


def _row(cells: Iterable[str]) -> Iterator[str]:
    yield "| " + " | ".join(cells) + " |\n"
