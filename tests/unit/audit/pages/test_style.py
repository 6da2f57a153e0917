"""The style sheet."""

import re

from gatekeeper.audit.pages.style import STYLE


def test_it_loads_nothing_and_stays_inside_its_element() -> None:
    """No file, no end of the element."""
    assert not re.search(r"url\(|@import|</|<!--", STYLE)


def test_it_is_made_for_paper_too() -> None:
    """Braces pair; what scrolls on a screen is shown whole on paper."""
    assert STYLE.count("{") == STYLE.count("}")
    assert ".wide { overflow: visible; }" in STYLE[STYLE.index("@media print") :]
