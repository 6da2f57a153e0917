"""Sessions are cut at a bounded rate, in order, and all of them."""

from gatekeeper.domain.request import MailProtocol, Request
from gatekeeper.gate.cuts import Cuts
from gatekeeper.gate.sessions import Admission
from testkit.audit_log import BLOCKED, connection


def _admission(cut: list[int], number: int) -> Admission:
    """An open session that notes when it is cut."""
    return Admission(
        connection=connection(),
        request=Request(account=f"user{number}@example.com", protocol=MailProtocol.IMAP, listener="imaps"),
        certificate=None,
        mechanism="PLAIN",
        decision=BLOCKED,
        cut=lambda: cut.append(number),
    )


def test_many_are_cut_tick_by_tick() -> None:
    """As many as fit at once, then as many at each tick, in the order in which they fell."""
    cut: list[int] = []
    cuts = Cuts(a_tick=3)
    for number in range(8):
        cuts.add(_admission(cut, number))
    assert cut == [0, 1, 2]
    assert len(cuts) == 5
    cuts.tick()
    assert cut == [0, 1, 2, 3, 4, 5]
    cuts.tick()
    assert cut == list(range(8))
    assert len(cuts) == 0


def test_a_few_do_not_wait() -> None:
    """What is left of a tick's number is used at once; a tick without work saves nothing up."""
    cut: list[int] = []
    cuts = Cuts(a_tick=2)
    cuts.tick()
    cuts.tick()
    for number in range(3):
        cuts.add(_admission(cut, number))
    assert cut == [0, 1]
    cuts.tick()
    cuts.add(_admission(cut, 3))
    assert cut == [0, 1, 2, 3]
