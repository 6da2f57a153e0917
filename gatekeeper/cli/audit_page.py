"""`gatekeeper audit report`: a period of the log as one page of HTML."""

import hashlib
import os
import sys
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path

import click

from gatekeeper.adapters.sinks.reader import lines
from gatekeeper.adapters.sinks.several import log_directories, merged
from gatekeeper.audit.pages.report import Integrity, Report, page
from gatekeeper.audit.pages.sections import Exemption, Rule
from gatekeeper.audit.period import Period
from gatekeeper.audit.stored import read
from gatekeeper.cli.audit_keys import known_for, origin_of, vkey_option
from gatekeeper.cli.audit_options import audit_directory, existing, instant
from gatekeeper.cli.audit_report import report_rows, verify_log
from gatekeeper.cli.named import InputFile, unwritable
from gatekeeper.cli.recording import record_export, whoever
from gatekeeper.cli.words import EXIT_USAGE, fail, identity_settings
from gatekeeper.config.load import load
from gatekeeper.decision.policy import Policy
from gatekeeper.domain.document import DocumentError
from gatekeeper.server.clock import SystemClock
from gatekeeper.server.policy_source import load_policy, policies_by_digest
from gatekeeper.signing.note import VerifierKey

_BEFORE = timedelta(days=7)  # phones look for mail far more often: who is not seen in a week is not in use


@click.command("report")
@click.option(
    "--from",
    "since",
    callback=instant,
    default="30d",
    show_default=True,
    help="RFC 3339 time or date, or how long ago.",
)
@click.option("--to", "until", callback=instant, help="Likewise; without it up to now.")
@click.option("--policy", "policy_file", type=InputFile(), help="Take deadlines and exemptions from this file.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Write to this new file, not to stdout.")
@vkey_option
@click.option("--no-verify", "without_verification", is_flag=True, help="Do not verify the log; the page says so.")
@click.pass_context
def report(  # noqa: PLR0913  one for each option
    context: click.Context,
    /,
    *,
    since: datetime,
    until: datetime | None,
    policy_file: Path | None,
    out: Path | None,
    pinned: tuple[VerifierKey, ...],
    without_verification: bool,
) -> None:
    """Write a page about a period: decisions, denied apps, deadlines, exemptions, approvals, evidence, gaps.

    One file of HTML for a screen, a phone or paper; it loads nothing and runs nothing. The log is verified first.
    Deadlines and exemptions are those of the policy that decided last, if it is at hand.

    \b
    Examples:
      gatekeeper audit report --from 2026-10-01 --to 2026-11-01 --out october.html
    """  # noqa: D301  click's paragraph mark
    directory = existing(audit_directory(context))
    now = SystemClock().now()
    until = until or now
    if until <= since:
        raise click.UsageError("--to is not after --from")
    period, notes = _counted(directory, since, until, now)
    policy = _policy(context.obj, policy_file, period)
    found = Report(
        period=period,
        made=now,
        by=whoever(),
        integrity=[
            _integrity(context, log, pinned, is_verified=not without_verification) for log in log_directories(directory)
        ],
        rules=[] if policy is None else [_rule(policy, number) for number in range(len(policy.rules))],
        exemptions=[] if policy is None else [_exemption(policy, number) for number in range(len(policy.exemptions))],
        policy="" if policy is None else f"policy {policy.sha256[:16]}",
        notes=notes,
    )
    octets = page(found).encode("utf-8", "replace")
    if out is None:
        sys.stdout.buffer.write(octets)
    else:
        _write(out, octets)
    asked = f"since={since.isoformat()} until={until.isoformat()}"
    facts: dict[str, str | int] = {"what": "report", "format": "html", "asked": asked}
    sha256 = hashlib.sha256(octets).hexdigest()
    record_export(context.obj, directory, {**facts, "records_n": period.records, "sha256": sha256})


def _counted(directory: Path, since: datetime, until: datetime, now: datetime) -> tuple[Period, list[str]]:
    period, wrong = Period(since, until), 0
    for line in merged(lines(log, since=since - _BEFORE, until=until) for log in log_directories(directory)):
        try:
            period.add(read(line))
        except ValueError:
            wrong += 1
    period.finish(now)
    return period, [f"{wrong:,} lines of the log are no records and are not counted."] if wrong else []


def _integrity(context: click.Context, log: Path, pinned: tuple[VerifierKey, ...], *, is_verified: bool) -> Integrity:
    origin = origin_of(log) or str(log)
    if not is_verified:
        return Integrity(log=origin, result="NOT VERIFIED", facts=[("log", "was not verified for this page")])
    verified = verify_log(log, known_for(context, log, pinned))
    rows = [(name, text) for name, text in report_rows(verified) if name not in ("log", "RESULT")]
    return Integrity(log=origin, result=verified.result, facts=rows)


def _policy(config_path: Path, file: Path | None, period: Period) -> Policy | None:
    """The policy in the file, else the one that decided last if it is at hand."""
    if file is not None:
        try:
            return load_policy(file, identity_settings(config_path))
        except DocumentError as error:
            fail(*map(str, error.faults), code=EXIT_USAGE)
    if not period.policies:
        return None
    last = max(period.policies, key=lambda digest: period.policies[digest].last_ms)
    return _at_hand(config_path).get(last)


def _at_hand(config_path: Path) -> Mapping[str, Policy]:
    try:
        return policies_by_digest(load(config_path, os.environ))
    except DocumentError:
        return {}  # a copy of the log, away from the gate


def _rule(policy: Policy, number: int) -> Rule:
    rule = policy.rules[number]
    return Rule(id=rule.id, title=rule.title, reason=rule.reason, enforce=rule.phases.enforce)


def _exemption(policy: Policy, number: int) -> Exemption:
    one = policy.exemptions[number]
    return Exemption(id=one.id, rule=one.rule, expires=one.expires, reason=one.reason, approved_by=one.approved_by)


def _write(file: Path, octets: bytes) -> None:
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(descriptor, "wb") as stream:  # noqa: PTH123  a descriptor, not a path
            stream.write(octets)
    except OSError as error:
        unwritable(file, error)
