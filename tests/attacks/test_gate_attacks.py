"""Attacks on the gate as a whole: sessions that must not go on, and secrets that must not come out."""

import base64
import select
import ssl
import time
import urllib.request
from bisect import bisect_right
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gatekeeper.gate.cuts import CUTS_A_TICK
from testkit.attack_bench import ALLOWED, Bench
from testkit.gate import ENFORCED, NOT_YET, code, policy
from testkit.inventory import TIKTOK, device
from testkit.recorder import Recorder, Script
from testkit.wire import Wire

REVOKED = "GK1101W"
CUT_WITHIN_S = 2.0
SESSIONS = 600


@pytest.fixture
def own(make_bench: Callable[..., Bench]) -> Bench:
    """Run a gate of the test's own."""
    return make_bench({"imap": Recorder(Script(accepts_all=True)), "smtp": Recorder(Script(protocol="smtp"))})


def _logged_in(bench: Bench, context: ssl.SSLContext, name: bytes) -> Wire:
    wire = Wire(bench.gate.ports.imaps, context)
    wire.line()
    assert wire.imap(b"a LOGIN " + name + b" pw")[-1].startswith(b"a OK")
    return wire


def test_g03_a_phone_that_falls_from_grace_is_cut(own: Bench, context: ssl.SSLContext) -> None:
    """A session in the midst of a literal ends without a word in it; another phone's goes on."""
    wire, other = _logged_in(own, context, b"bob"), _logged_in(own, context, b"alice")
    port = wire.local_port
    wire.send(b"b APPEND INBOX {100}\r\nhalf")
    assert wire.line() == b"b OK done"
    own.gate.import_inventory(device("ph-bob", "bob", TIKTOK))
    since = time.monotonic()

    assert wire.rest(within=CUT_WITHIN_S) == b""
    assert time.monotonic() - since < CUT_WITHIN_S
    assert own.codes(port) == [ALLOWED, REVOKED]
    assert other.imap(b"c NOOP") == [b"c OK done"]


def test_g04_a_policy_that_cuts_many_cuts_them_in_turn(
    make_bench: Callable[..., Bench], context: ssl.SSLContext
) -> None:
    """Many sessions at once: at a bounded rate, each recorded once, and whoever needs no cut is served meanwhile."""
    own = make_bench({"imap": Recorder(Script(accepts_all=True)), "smtp": Recorder(Script(protocol="smtp"))})
    own.gate.replace_policy(policy(NOT_YET))
    own.gate.reload()
    own.gate.wait_for_records(2, lambda record: code(record) == "GK3002I")  # one of them is of the start
    wires = [_logged_in(own, context, b"mallory") for _ in range(SESSIONS)]
    ports = [wire.local_port for wire in wires]
    bystander = _logged_in(own, context, b"alice")
    own.gate.replace_policy(policy(ENFORCED))
    cut, served_when = select.poll(), {0}
    for wire in wires:
        cut.register(wire, select.POLLIN)
    with ThreadPoolExecutor(1) as threads:
        # The command takes its time to end, when much may be over.
        reloading = threads.submit(own.gate.reload)
        while max(served_when) < SESSIONS:
            assert bystander.imap(b"b NOOP") == [b"b OK done"]
            served_when.add(len(cut.poll(0)))
        reloading.result()
    for wire in wires:
        assert wire.rest(within=CUT_WITHIN_S) == b""
        wire.close()

    assert served_when - {0, SESSIONS}, "nobody waits until all are cut"
    assert [own.codes(port)[-1] for port in ports] == [REVOKED] * SESSIONS
    times = sorted(record["time"] for record in own.gate.audit_records() if code(record) == REVOKED)
    assert len(times) == SESSIONS
    # What is left of one tick may be followed at once by all of the next, and never by more.
    together = max(bisect_right(times, first + 200) - number for number, first in enumerate(times))
    assert together <= 2 * CUTS_A_TICK, "so many of them in 200 ms"


SECRETS = {
    "password": b"Hunter2-zebra-quartz",
    "wrong": b"wrong-yak-basalt",
    "token": b"tok.3n-walrus-flint",
    "exposed": b"clear-heron-slate",
    "garbled": b"garbled-ibex-gneiss",
}


def _forms(secret: bytes) -> Iterator[bytes]:
    """A secret as it is, and as base64 has it at every offset."""
    yield secret
    for offset in range(3):
        encoded = base64.b64encode(b"\0" * offset + secret)
        yield encoded[4 if offset else 0 : len(encoded) - 4]


def test_g07_secrets_come_out_nowhere(make_bench: Callable[..., Bench], context: ssl.SSLContext) -> None:
    """After log-ins of every kind and end, no password and no token stands in a log, a record, a file or a metric."""
    passwords = {"alice": SECRETS["password"].decode()}
    own = make_bench(
        {
            "imap": Recorder(Script(passwords=passwords, tokens=(SECRETS["token"].decode(),))),
            "smtp": Recorder(Script(protocol="smtp", passwords=passwords)),
        }
    )
    ports = own.gate.ports
    token = b"user=alice\x01auth=Bearer " + SECRETS["token"] + b"\x01\x01"
    lines = [
        b"a LOGIN alice " + SECRETS["password"],
        b"a LOGIN alice " + SECRETS["wrong"],
        b"a AUTHENTICATE PLAIN " + base64.b64encode(b"\0alice\0" + SECRETS["wrong"]),
        b"a AUTHENTICATE PLAIN " + base64.b64encode(b"bob\0alice\0" + SECRETS["wrong"]),
        b"a AUTHENTICATE PLAIN " + base64.b64encode(b"\0alice\0" + SECRETS["garbled"])[:-1] + b"!",
        b"a LOGIN alice* " + SECRETS["garbled"],
        b"a LOGIN " + SECRETS["garbled"] + b"\xff " + SECRETS["garbled"],
        b"a " + SECRETS["garbled"] + b" x",
        SECRETS["garbled"] + b" x",
        b"a AUTHENTICATE XOAUTH2 " + base64.b64encode(token),
        b"a AUTHENTICATE XOAUTH2 " + base64.b64encode(token[:-1]),
    ]
    for line in lines:
        with Wire(ports.imaps, context) as wire:
            wire.line()
            wire.imap(line)
    with Wire(ports.imap) as wire:
        wire.line()
        wire.imap(b"a LOGIN alice " + SECRETS["exposed"])
    for password in (SECRETS["password"], SECRETS["wrong"], SECRETS["garbled"] + b"\r\n"):
        with Wire(ports.submissions, context) as wire:
            wire.smtp_reply()
            wire.smtp(b"EHLO x")
            wire.smtp(b"AUTH PLAIN " + base64.b64encode(b"\0alice\0" + password))
            wire.smtp(base64.b64encode(SECRETS["garbled"]))
    with Wire(ports.submission) as wire:
        wire.smtp_reply()
        wire.smtp(b"AUTH PLAIN " + base64.b64encode(b"\0alice\0" + SECRETS["exposed"]))
        port = wire.local_port
    own.audit.of(port)

    with urllib.request.urlopen(f"http://127.0.0.1:{ports.admin}/metrics") as answer:
        metrics = answer.read()
    assert own.gate.stop() == 0  # then every record is written, and no file comes and goes
    written = {path: path.read_bytes() for path in own.gate.directory.rglob("*") if path.is_file()}
    assert len(written) > 5
    assert own.gate.log().encode() in written.values()
    for name, secret in SECRETS.items():
        for form in _forms(secret):
            found = [path.name for path, data in {**written, Path("metrics"): metrics}.items() if form in data]
            assert found == [], name
