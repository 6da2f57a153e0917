"""The burn-down as a picture (SVG 1.1) and as lines of text: how many devices still have an app, how many are blocked.

Numbers and dates only: nothing in a chart names a person, a device or an app.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape

_WIDTH, _HEIGHT = 840, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 24, 40, 48
_FONT = 'font-family="sans-serif" font-size="12"'
_BAR = 40
_MAX_LINES = 40


@dataclass(frozen=True, slots=True)
class Line:
    """A figure over time: it keeps its value until the next point."""

    title: str
    colour: str
    points: tuple[tuple[datetime, int], ...]
    """In order of time."""


def running(
    changes: Iterable[tuple[datetime, int]], since: datetime, until: datetime
) -> tuple[tuple[datetime, int], ...]:
    """The sum of changes over time: its value at `since`, after each change in between, and at `until`."""
    total = 0
    points: dict[datetime, int] = {}
    for at, change in sorted(changes):
        if since not in points and at > since:
            points[since] = total
        total += change
        if since <= at <= until:
            points[at] = total
    points.setdefault(since, total)
    points[until] = total
    return tuple(sorted(points.items()))


def svg(lines: Sequence[Line], *, title: str, now: datetime) -> str:
    """A picture of step lines with a mark at `now`."""
    points = [point for line in lines for point in line.points]
    first, last = min(at for at, _ in points), max(at for at, _ in points)
    span = max((last - first).total_seconds(), 1.0)
    top = max(1, *(value for _, value in points))

    def x(at: datetime) -> float:
        return round(_LEFT + (at - first).total_seconds() / span * (_WIDTH - _LEFT - _RIGHT), 1)

    def y(value: float) -> float:
        return round(_HEIGHT - _BOTTOM - value / top * (_HEIGHT - _TOP - _BOTTOM), 1)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" {_FONT}>',
        f"<title>{escape(title)}</title>",
        f"<desc>{escape('; '.join(_words(line) for line in lines))}</desc>",
        '<rect width="100%" height="100%" fill="white"/>',
        f'<text x="{_LEFT}" y="18" font-size="14">{escape(title)}</text>',
    ]
    for value in sorted({0, top // 2, top}):
        parts.append(f'<path d="M{_LEFT} {y(value)}H{_WIDTH - _RIGHT}" stroke="#ddd"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y(value) + 4}" text-anchor="end">{value}</text>')
    for at in (first, last):
        anchor = "start" if at == first else "end"
        parts.append(
            f'<text x="{x(at)}" y="{_HEIGHT - 28}" text-anchor="{anchor}">{at.astimezone(UTC):%Y-%m-%d}</text>'
        )
    parts.append(f'<path d="M{x(now)} {_TOP}V{_HEIGHT - _BOTTOM}" stroke="#888" stroke-dasharray="4 3"/>')
    parts.append(f'<text x="{x(now) + 4}" y="{_TOP + 10}" fill="#555">now</text>')
    for place, line in enumerate(lines):
        steps = [f"M{x(line.points[0][0])} {y(line.points[0][1])}"]
        steps += [f"H{x(at)}V{y(value)}" for at, value in line.points[1:]]
        parts.append(f'<path d="{"".join(steps)}" fill="none" stroke="{escape(line.colour)}" stroke-width="2"/>')
        legend = f'x="{_LEFT + place * 250}" y="{_HEIGHT - 8}" fill="{escape(line.colour)}"'
        parts.append(f"<text {legend}>{escape(line.title)}</text>")
    return "\n".join([*parts, "</svg>", ""])


def bars(lines: Sequence[Line]) -> list[str]:
    """One line of text for each point, its bar as long as its value; runs of equal values are one line."""
    top = max((value for line in lines for _, value in line.points), default=0) or 1
    found = []
    for line in lines:
        found.append(line.title)
        shown = _thinned(
            [point for place, point in enumerate(line.points) if place == 0 or point[1] != line.points[place - 1][1]]
        )
        for at, value in shown:
            length = 0 if not value else max(1, round(value / top * _BAR))
            found.append(f"  {at.astimezone(UTC):%Y-%m-%d %H:%M}  {'█' * length}{' ' if length else ''}{value}")
    return found


def by_day(points: Sequence[tuple[datetime, int]]) -> tuple[tuple[datetime, int], ...]:
    """At most one point a day, the last of each, beside the first."""
    kept: dict[object, tuple[datetime, int]] = {}
    for at, value in points[1:]:
        kept[at.astimezone(UTC).date()] = (at, value)
    return tuple(dict.fromkeys((*points[:1], *kept.values())))


def _thinned(points: list[tuple[datetime, int]]) -> list[tuple[datetime, int]]:
    """The first, the last, and some between."""
    if len(points) <= _MAX_LINES:
        return points
    step = len(points) / (_MAX_LINES - 1)
    return [points[int(place * step)] for place in range(_MAX_LINES - 1)] + points[-1:]


def _words(line: Line) -> str:
    (_, begin), (_, end) = line.points[0], line.points[-1]
    return f"{line.title}: from {begin} to {end}"
