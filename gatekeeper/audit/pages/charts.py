"""Charts as inline SVG: stacked bars over time, and lines over time with their deadlines.

Inside holds: every chart says in its title and description what it shows, and its figures stand in a table beside it;
what is told apart by colour is also told apart by brightness or dashes, for paper and for eyes that see less of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from gatekeeper.audit.pages.markup import Markup, tag

_WIDTH, _HEIGHT = 720, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 40, 14, 34
_PLOT_W, _PLOT_H = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM


@dataclass(frozen=True, slots=True)
class Series:
    """What is drawn in one way."""

    name: str
    style: str
    """Class of the style sheet: `s0` … `s5`."""
    values: Sequence[int]


@dataclass(frozen=True, slots=True)
class Mark:
    """An upright line at a place in the chart."""

    place: float
    """In buckets from the left edge."""
    name: str


def bars(title: str, labels: Sequence[str], series: Sequence[Series]) -> Markup:
    """Stacked bars, one stack a label."""
    count = len(labels)
    top = _nice(max((sum(one.values[place] for one in series) for place in range(count)), default=0))
    width = _PLOT_W / max(count, 1)
    drawn = []
    for place in range(count):
        base = 0
        for one in series:
            value = one.values[place]
            if value:
                drawn.append(
                    tag(
                        "rect",
                        tag("title", f"{labels[place]}: {value:,} {one.name}"),
                        x=_LEFT + place * width + width * 0.1,
                        y=_y(base + value, top),
                        width=max(width * 0.8, 0.8),
                        height=max(_y(base, top) - _y(base + value, top), 0.5),
                        class_=one.style,
                    )
                )
                base += value
    said = "; ".join(f"{one.name} {sum(one.values):,}" for one in series)
    return _figure(title, said, [*_axes(labels, top), *drawn], series)


def lines(title: str, labels: Sequence[str], series: Sequence[Series], marks: Sequence[Mark]) -> Markup:
    """A line each, with a point in the middle of its bucket, and marks that stand upright."""
    top = _nice(max((value for one in series for value in one.values), default=0))
    width = _PLOT_W / max(len(labels), 1)
    drawn = []
    for one in series:
        points = [(_LEFT + (place + 0.5) * width, _y(value, top)) for place, value in enumerate(one.values)]
        drawn.append(
            tag("polyline", points=" ".join(f"{x:.1f},{y:.1f}" for x, y in points), class_=f"line {one.style}")
        )
        if points:
            drawn.append(tag("circle", cx=points[-1][0], cy=points[-1][1], r=3, class_=one.style))
    for mark in marks:
        x = _LEFT + mark.place * width
        is_right = x > _LEFT + _PLOT_W * 0.6
        drawn += [
            tag("line", x1=x, x2=x, y1=_TOP, y2=_TOP + _PLOT_H, class_="mark"),
            tag(
                "text",
                mark.name,
                x=x + (-4 if is_right else 4),
                y=_TOP + 10,
                text_anchor="end" if is_right else "start",
            ),
        ]
    said = "; ".join(
        f"{one.name}: {one.values[0]:,} at first, {one.values[-1]:,} at last" for one in series if one.values
    )
    return _figure(title, said, [*_axes(labels, top), *drawn], series)


def _figure(title: str, said: str, drawn: Sequence[Markup], series: Sequence[Series]) -> Markup:
    picture = tag(
        "svg",
        tag("title", title),
        tag("desc", said),
        *drawn,
        viewBox=f"0 0 {_WIDTH} {_HEIGHT}",
        role="img",
        aria_label=f"{title}. {said}",
    )
    legend = tag(
        "ul", *(tag("li", tag("span", class_=f"key {one.style}"), one.name) for one in series), class_="legend"
    )
    scrolled = tag("div", picture, class_="wide", role="region", aria_label=f"Chart: {title}", tabindex=0)
    return tag("figure", tag("figcaption", title), scrolled, legend)


def _axes(labels: Sequence[str], top: int) -> list[Markup]:
    drawn = []
    for part in range(5):
        value = top * part / 4
        if value != int(value):
            continue
        y = _y(value, top)
        drawn += [
            tag("line", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=y, y2=y, class_="grid"),
            tag("text", f"{int(value):,}", x=_LEFT - 6, y=y + 4, text_anchor="end"),
        ]
    width = _PLOT_W / max(len(labels), 1)
    every = max(1, -(-len(labels) // 8))
    drawn += [
        tag("text", labels[place], x=_LEFT + (place + 0.5) * width, y=_HEIGHT - 12, text_anchor="middle")
        for place in range(0, len(labels), every)
    ]
    return drawn


def _y(value: float, top: int) -> float:
    return _TOP + _PLOT_H * (1 - value / top)


def _nice(most: int) -> int:
    """A round number that is not smaller, and not 0; four steps of it are whole where that can be."""
    power = 1
    while True:
        for factor in (4, 8, 12, 16, 20, 24, 32):
            if factor * power >= most:
                return factor * power
        power *= 10
