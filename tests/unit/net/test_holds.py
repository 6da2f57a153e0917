"""Owners that wait, each for an instant of its own."""

from hypothesis import given
from hypothesis import strategies as st

from gatekeeper.net.holds import Holds


def test_each_is_called_when_its_time_has_come() -> None:
    """In the order of the times, not of their coming; nobody before its time, nobody twice."""
    holds: Holds[str] = Holds()
    called: list[str] = []
    for name, at in (("late", 9.0), ("soon", 1.0), ("later", 5.0)):
        holds.add(name, at, lambda name=name: called.append(name))  # type: ignore[misc]
    holds.sweep(0.9)
    assert called == []
    holds.sweep(5.0)
    assert called == ["soon", "later"]
    assert "late" in holds
    assert len(holds) == 1
    holds.sweep(100)
    holds.sweep(100)
    assert called == ["soon", "later", "late"]


def test_who_waits_no_longer_is_not_called() -> None:
    """Also when another, called before it in the same sweep, ends it."""
    holds: Holds[str] = Holds()
    called: list[str] = []
    holds.add("a", 1, lambda: holds.discard("b"))
    holds.add("b", 2, lambda: called.append("b"))
    holds.discard("nobody")
    holds.sweep(10)
    assert called == []
    assert len(holds) == 0


def test_waiting_anew_replaces_what_was_waited_for() -> None:
    """An owner that adds itself while it is called waits for the new instant."""
    holds: Holds[str] = Holds()
    called: list[int] = []
    holds.add("a", 1, lambda: called.append(1))
    holds.add("a", 3, lambda: holds.add("a", 5, lambda: called.append(5)))
    holds.sweep(2)
    assert called == []
    holds.sweep(3)
    assert called == []
    holds.sweep(5)
    assert called == [5]


@given(
    st.lists(
        st.tuples(st.integers(0, 20), st.floats(0, 100), st.sampled_from(["add", "discard", "sweep"])), max_size=300
    )
)
def test_it_agrees_with_a_plain_table(steps: list[tuple[int, float, str]]) -> None:
    """Whatever is added, discarded and swept, the same are called as from a table that is searched, in bounded memory."""
    holds: Holds[int] = Holds()
    table: dict[int, float] = {}
    called: list[int] = []
    for owner, at, what in steps:
        if what == "add":
            holds.add(owner, at, lambda owner=owner: called.append(owner))  # type: ignore[misc]
            table[owner] = at
        elif what == "discard":
            holds.discard(owner)
            table.pop(owner, None)
        else:
            called.clear()
            holds.sweep(at)
            expected = {one for one, due in table.items() if due <= at}
            assert set(called) == expected
            table = {one: due for one, due in table.items() if one not in expected}
        assert len(holds) == len(table)
    for owner in range(21):
        holds.discard(owner)
    assert len(holds._heap) <= 64
