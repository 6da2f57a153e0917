"""From reports to rows."""

import json

from gatekeeper.adapters.stores.plan import Plan
from gatekeeper.adapters.stores.reading import OnRecord
from gatekeeper.domain.posture import Scope
from testkit.reports import ALICE, BOB, MINUTE, NOTES, NOW, TIKTOK, phone, report


def test_nothing_new_writes_no_row() -> None:
    """The same reports again leave the database untouched, the feed as well."""
    said = report(phone(identifiers={"serial": "R58"}), NOTES)
    plan = Plan({said.device.device_id: OnRecord(said.device, (said.result,))}, {})
    plan.apply([said])
    rows = plan.rows(now=NOW, kind="inventory", digest="")

    assert not any((rows.devices_new, rows.devices_changed, rows.identifiers_gone, rows.identifiers_new))
    assert not any((rows.results_new, rows.results_changed, rows.changes))


def test_new_evidence_touches_its_row_only() -> None:
    """Facts and the rows of other sources are not written again."""
    said = report(phone(), NOTES)
    plan = Plan({said.device.device_id: OnRecord(said.device, (said.result,))}, {})
    plan.apply([report(phone(), TIKTOK, source="agent", scope=Scope.USER_VISIBLE)])
    rows = plan.rows(now=NOW, kind="inventory", digest="")

    assert (rows.devices_new, rows.devices_changed, rows.results_changed) == ([], [], [])
    assert [(row["source"], row["scope"]) for row in rows.results_new] == [("agent", "user-visible")]
    assert len(rows.changes) == 1


def test_a_device_that_changes_hands_has_an_entry_for_each_account() -> None:
    """The one who loses it hears as well; the counts stand on the last entry."""
    said = report(phone(), NOTES)
    plan = Plan({said.device.device_id: OnRecord(said.device, (said.result,))}, {})
    plan.apply([report(phone(account=BOB), NOTES)])
    changes = plan.rows(now=NOW, kind="inventory", digest="f00").changes

    assert [(row["account"], row["digest"]) for row in changes] == [(ALICE, "f00"), (BOB, "f00")]
    assert changes[0]["detail"] == ""
    assert json.loads(str(changes[1]["detail"])) == {"created": 0, "changed": 1, "unchanged": 0}


def test_an_incomplete_list_does_not_bring_back_what_a_complete_one_answered() -> None:
    """What another source's newer proof showed to be gone is not taken over from the older row."""
    early = report(phone(), TIKTOK, source="agent", complete=False)
    proof = report(phone(), NOTES, at=NOW + MINUTE)
    device = early.device
    plan = Plan({device.device_id: OnRecord(device, (early.result, proof.result))}, {})
    plan.put_evidence(report(phone(), source="agent", complete=False, at=NOW + 2 * MINUTE))
    (row,) = plan.rows(now=NOW, kind="evidence", digest="").results_changed

    assert row["apps"] == "[]"
