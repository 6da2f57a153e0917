"""Postures held small; that they are judged alike is a law in `tests/properties/test_replay_properties.py`."""

import sys
from dataclasses import replace
from datetime import timedelta

from decision.samples import NOON, TIKTOK, posture

from gatekeeper.campaign.ledger import Ledger
from gatekeeper.domain.posture import Posture

HOUR = timedelta(hours=1)


def ledger(*postures: Posture) -> Ledger:
    """Of one device."""
    found = Ledger()
    found.add(postures)
    return found


def test_a_posture_comes_back_under_its_revision() -> None:
    """Its owner, its apps and the time of its report; not what names the evidence."""
    newer = replace(posture([TIKTOK], collected_at=NOON), revision=9)
    older = replace(posture(collected_at=NOON - HOUR, account="bob@example.com"), revision=4)
    held = ledger(newer, older)

    assert len(held) == 2
    for each in (newer, older):
        kept = held.find("ph-001", each.revision)
        assert kept is not None
        found = held.posture("ph-001", kept)
        assert found.device == each.device
        assert each.result is not None
        assert found.result == replace(each.result, evidence_sha256="")


def test_what_is_not_held_is_not_found() -> None:
    """Neither another revision nor another device."""
    held = ledger(replace(posture(), revision=4))

    assert [held.find("ph-001", 3), held.find("ph-001", 5), held.find("ph-002", 4)] == [None] * 3


def test_a_device_without_evidence_is_held_as_well() -> None:
    """It has a posture, of which nothing is known."""
    held = ledger(replace(posture(None), revision=1))
    kept = held.find("ph-001", 1)

    assert kept is not None
    assert held.posture("ph-001", kept).result is None


def test_a_week_of_reports_takes_little() -> None:
    """What does not differ in anything that is asked is one shape, however many there are."""
    postures = [replace(posture(collected_at=NOON + n * HOUR), revision=n) for n in range(200)]
    held = ledger(*postures)

    assert len({held.find("ph-001", n).shape for n in range(200)}) == 1  # type: ignore[union-attr]  # all are held
    assert sys.getsizeof(held._devices["ph-001"].columns) < 200 * 40


def test_what_was_not_put_in_is_asked_for_elsewhere_once() -> None:
    """And judged like what was; what is nowhere is not asked for again either."""
    archived = replace(posture([TIKTOK], collected_at=NOON, account="bob@example.com"), revision=4)
    asked: list[tuple[str, int]] = []

    def elsewhere(device_id: str, revision: int) -> Posture | None:
        asked.append((device_id, revision))
        return archived if revision == 4 else None

    held = Ledger(elsewhere)
    held.add([replace(posture(), revision=9)])
    for _ in range(2):
        kept = held.find("ph-001", 4)
        assert kept is not None
        found = held.posture("ph-001", kept)
        assert (found.device, found.result) == (archived.device, replace(archived.result, evidence_sha256=""))  # type: ignore[type-var]
        assert held.find("ph-001", 5) is None
        assert held.find("ph-002", 5) is None
    assert asked == [("ph-001", 4), ("ph-001", 5), ("ph-002", 5)]
