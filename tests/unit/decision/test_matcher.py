"""One matcher, one app."""

import pytest

from gatekeeper.decision.matcher import AppMatcher, Finding
from gatekeeper.decision.patterns import Pattern
from gatekeeper.decision.versions import VersionRange
from gatekeeper.domain.app import App
from gatekeeper.domain.device import Platform

from .samples import SIGNER

ID = Pattern.parse("com.foo.*")
NAME = Pattern.parse("TikTok*")
PUBLISHER = Pattern.parse("ByteDance*")
VERSION = VersionRange.parse("<2.3")
SIGNERS = frozenset({SIGNER})
OTHER = ("cd" * 32,)


@pytest.mark.parametrize(
    ("matcher", "app", "finding"),
    [
        (AppMatcher(id=ID), App(id="COM.Foo.bar"), Finding.CERTAIN),
        (AppMatcher(id=ID), App(id="com.bar"), Finding.NO),
        (AppMatcher(id=ID, version=VERSION), App(id="com.foo.x", version="2.2"), Finding.CERTAIN),
        (AppMatcher(id=ID, version=VERSION), App(id="com.foo.x", version="2.3"), Finding.NO),
        (AppMatcher(id=ID, version=VERSION), App(id="com.foo.x"), Finding.UNCERTAIN),
        (AppMatcher(id=ID, signer_sha256=SIGNERS), App(id="com.foo.x", signer_sha256=(SIGNER,)), Finding.CERTAIN),
        (AppMatcher(id=ID, signer_sha256=SIGNERS), App(id="com.foo.x", signer_sha256=OTHER), Finding.NO),
        (AppMatcher(id=ID, signer_sha256=SIGNERS), App(id="com.foo.x"), Finding.UNCERTAIN),
        (AppMatcher(id=ID, name=NAME), App(id="com.foo.x"), Finding.UNCERTAIN),
        (AppMatcher(id=ID, name=NAME), App(id="com.foo.x", name="Notes"), Finding.NO),
        (AppMatcher(name=NAME), App(id="x", name="tiktok lite"), Finding.CERTAIN),
        (AppMatcher(name=NAME), App(id="x"), Finding.BLIND),
        (AppMatcher(publisher=PUBLISHER), App(id="x", publisher="ByteDance Ltd."), Finding.CERTAIN),
        (AppMatcher(publisher=PUBLISHER, version=VERSION), App(id="x"), Finding.BLIND),
        (AppMatcher(publisher=PUBLISHER, version=VERSION), App(id="x", version="3"), Finding.NO),
        (AppMatcher(signer_sha256=SIGNERS), App(id="x", signer_sha256=(*OTHER, SIGNER)), Finding.CERTAIN),
        (AppMatcher(signer_sha256=SIGNERS), App(id="x"), Finding.BLIND),
        (AppMatcher(signer_sha256=SIGNERS, name=NAME), App(id="x", name="TikTok"), Finding.UNCERTAIN),
        (AppMatcher(signer_sha256=SIGNERS, name=NAME), App(id="x", signer_sha256=(SIGNER,)), Finding.UNCERTAIN),
        (AppMatcher(signer_sha256=SIGNERS, name=NAME), App(id="x"), Finding.BLIND),
    ],
)
def test_judges_an_app(matcher: AppMatcher, app: App, finding: Finding) -> None:
    """All conditions must hold; unknown ones make a match uncertain, or blind when nothing identifies the app."""
    assert matcher.judge(app) is finding


@pytest.mark.parametrize(
    ("platform", "covered"),
    [
        (None, set(Platform)),
        (Platform.IOS, {Platform.IOS, Platform.IPADOS, Platform.VISIONOS}),
        (Platform.IPADOS, {Platform.IPADOS}),
        (Platform.ANDROID, {Platform.ANDROID}),
    ],
)
def test_ios_means_all_that_share_its_identifiers(platform: Platform | None, covered: set[Platform]) -> None:
    """No platform is any; `ios` includes iPads and Vision."""
    assert {each for each in Platform if AppMatcher(platform=platform, id=ID).covers(each)} == covered


def test_names_what_is_unknown() -> None:
    """A help desk hears which attribute the list lacks."""
    matcher = AppMatcher(id=ID, name=NAME, publisher=PUBLISHER, signer_sha256=SIGNERS, version=VERSION)
    assert matcher.unknowns(App(id="com.foo.x")) == ("name", "publisher", "signer", "version")
    known = App(id="com.foo.x", name="a", publisher="b", signer_sha256=(SIGNER,), version="1")
    assert matcher.unknowns(known) == ()


def test_an_id_is_always_known() -> None:
    """So a matcher with an id is never blind, whatever else it asks for."""
    assert AppMatcher(id=ID, name=NAME, signer_sha256=SIGNERS).blind_without == frozenset()
    assert AppMatcher(name=NAME, signer_sha256=SIGNERS).blind_without == {"name", "signer"}


def test_an_app_must_be_identified() -> None:
    """A version alone is no matcher."""
    with pytest.raises(ValueError, match="needs an id, name, publisher, signer_sha256, installer or not_installer"):
        AppMatcher(version=VERSION)
