"""Guessing passwords, over a socket: how slow it is made, whom that does not touch, and that no answer tells who exists."""

import select
import ssl
import time
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from itertools import combinations, permutations
from statistics import mean

import pytest

from testkit.attack_bench import ALLOWED, ENDED, OVER, REFUSED, Bench, say
from testkit.gate import detail
from testkit.imap_rows import WRONG, base64_of
from testkit.recorder import Recorder, Script
from testkit.waiting import eventually
from testkit.wire import Wire

GUESSES = 50
PARALLEL = 10
"""Of one account from one source, before the first of them has failed; the throttle's default."""
FIRST_DELAY_S = 2.0
TICK_S = 0.25
"""How exactly an answer is held."""
AT_ONCE_S = 1.5
WAITING = 40
"""Connections that one address may have without a session."""


@pytest.fixture(scope="module")
def throttled(make_bench: Callable[..., Bench]) -> Bench:
    """Run a gate that slows guesses as it is shipped."""
    passwords = {"alice": "wonderland", "bob": "builder", "mallory": "evil"}
    return make_bench(
        {"imap": Recorder(Script(passwords=passwords)), "smtp": Recorder(Script(protocol="smtp"))},
        {
            "throttle": {"first_delay": "2s", "max_delay": "15s", "remember_refusals": "0s"},
            "limits": {"max_waiting_per_address": WAITING},
        },
    )


def guesser(bench: Bench, context: ssl.SSLContext, source: str) -> Wire:
    """Connect from an address of the loopback network, and read the greeting."""
    wire = Wire(bench.gate.ports.imaps, context, source=source)
    assert wire.line().startswith(b"* OK ")
    return wire


def test_i74_many_guesses_at_once_are_few(throttled: Bench, context: ssl.SSLContext) -> None:
    """Of as many guesses as there may be connections few are tried, and answered late; nobody else waits for them."""
    watch = throttled.watch("imap")
    wires = [guesser(throttled, context, "127.0.0.66") for _ in range(WAITING)]
    with pytest.raises((ssl.SSLError, OSError)):  # there is no room for one more: it is closed unanswered
        Wire(throttled.gate.ports.imaps, context, source="127.0.0.66")
    since = time.monotonic()
    for number, wire in enumerate(wires):
        wire.send(b"a LOGIN alice wrong%d\r\n" % number)

    others = []
    for source, account, password in (
        ("127.0.0.7", b"alice", b"wonderland"),
        ("127.0.0.7", b"bob", b"builder"),
    ):
        with guesser(throttled, context, source) as wire:
            assert wire.imap(b"a LOGIN " + account + b" " + password)[-1].startswith(b"a OK")
            others.append((wire.local_port, source))
    assert time.monotonic() - since < AT_ONCE_S
    answered, _, _ = select.select(wires, [], [], 15)  # whichever the gate read first
    assert answered[0].line() == WRONG.strip()
    assert time.monotonic() - since > FIRST_DELAY_S - TICK_S
    ports = [wire.local_port for wire in wires]
    for wire in wires:
        wire.close()
    assert [throttled.codes(*other) for other in others] == [[ALLOWED, OVER]] * 2
    codes = [throttled.codes(port, "127.0.0.66") for port in ports]
    guesses = [response for _, response in watch.sasl() if b"wrong" in response]
    assert 1 <= len(guesses) <= PARALLEL
    assert codes.count([REFUSED, ENDED]) <= len(guesses)
    assert {tuple(one) for one in codes} <= {(REFUSED, ENDED), (ENDED,)}


def test_i74_a_connection_too_many_is_on_record(throttled: Bench, context: ssl.SSLContext) -> None:
    """One address's connections without a session are bounded; another address has room; each end is counted."""

    def ended_by_limit() -> int:
        return sum(
            detail(record).get("ended") == "max_waiting_per_address" for record in throttled.gate.audit_records()
        )

    before = ended_by_limit()
    waiting = [guesser(throttled, context, "127.0.0.69") for _ in range(WAITING)]
    for _ in range(3):
        with pytest.raises((ssl.SSLError, OSError)):
            Wire(throttled.gate.ports.imaps, context, source="127.0.0.69")
    with guesser(throttled, context, "127.0.0.70") as wire:
        assert wire.imap(b"a NOOP") == [b"a OK Done."]
    eventually(lambda: ended_by_limit() == before + 3, within=10, what="three records")
    for wire in waiting:
        wire.close()


def test_i74_who_does_not_wait_guesses_no_faster(throttled: Bench, context: ssl.SSLContext) -> None:
    """A guesser that hangs up as soon as the guess is sent gets no more of them to the mail server."""
    watch = throttled.watch("imap")
    ports = []
    for number in range(GUESSES):
        with guesser(throttled, context, "127.0.0.68") as wire:
            wire.send(b"a LOGIN bob wrong%d\r\n" % number)
            wire.say_goodbye()
            ports.append(wire.local_port)
    for port in ports:
        assert throttled.codes(port, "127.0.0.68")[-1] == ENDED
    assert len(watch.sasl()) <= PARALLEL
    with guesser(throttled, context, "127.0.0.7") as wire:
        assert wire.imap(b"a LOGIN bob builder")[-1].startswith(b"a OK")


def test_i74_a_connection_has_few_guesses(choosy: Bench, context: ssl.SSLContext) -> None:
    """All guesses in one segment: five are tried, whatever the throttle, and the connection is ended."""
    watch = choosy.watch("imap")
    with Wire(choosy.gate.ports.imaps, context) as wire:
        wire.line()
        say(wire, b"".join(b"a LOGIN alice wrong%d\r\n" % number for number in range(1, GUESSES + 1)))
        assert wire.rest(within=10) == WRONG * 5 + b"* BYE Too many attempts.\r\n"
        port = wire.local_port
    assert watch.sasl() == [("PLAIN", b"\0alice\0wrong%d" % number) for number in range(1, 6)]
    assert choosy.codes(port) == [REFUSED] * 5 + [ENDED]


KINDS = {"wrong": b"alice", "unknown": b"nobody", "blocked": b"mallory"}
"""An account with a clean phone, none at all, and one whose phone has a denied app; all with a wrong password."""


def test_i73_as_shipped_all_take_the_same_time(throttled: Bench, context: ssl.SSLContext) -> None:
    """A name that is never asked upstream included: each answer comes when the delay is over, counted from the question."""
    names = {**KINDS, "no-canonical-form": b'"al*ce"'}
    took = {}
    wires = {kind: guesser(throttled, context, f"127.0.1.{place}") for place, kind in enumerate(names, 1)}
    began = {}
    for kind, wire in wires.items():
        began[kind] = time.monotonic()
        wire.send(b"a LOGIN " + names[kind] + b" guess\r\n")
    for kind, wire in wires.items():
        assert wire.line() == WRONG.strip()
        took[kind] = time.monotonic() - began[kind]
        wire.close()
    assert all(FIRST_DELAY_S - 0.01 < seconds < FIRST_DELAY_S + 4 * TICK_S for seconds in took.values()), took


def _answers(bench: Bench, context: ssl.SSLContext, kinds: Sequence[str], seconds: dict[str, list[float]]) -> int:
    """One connection: a wrong password of each kind, in this order; returns its port."""
    with Wire(bench.gate.ports.imaps, context) as wire:
        wire.line()
        wire.imap(b"n NOOP")  # the handshake's tail is over
        for kind in kinds:
            since = time.perf_counter()
            assert wire.imap(b"a LOGIN " + KINDS[kind] + b" guess") == [WRONG.strip()]
            seconds[kind].append(time.perf_counter() - since)
        return wire.local_port


def _how_often_longer(first: list[float], second: list[float]) -> float:
    """The chance that one of `first` is longer than one of `second`; one half: nothing tells them apart."""
    ordered = sorted(second)
    return mean((bisect_left(ordered, one) + bisect_right(ordered, one)) / 2 / len(ordered) for one in first)


def test_i73_without_the_password_all_take_the_same_time(choosy: Bench, context: ssl.SSLContext) -> None:
    """Two hundred of each kind in turn, and without any delay: their times cannot be told apart."""
    seconds: dict[str, list[float]] = {kind: [] for kind in KINDS}
    orders = list(permutations(KINDS))
    ports = [_answers(choosy, context, orders[number % len(orders)], seconds) for number in range(201)]
    chances = {pair: _how_often_longer(seconds[pair[0]], seconds[pair[1]]) for pair in combinations(KINDS, 2)}
    # Of equal times these are normally distributed about 0.5, with a deviation of 0.03 for twice two hundred.
    assert all(0.35 < chance < 0.65 for chance in chances.values()), chances
    assert {tuple(choosy.codes(port)) for port in ports} == {(REFUSED, REFUSED, REFUSED, ENDED)}


@pytest.mark.parametrize("said", KINDS.values(), ids=KINDS)
def test_i73_without_the_password_all_look_alike(choosy: Bench, context: ssl.SSLContext, said: bytes) -> None:
    """A blocked device, an unknown user and a wrong password get one answer, to the octet, and one kind of record."""
    watch = choosy.watch("imap")
    with Wire(choosy.gate.ports.imaps, context) as wire:
        wire.line()
        assert wire.imap(b"a LOGIN " + said + b" guess") == [WRONG.strip()]
        assert wire.imap(b"b AUTHENTICATE PLAIN " + base64_of(b"\0" + said + b"\0guess")) == [b"b" + WRONG.strip()[1:]]
        port = wire.local_port
    assert watch.sasl() == [("PLAIN", b"\0" + said + b"\0guess")] * 2
    *refused, ended = choosy.audit.of(port)
    assert choosy.codes(port) == [REFUSED, REFUSED, ENDED]
    assert [record["user"]["name"] for record in refused] == [said.decode()] * 2
    assert detail(ended)["attempts"] == 2
