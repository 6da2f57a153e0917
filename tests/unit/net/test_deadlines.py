"""Deadlines that all last equally long."""

from gatekeeper.net.deadlines import Deadlines


def test_only_the_late_expire_oldest_first() -> None:
    """A sweep stops at the first whose time has not come."""
    expired: list[str] = []
    deadlines = Deadlines[str](10, expired.append)
    for number, owner in enumerate("abc"):
        deadlines.add(owner, number)
    deadlines.sweep(11)

    assert expired == ["a", "b"]
    assert deadlines.owners() == ("c",)
    assert len(deadlines) == 1
    deadlines.sweep(11.9)
    assert expired == ["a", "b"]


def test_adding_again_starts_anew() -> None:
    """The old deadline counts no more, and the order is that of the new ones."""
    expired: list[str] = []
    deadlines = Deadlines[str](10, expired.append)
    deadlines.add("a", 0)
    deadlines.add("b", 1)
    deadlines.add("a", 5)
    deadlines.sweep(12)

    assert expired == ["b"]
    assert "a" in deadlines
    assert "b" not in deadlines


def test_who_made_it_never_expires() -> None:
    """Discarding ends the deadline; discarding again is nothing."""
    expired: list[str] = []
    deadlines = Deadlines[str](10, expired.append)
    deadlines.add("a", 0)
    deadlines.discard("a")
    deadlines.discard("a")
    deadlines.sweep(100)

    assert expired == []


def test_who_is_discarded_by_anothers_expiry_does_not_expire() -> None:
    """One late owner ends another one, which is late in the same sweep."""
    expired: list[str] = []

    def end_both(owner: str) -> None:
        expired.append(owner)
        deadlines.discard("b")

    deadlines = Deadlines[str](10, end_both)
    deadlines.add("a", 0)
    deadlines.add("b", 0)
    deadlines.sweep(100)

    assert expired == ["a"]


def test_an_owner_may_add_itself_again_while_it_expires() -> None:
    """Its new deadline stands."""
    deadlines: Deadlines[str] = Deadlines(10, lambda owner: deadlines.add(owner, 100))
    deadlines.add("a", 0)
    deadlines.sweep(100)
    assert "a" in deadlines


def test_a_new_length_counts_from_then_on() -> None:
    """What a reload changes holds for what is added later."""
    expired: list[str] = []
    deadlines = Deadlines[str](10, expired.append)
    deadlines.add("a", 0)
    deadlines.after_s = 20
    deadlines.add("b", 0)
    deadlines.sweep(10)

    assert expired == ["a"]
