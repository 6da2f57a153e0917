"""The one way for a test to wait for something that gives no notice: poll a condition under a deadline.

Everything else in the tests blocks on a socket, a process or an event; no other file pauses.
"""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

_STEP_S = 0.01


class DeadlineMissedError(AssertionError):
    """The condition did not come true in time."""


def eventually(condition: Callable[[], T], *, within: float, what: str | Callable[[], str] = "the condition") -> T:
    """Return the first true value of `condition`; fail when there is none within `within` seconds.

    `what` says in the failure what was waited for; a callable is asked only then (for logs).
    """
    deadline = time.monotonic() + within
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise DeadlineMissedError(f"not within {within} s: {what if isinstance(what, str) else what()}")
        time.sleep(_STEP_S)  # the only pause of the tests: a poll step under the deadline above
    return value
