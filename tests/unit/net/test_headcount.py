"""Counts that workers share: of one source never too low, and gone with the worker."""

import os

import pytest

from gatekeeper.net.crowd import Crowd, CrowdLimits
from gatekeeper.net.headcount import Counted, Headcount

HERE, THERE = "198.51.100.7", "2001:db8::/64"


def test_each_reads_what_the_others_count() -> None:
    """And not its own."""
    headcount = Headcount(3)
    one, two, three = (headcount.share(number) for number in (1, 2, 3))
    one.change(HERE, waiting=1)
    one.change(HERE, waiting=-1, settled=1)
    two.change(HERE, waiting=1)
    two.change("", waiting=1)

    assert three.elsewhere_from(HERE) == Counted(waiting=1, settled=1)
    assert two.elsewhere_from(HERE) == Counted(waiting=0, settled=1)
    assert three.elsewhere_from(THERE) == Counted(0, 0)
    assert (one.elsewhere(), three.elsewhere()) == (2, 3)
    assert headcount.read(1) == Counted(waiting=0, settled=1)
    headcount.clear(1)
    assert three.elsewhere_from(HERE) == Counted(waiting=1, settled=0)
    assert headcount.read(1) == Counted(0, 0)


def test_among_many_sources_a_count_is_never_too_low_and_hardly_too_high() -> None:
    """With one connection from each of five thousand addresses."""
    headcount = Headcount(2)
    one, two = headcount.share(1), headcount.share(2)
    sources = [f"10.0.{number // 256}.{number % 256}" for number in range(5000)]
    for source in sources:
        one.change(source, waiting=1)

    counts = [two.elsewhere_from(source).waiting for source in sources]
    assert min(counts) >= 1
    assert max(counts) < 10
    for source in sources:
        one.change(source, waiting=-1)
    assert two.elsewhere() == 0
    assert {two.elsewhere_from(source).waiting for source in sources} == {0}


def test_the_counts_are_shared_across_a_fork() -> None:
    """It is the same memory."""
    headcount = Headcount(2)
    pid = os.fork()
    if not pid:
        headcount.share(2).change(HERE, settled=3)
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    assert headcount.share(1).elsewhere_from(HERE) == Counted(waiting=0, settled=3)


@pytest.mark.parametrize("limit", ["max_connections", "max_per_address", "max_waiting_per_address"])
def test_a_limit_holds_over_all_workers(limit: str) -> None:
    """Whoever is asked."""
    high = {"max_connections": 100, "max_per_address": 100, "max_waiting_per_address": 100}
    limits = CrowdLimits(**(high | {limit: 4}))
    headcount = Headcount(2)
    crowds = [Crowd(limits, headcount.share(number)) for number in (1, 2)]
    for crowd in crowds * 2:
        assert crowd.refusal(HERE) is None
        crowd.enter(HERE)
        if limit == "max_per_address":
            crowd.settle(HERE)

    assert [crowd.refusal(HERE) for crowd in crowds] == [limit, limit]
    crowds[0].leave(HERE, settled=limit == "max_per_address")
    assert [crowd.refusal(HERE) for crowd in crowds] == [None, None]
