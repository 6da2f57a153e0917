"""A connection's log-in attempts, as throttle and memory of refusals see them.

What holds inside:

* What has begun at the throttle ends there exactly once: as a success, a failure, or as nothing.
* A client that leaves before it is told has failed: who does not wait for the answer must not guess more often.
"""

from collections.abc import Callable

from gatekeeper.domain.decision import Decision
from gatekeeper.domain.source import source_of
from gatekeeper.enforcement.flow.front import Front, Waiting
from gatekeeper.gate.admit import Answered, Claim
from gatekeeper.protocols.sasl.mechanisms import Credentials


class Attempts:
    """One connection's, one at a time."""

    __slots__ = ("_account", "_began", "_front", "_shown", "source")

    def __init__(self, front: Front, client_address: str) -> None:
        self._front = front
        self.source = source_of(client_address)
        self._account = ""
        self._began: float | None = None
        """When the attempt began that has not ended yet."""
        self._shown: tuple[Claim, Credentials] | None = None
        """What the client showed, until its refusal is remembered or there is none: credentials are not kept longer."""

    def begin(self, account: str, *, is_again: bool) -> float:
        """Begin one: 0 when it may go on, else the seconds after which to ask again (`is_again`)."""
        front = self._front
        self._account = account
        now = front.monotonic()
        wait_s = front.throttle.begin(account, self.source, now, is_again=is_again)
        if not wait_s:
            self._began = now
        return wait_s

    def refused_again(self, claim: Claim, credentials: Credentials, answer: Answered) -> bool:
        """Whether the very same was refused a short while ago, and still is: then `answer` hears of it."""
        front = self._front
        decision = None
        if front.refusals.knows(claim.account):
            decision = front.refusals.find(front.refusals.digest(*_parts(claim, credentials)), front.monotonic())
        if decision is None or not front.gate.refuse_again(claim, decision, answer):
            if decision is not None:
                front.refusals.forget(claim.account)
            self._shown = (claim, credentials)
            return False
        front.refusals.answered += 1
        self.succeeded()
        return True

    def refused(self, decision: Decision) -> None:
        """The policy refused credentials that the mail server has just accepted."""
        refusals, shown, self._shown = self._front.refusals, self._shown, None
        if shown is not None:
            refusals.remember(refusals.digest(*_parts(*shown)), self._account, decision, self._front.monotonic())

    def succeeded(self) -> None:
        """The credentials are right."""
        self._began = None
        self._front.throttle.succeeded(self._account, self.source)

    def failed(self, account: str) -> float:
        """The credentials are wrong: the seconds for which the answer is to be held."""
        front = self._front
        self._shown = None
        now = front.monotonic()
        began, self._began = self._began, None
        front.refusals.forget(account)
        return front.throttle.failed(account, self.source, began, now)

    def abandoned(self) -> None:
        """The client is gone."""
        if self._began is not None:
            self.failed(self._account)

    def came_to_nothing(self) -> None:
        """Nothing was said about the credentials, or there is no attempt."""
        self._shown = None
        if self._began is not None:
            self._began = None
            self._front.throttle.came_to_nothing(self._account, self.source)


def hold(front: Front, owner: Waiting, seconds: float, then: Callable[[], None]) -> None:
    """Go on with `owner` later; an unexpected error in it is its own: the timer serves others too."""

    def go_on() -> None:
        try:
            then()
        except Exception as error:  # noqa: BLE001  the connection's guard
            owner.fault(error)

    front.holds.add(owner, front.monotonic() + seconds, go_on)


def _parts(claim: Claim, credentials: Credentials) -> tuple[bytes, ...]:
    """All that a client shows of itself: whoever shows the same again is told the same again."""
    certificate = claim.certificate
    return (
        claim.connection.listener.encode(),
        claim.account.encode(),
        credentials.name.encode(),
        credentials.mechanism.encode(),
        b"" if certificate is None else b"certificate " + certificate.sha256.encode(),
        credentials.secret.declassify(),
    )
