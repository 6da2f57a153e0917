"""The one table of event codes: what each means in words and how it is classified (OCSF 1.8.0).

Inside holds: every `EventCode` has exactly one row (a test counts them), codes and words are stable and never reused,
and numbers are those of the OCSF 1.8.0 schema: `type_uid` is always `class_uid * 100 + activity_id`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from gatekeeper import __version__
from gatekeeper.audit.event import EventCode


class Word(StrEnum):
    """What an event means for a session, in one word: what `audit query --verdict` asks for."""

    ALLOW = "allow"
    WARN = "warn"
    WOULD_BLOCK = "would-block"
    BLOCK = "block"
    UNAVAILABLE = "unavailable"
    REFUSED = "refused"
    """Refused by the mail server (credentials), not by policy."""
    REVOKED = "revoked"
    ENDED = "ended"
    CLOSED = "closed"
    CONFIG = "config"
    POLICY = "policy"
    DEVICE = "device"
    EVIDENCE = "evidence"
    LOG = "log"


AUTHENTICATION = 3002
NETWORK_ACTIVITY = 4001
ENTITY_MANAGEMENT = 3004
COMPLIANCE_FINDING = 2003
SOFTWARE_INVENTORY = 5020
APPLICATION_LIFECYCLE = 6002

PRODUCT = {"name": "gatekeeper", "vendor_name": "gatekeeper", "version": __version__}


@dataclass(frozen=True, slots=True, kw_only=True)
class Classification:
    """A row: how the records of one code are classified, and what they say when the event brings no message."""

    class_uid: int
    fixed: dict[str, object]
    """The OCSF attributes that are the same in every record of this code."""
    is_security_control: bool
    """Whether the profile `security_control` applies: somebody was let through, warned, stopped or cut off."""
    word: Word
    title: str


def _row(  # noqa: PLR0913  a row has as many columns as it has
    word: Word,
    title: str,
    class_uid: int,
    activity_id: int,
    severity_id: int,
    status_id: int | None = None,
    *,
    action_id: int | None = None,
    disposition_id: int | None = None,
    **more: object,
) -> Classification:
    fixed: dict[str, object] = {
        "class_uid": class_uid,
        "category_uid": class_uid // 1000,
        "activity_id": activity_id,
        "type_uid": class_uid * 100 + activity_id,
        "severity_id": severity_id,
    }
    optional = {"status_id": status_id, "action_id": action_id, "disposition_id": disposition_id}
    fixed |= {name: value for name, value in optional.items() if value is not None}
    return Classification(
        class_uid=class_uid,
        fixed=fixed | more,
        is_security_control=disposition_id is not None,
        word=word,
        title=title,
    )


def _blocked(title: str) -> Classification:
    return _row(Word.BLOCK, title, AUTHENTICATION, 1, 3, status_id=2, action_id=2, disposition_id=2, is_alert=True)


def _entity(word: Word, title: str, kind: Mapping[str, object], *, accepted: bool, activity_id: int) -> Classification:
    severity_id, status_id = (1, 1) if accepted else (3, 2)
    return _row(word, title, ENTITY_MANAGEMENT, activity_id, severity_id, status_id, entity=kind)


_POLICY = {"name": "policy", "type_id": 5}
_CONFIGURATION = {"name": "configuration", "type_id": 99, "type": "Configuration"}
_INVENTORY = {"name": "inventory", "type_id": 99, "type": "Inventory"}
_AUDIT_LOG = {"name": "audit log", "type_id": 99, "type": "Audit Log"}
_IDENTITY = {"name": "identity map", "type_id": 99, "type": "Identity Map"}
_LEGAL_HOLD = {"name": "legal hold", "type_id": 99, "type": "Legal Hold"}
_DIRECTORY = {"name": "directory of groups", "type_id": 99, "type": "Directory"}
_ACTIVATE, _UPDATE, _READ, _CREATE, _DELETE = 10, 3, 2, 1, 4

CLASSIFICATIONS: Mapping[EventCode, Classification] = MappingProxyType(
    {
        EventCode.SESSION_ALLOWED: _row(
            Word.ALLOW, "Mail session allowed", AUTHENTICATION, 1, 1, 1, action_id=1, disposition_id=1
        ),
        EventCode.BLOCKED_APP: _blocked("Mail sign-in refused: denied app"),
        EventCode.BLOCKED_STALE: _blocked("Mail sign-in refused: evidence is stale or absent"),
        EventCode.BLOCKED_UNKNOWN_DEVICE: _blocked("Mail sign-in refused: unknown device"),
        EventCode.BLOCKED_INSUFFICIENT: _blocked("Mail sign-in refused: evidence cannot prove absence"),
        EventCode.BLOCKED_DEVICE: _blocked("Mail sign-in refused: the device is not as a rule asks"),
        EventCode.BLOCKED_INVALID: _blocked("Mail sign-in refused: evidence is invalid"),
        EventCode.SESSION_WARNED: _row(
            Word.WARN, "Mail session allowed with a warning", AUTHENTICATION, 1, 2, 1, action_id=3, disposition_id=19
        ),
        EventCode.WOULD_BLOCK: _row(
            Word.WOULD_BLOCK, "Mail session would be blocked", AUTHENTICATION, 1, 1, 1, action_id=3, disposition_id=15
        ),
        EventCode.GATE_FAULT: _row(
            Word.UNAVAILABLE, "Temporary refusal: fault of the gate", AUTHENTICATION, 1, 4, 2, disposition_id=27
        ),
        EventCode.CREDENTIALS_REFUSED: _row(
            Word.REFUSED, "Credentials refused", AUTHENTICATION, 1, 2, 2, action_id=2, disposition_id=26
        ),
        EventCode.PASSWORD_EXPOSED: _row(
            Word.REFUSED,
            "Credentials sent before TLS, not used",
            AUTHENTICATION,
            1,
            3,
            2,
            action_id=2,
            disposition_id=2,
            is_alert=True,
        ),
        EventCode.SESSION_REVOKED: _row(Word.REVOKED, "Live session cut", AUTHENTICATION, 2, 3, disposition_id=24),
        EventCode.SESSION_ENDED: _row(Word.ENDED, "Mail session ended", AUTHENTICATION, 2, 1, 1),
        EventCode.CONNECTION_CLOSED: _row(
            Word.CLOSED, "Connection closed without a session", NETWORK_ACTIVITY, 2, 1, 1
        ),
        EventCode.CONFIGURATION_LOADED: _entity(
            Word.CONFIG, "Configuration loaded", _CONFIGURATION, accepted=True, activity_id=_ACTIVATE
        ),
        EventCode.CONFIGURATION_REJECTED: _entity(
            Word.CONFIG, "Configuration rejected", _CONFIGURATION, accepted=False, activity_id=_ACTIVATE
        ),
        EventCode.DIRECTORY_SILENT: _entity(
            Word.CONFIG, "Directory of groups does not answer", _DIRECTORY, accepted=False, activity_id=_READ
        ),
        EventCode.DIRECTORY_ANSWERS: _entity(
            Word.CONFIG, "Directory of groups answers again", _DIRECTORY, accepted=True, activity_id=_READ
        ),
        EventCode.GROUPS_EXPIRED: _entity(
            Word.CONFIG, "Groups of the directory are unknown", _DIRECTORY, accepted=False, activity_id=_READ
        ),
        EventCode.POLICY_ACTIVATED: _entity(
            Word.POLICY, "Policy activated", _POLICY, accepted=True, activity_id=_ACTIVATE
        ),
        EventCode.POLICY_PUBLISHED: _entity(
            Word.POLICY, "Policy published", _POLICY, accepted=True, activity_id=_UPDATE
        ),
        EventCode.POLICY_ROLLED_BACK: _entity(
            Word.POLICY, "Policy rolled back", _POLICY, accepted=True, activity_id=_UPDATE
        ),
        EventCode.POLICY_FORCED: _row(
            Word.POLICY, "Policy published over the breaker", ENTITY_MANAGEMENT, _UPDATE, 4, 1, entity=_POLICY
        ),
        EventCode.BREAK_GLASS: _row(
            Word.POLICY, "Break-glass opened or closed", ENTITY_MANAGEMENT, _ACTIVATE, 4, 1, entity=_POLICY
        ),
        EventCode.BREAK_GLASS_REFUSED: _row(
            Word.POLICY, "Break-glass refused: bad note", ENTITY_MANAGEMENT, _ACTIVATE, 4, 2, entity=_POLICY
        ),
        EventCode.CANARY_WIDENED: _entity(
            Word.POLICY, "Policy reaches more devices", _POLICY, accepted=True, activity_id=_ACTIVATE
        ),
        EventCode.CANARY_HALTED: _row(
            Word.POLICY, "Policy halted; the last good one rules", ENTITY_MANAGEMENT, _ACTIVATE, 4, 2, entity=_POLICY
        ),
        EventCode.POLICY_REJECTED: _entity(
            Word.POLICY, "Policy rejected", _POLICY, accepted=False, activity_id=_ACTIVATE
        ),
        # A finding's own status: 1 New, 4 Resolved; `compliance.status_id`: 1 Pass, 3 Fail.
        EventCode.DEVICE_DENIED: _row(
            Word.DEVICE, "Device breaks a rule", COMPLIANCE_FINDING, 1, 3, 1, compliance={"status_id": 3}
        ),
        EventCode.DEVICE_CLEAN: _row(
            Word.DEVICE, "Device is clean again", COMPLIANCE_FINDING, 3, 1, 4, compliance={"status_id": 1}
        ),
        EventCode.EVIDENCE_ACCEPTED: _row(Word.EVIDENCE, "Evidence accepted", SOFTWARE_INVENTORY, 2, 1, 1),
        EventCode.EVIDENCE_REJECTED: _row(Word.EVIDENCE, "Evidence rejected", SOFTWARE_INVENTORY, 2, 3, 2),
        EventCode.INVENTORY_IMPORTED: _entity(
            Word.EVIDENCE, "Inventory imported", _INVENTORY, accepted=True, activity_id=_UPDATE
        ),
        EventCode.INVENTORY_REJECTED: _entity(
            Word.EVIDENCE, "Inventory rejected", _INVENTORY, accepted=False, activity_id=_UPDATE
        ),
        EventCode.DEVICE_FORGOTTEN: _row(
            Word.EVIDENCE, "Device removed from the registry", SOFTWARE_INVENTORY, 2, 1, 1
        ),
        EventCode.AUDIT_EXPORTED: _entity(Word.LOG, "Audit log read", _AUDIT_LOG, accepted=True, activity_id=_READ),
        EventCode.IDENTITY_RESOLVED: _entity(
            Word.LOG, "Name behind a pseudonym told", _IDENTITY, accepted=True, activity_id=_READ
        ),
        EventCode.IDENTITY_ERASED: _entity(
            Word.LOG, "Name behind pseudonyms erased", _IDENTITY, accepted=True, activity_id=_DELETE
        ),
        EventCode.QUARTER_DESTROYED: _entity(
            Word.LOG, "Names of a quarter destroyed", _IDENTITY, accepted=True, activity_id=_DELETE
        ),
        EventCode.HOLD_PLACED: _entity(
            Word.LOG, "Legal hold placed on the audit log", _LEGAL_HOLD, accepted=True, activity_id=_CREATE
        ),
        EventCode.HOLD_RELEASED: _entity(
            Word.LOG, "Legal hold on the audit log released", _LEGAL_HOLD, accepted=True, activity_id=_DELETE
        ),
        EventCode.LOG_PRUNED: _entity(
            Word.LOG, "Records older than the retention removed", _AUDIT_LOG, accepted=True, activity_id=_DELETE
        ),
        EventCode.LOG_OPENED: _row(Word.LOG, "Audit log opened", APPLICATION_LIFECYCLE, 3, 1, 1, app=PRODUCT),
        EventCode.LOG_HEARTBEAT: _row(
            Word.LOG,
            "Nothing happened",
            APPLICATION_LIFECYCLE,
            99,
            1,
            1,
            activity_name="Heartbeat",
            app=PRODUCT,
        ),
        EventCode.LOG_CLOSED: _row(Word.LOG, "Audit log closed", APPLICATION_LIFECYCLE, 4, 1, 1, app=PRODUCT),
        EventCode.TAIL_RECOVERED: _row(
            Word.LOG,
            "Audit log recovered: what was never acknowledged was cut off",
            APPLICATION_LIFECYCLE,
            99,
            3,
            1,
            activity_name="Recover",
            app=PRODUCT,
        ),
        EventCode.CLOCK_STEPPED: _row(
            Word.LOG, "The clock was set", APPLICATION_LIFECYCLE, 99, 3, 1, activity_name="Clock", app=PRODUCT
        ),
        EventCode.LOG_INTERRUPTED: _row(
            Word.LOG,
            "Audit log could not be written for a while",
            APPLICATION_LIFECYCLE,
            99,
            4,
            2,
            activity_name="Interrupt",
            app=PRODUCT,
        ),
        EventCode.LOG_SUCCEEDS: _row(
            Word.LOG,
            "A new audit log: the one before lies behind what it signed",
            APPLICATION_LIFECYCLE,
            99,
            4,
            2,
            activity_name="Succeed",
            app=PRODUCT,
        ),
        EventCode.REMOTE_LOST: _row(
            Word.LOG,
            "A remote takes no audit records",
            APPLICATION_LIFECYCLE,
            99,
            3,
            2,
            activity_name="Remote lost",
            app=PRODUCT,
        ),
        EventCode.DIRECT_LOG: _row(
            Word.LOG,
            "Audit log could not be written; records went to remotes only",
            APPLICATION_LIFECYCLE,
            99,
            4,
            2,
            activity_name="Direct log",
            app=PRODUCT,
        ),
        EventCode.REMOTE_FOUND: _row(
            Word.LOG,
            "A remote takes audit records again",
            APPLICATION_LIFECYCLE,
            99,
            1,
            1,
            activity_name="Remote found",
            app=PRODUCT,
        ),
        EventCode.KEY_CHANGED: _row(
            Word.LOG,
            "Other keys sign the audit log",
            APPLICATION_LIFECYCLE,
            99,
            3,
            1,
            activity_name="Change Key",
            app=PRODUCT,
        ),
        EventCode.WITNESS_REFUSED: _row(
            Word.LOG,
            "A witness says that the audit log was forked or cut",
            APPLICATION_LIFECYCLE,
            99,
            4,
            2,
            activity_name="Witness refused",
            app=PRODUCT,
        ),
        EventCode.WORKER_DIED: _row(Word.LOG, "A worker died", APPLICATION_LIFECYCLE, 4, 4, 2, app=PRODUCT),
    }
)

EVENT_MEANINGS: Mapping[EventCode, str] = MappingProxyType(
    {
        EventCode.SESSION_ALLOWED: "A mail session was let through.",
        EventCode.BLOCKED_APP: "A log-in was refused because a denied app is on the device.",
        EventCode.BLOCKED_STALE: "A log-in was refused because the evidence about the device is too old or absent.",
        EventCode.BLOCKED_UNKNOWN_DEVICE: "A log-in was refused because the device is not registered.",
        EventCode.SESSION_WARNED: "A mail session was let through with a warning: a rule is in its warn phase.",
        EventCode.WOULD_BLOCK: "A mail session was let through that a rule in its observe phase would have blocked.",
        EventCode.GATE_FAULT: "A log-in got a temporary refusal because of a fault on the gate's side.",
        EventCode.BLOCKED_INSUFFICIENT: "A log-in was refused because the app list cannot prove that an app is absent.",
        EventCode.BLOCKED_DEVICE: "A log-in was refused because the device is not as a rule asks (app, version, flag).",
        EventCode.BLOCKED_INVALID: (
            "A log-in was refused because the evidence about the device is invalid (not used in this version)."
        ),
        EventCode.CREDENTIALS_REFUSED: "The mail server refused the credentials, or they had no canonical form.",
        EventCode.PASSWORD_EXPOSED: "A client sent credentials before TLS; they were not used.",
        EventCode.SESSION_REVOKED: (
            "A live session was cut because it no longer stands; where many fall at once, about a thousand "
            "are cut in a second."
        ),
        EventCode.SESSION_ENDED: "A mail session ended.",
        EventCode.CONNECTION_CLOSED: "A connection ended without ever having become a session.",
        EventCode.CONFIGURATION_LOADED: "A reload put a configuration in force.",
        EventCode.CONFIGURATION_REJECTED: (
            "A reload was rejected, for its configuration, policy or certificates; the ones before stay in force."
        ),
        EventCode.DIRECTORY_SILENT: (
            "The directory of the policy's groups does not answer (`directory`, `reason`); its last answer counts on "
            "(`answered`, `kept_until`)."
        ),
        EventCode.DIRECTORY_ANSWERS: "The directory of the policy's groups answers again (`directory`, `silent_s`).",
        EventCode.GROUPS_EXPIRED: (
            "The last answer of the directory is older than `groups.keep` (`answered`): who is in its groups is "
            "unknown, so rules for them hold for everybody."
        ),
        EventCode.POLICY_PUBLISHED: (
            "An approved bundle with a policy was found in the store (`policy_version`, `author`, "
            "`approved_by`, `reason`)."
        ),
        EventCode.POLICY_ACTIVATED: (
            "A policy came into force (`policy_sha256`, `rules_n`; of a bundle `policy_version`; `exemptions_n`, and "
            "of the first 24 as `exemption.ID` from which rule, until when and by whose approval)."
        ),
        EventCode.POLICY_ROLLED_BACK: (
            "A published bundle brings back what an earlier version said (`policy_version`, `rollback_to`)."
        ),
        EventCode.POLICY_FORCED: (
            "A policy was published over the breaker (`forced_by`, `reason`): it newly blocks more people "
            "than is allowed."
        ),
        EventCode.BREAK_GLASS: (
            "Break-glass was opened, so that nobody is refused for the device, or closed (`state`; "
            "`opened`, `until`, `reason`, `how`)."
        ),
        EventCode.BREAK_GLASS_REFUSED: "A note to open break-glass was refused (`reason`), and nothing was opened.",
        EventCode.CANARY_WIDENED: (
            "A new policy rules for a share of the devices (`percent`), or for more of them than before."
        ),
        EventCode.CANARY_HALTED: (
            "A new policy blocked out of its band and was halted (`reason`); the last good one "
            "(`last_good_version`) rules for everybody."
        ),
        EventCode.POLICY_REJECTED: (
            "A bundle was refused (`flaw`, `reason`); the policy in force stays. For a policy that is a "
            "file: `GK3031W`."
        ),
        EventCode.DEVICE_DENIED: "Signed evidence showed a denied app on a device that had none before.",
        EventCode.DEVICE_CLEAN: "Signed evidence made a device `clean` that was not.",
        EventCode.EVIDENCE_ACCEPTED: "Evidence about a device was accepted.",
        EventCode.EVIDENCE_REJECTED: "Evidence was rejected and changed nothing.",
        EventCode.INVENTORY_IMPORTED: "An inventory file was imported.",
        EventCode.INVENTORY_REJECTED: "An inventory file was rejected and changed nothing.",
        EventCode.DEVICE_FORGOTTEN: "A device and all that was known about it were removed from the registry.",
        EventCode.AUDIT_EXPORTED: (
            "Somebody was shown records of the log, or took them out (`what`: the command, `asked`: its filters, "
            "`records_n`, `by`; of what was taken out `format` and `sha256`)."
        ),
        EventCode.IDENTITY_RESOLVED: (
            "Somebody asked whose a pseudonym is (`pseudonym`, `outcome`: `named`, `erased` or `unknown`; `reason`, "
            "`by`)."
        ),
        EventCode.IDENTITY_ERASED: (
            "The names behind somebody's pseudonyms, and what was archived of their devices, were removed for good "
            "(`pseudonyms_n`, `devices_n`, `reason`, `by`)."
        ),
        EventCode.QUARTER_DESTROYED: (
            "The secret of a quarter that no record is left of was destroyed, and with it all of its names (`quarter`, "
            "`by`)."
        ),
        EventCode.HOLD_PLACED: (
            "A legal hold keeps records from being pruned (`hold`, `reason`, `case`, `hold_since`, `hold_until`, `by`)."
        ),
        EventCode.HOLD_RELEASED: "A legal hold was released (`hold`, `reason`, `by`).",
        EventCode.LOG_PRUNED: (
            "Whole segments older than the retention are removed: the log begins with `first_kept` (`first`, `last`, "
            "`last_sha256`, `tree_root` over all records before `first_kept`, `segments_n`, `retention`, `older_than`, "
            "`by`)."
        ),
        EventCode.LOG_OPENED: "A process opened the audit log.",
        EventCode.LOG_HEARTBEAT: "The gate runs, and nothing else was to be recorded for a while.",
        EventCode.LOG_CLOSED: "The process closed the audit log cleanly.",
        EventCode.TAIL_RECOVERED: "Bytes at the end of the log that were never acknowledged were cut off.",
        EventCode.CLOCK_STEPPED: (
            "The machine's clock was set, or the machine stood still: `step_s` seconds away from the time that was "
            "`expected`, forwards or, negative, back."
        ),
        EventCode.LOG_INTERRUPTED: (
            "The audit log could not be written for a while (`interrupted_since`, `seconds`, `reason`), and nobody new "
            "was let in; `existing` says what open sessions did then (`sessions_n` before, `ended_n` of them ended)."
        ),
        EventCode.LOG_SUCCEEDS: (
            "This log was begun because the one before it (`predecessor`) lies behind what it signed "
            "(`predecessor_size`, `predecessor_root`): restored from a backup, or cut to `found_n` records (-1: gone). "
            "What was there lies in `set_aside`."
        ),
        EventCode.REMOTE_LOST: (
            "A remote (`remote`) has not taken records for some seconds (`reason`, `behind_n`); they wait in the log."
        ),
        EventCode.DIRECT_LOG: (
            "While the audit log could not be written, `records_n` records went to remotes only, in the log `direct`, "
            "whose last line has the digest `sha256`."
        ),
        EventCode.REMOTE_FOUND: "A remote (`remote`) that was lost takes records again, after `seconds`.",
        EventCode.KEY_CHANGED: (
            "From here on these keys sign the log (`key`, in the time after a change also `older_key`); before it were "
            "those with the ids `before`. An auditor pins what the gate's owners say, not what stands here."
        ),
        EventCode.WITNESS_REFUSED: (
            "A witness (`witness`) does not cosign the log, for it does not go on from what it cosigned before "
            "(`reason`): it was forked, cut, or restored from a backup."
        ),
        EventCode.WORKER_DIED: "A worker ended by itself or was killed: its open connections have no terminal records.",
    }
)
