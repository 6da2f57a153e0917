"""Elements of HTML."""

from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatekeeper.audit.pages.markup import Markup, joined, raw, table, tag


def test_an_element_has_attributes_and_children() -> None:
    """Words that Python keeps for itself end with `_`; others may have dashes; None leaves one out."""
    made = tag("p", "a ", tag("b", "c"), class_="x", aria_label="y", id=None)
    assert made == '<p class="x" aria-label="y">a <b>c</b></p>'
    assert tag("rect", x=1.0, y=2.25) == '<rect x="1" y="2.2"/>'
    assert tag("meta", name="viewport") == '<meta name="viewport">'


def test_only_markup_is_markup() -> None:
    """What is put together from it by other means is text again."""
    assert joined(["<", raw("<br>")]) == "&lt;<br>"
    assert tag("p", tag("b") + "") == "<p>&lt;b&gt;&lt;/b&gt;</p>"
    assert isinstance(tag("p"), Markup)


@given(st.text(), st.text())
def test_no_text_becomes_an_element_or_an_attribute(text: str, value: str) -> None:
    """Whatever somebody called a device."""
    seen: list[object] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            seen.append((tag, [name for name, _ in attrs]))

        def handle_comment(self, data: str) -> None:
            seen.append(data)

        handle_decl = handle_pi = unknown_decl = handle_comment

    reader = Reader()
    reader.feed(tag("p", text, title=value))
    reader.close()
    assert seen == [("p", ["title"])]


def test_a_table_names_its_columns_and_rows() -> None:
    """With a caption, in a region that a keyboard reaches; without rows it says so."""
    made = table("Apps", ["app", "n"], [["<x>", "1"]], numbers=1)
    assert '<div class="wide" role="region" aria-label="Apps" tabindex="0"><table><caption>Apps</caption>' in made
    assert '<th scope="col">app</th><th scope="col" class="n">n</th>' in made
    assert '<th scope="row">&lt;x&gt;</th><td class="n">1</td>' in made
    assert '<td colspan="2">None.</td>' in table("Apps", ["app", "n"], [])


@pytest.mark.parametrize("value", [10**15, 0.04, -3.5])
def test_numbers_are_written_without_exponents(value: float) -> None:
    """SVG in every browser."""
    assert "e" not in tag("rect", x=value).removeprefix("<rect")
