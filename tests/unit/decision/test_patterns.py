"""Patterns of ids and names."""

import fnmatch

import pytest

from gatekeeper.decision.patterns import Pattern


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        ("com.ss.iphone.ugc.*", "com.ss.iphone.ugc.ame", True),
        ("com.ss.iphone.ugc.*", "com.ss.iphone.ugc", False),
        ("com.ss.iphone.ugc.*", "xcom.ss.iphone.ugc.ame", False),
        ("Com.SS.*", "com.ss.android", True),
        ("com.ss.???", "com.ss.ame", True),
        ("com.ss.???", "com.ss.am", False),
        ("*.musically*", "com.zhiliaoapp.musically.go", True),
        ("com.*.ugc.*.lite", "com.ss.ugc.aweme.lite", True),
        ("com.*.ugc.*.lite", "com.ss.ugc.lite", False),
        ("a**b", "ab", True),
        ("com.foo", "com.foo", True),
        ("com.foo", "com-foo", False),
        ("com.f?o", "com.f\no", True),
        ("*a*ab", "aab", True),
        ("*a?b*c", "abxacc", False),
        ("*a?b*c", "xaxbc", True),
    ],
)
def test_star_is_any_run_and_question_mark_one_character(pattern: str, text: str, expected: bool) -> None:
    """Everything else stands for itself, case-folded."""
    assert Pattern.parse(pattern).matches(text) is expected
    assert fnmatch.fnmatchcase(text, pattern.casefold()) is expected


@pytest.mark.parametrize(
    ("pattern", "is_exact", "head", "prefix", "literal"),
    [
        ("com.ss.iphone.ugc.*", False, "com.ss", "com.ss.iphone.ugc.", "com.ss.iphone.ugc."),
        ("com.ss.*", False, "com.ss", "com.ss.", "com.ss."),
        ("com.ss*", False, None, "com.ss", "com.ss"),
        ("com.s?.x", False, None, "com.s", "com.s"),
        ("*.musically*", False, None, "", ".musically"),
        ("com.Foo.bar", True, "com.foo", "com.foo.bar", "com.foo.bar"),
        ("notes", True, "notes", "notes", "notes"),
    ],
)
def test_knows_what_it_can_be_indexed_by(
    pattern: str, is_exact: bool, head: str | None, prefix: str, literal: str
) -> None:
    """Two whole labels before the first wildcard make a head."""
    parsed = Pattern.parse(pattern)
    assert (parsed.is_exact, parsed.head, parsed.prefix, parsed.literal) == (is_exact, head, prefix, literal)


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("", "must not be empty"),
        ("  ", "must not be empty"),
        ("*", "only wildcards"),
        ("?*.*", "only wildcards"),
        ("com.\nfoo", "control character"),
        ("a" * 256, "longer than 255"),
    ],
)
def test_a_bad_pattern_says_why(pattern: str, reason: str) -> None:
    """What would match everything, or nothing that exists, is refused."""
    with pytest.raises(ValueError, match=reason):
        Pattern.parse(pattern)


def test_many_stars_stay_linear() -> None:
    """A pattern that makes a backtracking matcher run for ages is answered at once."""
    assert Pattern.parse("*a" * 100 + "b").matches("a" * 20_000) is False
