"""What `audit verify` finds in one log, and how it says so: for people, and as a document."""

import base64
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from time import sleep as pause

import click

from gatekeeper.adapters.sinks.directory import AuditLogDamaged, first_sequence, read_head, segment_paths
from gatekeeper.adapters.sinks.reader import all_pieces
from gatekeeper.adapters.sinks.tiles import TileMissing, read_checkpoint_file, read_tile
from gatekeeper.audit.chain import verify as verify_chain
from gatekeeper.audit.checkpoint import Checkpoint
from gatekeeper.audit.record import clean
from gatekeeper.audit.report import Finding, Report
from gatekeeper.audit.signed import SignedReport, SignedVerification
from gatekeeper.cli.audit_keys import Known

_TAMPERED, _INCOMPLETE = 1, 3
_WORST_FIRST = (_TAMPERED, _INCOMPLETE, 0)
_POLL_S = 0.1


@dataclass(frozen=True, slots=True)
class Verified:
    """What came of one log."""

    directory: Path
    note: bytes | None
    """The head that was published when the verification began."""
    report: Report
    signed: SignedReport
    missing: tuple[str, ...]
    is_head_known: bool
    is_key_pinned: bool
    since: tuple[Checkpoint, ...]

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Of both verifications."""
        return (*self.report.findings, *self.signed.findings)

    @property
    def status(self) -> int:
        """The exit code."""
        if self.findings:
            return _TAMPERED
        return _INCOMPLETE if self.missing else 0

    @property
    def result(self) -> str:
        """In a word."""
        return {0: "SOUND", _TAMPERED: "TAMPERED", _INCOMPLETE: "INCOMPLETE"}[self.status]


def worst_of(verified: Sequence[Verified]) -> Verified:
    """The one that decides."""
    return min(verified, key=lambda one: _WORST_FIRST.index(one.status))


def verify_log(where: Path, known: Known, since: Sequence[Checkpoint] = ()) -> Verified:
    """Verify the log in a directory, by keys, and against older heads of it."""
    missing: list[str] = []
    head = None
    note = read_checkpoint_file(where)  # before the log is read, as the head
    signed = SignedVerification(note, known=known.keys, since=since, read_tile=lambda *tile: _tile(where, *tile))
    try:
        head = read_head(where)  # before the log is read: a live log can only be ahead of it
    except AuditLogDamaged as error:
        missing.append(str(error))
    else:
        if head is None:
            missing.append("there is no `head.json`: that the end was not cut off cannot be told")
    report = verify_chain(signed.along(all_pieces(where), first=first_sequence(where)), head=head)
    signed_report = signed.finish(report.log)
    missing += signed_report.missing
    if report.last is None:
        missing.append("there are no records")
    if report.torn is not None and not _is_growing(where, report):
        missing.append(f"the last line is torn: {report.torn.length} octets at {report.torn.place}")
    return Verified(
        where,
        note,
        report,
        signed_report,
        tuple(missing),
        is_head_known=head is not None,
        is_key_pinned=known.is_pinned,
        since=tuple(since),
    )


def _tile(where: Path, level: int, index: int, width: int) -> bytes | None:
    try:
        return read_tile(where, level, index, width)
    except TileMissing:
        return None


def _is_growing(directory: Path, report: Report) -> bool:
    """Whether a torn last line is only a write that was under way when it was read."""
    if report.torn is None:
        return False
    seen = report.torn.place.offset + report.torn.length
    for _ in range(5):
        segments = segment_paths(directory)
        if segments and (segments[-1].name != report.torn.place.segment or segments[-1].stat().st_size != seen):
            return True
        pause(_POLL_S)
    return False


def print_report(verified: Verified) -> None:
    """For people."""
    for name, text in report_rows(verified):
        click.echo(f"{name:<10} {clean(text, 2000)}")


def report_rows(verified: Verified) -> list[tuple[str, str]]:
    """What is said to people, each with its name."""
    report, missing, is_head_known = verified.report, verified.missing, verified.is_head_known
    rows: list[tuple[str, str]] = [("log", clean(report.log or "-"))]
    if report.last is not None:
        kinds = {finding.kind for finding in report.findings}
        chain = "OK" if not kinds else ", ".join(sorted(kinds))
        numbers = f"{report.first_sequence} … {report.last.sequence} ({report.entries} in {report.segments} segments)"
        rows.append(("entries", f"{numbers}  sequence and prev-chain {chain}"))
        if report.pruned is not None:
            what = (
                f"the log begins with record {report.first_sequence}; what was before it was removed when it was older"
            )
            rows.append(("pruned", f"{what} than the retention, as record {report.pruned.by} says"))
        rows.append(("times", _times(report)))
        rows.append(("head", f"{report.last.sha256}  " + ("compared with head.json" if is_head_known else "not noted")))
        clean_end = "closed" if report.is_closed else "open"
        rows.append(("openings", f"{report.openings}, of them {report.unclean} after a crash; now {clean_end}"))
        places = "; ".join(str(place) for place in report.recovered[:5])
        rows.append(("recovered", f"tails {len(report.recovered)}" + (f" ({places})" if places else "")))
    rows += _signed_rows(verified)
    rows += [("FOUND", str(finding)) for finding in verified.findings]
    if report.findings_total > len(report.findings):
        rows.append(("FOUND", f"and {report.findings_total - len(report.findings)} more"))
    rows += [("missing", reason) for reason in missing]
    counts = " / ".join(f"{count} {clean(word, 20)}" for word, count in sorted(report.words.items()))
    rows.append(("RESULT", f"{verified.result}  {counts}  policies {len(report.policies)}"))
    return rows


def _signed_rows(verified: Verified) -> list[tuple[str, str]]:
    signed = verified.signed
    checkpoint, kinds = signed.checkpoint, sorted({finding.kind for finding in signed.findings})
    if checkpoint is None:
        return []
    root = base64.b64encode(checkpoint.root).decode()
    is_ours = "recomputed OK" if not kinds else ", ".join(kinds)
    tree = f"size {checkpoint.size}  root {root}  {is_ours}  tiles {signed.tiles} OK"
    rows = [("tree", tree + (f"  {signed.unsigned} records not signed yet" if signed.unsigned else ""))]
    if signed.key is not None:
        how = "pinned" if verified.is_key_pinned else "the gate's own, not pinned"
        rows.append(("signature", f"OK  key {signed.key.key_id.hex()} ({how})"))
    rows += [("since", f"size {one.size}: the log begins with it" if not kinds else "") for one in verified.since]
    return [row for row in rows if row[1]]


def _times(report: Report) -> str:
    ends = [
        "-" if value is None else f"{datetime.fromtimestamp(value / 1000, UTC):%Y-%m-%dT%H:%M:%SZ}"
        for value in (report.first_time_ms, report.last_time_ms)
    ]
    back = "monotonic" if not report.back_steps else f"back {report.back_steps} times"
    return f"{ends[0]} … {ends[1]}  {back} (max back-step {report.max_back_step_ms} ms)"


def as_document(verified: Verified) -> dict[str, object]:
    """For machines."""
    document: dict[str, object] = {"result": verified.result, "missing": list(verified.missing)}
    document |= asdict(verified.report)
    document["words"] = dict(verified.report.words)
    document["findings"] = [asdict(finding) for finding in verified.findings]
    signed, checkpoint = verified.signed, verified.signed.checkpoint
    document["signed"] = (
        None
        if checkpoint is None
        else {
            "origin": checkpoint.origin,
            "size": checkpoint.size,
            "root": base64.b64encode(checkpoint.root).decode(),
            "key": None if signed.key is None else str(signed.key),
            "is_key_pinned": verified.is_key_pinned,
            "tiles": signed.tiles,
            "unsigned": signed.unsigned,
        }
    )
    return document
