"""`phases`, `grace` and `rollout` of a rule."""

from datetime import date, datetime, tzinfo
from itertools import pairwise

from gatekeeper.decision.phases import Grace, Phases, Step
from gatekeeper.decision.schema_values import local_instant, time_zone
from gatekeeper.domain.document import Table


def read_phases(parent: Table, zone: tzinfo | None) -> Phases:
    """When each phase begins; `zone` is the policy's."""
    table = parent.table("phases")
    zone = time_zone(table) or zone
    phases = Phases(
        observe=local_instant(table, "observe", zone),
        warn=local_instant(table, "warn", zone),
        enforce=local_instant(table, "enforce", zone),
        zone=zone,
        enforce_weekday=_weekday(table.raw("enforce")),
    )
    if not any(table.has(name) for name, _ in _named(phases)):
        parent.fault("phases", "needs at least one of observe, warn, enforce")
    given = [(name, begin) for name, begin in _named(phases) if begin is not None]
    for (earlier, first), (name, begin) in pairwise(given):
        if begin < first:
            table.fault(name, f"begins before `{earlier}`: the order is observe, warn, enforce")
    table.done()
    return phases


def read_grace(parent: Table, phases: Phases) -> Grace | None:
    """Time for devices that are found late; None when absent."""
    if not parent.has("grace"):
        return None
    table = parent.table("grace")
    per_device = table.duration("per_device")
    cap = local_instant(table, "cap", phases.zone, required=True)
    table.done()
    if phases.enforce is None:
        parent.fault("grace", "needs `phases.enforce`: what it puts off")
    elif cap is not None and cap < phases.enforce:
        table.fault("cap", "lies before `phases.enforce`: nobody would have grace")
    return None if cap is None else Grace(per_device=per_device, cap=cap)


def read_rollout(parent: Table, phases: Phases) -> tuple[Step, ...]:
    """The steps in which devices are enforced, empty when absent: all at once."""
    steps: list[Step] = []
    tables = parent.tables("rollout")
    if parent.raw("rollout") == []:
        parent.fault("rollout", "must not be empty: leave the key out instead")
    if tables and phases.enforce is None:
        parent.fault("rollout", "needs `phases.enforce`: what it spreads out")
    for table in tables:
        begin = local_instant(table, "from", phases.zone, required=True)
        percent = table.integer("percent", low=0, high=100)
        table.done()
        if begin is None:
            continue
        if steps and begin <= steps[-1].begin:
            table.fault("from", "does not come after the step before")
        if steps and percent < steps[-1].percent:
            table.fault("percent", f"is less than the {steps[-1].percent} before: a rollout only adds devices")
        steps.append(Step(begin=begin, percent=percent))
    return tuple(steps)


def _named(phases: Phases) -> tuple[tuple[str, datetime | None], ...]:
    return ("observe", phases.observe), ("warn", phases.warn), ("enforce", phases.enforce)


def _weekday(value: object) -> int | None:
    """Of a date as it was written: 17:00 on a Friday in California is Saturday in UTC."""
    if isinstance(value, str):
        try:
            return datetime.fromisoformat(value).weekday()
        except ValueError:
            return None
    return value.weekday() if isinstance(value, date) else None
