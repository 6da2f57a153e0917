"""The part of an app list that policies can tell apart; its law is in `tests/properties/test_plan_properties.py`."""

from decision.samples import NOTES, SIGNER, TIKTOK, policy, rule

from gatekeeper.campaign.outline import Outline
from gatekeeper.domain.app import OPTIONAL, App, AppList

BY_ID = policy(rule('{ id = "com.zhiliaoapp.*", version = "<2" }'))
BY_NAME = policy(rule('{ name = "Tik*" }'))


def test_only_apps_that_a_rule_can_mean_are_kept() -> None:
    """Whatever their version, as they were reported."""
    outline = Outline([BY_ID])

    assert outline.outline(AppList([NOTES, TIKTOK])).apps == (TIKTOK,)
    assert outline.outline(AppList([NOTES])) == AppList([])


def test_equal_outlines_are_one_object() -> None:
    """A million phones without a denied app share one empty list."""
    outline = Outline([BY_ID])

    assert outline.outline(AppList([NOTES])) is outline.outline(AppList([NOTES, App(id="org.other")]))


def test_what_the_rest_lacks_is_kept_where_a_rule_asks_for_it() -> None:
    """A rule by name cannot be answered by a list in which a name is missing; the app that lacks it is not told."""
    nameless = App(id="org.secret", publisher="P", signer_sha256=(SIGNER,), installer="store")
    found = Outline([BY_NAME]).outline(AppList([nameless]))

    assert found.lacks == frozenset({"name"})
    assert "org.secret" not in found.text
    assert Outline([BY_ID]).outline(AppList([nameless])).lacks == frozenset()


def test_every_optional_attribute_can_be_missing_in_an_outline() -> None:
    """An attribute that is added to `OPTIONAL` needs its stand-in."""
    for attribute in OPTIONAL:
        place = 1 << OPTIONAL.index(attribute)
        assert Outline([BY_NAME]).of((), 1 << place).lacks == {attribute}


def test_a_rule_that_can_be_blind_by_version_needs_whole_lists() -> None:
    """Whether it is blind depends on the version of every app."""
    outline = Outline([policy(rule('{ name = "Tik*", version = "<2" }'))])

    assert outline.needs_everything
    assert outline.outline(AppList([NOTES])).apps == (NOTES,)


def test_a_stand_in_is_never_taken_for_an_app_from_elsewhere() -> None:
    """What stands for an app that lacks its name came, as far as a rule about installers asks, from where it may."""
    nameless = App(id="org.secret", publisher="P", signer_sha256=(SIGNER,), installer="com.android.vending")
    spared = Outline([policy(rule('{ not_installer = ["com.android.vending"] }'))])
    torn = Outline([policy(rule('{ not_installer = ["one"] }, { not_installer = ["two"] }'))])

    assert [app.installer for app in spared.outline(AppList([nameless])).apps] == ["com.android.vending"]
    assert torn.needs_everything


def test_what_every_list_of_allowed_apps_has_is_left_out() -> None:
    """On all platforms on which the list counts; what only some of an app's versions may be is kept."""
    mail, chat, new = App(id="org.mail"), App(id="com.chat.lite"), App(id="org.new", version="2")
    lists = AppList([mail, chat, new, NOTES])

    assert Outline([policy(RULE_ONLY % "")]).outline(lists).apps == (new, NOTES)
    assert Outline([policy(RULE_ONLY % 'platform = "ios", ')]).outline(lists).apps == (mail, new, NOTES)
    scoped = RULE_ONLY % 'platform = "ios", ' + 'scope = { platforms = ["ios"] }\n'
    assert Outline([policy(scoped)]).outline(lists).apps == (new, NOTES)


def test_an_allow_list_beside_what_can_be_blind_needs_whole_lists() -> None:
    """What stands for apps that lack something would be an app that is not allowed."""
    assert Outline([policy(RULE_ONLY % ""), BY_NAME]).needs_everything
    assert not Outline([policy(RULE_ONLY % ""), BY_ID]).needs_everything


RULE_ONLY = """
[[rule]]
id = "r"
only_apps = [{ %sid = "org.mail" }, { id = "com.chat.*" }, { id = "org.new", version = ">1" }]
phases = { enforce = "2020-01-01" }
"""
