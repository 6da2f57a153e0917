"""Version ranges."""

import pytest

from gatekeeper.decision.versions import VersionRange


@pytest.mark.parametrize(
    ("text", "version", "expected"),
    [
        (">=1.0,<2.3", "1.0", True),
        (">=1.0,<2.3", "1", True),
        (">=1.0,<2.3", "2.2.99", True),
        (">=1.0,<2.3", "2.3", False),
        (">=1.0,<2.3", "2.3.0", False),
        (">=1.0,<2.3", "0.9", False),
        (">= 1.0 , < 2.3", "1.5", True),
        ("<1.10", "1.9", True),
        ("<1.10", "1.10", False),
        ("==1.2", "1.2.0", True),
        ("!=1.2", "1.2.0", False),
        ("!=1.2", "1.3", True),
        (">1", "1.0.1", True),
        ("<=2", "2.0", True),
        ("<1 || >=3", "3.1", True),
        ("<1 || >=3", "2", False),
        ("*", "anything", True),
        ("*", None, True),
        ("<2.3", "v2.2", True),
    ],
)
def test_compares_dotted_numbers(text: str, version: str | None, expected: bool) -> None:
    """Numbers compare as numbers, missing components count as zero."""
    assert VersionRange.parse(text).contains(version, None) is expected


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("<2.3", None),
        ("<2.3", ""),
        ("<2.3", "beta"),
        ("<2.3", "2.3-beta"),
        ("<2.3", "2.3b"),
        ("==2", "2.0 (1234)"),
        ("<2.3", "2a.1"),
        ("<2.3", "1" * 5000),
        ("<2.3", "1." + "9" * 5000),
        ("<2.3", ".".join("1" * 17)),
        ("<2.3", "\u0661.2"),
        ("<1 || >=3", "beta"),
        (">=1,<2.3", "2.3rc1"),
    ],
)
def test_what_cannot_be_compared_is_unknown(text: str, version: str | None) -> None:
    """A missing version, one without numbers, and a suffix at the bound itself are neither in nor out."""
    assert VersionRange.parse(text).contains(version, None) is None


@pytest.mark.parametrize(
    ("text", "version", "expected"),
    [
        ("<2.3", "2.2-beta", True),
        ("<2.3", "2.4-beta", False),
        ("<2.3", "2.2.3a4", True),
        ("<2.3", "1a", True),
        (">=1,<2.3", "2.4rc1", False),
        ("<3 || beta_free", "x", None),
    ],
)
def test_a_suffix_does_not_matter_where_the_numbers_decide(text: str, version: str, expected: bool | None) -> None:
    """Away from the bound a suffix cannot change the answer."""
    if expected is None:
        with pytest.raises(ValueError):
            VersionRange.parse(text)
        return
    assert VersionRange.parse(text).contains(version, None) is expected


@pytest.mark.parametrize(
    ("text", "version", "code", "expected"),
    [
        ("code<2023705000", None, 2023704999, True),
        ("code<2023705000", "1.0", 2023705000, False),
        ("code >= 5", None, 5, True),
        ("code<2023705000", "1.0", None, None),
        ("code<5,>=2", "1.0", None, False),
        ("code<5,>=2", "2.0", None, None),
        ("code<5 || >=2", "2.0", None, True),
        ("code<5 || >=2", "1.0", None, None),
    ],
)
def test_code_and_three_valued_logic(text: str, version: str | None, code: int | None, expected: bool | None) -> None:
    """`code` compares versionCode; a false term settles an and, a true one an or, whatever is unknown."""
    assert VersionRange.parse(text).contains(version, code) is expected


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is not a comparison"),
        ("1.0", "is not a comparison"),
        ("~1.0", "is not a comparison"),
        (">=1.0,", "is not a comparison"),
        ("|| <1", "is not a comparison"),
        (">=1..0", "not a version in dotted numbers"),
        ("code<1.2", "not a whole number"),
        (">=" + "9" * 19, "not a version in dotted numbers"),
        (">=1" * 200, "longer than 512"),
    ],
)
def test_a_bad_range_says_why(text: str, reason: str) -> None:
    """What is not in the grammar is refused with the part that is wrong."""
    with pytest.raises(ValueError, match=reason):
        VersionRange.parse(text)


def test_shows_its_text() -> None:
    """A range prints as it was written."""
    assert str(VersionRange.parse(">=1.0,<2.3")) == ">=1.0,<2.3"
