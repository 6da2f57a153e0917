"""How many connections there may be, in all and from one source."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from gatekeeper.net.crowd import Crowd, CrowdLimits


def test_each_limit_is_its_own() -> None:
    """Waiting ones of a source, all of a source, all."""
    crowd = Crowd(CrowdLimits(max_connections=5, max_per_address=3, max_waiting_per_address=2))
    crowd.enter("a")
    crowd.enter("a")
    assert crowd.refusal("a") == "max_waiting_per_address"
    crowd.settle("a")
    assert crowd.refusal("a") is None
    crowd.settle("a")
    crowd.enter("a")
    assert crowd.refusal("a") == "max_per_address"
    assert crowd.refusal("b") is None
    crowd.enter("b")
    crowd.enter("b")
    assert crowd.refusal("c") == "max_connections"
    crowd.leave("b", settled=False)
    assert crowd.refusal("c") is None


def test_a_source_that_is_not_known_yet_has_no_limit_of_its_own() -> None:
    """All phones behind a load balancer begin with its address."""
    crowd = Crowd(CrowdLimits(max_connections=3, max_per_address=1, max_waiting_per_address=1))
    for _ in range(3):
        assert crowd.refusal("") is None
        crowd.enter("")
    assert crowd.refusal("") == "max_connections"


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["enter", "settle", "leave"])), max_size=200))
def test_counts_agree_with_who_is_there(steps: list[tuple[str, str]]) -> None:
    """Nobody who has gone leaves anything behind."""
    limits = CrowdLimits(max_connections=12, max_per_address=6, max_waiting_per_address=3)
    crowd = Crowd(limits)
    waiting: Counter[str] = Counter()
    settled: Counter[str] = Counter()
    for source, what in steps:
        if what == "enter" and crowd.refusal(source) is None:
            crowd.enter(source)
            waiting[source] += 1
        elif what == "settle" and waiting[source]:
            crowd.settle(source)
            waiting[source] -= 1
            settled[source] += 1
        elif what == "leave" and waiting[source] + settled[source]:
            is_settled = not waiting[source]
            crowd.leave(source, settled=is_settled)
            (settled if is_settled else waiting)[source] -= 1
        assert crowd.total == waiting.total() + settled.total() <= limits.max_connections
        assert all(waiting[one] <= 3 and waiting[one] + settled[one] <= 6 for one in "abc")
    assert crowd.sources() == len(+waiting | +settled)
