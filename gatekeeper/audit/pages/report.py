"""The report of a period: what was decided, what is still to do, who agreed to what, and what the log is worth.

Inside holds: everything that came from outside goes through `tag`, which escapes it, and `clean`, which takes what
could turn a line around; the page loads nothing and runs nothing.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from gatekeeper import __version__
from gatekeeper.audit.codes import Word
from gatekeeper.audit.pages.markup import Markup, raw, table, tag
from gatekeeper.audit.pages.sections import (
    Exemption,
    Rule,
    approvals,
    apps,
    burn_down,
    decisions,
    evidence,
    exemptions,
    gaps,
    minute,
    reads,
)
from gatekeeper.audit.pages.style import STYLE
from gatekeeper.audit.period import Period
from gatekeeper.audit.record import clean

_SECURITY = "default-src 'none'; style-src 'unsafe-inline'"


@dataclass(frozen=True, slots=True, kw_only=True)
class Integrity:
    """What a verification of one log found."""

    log: str
    result: str
    """`SOUND`, `TAMPERED`, `INCOMPLETE`, or `NOT VERIFIED`."""
    facts: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All that stands in the page."""

    period: Period
    made: datetime
    by: str
    integrity: Sequence[Integrity]
    rules: Sequence[Rule] = ()
    exemptions: Sequence[Exemption] = ()
    policy: str = ""
    """Which policy `rules` and `exemptions` are of; empty: none is at hand."""
    notes: Sequence[str] = ()


def page(report: Report) -> str:
    """The whole page."""
    period = report.period
    title = f"Mail access from {_day(period.since)} to {_day(period.until)}"
    sections = [
        ("integrity", "Integrity of the log", _integrity(report)),
        ("decisions", "Decisions", decisions(period)),
        ("apps", "Denied apps", apps(period)),
        ("burn-down", "Devices in breach, and the deadline", burn_down(period, report.policy, report.rules)),
        ("exemptions", "Exemptions", exemptions(period, report.policy, report.exemptions)),
        ("approvals", "Who approved what", approvals(period)),
        ("evidence", "Age of the evidence", evidence(period)),
        ("gaps", "Gaps and faults", gaps(period)),
        ("reads", "Who read, held or removed records", reads(period)),
    ]
    contents = tag("ol", *(tag("li", tag("a", name, href=f"#{place}")) for place, name, _ in sections))
    body = tag(
        "main",
        *(
            tag("section", tag("h2", name, id=place), *parts, aria_labelledby=place)
            for place, name, parts in ((place, name, list(parts)) for place, name, parts in sections)
        ),
    )
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", http_equiv="Content-Security-Policy", content=_SECURITY),
        tag("title", title),
        tag("style", STYLE),
    )
    top = tag("header", tag("h1", title), *_about(report), tag("nav", contents, aria_label="Contents"))
    return raw("<!doctype html>\n") + tag("html", head, tag("body", top, body), lang="en") + "\n"


def _about(report: Report) -> Iterator[Markup]:
    period = report.period
    logs = ", ".join(clean(one.log, 200) for one in report.integrity) or "no log"
    yield tag(
        "p",
        f"All times are UTC. Made {minute(report.made)} by {clean(report.by, 64)} with Gatekeeper {__version__}, "
        f"from {logs}.",
        class_="dim",
    )
    totals = period.totals()
    let_in = totals[Word.ALLOW] + totals[Word.WARN] + totals[Word.WOULD_BLOCK]
    yield tag(
        "p",
        f"{sum(totals.values()):,} log-ins by {len(period.people):,} people: {let_in:,} let through, "
        f"{totals[Word.BLOCK]:,} blocked by policy, {totals[Word.UNAVAILABLE]:,} put off by a fault, "
        f"{totals[Word.REFUSED]:,} refused by the mail server.",
    )
    for note in report.notes:
        yield tag("p", clean(note), class_="dim")


def _integrity(report: Report) -> Iterator[Markup]:
    for one in report.integrity:
        kind = {"SOUND": "good", "TAMPERED": "bad"}.get(one.result, "open")
        yield tag(
            "div",
            tag("p", tag("strong", one.result), " ", tag("code", clean(one.log, 200))),
            class_=f"verdict {kind}",
        )
        yield table(
            f"What was verified of {clean(one.log, 200)}",
            ["checked", "found"],
            [[k, clean(v, 2000)] for k, v in one.facts],
        )
    yield tag(
        "p",
        "This page is not signed, and says what the log said when it was made. Verify the log itself with ",
        tag("code", "gatekeeper audit verify"),
        ", and a key and a head that were kept elsewhere.",
        class_="dim",
    )


def _day(instant: datetime) -> str:
    is_midnight = (instant.hour, instant.minute, instant.second) == (0, 0, 0)
    return instant.strftime("%Y-%m-%d" if is_midnight else "%Y-%m-%d %H:%M")
