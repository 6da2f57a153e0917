"""The registry of logs as a file."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatekeeper.audit.checkpoint import Checkpoint
from gatekeeper.audit.registry import Ended, Entry, Registry
from testkit.audit_log import ORIGIN
from testkit.merkle import KEY, OTHER_KEY

HEAD = Checkpoint(ORIGIN, 7, bytes(32)).signed(KEY).decode()
WHOLE = Entry(
    origin=ORIGIN,
    directory="/srv/audit",
    keys=(KEY.verifier, OTHER_KEY.verifier),
    since="2020-07-10T17:00:00.000Z",
    until="2020-08-10T17:00:00.000Z",
    successor=f"{ORIGIN}/2",
    head=HEAD,
    ended=Ended("2020-09-01T00:00:00Z", "root", "archived: shelf 7"),
)
BARE = Entry(origin=f"{ORIGIN}/2", directory="/srv/audit", keys=(KEY.verifier,))


def test_what_was_written_is_read() -> None:
    """All of it, and what is not known."""
    registry = Registry({}).having(BARE).having(WHOLE)
    assert Registry.parse(registry.dump()) == registry
    assert WHOLE.checkpoint == Checkpoint(ORIGIN, 7, bytes(32))
    assert BARE.checkpoint is None
    assert registry.having(Entry(origin=ORIGIN, directory="/", keys=BARE.keys)).logs[BARE.origin] == BARE


def changed(**changes: object) -> bytes:
    document = json.loads(Registry({}).having(WHOLE).dump())
    document["logs"][0] |= changes
    return json.dumps(document).encode()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "no registry"),
        (b'{"v": 2, "logs": []}', "no registry"),
        (b'{"v": 1, "logs": {}}', "no registry"),
        (b'{"v": 1, "logs": [' + b"0," * 10_000 + b"0]}", "more than"),
        (b'{"v": 1, "logs": [7]}', "log 1 is no table"),
        (changed(origin=None), "`origin` is missing"),
        (changed(since=7), "`since` is missing or no text"),
        (changed(keys=[]), "`keys` is no list"),
        (changed(keys=[7]), "`keys` is no list"),
        (changed(keys=["x"]), "log 1: "),
        (changed(head="x"), "log 1: "),
        (changed(origin="other"), "its head is of the log"),
        (changed(ended={}), "`ended` has no"),
        (changed(ended="x"), "`ended` has no"),
        (changed()[:-2] + b"," + changed()[18:], "twice"),
    ],
)
def test_what_is_no_registry_is_refused(data: bytes, reason: str) -> None:
    """With where and why; nothing of it is believed."""
    if reason == "twice":
        document = json.loads(changed())
        data = json.dumps({**document, "logs": document["logs"] * 2}).encode()
    with pytest.raises(ValueError, match=reason):
        Registry.parse(data)


@given(st.binary(max_size=200))
def test_any_octets(data: bytes) -> None:
    """A registry, or a reason."""
    try:
        Registry.parse(data)
    except ValueError:
        return
