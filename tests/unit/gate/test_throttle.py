"""Failed log-ins slow down whoever fails, and nobody else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatekeeper.gate.throttle import AGAIN_S, Throttle, ThrottleSettings

ALICE, BOB = "alice@example.com", "bob@example.com"
OFFICE, ELSEWHERE = "192.0.2.1", "2001:db8::/64"


def fail(throttle: Throttle, account: str, source: str, now: float) -> float:
    """One attempt that is allowed at once and fails at once; the seconds that its answer is held."""
    assert throttle.begin(account, source, now) == 0
    return throttle.failed(account, source, now, now)


def test_delays_double_up_to_the_longest() -> None:
    """2, 4, 8, 15, 15 seconds, each attempt made as soon as the last was answered."""
    throttle, now, delays = Throttle(ThrottleSettings()), 0.0, []
    for _ in range(5):
        delays.append(fail(throttle, ALICE, OFFICE, now))
        now += delays[-1]
    assert delays == [2, 4, 8, 15, 15]


def test_the_next_attempt_of_the_pair_waits_for_the_answer_to_the_last() -> None:
    """Also on another connection; then it goes."""
    throttle = Throttle(ThrottleSettings())
    fail(throttle, ALICE, OFFICE, 100)
    assert throttle.begin(ALICE, OFFICE, 100.5) == 1.5
    assert throttle.begin(ALICE, OFFICE, 102) == 0


def test_nobody_can_lock_out_a_colleague() -> None:
    """However often an account fails from one source, from another it is not slowed, nor are others from the first."""
    throttle, now = Throttle(ThrottleSettings()), 0.0
    for _ in range(50):
        now += fail(throttle, ALICE, OFFICE, now)
    assert throttle.begin(ALICE, ELSEWHERE, now) == 0
    assert throttle.begin(BOB, OFFICE, now) == 0


def test_a_success_forgives_the_pair() -> None:
    """The next failure is a first one."""
    throttle = Throttle(ThrottleSettings())
    for now in (0, 100, 200):
        fail(throttle, ALICE, OFFICE, now)
    assert throttle.begin(ALICE, OFFICE, 300) == 0
    throttle.succeeded(ALICE, OFFICE)
    assert fail(throttle, ALICE, OFFICE, 301) == 2


def test_what_says_nothing_about_the_credentials_does_not_count() -> None:
    """A temporary failure neither counts nor forgives."""
    throttle = Throttle(ThrottleSettings())
    fail(throttle, ALICE, OFFICE, 0)
    for now in (10, 20, 30):
        assert throttle.begin(ALICE, OFFICE, now) == 0
        throttle.came_to_nothing(ALICE, OFFICE)
    assert fail(throttle, ALICE, OFFICE, 40) == 4


def test_how_long_the_mail_server_took_does_not_show() -> None:
    """The delay counts from the beginning of the attempt; what took longer is answered at once."""
    throttle = Throttle(ThrottleSettings())
    assert throttle.begin(ALICE, OFFICE, 0) == throttle.begin(BOB, OFFICE, 0) == 0
    assert throttle.failed(ALICE, OFFICE, 0, 0.25) == 1.75
    assert throttle.failed(BOB, OFFICE, 0, 1.5) == 0.5
    assert throttle.begin(BOB, ELSEWHERE, 0) == 0
    assert throttle.failed(BOB, ELSEWHERE, 0, 7) == 0


def test_many_connections_are_no_faster_than_one() -> None:
    """A first batch is bounded; once one has failed, attempts of the pair go one at a time."""
    throttle = Throttle(ThrottleSettings(parallel=3))
    assert [throttle.begin(ALICE, OFFICE, 0) for _ in range(4)] == [0, 0, 0, AGAIN_S]
    assert throttle.begin(ALICE, ELSEWHERE, 0) == 0
    for _ in range(3):
        throttle.failed(ALICE, OFFICE, 0, 0.1)
    assert throttle.begin(ALICE, OFFICE, 7.5) == 0.5  # three failures: 8 s from the beginning
    assert [throttle.begin(ALICE, OFFICE, 8) for _ in range(3)] == [0, AGAIN_S, AGAIN_S]


def test_a_source_that_tries_many_accounts_is_answered_late() -> None:
    """Only its failures are: a right password is taken at once from there as well."""
    throttle = Throttle(ThrottleSettings(free_accounts=3))
    delays = [fail(throttle, f"user{number}@example.com", OFFICE, 0) for number in range(8)]
    assert delays == [2, 2, 2, 2, 4, 8, 15, 15]
    assert throttle.begin(ALICE, OFFICE, 0) == 0
    assert fail(throttle, "user9@example.com", ELSEWHERE, 0) == 2


def test_one_phone_with_an_old_password_does_not_slow_its_office() -> None:
    """The same account counts once against its source, however often it fails."""
    throttle, now = Throttle(ThrottleSettings(free_accounts=3)), 0.0
    for _ in range(30):
        now += fail(throttle, ALICE, OFFICE, now)
    assert fail(throttle, BOB, OFFICE, now) == 2


def test_failures_are_forgotten_with_time() -> None:
    """Of pairs and of sources, and their memory is given back."""
    throttle = Throttle(ThrottleSettings(forget_after_s=60, free_accounts=0))
    fail(throttle, ALICE, OFFICE, 0)
    fail(throttle, ALICE, OFFICE, 30)
    assert fail(throttle, ALICE, OFFICE, 95) == 2
    fail(throttle, BOB, ELSEWHERE, 500)
    assert len(throttle) == 2


def test_a_first_delay_of_zero_slows_nothing() -> None:
    """And remembers nothing."""
    throttle = Throttle(ThrottleSettings(first_delay_s=0))
    assert [fail(throttle, ALICE, OFFICE, 0) for _ in range(100)] == [0] * 100
    assert len(throttle) == 0
    assert throttle.failures == 100
    assert throttle.held == 0


attempts = st.lists(
    st.tuples(
        st.sampled_from([ALICE, BOB, "carol", "dave"]),
        st.sampled_from([OFFICE, ELSEWHERE, "198.51.100.9"]),
        st.sampled_from(["failed", "succeeded", "came_to_nothing"]),
        st.floats(0, 40),
    ),
    max_size=120,
)


@given(attempts, st.integers(0, 3), st.integers(1, 4))
def test_whatever_happens_delays_and_memory_are_bounded(
    steps: list[tuple[str, str, str, float]], free: int, entries: int
) -> None:
    """No wait is longer than the longest delay, whoever waits that long may go, and a pair without failures goes at once."""
    settings = ThrottleSettings(free_accounts=free, max_entries=entries)
    throttle, now = Throttle(settings), 0.0
    failing: set[tuple[str, str]] = set()
    most = settings.max_delay_s + 1e-6  # what is left is a difference of two instants
    for account, source, outcome, later in steps:
        now += later
        wait = throttle.begin(account, source, now)
        assert 0 <= wait <= most
        if (account, source) not in failing:
            assert wait == 0
        if wait:
            now += wait
            assert throttle.begin(account, source, now) == 0
        if outcome == "failed":
            assert 0 <= throttle.failed(account, source, now, now) <= most
            failing.add((account, source))
        else:
            getattr(throttle, outcome)(account, source)
            if outcome == "succeeded":
                failing.discard((account, source))
        assert len(throttle._pairs) <= entries
        assert len(throttle._sources) <= entries
        assert not throttle._under_way


@given(st.lists(st.booleans(), min_size=1, max_size=60))
def test_guesses_come_no_faster_than_the_delays_allow(parallel: list[bool]) -> None:
    """However an attacker spreads them over connections, n failures take at least the sum of the delays but the last."""
    throttle, now, made = Throttle(ThrottleSettings(parallel=1)), 0.0, 0
    for is_hasty in parallel:
        wait = throttle.begin(ALICE, OFFICE, now)
        if wait and is_hasty:
            continue  # tries again at once, on another connection
        if wait:
            now += wait
            assert throttle.begin(ALICE, OFFICE, now) == 0
        throttle.failed(ALICE, OFFICE, now, now)
        made += 1
    assert now >= sum([2, 4, 8, *[15] * 60][: max(0, made - 1)])


@pytest.mark.parametrize("source", [OFFICE, ELSEWHERE])
def test_no_account_or_source_is_shown(source: str) -> None:
    """Nothing here has a repr with names in it."""
    throttle = Throttle(ThrottleSettings())
    fail(throttle, ALICE, source, 0)
    assert ALICE not in repr(throttle)
    assert source not in repr(throttle)


def test_what_never_began_ends_nobody_elses_attempt() -> None:
    """A failure without an attempt leaves the count of those under way as it is."""
    throttle = Throttle(ThrottleSettings(parallel=1))
    assert throttle.begin(ALICE, OFFICE, 0) == 0
    throttle.failed(ALICE, OFFICE, None, 0)
    assert throttle.begin(ALICE, OFFICE, 60) == AGAIN_S


def test_workers_hear_of_failures_and_of_their_end() -> None:
    """A delay grows with the failures that any worker had, and a success there forgives here too."""
    one, two = Throttle(ThrottleSettings()), Throttle(ThrottleSettings())
    one.tell = lambda account, source, began: two.heard(account, source, began, 100.0)
    two.tell = lambda account, source, began: one.heard(account, source, began, 100.0)
    account, source = "alice@example.com", "198.51.100.7"
    for throttle, delay in ((one, 2.0), (two, 4.0), (one, 8.0)):
        assert throttle.failed(account, source, None, 100.0) == delay
        assert [each.begin(account, source, 100.0) for each in (one, two)] == [delay, delay]
    assert (one.failures, two.failures) == (2, 1)

    assert two.begin(account, source, 108.0) == 0.0
    two.succeeded(account, source)
    assert one.begin(account, source, 100.0) == 0.0
