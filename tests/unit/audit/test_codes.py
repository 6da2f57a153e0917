"""The table of event codes."""

from gatekeeper.audit.codes import CLASSIFICATIONS, EVENT_MEANINGS, Word
from gatekeeper.audit.event import EventCode


def test_every_code_has_a_row_and_a_meaning() -> None:
    """No event can be recorded that is not classified and explained."""
    assert set(EventCode) == set(CLASSIFICATIONS) == set(EVENT_MEANINGS)


def test_meanings_are_sentences_of_their_own() -> None:
    """Each meaning is one sentence, and no two are the same."""
    assert len(set(EVENT_MEANINGS.values())) == len(EventCode)
    assert all(meaning.endswith(".") and meaning[0].isupper() for meaning in EVENT_MEANINGS.values())


def test_type_follows_from_class_and_activity() -> None:
    """OCSF: `type_uid` is class times 100 plus activity, and the category is the class's first digit."""
    for row in CLASSIFICATIONS.values():
        assert row.fixed["type_uid"] == row.class_uid * 100 + row.fixed["activity_id"]  # type: ignore[operator]  # an int
        assert row.fixed["category_uid"] == row.class_uid // 1000


def test_blocks_are_denied_and_alerts() -> None:
    """Every refusal by policy is a failed log-on, denied, blocked, of high severity."""
    for code, row in CLASSIFICATIONS.items():
        if row.word is Word.BLOCK:
            values = [
                row.fixed[name] for name in ("type_uid", "status_id", "action_id", "disposition_id", "severity_id")
            ]
            assert values == [300201, 2, 2, 2, 3], code
            assert row.fixed["is_alert"] is True
