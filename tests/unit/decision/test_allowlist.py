"""Nothing but these apps."""

import pytest

from gatekeeper.decision.allowlist import AllowList
from gatekeeper.domain.app import App, AppList
from gatekeeper.domain.device import Platform

from .samples import SIGNER, policy

ANDROID = Platform.ANDROID


def unlisted(only: str, *apps: App, platform: Platform = ANDROID) -> list[tuple[str, bool]]:
    text = f'[[rule]]\nid = "r"\nonly_apps = [{only}]\nphases = {{ enforce = "2020-01-01" }}\n'
    found = AllowList(policy(text).rules[0].only_apps, platform).unlisted(AppList(apps))
    return [(match.app.id, match.is_certain) for match in found]


@pytest.mark.parametrize(
    "only",
    [
        "{ id = 'com.Good.app' }",
        "{ id = 'com.good.*' }",
        "{ id = 'com.good*' }",
        "{ id = '*.app' }",
        "{ id = 'com.?ood.app' }",
        "{ id = 'com.good.app', version = '>=1' }",
        "{ platform = 'android', id = 'com.good.app' }",
        "{ name = 'Good' }, { id = 'x' }",
        f"{{ signer_sha256 = '{SIGNER}' }}",
    ],
)
def test_what_is_on_it(only: str) -> None:
    """Whatever kind of matcher says so; another app is not."""
    good = App(id="COM.good.app", name="Good", version="1.2", signer_sha256=(SIGNER,))
    bad = App(id="com.bad.app1", name="Bad", version="1.2", signer_sha256=("cd" * 32,))
    assert unlisted(only, good) == []
    assert unlisted(only, good, bad) == [("com.bad.app1", True)]


def test_what_is_not_known_to_be_on_it() -> None:
    """Counts as not being on it, after what certainly is not."""
    only = "{ id = 'com.good.app', version = '>=2' }"
    apps = [App(id="com.good.app"), App(id="z"), App(id="com.good.app", version="1")]
    assert unlisted(only, *apps) == [("com.good.app", True), ("z", True), ("com.good.app", False)]
    assert unlisted(f"{{ signer_sha256 = '{SIGNER}' }}", App(id="a")) == [("a", False)]


def test_a_matcher_for_another_platform_allows_nothing() -> None:
    """So a list for one platform leaves nothing on another: `scope.platforms` keeps the rule off it."""
    only = "{ platform = 'ios', id = 'com.good.app' }"
    assert unlisted(only, App(id="com.good.app")) == [("com.good.app", True)]
    assert unlisted(only, App(id="com.good.app"), platform=Platform.IPADOS) == []
