"""A plan in words and figures for people, and as a document for machines."""

from collections.abc import Sequence
from datetime import UTC, datetime

import click

from gatekeeper.campaign.chart import Line, bars, by_day
from gatekeeper.campaign.plan import Blocked, Plan, Tally, Watched
from gatekeeper.cli.words import counted, say_table
from gatekeeper.domain.decision import Reason, Verdict

_REASONS = {
    Reason.NO_EVIDENCE: "has never reported",
    Reason.STALE: "its report is too old",
    Reason.INSUFFICIENT: "its report cannot prove that an app is absent",
    Reason.UNKNOWN_DEVICE: "is not registered",
    Reason.DEVICE_OF_ANOTHER_USER: "is registered to another account",
}
_ASSUMED = "no device reports again: what a report would change is not foreseen"
_REPORTING = "devices go on reporting what they report now"
_WHAT = {
    Verdict.ALLOW: "observed",
    Verdict.WARN: "warned",
    Verdict.QUARANTINE: "quarantined",
    Verdict.BLOCK: "blocked",
}


def say_plan(plan: Plan, lines: Sequence[Line], *, names: int) -> None:
    """Print a plan; at most `names` names of each kind."""
    question = plan.question
    begin = question.dates[0].at
    click.echo(
        f"Plan at {_at(begin)}, for sessions over {question.asked.protocol} at the listener {question.asked.listener}"
    )
    click.echo(f"  in force   {question.in_force.source}  sha256 {question.in_force.sha256[:16]}")
    click.echo(f"  candidate  {question.candidate.source}  sha256 {question.candidate.sha256[:16]}")
    click.echo(f"  inventory  {counted(plan.devices, 'device')} of {counted(plan.people, 'person', 'people')}")
    click.echo(f"  assumed    {_ASSUMED if question.asked.reporting_since is None else _REPORTING}")
    click.echo()
    _say_dates(plan)
    _say_blocked(plan, names)
    _say_cut_off(plan, names)
    _say_unanswered(plan, names)
    if lines:
        click.echo()
        click.echo("Burn-down")
        past = [Line(line.title, line.colour, by_day(line.points)) for line in lines]
        for text in bars(past):
            click.echo(f"  {text}")
    _say_watched(plan)
    click.echo()
    click.echo(
        f"Result: {counted(plan.newly_blocked, 'device')} would be blocked that the policy in force does not block"
        f" ({plan.newly_by_rules} by a rule, {plan.newly_blocked - plan.newly_by_rules} for want of evidence);"
        f" {counted(plan.newly_cut_off, 'person', 'people')} would have no device left. Nothing was changed."
    )


def plan_document(plan: Plan, lines: Sequence[Line]) -> dict[str, object]:
    """The plan for machines: instants as RFC 3339, everything that is named in full."""
    question = plan.question
    return {
        "at": question.dates[0].at.isoformat(),
        "listener": question.asked.listener,
        "protocol": question.asked.protocol.value,
        "reporting": question.asked.reporting_since is not None,
        "in_force": {"source": question.in_force.source, "sha256": question.in_force.sha256},
        "candidate": {"source": question.candidate.source, "sha256": question.candidate.sha256},
        "devices": plan.devices,
        "people": plan.people,
        "dates": [
            {
                "at": date.at.isoformat(),
                "events": list(date.events),
                "current": _tally_document(current),
                "proposed": _tally_document(proposed),
                "net": {
                    verdict.value: proposed.verdicts[verdict] - current.verdicts[verdict] for verdict in _verdicts(plan)
                },
            }
            for date, current, proposed in zip(question.dates, plan.in_force, plan.candidate, strict=True)
        ],
        "newly_blocked": plan.newly_blocked,
        "newly_blocked_by_rules": plan.newly_by_rules,
        "newly_cut_off": plan.newly_cut_off,
        "blocked_total": plan.blocked_total,
        "blocked": [_blocked_document(each) for each in plan.blocked],
        "cut_off_total": plan.cut_off_total,
        "cut_off": [
            {"user": each.account, "devices": each.devices, "at": each.at.isoformat(), "new": each.is_new}
            for each in plan.cut_off
        ],
        "watched": [_watched_document(each) for each in plan.watched],
        "watched_hit": plan.is_watched_hit,
        "cannot_answer_total": plan.unanswered_total,
        "cannot_answer": [
            {
                "user": each.account,
                "device": each.device_id,
                "reasons": [reason.value for reason in each.reasons],
                "rules": list(each.rules),
                "verdict": each.verdict.value,
            }
            for each in plan.unanswered
        ],
        "burn_down": {
            line.title: [{"at": at.isoformat(), "devices": value} for at, value in line.points] for line in lines
        },
    }


def _say_dates(plan: Plan) -> None:
    header = ("", "CURRENT", "PROPOSED", "NET")
    rows: list[tuple[str, str, str, str]] = []
    before: tuple[Tally, Tally] | None = None
    verdicts = _verdicts(plan)
    for date, current, proposed in zip(plan.question.dates, plan.in_force, plan.candidate, strict=True):
        if before == (current, proposed):
            continue
        events = "; ".join(date.events) or ("now" if before is None else "evidence grows stale")
        rows.append((f"{_at(date.at)}  {events}", "", "", ""))
        before = (current, proposed)
        rows += [
            _row(f"  devices  {verdict}", current.verdicts[verdict], proposed.verdicts[verdict]) for verdict in verdicts
        ]
        rows += [
            _row(
                f"  people   {verdict} (session tied to the person only)",
                current.untied[verdict],
                proposed.untied[verdict],
            )
            for verdict in verdicts
        ]
        for hit in sorted({*current.rules, *proposed.rules}, key=lambda each: (each[0], each[1].strength)):
            rule, verdict = hit
            rows.append(_row(f"  rule     {rule}: {_WHAT[verdict]}", current.rules[hit], proposed.rules[hit]))
        for rule in sorted({*current.unanswered, *proposed.unanswered}):
            rows.append(
                _row(f"  rule     {rule}: cannot be answered", current.unanswered[rule], proposed.unanswered[rule])
            )
    widths = [max(len(row[place]) for row in (header, *rows)) for place in range(4)]
    for row in (header, *rows):
        figures = "  ".join(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))
        click.echo(f"{row[0].ljust(widths[0])}  {figures}".rstrip())


def _row(title: str, current: int, proposed: int) -> tuple[str, str, str, str]:
    return title, str(current), str(proposed), f"{proposed - current:+d}" if proposed != current else "="


def _say_blocked(plan: Plan, names: int) -> None:
    new = [each for each in plan.blocked if each.is_new]
    click.echo()
    click.echo(f"Would be blocked, and are not by the policy in force: {counted(plan.newly_blocked, 'device')}")
    if new and names:
        say_table(
            ["  FROM", "USER", "DEVICE", "WHY"],
            [[f"  {_at(each.at)}", each.account, each.device_id, _why(each)] for each in new[:names]],
        )
    _say_left_out(plan.newly_blocked - min(len(new), names))
    both = plan.blocked_total - plan.newly_blocked
    if both:
        click.echo(f"Blocked by both at some date: {counted(both, 'device')} (in --json with names)")
    if plan.question.asked.reporting_since is None and any(Reason.STALE in each.reasons for each in plan.blocked):
        click.echo("  some of them for want of a newer report: --reporting assumes that devices go on reporting")


def _say_cut_off(plan: Plan, names: int) -> None:
    new = [each for each in plan.cut_off if each.is_new]
    click.echo()
    click.echo(f"People who would have no device left: {plan.newly_cut_off}")
    if new and names:
        say_table(
            ["  FROM", "USER", "DEVICES"],
            [[f"  {_at(each.at)}", each.account, str(each.devices)] for each in new[:names]],
        )
    _say_left_out(plan.newly_cut_off - min(len(new), names))


def _say_unanswered(plan: Plan, names: int) -> None:
    click.echo()
    click.echo(f"Devices whose evidence cannot answer, now or at these dates: {plan.unanswered_total}")
    if plan.unanswered and names:
        say_table(
            ["  USER", "DEVICE", "VERDICT", "WHY"],
            [
                [
                    f"  {each.account}",
                    each.device_id,
                    each.verdict.value,
                    "; ".join(
                        [*(_REASONS[reason] for reason in each.reasons), *(f"rule {rule}" for rule in each.rules)]
                    ),
                ]
                for each in plan.unanswered[:names]
            ],
        )
    _say_left_out(plan.unanswered_total - min(len(plan.unanswered), names))


def _say_watched(plan: Plan) -> None:
    if not plan.watched:
        return
    hit = [person for person in plan.watched if person.is_hit]
    click.echo()
    if not hit:
        click.echo(f"Protected people: none of {len(plan.watched)} is hit")
        return
    click.secho(f"!!! PROTECTED PEOPLE ARE HIT: {len(hit)} of {len(plan.watched)} !!!", fg="red", bold=True)
    for person in hit:
        for each in person.blocked:
            state = "" if each.is_new else " (the policy in force does that, too)"
            click.echo(f"  {person.account}: {each.device_id} is blocked from {_at(each.at)}: {_why(each)}{state}")
        if not person.devices:
            click.echo(f"  {person.account}: has no registered device; {person.untied} without a device of their own")
        elif not person.untied.admits:
            click.echo(f"  {person.account}: {person.untied} now where a session is tied to the person only")


def _say_left_out(count: int) -> None:
    if count > 0:
        click.echo(f"  … and {count} more (--names, --json)")


def _why(each: Blocked) -> str:
    parts = [f"rule {rule}" for rule in each.by]
    parts += [_REASONS[reason] for reason in each.reasons if reason in _REASONS]
    return "; ".join(parts) or "; ".join(reason.value for reason in each.reasons)


def _tally_document(tally: Tally) -> dict[str, object]:
    rules: dict[str, dict[str, int]] = {}
    for (rule, verdict), count in sorted(tally.rules.items()):
        rules.setdefault(rule, {})[_WHAT[verdict]] = count
    for rule, count in sorted(tally.unanswered.items()):
        rules.setdefault(rule, {})["cannot_answer"] = count
    return {
        "devices": {verdict.value: count for verdict, count in sorted(tally.verdicts.items())},
        "people": {verdict.value: count for verdict, count in sorted(tally.untied.items())},
        "blocked": tally.blocked,
        "blocked_by_rules": tally.blocked_by_rules,
        "rules": rules,
    }


def _blocked_document(each: Blocked) -> dict[str, object]:
    return {
        "user": each.account,
        "device": each.device_id,
        "at": each.at.isoformat(),
        "rules": list(each.by),
        "reasons": [reason.value for reason in each.reasons],
        "new": each.is_new,
    }


def _watched_document(person: Watched) -> dict[str, object]:
    return {
        "user": person.account,
        "devices": person.devices,
        "hit": person.is_hit,
        "untied": person.untied.value,
        "blocked": [_blocked_document(each) for each in person.blocked],
    }


def _verdicts(plan: Plan) -> list[Verdict]:
    """Those that a policy has, and any other that came out."""
    seen: set[Verdict] = {Verdict.ALLOW, Verdict.WARN, Verdict.BLOCK}
    for tally in (*plan.in_force, *plan.candidate):
        seen |= {*tally.verdicts, *tally.untied}
    return [verdict for verdict in Verdict if verdict in seen]


def _at(instant: datetime) -> str:
    return f"{instant.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
