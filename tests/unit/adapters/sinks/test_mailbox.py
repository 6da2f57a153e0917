"""What the loop's thread gives the writer's: in order, in time, and never after the end."""

import threading
import time

from gatekeeper.adapters.sinks.mailbox import Mailbox


def test_what_is_put_is_taken_in_order_and_in_bounded_numbers() -> None:
    """Nothing is lost between two takes, and waking once is enough for all of it."""
    mailbox: Mailbox[int] = Mailbox()
    mailbox.put(range(5))
    mailbox.put([5])

    assert len(mailbox) == 6
    assert mailbox.take(4, None) == [0, 1, 2, 3]
    assert mailbox.take(4, None) == [4, 5]
    assert mailbox.take(4, 0.0) == []
    mailbox.close()


def test_whoever_waits_is_woken() -> None:
    """From another thread, however long the taker would have waited; also after a wake-up that found nothing left."""
    mailbox: Mailbox[int] = Mailbox()
    taken: list[int] = []

    def take() -> None:
        while (got := mailbox.take(1, 30.0)) != [0]:
            taken.extend(got)

    taker = threading.Thread(target=take)
    taker.start()
    for number in range(1000, -1, -1):
        mailbox.put([number])
    taker.join(20)

    assert not taker.is_alive()
    assert taken == list(range(1000, 0, -1))
    mailbox.close()


def test_waiting_ends_in_time() -> None:
    """With nothing to take."""
    mailbox: Mailbox[int] = Mailbox()
    start = time.monotonic()

    assert mailbox.take(1, 0.05) == []
    assert time.monotonic() - start >= 0.05
    mailbox.close()


def test_a_closed_one_takes_nothing_and_wakes_nobody() -> None:
    """Its descriptor's number may belong to somebody else by then."""
    mailbox: Mailbox[int] = Mailbox()
    mailbox.close()
    mailbox.put([1])
    mailbox.close()

    assert len(mailbox) == 0
