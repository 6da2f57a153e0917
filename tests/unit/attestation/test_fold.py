"""Presence does not go stale, only absence does."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatekeeper.attestation import fold as fold_module
from gatekeeper.attestation.fold import fold, update
from gatekeeper.domain.app import App, AppList
from gatekeeper.domain.posture import AttestationResult, DeviceFlag, Scope

START = datetime(2026, 7, 10, tzinfo=UTC)
TIKTOK, NOTES, CHAT = "com.zhiliaoapp.musically", "com.example.notes", "com.example.chat"


def row(
    hour: int, *apps: str | App, source: str = "mdm", scope: Scope = Scope.FULL, complete: bool = True
) -> AttestationResult:
    """What a source said at an hour."""
    return AttestationResult(
        source=source,
        scope=scope,
        complete=complete,
        collected_at=START + timedelta(hours=hour),
        evidence_sha256=f"{hour:064x}",
        apps=AppList(app if isinstance(app, App) else App(id=app) for app in apps),
    )


def ids(result: AttestationResult | None) -> set[str]:
    return set(result.apps.keys) if result else set()


def test_a_complete_list_replaces_its_row() -> None:
    """An app that a complete list of the same view omits is gone."""
    new = row(2, NOTES)

    assert update(row(1, TIKTOK), new) is new


def test_a_first_answer_is_its_row() -> None:
    """Also an incomplete one."""
    new = row(1, NOTES, complete=False)

    assert update(None, new) is new


def test_an_incomplete_list_adds_and_ends_the_proof_of_absence() -> None:
    """What it does not list may still be there; its facts are those of the row from then on."""
    after = update(row(1, TIKTOK), row(2, NOTES, complete=False))

    assert ids(after) == {TIKTOK, NOTES}
    assert not after.proves_absence
    assert after.collected_at == START + timedelta(hours=2)
    assert after.evidence_sha256 == f"{2:064x}"


def test_a_newer_sighting_replaces_the_older_of_the_same_app() -> None:
    """An app that was updated to a harmless version is not held against its owner."""
    after = update(row(1, App(id=TIKTOK, version="1")), row(2, App(id=TIKTOK.upper(), version="2"), complete=False))

    assert [app.version for app in after.apps.apps] == ["2"]


def test_sightings_that_a_full_list_answered_do_not_come_back() -> None:
    """Between two partial answers another source showed that the app is gone."""
    before = row(1, TIKTOK, source="agent", complete=False)
    shown_absent = row(2, NOTES)
    new = row(3, CHAT, source="agent", complete=False)
    after = update(before, new, absence_known_at=shown_absent.collected_at)

    assert ids(after) == {CHAT}
    assert ids(fold([after, shown_absent])) == {CHAT, NOTES}
    assert ids(update(before, new, absence_known_at=before.collected_at)) == {TIKTOK, CHAT}


def test_a_row_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Partial lists cannot grow a row for ever; the newest list is always kept whole."""
    monkeypatch.setattr(fold_module, "MAX_ROW_APPS", 3)
    after = update(row(1, "a", "b", "c"), row(2, "d", complete=False))

    assert [app.id for app in after.apps.apps] == ["d", "a", "b"]
    assert len(update(row(1, "a"), row(2, *"bcdef", complete=False)).apps) == 5


def test_nothing_known_folds_to_nothing() -> None:
    """A device without evidence has no result."""
    assert fold([]) is None


def test_one_row_folds_to_itself() -> None:
    """Whatever it proves."""
    for only in (row(1, NOTES), row(1, NOTES, complete=False), row(1, scope=Scope.MANAGED_ONLY)):
        assert fold([only]) == only


def test_the_newest_proof_of_absence_gives_the_facts() -> None:
    """Age, source and digest are those of the proof, while newer partial sightings are added."""
    proof = row(3, NOTES, source="mdm")
    partial = row(5, TIKTOK, source="agent", scope=Scope.USER_VISIBLE)
    folded = fold([partial, row(1, CHAT, source="old"), proof])

    assert ids(folded) == {NOTES, TIKTOK}
    assert folded is not None
    assert folded.proves_absence
    assert (folded.source, folded.collected_at, folded.evidence_sha256) == ("mdm", proof.collected_at, f"{3:064x}")


def test_rows_older_than_the_proof_contribute_nothing() -> None:
    """The full list could see everything, so what older ones saw is answered."""
    assert ids(fold([row(2, NOTES), row(1, TIKTOK, source="agent", complete=False)])) == {NOTES}


def test_a_sighting_of_the_same_instant_counts() -> None:
    """When two sources contradict each other at one instant, the sighting wins."""
    assert ids(fold([row(2, NOTES), row(2, TIKTOK, source="agent")])) == {NOTES, TIKTOK}


def test_without_a_proof_everything_seen_counts_and_nothing_is_vouched_for() -> None:
    """Two partial views are not a whole one."""
    folded = fold([row(1, TIKTOK, scope=Scope.WORK_PROFILE), row(2, NOTES, scope=Scope.MANAGED_ONLY)])

    assert folded is not None
    assert ids(folded) == {TIKTOK, NOTES}
    assert (folded.scope, folded.complete) == (Scope.MANAGED_ONLY, False)
    assert folded.collected_at == START + timedelta(hours=2)


def test_two_views_of_one_app_both_stay() -> None:
    """The work profile's harmless version does not hide the personal profile's denied one."""
    old, new = App(id=TIKTOK, version="1"), App(id=TIKTOK, version="2")
    folded = fold([row(1, old), row(2, new, scope=Scope.WORK_PROFILE)])

    assert folded is not None
    assert set(folded.apps.apps) == {old, new}


ROWS = st.builds(
    lambda hour, apps, source, scope, complete: row(hour, *apps, source=source, scope=scope, complete=complete),
    st.integers(1, 3),
    st.lists(st.sampled_from("abc"), max_size=3),
    st.sampled_from(["mdm", "agent"]),
    st.sampled_from([Scope.FULL, Scope.MANAGED_ONLY]),
    st.booleans(),
)


@given(st.lists(ROWS, max_size=4, unique_by=lambda found: (found.source, found.scope)))
def test_the_order_of_rows_never_matters(rows: list[AttestationResult]) -> None:
    """A store may return them as it likes."""
    folded = fold(rows)

    for order in permutations(rows):
        again = fold(order)
        assert (again is None) == (folded is None)
        if again and folded:
            assert ids(again) == ids(folded)
            assert (again.collected_at, again.complete, again.source) == (
                folded.collected_at,
                folded.complete,
                folded.source,
            )


@given(st.lists(ROWS, max_size=12), st.booleans())
def test_an_app_disappears_only_by_a_newer_list_that_could_see_it(reports: list[AttestationResult], tell: bool) -> None:
    """Whatever sources say in whatever order, only a complete list of that view, or of everything, shows absence."""
    rows: dict[tuple[str, Scope], AttestationResult] = {}
    seen: set[str] = set()
    for hour, report in enumerate(reports, start=1):
        new = row(hour, *report.apps.keys, source=report.source, scope=report.scope, complete=report.complete)
        proofs = [known.collected_at for known in rows.values() if known.proves_absence]
        key = (new.source, new.scope)
        rows[key] = update(rows.get(key), new, absence_known_at=max(proofs, default=None) if tell else None)
        now_seen = ids(fold(list(rows.values())))

        assert set(new.apps.keys) <= now_seen
        if not new.complete:
            assert seen <= now_seen
        if new.proves_absence:
            assert now_seen == set(new.apps.keys)
        seen = now_seen


GOOD, ROOTED = {DeviceFlag.COMPROMISED: False}, {DeviceFlag.COMPROMISED: True}


def test_facts_of_the_device_stay_until_something_newer_speaks_of_them() -> None:
    """A list that is silent about the system and the flags takes nothing back, whatever its source."""
    known = replace(row(1, NOTES), os_version="17.4", flags=ROOTED)
    silent = row(2, NOTES)
    after = update(known, silent)
    assert (after.os_version, after.flags, after.collected_at) == ("17.4", ROOTED, silent.collected_at)
    assert update(after, replace(row(3), os_version="17.5", flags=GOOD)).flags == GOOD

    joined = fold([known, row(2, NOTES, source="agent")])
    assert joined is not None
    assert (joined.source, joined.os_version, joined.flags) == ("agent", "17.4", ROOTED)
    corrected = fold([known, replace(row(2, source="agent"), flags=GOOD)])
    assert corrected is not None
    assert (corrected.os_version, corrected.flags) == ("17.4", GOOD)
