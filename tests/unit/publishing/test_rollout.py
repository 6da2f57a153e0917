"""A rollout widens while all is well, halts when it is not, and never without having seen enough."""

from collections import Counter
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatekeeper.publishing.rollout import (
    Figures,
    Rollout,
    RolloutSettings,
    Stage,
    begin,
    covers,
    next_rollout,
    parse_rollout,
)
from testkit.reports import NOW

SETTINGS = RolloutSettings(steps=(5, 50), min_sample=20, band=10)
MINUTE = timedelta(minutes=1)
STARTED = begin(Rollout(version=41, base=41, stage=Stage.DONE, since=NOW), 42, NOW, at_once=False)
KEPT = frozenset({"old"})


def seen(devices: int, **blocked: int) -> Figures:
    """So many devices, and of them so many blocked by each rule."""
    return Figures(devices, Counter(blocked))


def after(minutes: int, here: Figures, elsewhere: Figures, rollout: Rollout = STARTED) -> Rollout:
    """What becomes of it."""
    return next_rollout(rollout, SETTINGS, here, elsewhere, KEPT, NOW + minutes * MINUTE)


def test_it_begins_small_with_the_last_good_one_for_the_rest() -> None:
    """Also when it takes the place of one that was on its way, or had halted."""
    assert (STARTED.version, STARTED.base, STARTED.percent(SETTINGS)) == (42, 41, 5)
    assert begin(STARTED, 43, NOW, at_once=False).base == 41
    halted = after(1, seen(40, new=40), seen(400))
    assert begin(halted, 43, NOW, at_once=False).base == 41
    assert begin(None, 1, NOW, at_once=False).stage is Stage.DONE


def test_it_widens_step_by_step_to_everybody() -> None:
    """Each step takes its time; at the end the version is the base."""
    assert after(14, seen(40), seen(400)) == STARTED
    second = after(15, seen(40), seen(400))
    assert (second.stage, second.percent(SETTINGS), second.since) == (Stage.WIDENING, 50, NOW + 15 * MINUTE)
    assert after(16, seen(40), seen(400), second) == second
    done = after(30, seen(40), seen(400), second)
    assert (done.stage, done.last_good, done.percent(SETTINGS)) == (Stage.DONE, 42, 100)


def test_a_rule_that_blocks_too_many_halts_it_at_once() -> None:
    """With the figures; the last good version rules then for everybody."""
    halted = after(0, seen(20, typo=20), seen(400))

    assert (halted.stage, halted.last_good, halted.percent(SETTINGS)) == (Stage.HALTED, 41, 0)
    assert halted.reason == "`typo` blocks more than it may: 20 of 20 devices, elsewhere 0 of 400"
    assert halted.halted == (42,)
    assert after(600, seen(400), seen(400), halted) == halted


def test_a_rule_that_stops_blocking_halts_it_too() -> None:
    """One that both versions have: a typo can also open the gate. One that is gone on purpose does not."""
    assert after(1, seen(60), seen(400, old=200)).stage is Stage.HALTED
    assert after(15, seen(60), seen(400, gone=200)).step == 1


def test_too_few_devices_prove_nothing() -> None:
    """Neither way, until patience ends; then it goes on only if what was seen looks well."""
    assert after(600, seen(19, typo=19), seen(400)) == STARTED
    assert after(600, seen(19), seen(400)) == STARTED
    assert after(24 * 60, seen(19), seen(400)).step == 1
    assert after(24 * 60, seen(19, typo=19), seen(400)) == STARTED


def test_chance_neither_halts_nor_widens() -> None:
    """Five of twenty may be one in ten by bad luck: wait for more."""
    assert after(60, seen(20, old=5), seen(400, old=40)) == STARTED
    assert after(60, seen(400, old=120), seen(400, old=40)).stage is Stage.HALTED
    assert after(60, seen(400, old=70), seen(400, old=40)).step == 1


def test_the_state_is_read_as_it_was_written() -> None:
    """And nothing else is taken for one."""
    halted = after(0, seen(20, typo=20), seen(400))
    assert parse_rollout(halted.encode()) == halted
    assert parse_rollout(STARTED.encode()) == STARTED
    for rubbish in (b"", b"[]", b"{}", b'{"version": "x"}', STARTED.encode().replace(b"widening", b"wide")):
        with pytest.raises(ValueError, match="is not the state of a rollout"):
            parse_rollout(rubbish)


@given(st.integers(1, 10**6), st.text(max_size=20), st.integers(0, 100), st.integers(0, 100))
def test_raising_the_share_only_adds_devices(version: int, unit: str, one: int, other: int) -> None:
    """And nobody is in none of it, everybody in all of it."""
    low, high = sorted((one, other))
    assert covers(version, high, unit) or not covers(version, low, unit)
    assert covers(version, 100, unit)
    assert not covers(version, 0, unit)


def test_the_share_is_about_what_was_asked_and_others_each_time() -> None:
    """Of ten thousand devices."""
    units = [f"ph-{number}" for number in range(10_000)]
    first = {unit for unit in units if covers(42, 5, unit)}
    second = {unit for unit in units if covers(43, 5, unit)}

    assert 400 < len(first) < 600
    assert len(first & second) < 80


@given(
    steps=st.lists(
        st.tuples(st.integers(0, 2000), st.integers(0, 200), st.integers(0, 200), st.integers(0, 400)), max_size=30
    )
)
def test_it_never_skips_a_step_nor_comes_back(steps: list[tuple[int, int, int, int]]) -> None:
    """Whatever is seen and whenever: a step at a time, and the end is the end."""
    rollout, minutes = STARTED, 0
    for later, devices, blocked, rest in steps:
        minutes += later
        new = after(minutes, seen(devices, typo=min(blocked, devices)), seen(rest), rollout)
        if rollout.stage is not Stage.WIDENING:
            assert new == rollout
        elif new != rollout:
            assert new.step == rollout.step + 1 or new.stage in (Stage.HALTED, Stage.DONE)
            assert new.stage is not Stage.DONE or rollout.step + 1 == len(SETTINGS.steps)
            assert new.last_good == (42 if new.stage is Stage.DONE else 41)
        rollout = new


@given(st.integers(20, 500))
def test_what_blocks_everybody_is_halted_by_the_smallest_sample(devices: int) -> None:
    """For every band below half."""
    for band in (1, 10, 30, 49):
        settings = replace(SETTINGS, band=band)
        new = next_rollout(STARTED, settings, seen(devices, typo=devices), seen(devices), KEPT, NOW)
        assert new.stage is Stage.HALTED
