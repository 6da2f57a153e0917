"""SIGKILL at any moment: what the gate acknowledged is still there when it comes back."""

import hashlib
import json
import ssl
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from random import Random

import pytest

from testkit.agents import TIKTOK_APP, Agents
from testkit.bed import SPARE
from testkit.dovecot import User
from testkit.gate import GateProcess, Record, code, coded, upstream
from testkit.inventory import device
from testkit.recorder import Recorder, Script
from testkit.sessions import imap_greeted, login_command

KILLS = 50
MOST_LOG_INS, MOST_REPORTS = 12, 3
"""Answers per life; how many of them come before the kill is left to chance."""
WALKERS = SPARE[:2]
"""Log in all the time."""
REPORTERS = 2
"""Phones that report in each life. Every life has its own: a nonce that a kill left unused counts against its device."""


@dataclass(slots=True)
class Seen:
    """What the clients were told by the gate."""

    allowed: Counter[int] = field(default_factory=Counter)
    """How many log-ins were let in, by the life of the gate."""
    acknowledged: dict[str, str] = field(default_factory=dict)
    """Device -> SHA-256 of the last token of it that was accepted."""
    unanswered: dict[str, str] = field(default_factory=dict)
    """Device -> SHA-256 of a later token whose answer did not come."""
    lock: threading.Lock = field(default_factory=threading.Lock)


@dataclass(frozen=True, slots=True)
class Bed:
    """A gate, and those who use it."""

    gate: GateProcess
    agents: Agents
    context: ssl.SSLContext
    seen: Seen = field(default_factory=Seen)


@pytest.mark.timeout(400)
def test_nothing_acknowledged_is_lost(
    make_gate_anywhere: Callable[..., GateProcess],
    record: Callable[[Script], Recorder],
    context: ssl.SSLContext,
    tmp_path: Path,
) -> None:
    """Fifty kills under load: every accepted evidence is in the store, every admission a client saw is in the log."""
    agents = Agents(tmp_path)
    imap = record(Script(passwords={user.login: user.password for user in WALKERS}))
    gate = make_gate_anywhere(
        {"upstream": {"imap": upstream(imap.port), "smtp": upstream(25)}, "evidence": agents.configuration()}
    )
    bed = Bed(gate, agents, context)
    phones = [f"ph-{life}-{number}" for life in range(KILLS) for number in range(REPORTERS)]
    gate.start()
    gate.register(
        *(device(f"ph-{user.login.split('@')[0]}", user.login) for user in WALKERS),
        # a token's instant is cut to the second: an import of this very second would be the newer word on the first ones
        *(device(phone, SPARE[2].login, age=timedelta(minutes=1)) for phone in phones),
    )
    chance = Random(50)
    for life in range(KILLS):
        _live_and_die(bed, life, phones[life * REPORTERS : (life + 1) * REPORTERS], chance)
        gate.start()
    _assert_kept(bed)
    gate.stop()
    records = gate.audit_records()
    assert sum(code(one) == "GK9001I" for one in records) == KILLS + 1
    assert bed.seen.allowed.total() > KILLS
    assert bed.seen.allowed <= _admissions(records)
    assert len(coded(records, "GK4010I")) >= len(bed.seen.acknowledged) > KILLS / 2
    done = gate.cli("audit", "verify")
    assert done.returncode == 0, done.stdout + done.stderr


def _admissions(records: list[Record]) -> Counter[int]:
    """Return how many admissions were recorded, by the life of the gate."""
    admissions: Counter[int] = Counter()
    life = -1
    for one in records:
        life += code(one) == "GK9001I"
        admissions[life] += code(one) == "GK1001I"
    return admissions


def _live_and_die(bed: Bed, life: int, phones: list[str], chance: Random) -> None:
    """Run clients against the gate and kill it after a random number of answers, in the midst of the others."""
    log_ins, reports, over = threading.Semaphore(0), threading.Semaphore(0), threading.Event()

    def log_in(user: User) -> None:
        while not over.is_set():
            with suppress(OSError, AssertionError):  # the gate is killed in the midst of it
                with imap_greeted(bed.gate.ports.imaps, bed.context) as wire:
                    reply = wire.imap(b"in " + login_command(user))
                if not reply:
                    continue  # cut before the answer
                with bed.seen.lock:
                    bed.seen.allowed[life] += reply[-1].startswith(b"in OK")
                log_ins.release()

    def report(phone: str) -> None:
        has_app = False
        while not over.is_set():
            with suppress(OSError, AssertionError, ValueError):  # as above; an answer that was cut is no JSON
                has_app = not has_app
                _report(bed, phone, has_app=has_app)
                reports.release()

    threads = [threading.Thread(target=log_in, args=(user,)) for user in WALKERS]
    threads += [threading.Thread(target=report, args=(phone,)) for phone in phones]
    for thread in threads:
        thread.start()
    for answers, count in (
        (reports, chance.randint(0, MOST_REPORTS)),
        (log_ins, chance.randint(1, MOST_LOG_INS)),
    ):
        for _ in range(count):
            assert answers.acquire(timeout=60), "no answers any more"
    bed.gate.kill()
    over.set()
    for thread in threads:
        thread.join(20)


def _report(bed: Bed, phone: str, *, has_app: bool) -> None:
    token = bed.agents.token(bed.gate, phone, *((TIKTOK_APP,) if has_app else ()))
    digest = hashlib.sha256(token).hexdigest()
    with bed.seen.lock:
        bed.seen.unanswered[phone] = digest
    answer = bed.agents.post(bed.gate, token)
    if answer.status == 200:
        with bed.seen.lock:
            bed.seen.acknowledged[phone] = digest
            del bed.seen.unanswered[phone]


def _assert_kept(bed: Bed) -> None:
    """Each device's last accepted evidence is on record, or a later one that was posted and never answered."""
    listed = bed.gate.cli("device", "list", "--json")
    assert listed.returncode == 0, listed.stderr
    known = {facts["device_id"]: json.dumps(facts) for facts in json.loads(listed.stdout)}
    for phone, digest in bed.seen.acknowledged.items():
        may_be = [digest, bed.seen.unanswered.get(phone, digest)]
        assert any(one in known[phone] for one in may_be), f"{phone}: {known[phone]} has none of {may_be}"
