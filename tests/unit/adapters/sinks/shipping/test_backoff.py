"""How long to wait after a failure."""

from gatekeeper.adapters.sinks.shipping.backoff import BackOff


def test_waits_double_up_to_a_limit_and_begin_anew() -> None:
    """The longest that chance can make of them."""
    back_off = BackOff(1.0, 5.0, lambda: 1.0)
    assert [back_off.next() for _ in range(5)] == [1.0, 2.0, 4.0, 5.0, 5.0]
    back_off.reset()
    assert back_off.next() == 1.0


def test_chance_takes_up_to_half_of_it() -> None:
    """Peers that fail together are not asked together, and never in a tight loop."""
    assert BackOff(1.0, 5.0, lambda: 0.0).next() == 0.5
