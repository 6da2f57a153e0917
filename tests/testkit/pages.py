"""Pages of HTML taken apart as a browser does, and what has to hold of each."""

from html.parser import HTMLParser

_VOID = frozenset({"meta", "br"})
_MAY_HAVE = frozenset(
    [
        "html",
        "head",
        "meta",
        "title",
        "style",
        "body",
        "header",
        "main",
        "section",
        "nav",
        "h1",
        "h2",
        "p",
        "a",
        "ol",
        "ul",
        "li",
        "div",
        "span",
        "strong",
        "code",
        "table",
        "caption",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "figure",
        "figcaption",
        "svg",
        "desc",
        "text",
        "line",
        "rect",
        "circle",
        "polyline",
    ]
)


class Page(HTMLParser):
    """Every element of a page, in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in _VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        """What is read."""
        return " ".join(self.words)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        """The attributes of every element of a name."""
        return [attributes for name, attributes in self.elements if name == tag]


def check(text: str) -> Page:
    """The page; it runs nothing, loads nothing, and says of each table and chart what it is."""
    page = Page(text)
    names = [name for name, _ in page.elements]
    assert set(names) <= _MAY_HAVE
    for _, attributes in page.elements:
        assert not any(name.startswith("on") or name in ("src", "srcset", "style") for name in attributes)
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {f"#{place}" for place in ids} >= {attributes["href"] for attributes in page.all("a")}
    assert {attributes.get("aria-labelledby") for attributes in page.all("section")} <= set(ids)
    assert "url(" not in text
    assert "@import" not in text
    assert names.count("table") == names.count("caption")
    assert all(attributes.get("scope") in ("col", "row") for attributes in page.all("th"))
    assert all(attributes.get("role") == "img" and attributes.get("aria-label") for attributes in page.all("svg"))
    assert all(attributes.get("tabindex") == "0" for attributes in page.all("div") if attributes.get("class") == "wide")
    return page
