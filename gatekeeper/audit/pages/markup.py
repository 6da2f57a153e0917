"""HTML and SVG made of elements: what is no `Markup` is text, and is escaped.

Inside holds: only `tag` and `raw` make `Markup`; `raw` is for what stands in our own source, never for a value.
"""

from collections.abc import Iterable
from html import escape

_VOID = frozenset({"meta", "br", "line", "rect", "circle", "polyline", "path"})


class Markup(str):
    """Text that is markup already."""

    __slots__ = ()


def raw(text: str) -> Markup:
    """Our own text as markup."""
    return Markup(text)


def tag(name: str, /, *children: str, **attributes: str | float | None) -> Markup:
    """An element; `_` at the end of an attribute's name falls away, others become `-`; None leaves it out."""
    said = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(_shown(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in _VOID and not children:
        return Markup(f"<{name}{said}>" if name in ("meta", "br") else f"<{name}{said}/>")
    return Markup(f"<{name}{said}>{joined(children)}</{name}>")


def joined(children: Iterable[str]) -> Markup:
    """Several after one another."""
    return Markup("".join(child if isinstance(child, Markup) else escape(child) for child in children))


def table(caption: str, header: Iterable[str], rows: Iterable[Iterable[str]], *, numbers: int = 0) -> Markup:
    """A table whose rows have their first cell as heading; the last `numbers` columns are figures.

    It lies in a region that scrolls by itself, and can be reached by keyboard, where the screen is narrower.
    """
    names = list(header)
    first_number = len(names) - numbers
    classes = ["n" if column >= first_number else None for column in range(len(names))]
    head = tag("tr", *(tag("th", name, scope="col", class_=kind) for name, kind in zip(names, classes, strict=True)))
    body = []
    for row in rows:
        cells = list(row)
        body.append(
            tag(
                "tr",
                tag("th", cells[0], scope="row"),
                *(tag("td", cell, class_=kind) for cell, kind in zip(cells[1:], classes[1:], strict=True)),
            )
        )
    if not body:
        body = [tag("tr", tag("td", "None.", colspan=len(names)))]
    made = tag("table", tag("caption", caption), tag("thead", head), tag("tbody", *body))
    return tag("div", made, class_="wide", role="region", aria_label=caption, tabindex=0)


def _shown(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:.1f}".removesuffix(".0")
