"""What changes between two policies, in lines for people: rules, exemptions, groups, sources, defaults."""

from collections.abc import Iterator, Mapping

from gatekeeper.decision.policy import Policy


def changes(old: Policy, new: Policy) -> Iterator[str]:
    """A line for each thing that is added (`+`), gone (`-`) or different (`~`); none when they say the same."""
    if old.defaults != new.defaults:
        yield "~ defaults"
    yield from _of("rule", {rule.id: rule for rule in old.rules}, {rule.id: rule for rule in new.rules})
    yield from _of("exemption", {one.id: one for one in old.exemptions}, {one.id: one for one in new.exemptions})
    yield from _of("group", {**old.groups, **old.directory_groups}, {**new.groups, **new.directory_groups})
    yield from _of("source", old.sources, new.sources)


def _of(kind: str, old: Mapping[str, object], new: Mapping[str, object]) -> Iterator[str]:
    for name in [*old, *(name for name in new if name not in old)]:
        if name not in new:
            yield f"- {kind} {name}"
        elif name not in old:
            yield f"+ {kind} {name}"
        elif old[name] != new[name]:
            yield f"~ {kind} {name}"
