"""A worker's place: how it ended in words, and when the next one starts."""

from gatekeeper.server.workers.channel import pair
from gatekeeper.server.workers.slot import MAX_DELAY_S, STEADY_S, Slot

KILLED, BAD_CONFIGURATION = 9, 78 << 8
"""As waitpid(2) gives it."""


def _lived(slot: Slot, begin: float, end: float, status: int = KILLED) -> float:
    """Let a process come and go; the seconds until the next one may start."""
    ours, theirs = pair()
    slot.begin(4711, ours, begin)
    slot.end(status, end)
    theirs.close()
    return round(slot.start_at - end, 3)


def test_the_pause_doubles_with_quick_deaths_up_to_a_bound() -> None:
    """And whoever lived for a while starts again at once."""
    slot = Slot(1)
    assert [_lived(slot, 0.0, 1.0) for _ in range(4)] == [0.1, 0.2, 0.4, 0.8]
    assert max(_lived(slot, 0.0, 1.0) for _ in range(30)) == MAX_DELAY_S
    assert _lived(slot, 0.0, STEADY_S) == 0.0
    assert _lived(slot, 0.0, 1.0) == 0.1
    assert slot.deaths == 36


def test_how_it_ended_is_said_in_words() -> None:
    """With the time of the next start."""
    slot = Slot(2)
    assert slot.facts(0.0)["state"] == "starting"
    _lived(slot, 0.0, 10.0)
    assert slot.facts(10.0)["state"] == "was killed by SIGKILL, next start in 0.1 s"
    _lived(slot, 0.0, 10.0, BAD_CONFIGURATION)
    assert slot.facts(11.0) == {
        "worker": 2,
        "pid": 0,
        "is_up": False,
        "state": "ended with exit code 78",
        "deaths": 2,
    }
