"""The index against judging every app by every matcher."""

import pytest

from gatekeeper.decision.index import Index
from gatekeeper.decision.matcher import AppMatcher
from gatekeeper.decision.patterns import Pattern
from gatekeeper.domain.app import App, AppList

from .samples import SIGNER


def found(index: Index, *apps: App) -> dict[int, list[tuple[str, bool]]]:
    """Rule position -> (app id, certain)."""
    return {
        position: [(match.app.id, match.is_certain) for match in matches]
        for position, matches in index.find(AppList(apps)).items()
    }


@pytest.mark.parametrize(
    "pattern",
    ["com.ss.ugc.ame", "com.ss.ugc.*", "com.ss*", "c?m.ss.ugc.ame", "*.ugc.*", "?om.ss.ugc.ame", "COM.SS.*.AME"],
)
def test_finds_an_id_by_every_kind_of_pattern(pattern: str) -> None:
    """Exact, by head, by prefix and by search: the same app is found."""
    index = Index([(3, AppMatcher(id=Pattern.parse(pattern)))])
    assert found(index, App(id="com.SS.ugc.Ame"), App(id="com.example.notes")) == {3: [("com.SS.ugc.Ame", True)]}
    assert found(index, App(id="com.example.notes"), App(id="zz")) == {}


@pytest.mark.parametrize("name", ["TikTok", "Tik*", "*tok"])
def test_finds_names_publishers_and_signers(name: str) -> None:
    """Matchers without an id are found by what they have."""
    index = Index(
        [
            (0, AppMatcher(name=Pattern.parse(name))),
            (1, AppMatcher(publisher=Pattern.parse(name))),
            (2, AppMatcher(signer_sha256=frozenset({SIGNER}))),
        ]
    )
    apps = (
        App(id="a", name="TikTok"),
        App(id="b", publisher="TikTok"),
        App(id="c", signer_sha256=(SIGNER,)),
    )
    assert found(index, *apps) == {0: [("a", True)], 1: [("b", True)], 2: [("c", True)]}


def test_either_attribute_of_two_is_a_candidate() -> None:
    """A matcher by name and signer finds an app of which only one is known, as uncertain."""
    index = Index([(0, AppMatcher(name=Pattern.parse("TikTok"), signer_sha256=frozenset({SIGNER})))])
    assert found(index, App(id="a", name="TikTok"), App(id="b", signer_sha256=(SIGNER,))) == {
        0: [("a", False), ("b", False)]
    }


def test_the_certain_match_of_a_rule_wins_and_comes_first() -> None:
    """Two matchers of a rule that mean the same app give one match, the certain one."""
    index = Index(
        [
            (0, AppMatcher(id=Pattern.parse("b"), signer_sha256=frozenset({SIGNER}))),
            (0, AppMatcher(id=Pattern.parse("a"), signer_sha256=frozenset({SIGNER}))),
            (0, AppMatcher(id=Pattern.parse("b"))),
        ]
    )
    assert found(index, App(id="a"), App(id="b")) == {0: [("b", True), ("a", False)]}


def test_both_copies_of_an_app_are_found() -> None:
    """An id can be installed twice; each copy counts."""
    index = Index([(0, AppMatcher(id=Pattern.parse("a")))])
    assert found(index, App(id="a", version="1"), App(id="A", version="2")) == {0: [("a", True), ("A", True)]}


def test_is_blind_only_without_all_that_identifies() -> None:
    """A signer rule cannot be answered as soon as one app has no signer; with an id it always can."""
    index = Index(
        [
            (0, AppMatcher(signer_sha256=frozenset({SIGNER}))),
            (1, AppMatcher(signer_sha256=frozenset({SIGNER}), name=Pattern.parse("TikTok"))),
            (2, AppMatcher(id=Pattern.parse("a"), signer_sha256=frozenset({SIGNER}))),
        ]
    )
    assert list(index.blind(AppList([App(id="x", name="Notes"), App(id="y", name="Y", signer_sha256=("0",))]))) == [0]
    assert list(index.blind(AppList([App(id="x")]))) == [0, 1]
    assert list(index.blind(AppList([App(id="x", name="Notes", signer_sha256=("0",))]))) == []
    mixed = AppList([App(id="x", name="Notes"), App(id="y", signer_sha256=("0",))])
    assert list(index.blind(mixed)) == [0], "each lacks one attribute, none lacks both"


STORE = frozenset({"com.android.vending"})


@pytest.mark.parametrize(
    ("installer", "allowed", "denied"),
    [("com.Android.Vending", True, False), ("org.fdroid", False, True), (None, None, None)],
)
def test_what_installed_an_app(installer: str | None, allowed: bool | None, denied: bool | None) -> None:
    """By one of these, or by anything else; an installer that is not reported leaves both open."""
    app = App(id="x", installer=installer)
    by_store = Index([(0, AppMatcher(installer=STORE))])
    by_others = Index([(0, AppMatcher(not_installer=STORE))])
    for index, expected in ((by_store, allowed), (by_others, denied)):
        assert bool(index.find(AppList([app]))) is bool(expected)
        assert list(index.blind(AppList([app]))) == ([0] if expected is None else [])


def test_rules_beyond_the_evidence_are_never_answered() -> None:
    """Whatever is on the list."""
    index = Index([], beyond=[3])
    assert index.may_be_blind(AppList([]))
    assert list(index.blind(AppList([]))) == [3]
