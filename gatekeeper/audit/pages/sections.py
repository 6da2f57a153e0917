"""The sections of the report that are counted from the records of a period.

Inside holds: everything that came from outside goes through `tag`, which escapes it, and `clean`, which takes what
could turn a line around; every chart has its table.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from gatekeeper.audit.codes import Word
from gatekeeper.audit.pages.charts import Mark, Series, bars, lines
from gatekeeper.audit.pages.markup import Markup, table, tag
from gatekeeper.audit.period import AGES, DECISIONS, MAX_LISTED, SILENCE, Period
from gatekeeper.audit.record import clean
from gatekeeper.audit.stored import StoredRecord, stamp, why

_MOST_ROWS = 100
_MOST_SILENCES = 20
_STYLES = {
    Word.ALLOW: "s0",
    Word.WARN: "s1",
    Word.WOULD_BLOCK: "s2",
    Word.BLOCK: "s3",
    Word.UNAVAILABLE: "s4",
    Word.REFUSED: "s5",
}
_LINE_STYLES = ("s0", "s1", "s3", "s4", "s5")
_MEANINGS = {
    Word.ALLOW: "let through",
    Word.WARN: "let through with a warning",
    Word.WOULD_BLOCK: "let through, would be blocked",
    Word.BLOCK: "blocked by policy",
    Word.UNAVAILABLE: "put off: fault of the gate",
    Word.REFUSED: "refused by the mail server",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What a policy says of a rule."""

    id: str
    title: str
    reason: str
    enforce: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Exemption:
    """What a policy says of an exemption."""

    id: str
    rule: str
    expires: datetime
    reason: str
    approved_by: tuple[str, ...]


def decisions(period: Period) -> Iterator[Markup]:
    """What log-ins ended with, over time."""
    labels = _labels(period)
    series = [
        Series(_MEANINGS[word], _STYLES[word], [bucket[word] for bucket in period.decisions]) for word in DECISIONS
    ]
    title = f"Log-ins by their outcome, for each {_step(period)}"
    yield bars(title, labels, series)
    rows = (
        [label, *(f"{bucket[word]:,}" for word in DECISIONS)]
        for label, bucket in zip(labels, period.decisions, strict=True)
        if bucket
    )
    yield table(title, ["from", *(_MEANINGS[word] for word in DECISIONS)], rows, numbers=len(DECISIONS))


def apps(period: Period) -> Iterator[Markup]:
    """Which denied apps were found."""
    yield tag("p", "Only denied apps are ever recorded. A repeated log-in counts each time, a device once.")
    found = sorted(period.apps.items(), key=lambda one: (-len(one[1].devices), one[0]))
    rows = (
        [
            clean(app, 200),
            _second(use.last_ms),
            *(f"{count:,}" for count in (len(use.devices), len(use.people), use.refused, use.let_through)),
        ]
        for app, use in found[:_MOST_ROWS]
    )
    header = ["app", "last seen", "devices", "people", "blocked", "let through"]
    yield table("Denied apps that were found", header, rows, numbers=4)
    yield from _more(len(found) - _MOST_ROWS)


def burn_down(period: Period, policy: str, rules: Sequence[Rule]) -> Iterator[Markup]:
    """Devices in breach of each rule over time; `policy`: of which the rules are, empty: none is at hand."""
    known = {rule.id: rule for rule in rules}
    found = sorted(period.breaches.items(), key=lambda one: (-max(one[1], default=0), one[0]))
    yield tag(
        "p",
        "Devices that a record says are in breach of a rule, until a record says that they are not. Devices that were "
        "not used for mail since a week before the period are not known. ",
        f"Deadlines are those of {clean(policy, 200)}." if policy else "No policy was at hand for deadlines.",
    )
    labels = _labels(period)
    shown = found[: len(_LINE_STYLES)]
    if shown:
        series = [
            Series(clean(rule, 80), style, values) for style, (rule, values) in zip(_LINE_STYLES, shown, strict=False)
        ]
        marks = [
            Mark(
                (rule.enforce - period.starts[0]) / period.step,
                f"{clean(rule.id, 40)} enforced {minute(rule.enforce)}",
            )
            for rule in rules
            if rule.enforce is not None and rule.id in dict(shown) and period.since <= rule.enforce <= period.until
        ]
        title = f"Devices in breach at the end of each {_step(period)}"
        yield lines(title, labels, series, marks)
        rows = (
            [label, *(f"{values[place]:,}" if place < len(values) else "-" for _, values in shown)]
            for place, label in enumerate(labels)
        )
        yield table(title, ["from", *(clean(rule, 80) for rule, _ in shown)], rows, numbers=len(shown))
    rows_of_rules = (
        [
            clean(rule, 80),
            clean(known[rule].title) if rule in known else "-",
            clean(known[rule].reason) if rule in known else "-",
            _deadline(known.get(rule)),
            f"{max(period.breaches.get(rule, [0]), default=0):,}",
            f"{period.breaches[rule][-1] if period.breaches.get(rule) else 0:,}",
        ]
        for rule in sorted({*known, *period.breaches})
    )
    header = ["rule", "title", "reason", "enforced from", "most devices", "at the end"]
    yield table("Rules, their deadlines and the devices in breach", header, rows_of_rules, numbers=2)


def exemptions(period: Period, policy: str, known: Sequence[Exemption]) -> Iterator[Markup]:
    """Those in force by the policy, and those that were used."""
    if policy:
        in_force = [one for one in known if one.expires > period.since]
        rows = (
            [
                clean(one.id, 80),
                clean(one.rule, 80),
                minute(one.expires),
                clean(one.reason),
                ", ".join(clean(name, 80) for name in one.approved_by) or "-",
                f"{period.exemptions[one.id].times if one.id in period.exemptions else 0:,}",
            ]
            for one in sorted(in_force, key=lambda one: one.expires)
        )
        header = ["exemption", "of rule", "until", "reason", "approved by", "log-ins"]
        yield table(f"In force in the period, by {clean(policy, 200)}", header, rows, numbers=1)
    used = (
        [
            clean(name, 80),
            _second(use.first_ms),
            _second(use.last_ms),
            f"{len(use.people):,}",
            f"{use.times:,}",
        ]
        for name, use in sorted(period.exemptions.items())
    )
    yield table("Used in the period", ["exemption", "first", "last", "people", "log-ins"], used, numbers=2)


def approvals(period: Period) -> Iterator[Markup]:
    """Changes of policy and configuration, and the policies that decided."""
    rows = (
        [
            _second(record.time_ms),
            clean(record.code, 20),
            clean(why(record)),
            clean(record.text("author") or record.text("forced_by") or "-", 200),
            clean(record.text("approved_by") or "-", 400),
            clean(record.text("reason") or "-", 400),
            _version(record),
        ]
        for record in period.changes
    )
    header = ["when", "code", "what", "author", "approved by", "reason", "policy"]
    yield table("Changes of policy and configuration", header, rows)
    policies = (
        [clean(digest[:16], 16), _second(use.first_ms), _second(use.last_ms), f"{use.times:,}"]
        for digest, use in sorted(period.policies.items(), key=lambda one: one[1].first_ms)
    )
    yield table("Policies that decided (SHA-256)", ["policy", "first", "last", "log-ins"], policies, numbers=1)


def evidence(period: Period) -> Iterator[Markup]:
    """How old the evidence was."""
    found = period.evidence()
    title = "Devices by the age of the evidence on which they were decided last"
    yield bars(title, [name for name, _ in AGES], [Series("devices", "s0", [found[name] for name, _ in AGES])])
    yield table(title, ["age", "devices"], ([name, f"{found[name]:,}"] for name, _ in AGES), numbers=1)


def gaps(period: Period) -> Iterator[Markup]:
    """When the log says nothing, and what broke."""
    minutes = SILENCE // timedelta(minutes=1)
    yield tag(
        "p",
        f"A gate that runs records something every minute. A log that says nothing for more than {minutes} minutes was "
        "not written: the gate was stopped, the clock was set, or records are missing.",
    )
    rows = (
        [clean(one.log, 200), _second(one.begin_ms), _second(one.end_ms), _length(one.end_ms - one.begin_ms)]
        for one in period.silences[:_MOST_SILENCES]
    )
    yield table("Silences, longest first", ["log", "from", "to", "length"], rows)
    yield from _more(len(period.silences) - _MOST_SILENCES)
    faults = ([_second(record.time_ms), clean(record.code, 20), clean(record.message)] for record in period.faults)
    yield table("Workers that died, and tails that were cut off", ["when", "code", "what"], faults)
    if period.left_out:
        yield tag("p", f"{period.left_out:,} records more than the {MAX_LISTED} of a kind that are listed.")


def reads(period: Period) -> Iterator[Markup]:
    """Who read the log, asked whose a pseudonym is, erased, held or removed something."""
    rows = (
        [
            _second(record.time_ms),
            clean(record.text("by") or "-", 80),
            clean(record.text("what") or record.message, 80),
            clean(_asked(record) or "-", 400),
            f"{_number(record.facts.get('records_n'))}",
        ]
        for record in period.reads
    )
    yield table(
        "Who did what with the log", ["when", "account of the machine", "what", "asked", "records"], rows, numbers=1
    )


def _asked(record: StoredRecord) -> str:
    """What it was about, and why, as the record says it."""
    names = ("asked", "pseudonym", "quarter", "hold", "first_kept", "reason")
    said = [(name, record.facts.get(name)) for name in names]
    return " ".join(f"{value}" if name == "asked" else f"{name}={value}" for name, value in said if value is not None)


def _more(count: int) -> Iterator[Markup]:
    if count > 0:
        yield tag("p", f"And {count:,} more.")


def _labels(period: Period) -> list[str]:
    shape = "%Y-%m-%d" if period.step > timedelta(days=1) else "%m-%d"
    if period.step < timedelta(days=1):
        shape += " %H:%M"
    return [start.strftime(shape) for start in period.starts]


def _step(period: Period) -> str:
    hours = period.step // timedelta(hours=1)
    return {1: "hour", 24: "day", 168: "week"}.get(hours, f"{hours} hours" if hours < 24 else f"{hours // 24} days")


def _deadline(rule: Rule | None) -> str:
    return "-" if rule is None else "never" if rule.enforce is None else minute(rule.enforce)


def _version(record: StoredRecord) -> str:
    version, digest = record.facts.get("policy_version"), record.text("policy_sha256")
    said = [str(version)] if isinstance(version, int) else []
    return " ".join([*said, *([clean(digest[:16], 16)] if digest else [])]) or "-"


def _number(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else "-"


def _length(milliseconds: int) -> str:
    minutes = milliseconds // 60_000
    days, rest = divmod(minutes, 24 * 60)
    return f"{days} d {rest // 60} h" if days else f"{rest // 60} h {rest % 60} min"


def _second(milliseconds: int) -> str:
    return (stamp(milliseconds) or "-")[:19].replace("T", " ")


def minute(instant: datetime) -> str:
    """To the minute, in UTC."""
    return instant.astimezone(UTC).strftime("%Y-%m-%d %H:%M")
