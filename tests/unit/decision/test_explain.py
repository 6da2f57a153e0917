"""What the help desk reads."""

import dataclasses

from gatekeeper.decision.explain import explain
from gatekeeper.domain.app import App
from gatekeeper.domain.device import DeviceClass, Ownership
from gatekeeper.domain.posture import Assurance, Scope

from .samples import NOTES, SIGNER, TIKTOK, at, policy, posture, request, rule, subject
from .test_schema import EXAMPLE, EXEMPTION

POLICY = policy(EXAMPLE.read_text().replace("schema = 1", "") + EXEMPTION)
COLLECTED = at("2020-07-10T16:20:00Z")
NIGHT = at("2020-07-11T01:00:00Z")


def test_tells_the_whole_story_of_a_warned_phone() -> None:
    """Who, which device, which app and rule, since when, when next, how old the evidence is, what to do."""
    phone = posture([TIKTOK, NOTES], collected_at=COLLECTED)
    lines = explain(POLICY, subject(phone), request(), at("2020-07-10T18:20:00Z"))
    assert lines == (
        "alice@example.com over imap goes through with a warning: a denied app is on the device.",
        "The session is tied to a device by client_certificate (proven).",
        "From 2020-07-11 00:00 UTC on mail is blocked unless that changes.",
        "What to do: Remove TikTok, then open the device check page and press Check again.",
        "Time alone can change this at 2020-07-11 00:00 UTC.",
        "Device ph-001 of alice@example.com (android, mobile, company) is denied, which alone goes through with a warning.",
        "  Evidence from mdm, collected 2020-07-10 16:20 UTC (2 h 0 min ago), is fresh until 2020-07-11 16:20 UTC; 2 apps, scope full, complete.",
        "  Rule no-tiktok (TikTok is not allowed on phones that read company mail) means com.zhiliaoapp.musically (TikTok).",
        "    Reason of the rule: Security directive 2020-07.",
        "    It is for this session, by the class of the device.",
        "    It warns since 2020-07-10 16:00 UTC; it blocks from 2020-07-11 00:00 UTC on.",
    )


def test_tells_of_exemptions_alive_and_expired() -> None:
    """Which one, until when, by whom and why."""
    phone = posture([TIKTOK], account="press@example.com", collected_at=COLLECTED)
    alive = explain(POLICY, subject(phone), request("press@example.com"), at("2020-07-11T16:00:00Z"))
    assert alive[0] == ("press@example.com over imap goes through: an exemption takes a matching rule away.")
    assert alive[-1] == (
        "    Exemption ex-1 takes it away until 2020-10-01 00:00 UTC (approved by ciso@example.com:"
        " Runs the company channel)."
    )
    over = explain(POLICY, subject(phone), request("press@example.com"), at("2020-10-01T00:00:00Z"))
    assert over[0] == (
        "press@example.com over imap is blocked: a denied app is on the device;"
        " the evidence is too old to prove that an app is absent."
    )
    assert over[-1].startswith("    Exemption ex-1 expired at 2020-10-01 00:00 UTC")
    assert "(82 d 7 h ago), is stale since 2020-07-11 16:20 UTC" in over[4]


def test_tells_of_an_unknown_device() -> None:
    """With the id that the binding named, or that there is none, and which devices were not judged."""
    now = at("2020-07-10T18:00:00Z")
    claimed = explain(POLICY, subject(claimed_device="ph-9"), request(), now)
    assert claimed[0] == "alice@example.com over imap is blocked: no registered device is known for this session."
    assert claimed[2] == "No device `ph-9` is registered for this user."
    laptop = posture(device_id="lt-1", device_class=DeviceClass.LAPTOP)
    untied = explain(POLICY, subject(laptop, assurance=Assurance.USER), request(), now)
    assert untied[1] == "The session is tied to the user only, so all mobile devices of that user count."
    assert untied[2] == "No mobile device is registered for this user."
    assert untied[-1] == (
        "Not judged, because a session that is tied to a user only is judged by mobile devices: lt-1."
    )


def test_tells_what_is_not_known() -> None:
    """Versions, ownership, completeness, evidence."""
    text = rule("{ id = 'com.foo', version = '<2' }", 'scope = { ownership = ["company"] }') + rule(
        f"{{ signer_sha256 = '{SIGNER}' }}", rule_id="signed", phases='enforce = "2020-01-01"'
    )
    now = at("2020-07-10T16:20:30Z")
    phone = posture([App(id="com.foo")], ownership=None, collected_at=COLLECTED)
    lines = explain(policy(text), subject(phone), request(), now)
    assert "(0 min ago)" in lines[5]
    assert "(android, mobile, ownership not known) is denied" in lines[4]
    assert "  Rule r means com.foo, whose version is not known." in lines
    assert "    It counts as being for this session, for it is not known otherwise: whose the device is." in lines
    assert "  Rule signed asks for what the evidence does not say: signer." in lines
    partial = explain(policy(""), subject(posture(scope=Scope.MANAGED_ONLY)), request(), COLLECTED)
    assert "  Such a list shows what is there, but cannot prove that an app is absent." in partial
    assert "  No rule means any app on its list." in partial
    never = explain(policy(""), subject(posture(None)), request(), COLLECTED)
    assert never[-1] == "  It has never sent any evidence."


def test_tells_of_rules_that_are_not_for_the_session_or_not_yet() -> None:
    """A rule that means the app but does nothing is named with the reason."""
    text = rule("{ id = 'com.zhiliaoapp.musically' }", 'scope = { ownership = ["company"] }', rule_id="company") + rule(
        "{ id = 'com.zhiliaoapp.musically' }", rule_id="later", phases='observe = "2020-08-01", enforce = "2020-09-01"'
    )
    phone = posture([TIKTOK], ownership=Ownership.PERSONAL, collected_at=COLLECTED)
    lines = explain(policy(text), subject(phone), request(), COLLECTED)
    assert lines[0] == "alice@example.com over imap goes through: no rule and no default applies."
    assert lines[-4:] == (
        "  Rule company means com.zhiliaoapp.musically (TikTok).",
        "    It is not for this session, by whose the device is.",
        "  Rule later means com.zhiliaoapp.musically (TikTok).",
        "    It does nothing yet; it is only recorded from 2020-08-01 00:00 UTC on; blocks from 2020-09-01 00:00 UTC on.",
    )


def test_tells_by_what_a_rule_is_for_the_session() -> None:
    """Every condition in words, the same words once; one that speaks against it is enough."""
    scope = """scope = { device_class = ["mobile"], protocols = ["imap"], networks = ["192.0.2.0/24"],
        not_networks = ["192.0.2.7"], users = ["alice@example.com"] }""".replace("\n", "")
    phone = posture([TIKTOK], collected_at=COLLECTED)
    it_is = (
        "    It is for this session, by the class of the device, the protocol, the network that it comes from"
        " and who the person is (`users`)."
    )
    it_is_not = "    It is not for this session, by the network that it comes from."
    for address, said in (("192.0.2.9", it_is), ("192.0.2.7", it_is_not)):
        asked = dataclasses.replace(request(), client_address=address)
        assert said in explain(policy(rule("{ id = 'com.zhiliaoapp.musically' }", scope)), subject(phone), asked, NIGHT)


def test_never_names_another_app() -> None:
    """The rest of a private phone's list stays private."""
    phone = posture([TIKTOK, NOTES], collected_at=COLLECTED)
    assert not any("notes" in line.lower() for line in explain(POLICY, subject(phone), request(), COLLECTED))


def test_names_the_page_for_people() -> None:
    """Where one is configured."""
    phone = posture([TIKTOK], collected_at=COLLECTED)
    lines = explain(POLICY, subject(phone), request(), NIGHT, check_url="https://gate.example/why")
    assert "What to do: Remove TikTok, then open https://gate.example/why and press Check again." in lines
