"""One attestation result of everything that is known about a device. Presence does not go stale, only absence does.

A *row* is what one source last said about one scope of a device. `update` keeps a row, `fold` joins the rows of a
device into the result that decisions are made on:

- An app that was seen counts as present until a newer list that could see it shows that it is gone. Only a complete
  list shows that: one of the full scope for every app, one of a narrower scope for what the same source saw in it.
- Absence is proven by complete lists of the full scope alone. The newest of them, here *F*, gives the folded result its
  facts (source, scope, age, digest): how old the proof is, not how old the last sighting is.
- Without such a list the result proves no absence, and its age is that of the newest row.
- What is said of the device as a whole, the version of its system and its flags, is taken from the newest row that says
  it: neither goes stale before something newer speaks of it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from types import MappingProxyType

from gatekeeper.attestation.bounds import MAX_APPS
from gatekeeper.domain.app import App, AppList
from gatekeeper.domain.posture import AttestationResult, DeviceFlag

MAX_ROW_APPS = 2 * MAX_APPS
"""Bound of a row that incomplete lists add to. Older sightings beyond it are dropped: who can push that many made-up
apps through a trusted source can as well send a complete list without the app."""


def update(
    previous: AttestationResult | None, new: AttestationResult, *, absence_known_at: datetime | None = None
) -> AttestationResult:
    """The row of one source and scope after its answer `new`, which is not older than `previous`.

    A complete list replaces the row. An incomplete one takes over its facts, so that absence is no longer proven, and
    adds to the apps that were seen; an app that it lists replaces older sightings of the same id. What the answer does
    not say of the device as a whole, its system and its flags, stays as it was said before.

    Args:
        previous: The row so far; None when there is none.
        new: What the source says now.
        absence_known_at: When the newest complete list of the full scope of this device, from any source, was
            collected. A row older than that was answered by it, and none of its apps come back.
    """
    if previous is None:
        return new
    new = _with_facts(new, [new, previous])
    if new.complete:
        return new
    if absence_known_at is not None and previous.collected_at < absence_known_at:
        return new
    seen_again = new.apps.keys
    earlier = [app for app in previous.apps.apps if app.id.casefold() not in seen_again]
    return replace(new, apps=AppList([*new.apps.apps, *earlier][: max(MAX_ROW_APPS, len(new.apps))]))


def fold(rows: Sequence[AttestationResult]) -> AttestationResult | None:
    """The result of all rows of one device; None when there are none."""
    if not rows:
        return None
    newest_first = sorted(rows, key=_age_order, reverse=True)
    return _with_facts(_fold(newest_first), newest_first)


def _fold(newest_first: Sequence[AttestationResult]) -> AttestationResult:
    base = next((row for row in newest_first if row.proves_absence), None)
    if base is None:
        return _union(newest_first)
    since = [row for row in newest_first if row is not base and row.collected_at >= base.collected_at]
    return replace(base, apps=_joined([base, *since])) if since else base


def _union(newest_first: Sequence[AttestationResult]) -> AttestationResult:
    """Rows none of which proves absence: all that was seen. Several views together vouch for nothing as a whole."""
    newest = newest_first[0]
    if len(newest_first) == 1:
        return newest
    return replace(newest, complete=False, apps=_joined(newest_first))


def _joined(rows: Iterable[AttestationResult]) -> AppList:
    """Every distinct app of the rows. Two versions of one id both stay: each row saw another part of the device."""
    distinct: dict[App, None] = {}
    for row in rows:
        distinct.update(dict.fromkeys(row.apps.apps))
    return AppList(distinct)


def _with_facts(result: AttestationResult, newest_first: Sequence[AttestationResult]) -> AttestationResult:
    """The result with the newest word on each fact of the device."""
    os_version = next((row.os_version for row in newest_first if row.os_version is not None), None)
    flags: dict[DeviceFlag, bool] = {}
    for row in reversed(newest_first):
        flags.update(row.flags)
    if (os_version, flags) == (result.os_version, result.flags):
        return result
    return replace(result, os_version=os_version, flags=MappingProxyType(flags))


def _age_order(row: AttestationResult) -> tuple[datetime, str, str]:
    """Newest last; names break ties, so that the order of the rows never matters."""
    return row.collected_at, row.source, row.scope
