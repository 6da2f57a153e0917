"""What changes between two policies, in a line each."""

from gatekeeper.decision.schema import parse_policy
from gatekeeper.publishing.summary import changes
from testkit.publishing import policy_text


def lines(before: str, after: str) -> list[str]:
    """The lines."""
    old, new = (parse_policy(text.encode(), source="p") for text in (before, after))
    return list(changes(old, new))


def test_rules_that_come_go_and_change_are_told() -> None:
    """In the order of the files."""
    before = policy_text(same="com.same", gone="com.gone", other="com.old")
    after = policy_text(same="com.same", other="com.new", more="com.more")

    assert lines(before, after) == ["- rule gone", "~ rule other", "+ rule more"]


def test_defaults_and_groups_are_told() -> None:
    """Whose members change is in the text below, not here."""
    before = policy_text() + '[groups]\nstaff = ["a@example.com"]\n'
    after = before.replace("block", "allow").replace("a@", "b@")

    assert lines(before, after) == ["~ defaults", "~ group staff"]
    assert lines(before, before) == []


def test_groups_of_the_directory_and_sources_are_told() -> None:
    """What they are called there, and how far each is believed."""
    before = policy_text() + '[groups]\nstaff = { directory = "Staff" }\n[sources]\nmdm = "mdm"\n'
    after = before.replace('"Staff"', '"All staff"').replace('= "mdm"', '= "agent"')

    assert lines(before, after) == ["~ group staff", "~ source mdm"]
