"""What a rollout sees: devices, each once, within the window."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatekeeper.decision.decide import decide
from gatekeeper.decision.schema import parse_policy
from gatekeeper.domain.posture import Assurance, Binding, Posture, Subject
from gatekeeper.domain.request import MailProtocol, Request
from gatekeeper.publishing import tally as module
from gatekeeper.publishing.rollout import Figures
from gatekeeper.publishing.tally import Tally, causes, together
from testkit.publishing import policy_text
from testkit.reports import ALICE, NOW, TIKTOK, report

SECOND = timedelta(seconds=1)


def test_a_device_that_tries_again_is_one_device() -> None:
    """With what came out last."""
    tally = Tally(60 * SECOND)
    for number in range(5):
        tally.note("ph-1", ("typo",), NOW + number * SECOND, is_new=True)
    tally.note("ph-2", (), NOW, is_new=True)
    assert tally.figures(NOW + 5 * SECOND, is_new=True) == Figures(2, {"typo": 1})

    tally.note("ph-1", (), NOW + 6 * SECOND, is_new=True)
    assert tally.figures(NOW + 6 * SECOND, is_new=True) == Figures(2, {})


def test_the_window_slides() -> None:
    """What is older than the window is forgotten, device by device."""
    tally = Tally(60 * SECOND)
    for number in range(10):
        tally.note(f"ph-{number}", ("typo",), NOW + 10 * number * SECOND, is_new=False)

    assert tally.figures(NOW + 90 * SECOND, is_new=False).seen == 7
    assert tally.figures(NOW + 150 * SECOND, is_new=False).seen == 1
    assert tally.figures(NOW + 151 * SECOND, is_new=False).seen == 0


def test_a_device_is_on_one_side_only() -> None:
    """When the share grows it changes sides."""
    tally = Tally(60 * SECOND)
    tally.note("ph-1", (), NOW, is_new=False)
    tally.note("ph-1", (), NOW, is_new=True)

    assert tally.figures(NOW, is_new=False).seen == 0
    tally.clear()
    assert tally.figures(NOW, is_new=True).seen == 0


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest give way."""
    monkeypatch.setattr(module, "MAX_UNITS", 3)
    tally = Tally(60 * SECOND)
    for number in range(10):
        tally.note(f"ph-{number}", (), NOW, is_new=True)

    assert tally.figures(NOW, is_new=True).seen == 3


@pytest.mark.parametrize(
    ("app", "known", "expected"),
    [("com.zhiliaoapp.musically", True, ("no-x",)), ("com.other", True, ()), ("com.other", False, ("device.unknown",))],
)
def test_what_blocks_is_the_rule_or_else_the_reason(app: str, known: bool, expected: tuple[str, ...]) -> None:
    """Nothing, when it is let through."""
    policy = parse_policy(policy_text(no_x=app).encode(), source="p")
    found = report(None, TIKTOK)
    postures = (Posture(device=found.device, result=found.result),) if known else ()
    subject = Subject(binding=Binding(assurance=Assurance.USER, method="user"), postures=postures)
    request = Request(account=ALICE, protocol=MailProtocol.IMAP, listener="imaps")

    assert causes(decide(policy, subject, request, NOW)) == expected


@given(st.lists(st.tuples(st.integers(0, 50), st.dictionaries(st.sampled_from("ab"), st.integers(0, 50)))))
def test_workers_figures_add_up(parts: list[tuple[int, dict[str, int]]]) -> None:
    """Devices and causes."""
    found = together({str(number): Figures(*part) for number, part in enumerate(parts)})

    assert found.seen == sum(seen for seen, _ in parts)
    assert found.blocked.get("a", 0) == sum(blocked.get("a", 0) for _, blocked in parts)
