"""What a decision stands on fails while the gate runs: nobody is let in on what cannot be read, and soon enough."""

import os
import sqlite3
import ssl
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from testkit.attack_bench import ALLOWED, DENIED_APP, ENDED, FAULT, OVER, Bench
from testkit.gate import code, policy
from testkit.inventory import TIKTOK, device
from testkit.recorder import Recorder, Script
from testkit.waiting import eventually
from testkit.wire import Wire

UNAVAILABLE = b"a NO [UNAVAILABLE] Mail is temporarily unavailable; please try again later."
REFUSAL = b"a NO [UNAVAILABLE] Mail is paused: "
SOON_S = 7.0
"""The store has five seconds to answer."""
MEBIBYTE = 1024 * 1024


RELOAD_REJECTED = "GK3031W"


@pytest.fixture(scope="module")
def own(make_bench: Callable[..., Bench]) -> Bench:
    """Run a gate whose mail server lets everybody in, with a denied and a clean phone for each way to spoil its store."""
    made = make_bench({"imap": Recorder(Script(accepts_all=True)), "smtp": Recorder(Script(protocol="smtp"))})
    made.gate.register(
        *(device(f"ph-bad-{name}", f"bad-{name}", TIKTOK) for name in map(_account, SPOILED)),
        *(device(f"ph-good-{name}", f"good-{name}") for name in map(_account, SPOILED)),
    )
    return made


def _account(kind: str) -> str:
    """An account that was not seen before: what is remembered of one may be answered for five seconds."""
    return kind.partition("-")[2].replace("-", ".")


def log_in(bench: Bench, context: ssl.SSLContext, account: bytes) -> tuple[bytes, list[str]]:
    """Return the answer to a log-in, and what was recorded."""
    with Wire(bench.gate.ports.imaps, context) as wire:
        wire.line()
        answer = wire.imap(b"a LOGIN " + account + b" pw")[-1]
        port = wire.local_port
    return answer, bench.codes(port)


def statement(sql: str, *values: object) -> Callable[[Path], None]:
    """Return what spoils the store by a statement of SQL."""

    def spoil(store: Path) -> None:
        with closing(sqlite3.connect(store, timeout=5)) as connection, connection:
            connection.execute(sql, values)

    return spoil


APPS = "UPDATE attestation_result SET apps = ?"
SPOILED = {
    "G01-malformed": statement(APPS, "{not json"),
    "G01-not-a-list": statement(APPS, "5"),
    "G01-a-number": statement(APPS, 5),
    "G01-octets": statement(APPS, b"\xff\xfe\0"),
    "G01-nothing": statement(APPS, ""),
    "G01-deep": statement(APPS, "[" * MEBIBYTE),
    "G01-a-mebibyte": statement(APPS, "[" + "[1]," * (MEBIBYTE // 4) + "[1]]"),
    "G01-list-of-objects": statement(APPS, '[{"com.example.notes": 1}]'),
    "G01-no-time": statement("UPDATE attestation_result SET collected_at = 'yesterday'"),
    "G01-time-without-end": statement("UPDATE attestation_result SET collected_at = 9223372036854775807"),
    "G01-facts": statement("UPDATE attestation_result SET stated = '[1]'"),
    "G01-facts-a-number": statement("UPDATE attestation_result SET stated = 5"),
    "G01-facts-deep": statement("UPDATE attestation_result SET stated = ?", "[" * MEBIBYTE),
    "G01-facts-unknown": statement("UPDATE attestation_result SET stated = ?", '{"rooted-perhaps": 1}'),
    "G01-scope": statement("UPDATE attestation_result SET scope = 'everything'"),
    "G01-platform": statement("UPDATE device SET platform = 'amiga'"),
    "G01-identifiers": statement("UPDATE device SET identifiers = '['"),
    "G01-deep-identifiers": statement("UPDATE device SET identifiers = ?", "[" * MEBIBYTE),
    "G01-no-table": statement("DROP TABLE attestation_result"),
}


@pytest.mark.parametrize("kind", SPOILED)
def test_a_store_that_cannot_be_understood_lets_nobody_in(own: Bench, context: ssl.SSLContext, kind: str) -> None:
    """A temporary failure, within seconds, on record; the gate goes on, and is well again with a good store."""
    store = own.gate.store_file
    good = store.with_suffix(".good")
    with closing(sqlite3.connect(store)) as source, closing(sqlite3.connect(good)) as copy:
        source.backup(copy)
    SPOILED[kind](store)
    try:
        for account in (f"bad-{_account(kind)}", f"good-{_account(kind)}"):
            since = time.monotonic()
            answer, codes = log_in(own, context, account.encode())
            assert time.monotonic() - since < SOON_S
            assert answer == UNAVAILABLE
            assert codes == [FAULT, ENDED]
        assert own.gate.get("/livez").status == 200
    finally:
        with closing(sqlite3.connect(good)) as source, closing(sqlite3.connect(store, timeout=5)) as copy:
            source.backup(copy)

    def is_well() -> bool:
        return log_in(own, context, f"good-{_account(kind)}".encode())[0].startswith(b"a OK")

    eventually(is_well, within=10, what="the gate to be well again")
    assert log_in(own, context, f"bad-{_account(kind)}".encode())[0].startswith(REFUSAL.strip())


@pytest.mark.parametrize("kind", ["G01-overwritten", "G01-truncated"])
def test_a_file_that_is_no_store_lets_nobody_in(
    make_bench: Callable[..., Bench], context: ssl.SSLContext, kind: str
) -> None:
    """Other octets in its place, or none: what is still known may refuse, nothing admits."""
    bench = make_bench({"imap": Recorder(Script(accepts_all=True)), "smtp": Recorder(Script(protocol="smtp"))})
    store = bench.gate.store_file
    size = store.stat().st_size
    for file in (store, store.with_name(store.name + "-wal")):
        os.truncate(file, 0)
    if kind == "G01-overwritten":
        store.write_bytes(b"\xa5" * size)
    for account in (b"mallory", b"a-stranger"):
        answer, codes = log_in(bench, context, account)
        assert answer == UNAVAILABLE or answer.startswith(REFUSAL.strip())
        assert codes[-1] == ENDED
        assert ALLOWED not in codes
    assert bench.gate.get("/livez").status == 200


TEXTS = {
    "G01-policy-no-toml": "schema = 1\n[[rule",
    "G01-policy-empty": "",
    "G01-policy-other-schema": "schema = 2\n",
    "G01-policy-nul": policy() + "\0",
    "G01-policy-a-mebibyte": "schema = 1\n# " + "x" * MEBIBYTE + "\n[defaults]\nunknown_device = 'perhaps'\n",
    "G01-policy-unknown-key": policy() + "\n[unknown]\nkey = 1\n",
}


def test_g01_a_policy_that_cannot_be_read_changes_nothing(own: Bench, context: ssl.SSLContext) -> None:
    """Every reload with one is recorded as a fault, and the policy from before stays in force."""
    for number, text in enumerate(TEXTS.values(), 1):
        own.gate.replace_policy(text)
        own.gate.reload()
        own.gate.wait_for_records(number, lambda one: code(one) == RELOAD_REJECTED)
        answer, codes = log_in(own, context, b"mallory")
        assert answer.startswith(REFUSAL.strip())
        assert codes == [DENIED_APP, ENDED]
        answer, codes = log_in(own, context, b"alice")
        assert answer.startswith(b"a OK")
        assert codes == [ALLOWED, OVER]
