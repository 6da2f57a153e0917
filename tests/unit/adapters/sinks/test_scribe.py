"""Lines are chained, in the name of their log."""

import hashlib
import json

import pytest

from gatekeeper.adapters.sinks.scribe import Scribe
from gatekeeper.adapters.sinks.writer import Chain
from testkit.audit_log import event


def test_each_line_follows_the_one_before() -> None:
    """Number and digest; the other log's lines have its name and leave this chain alone."""
    scribe = Scribe("here/1", address_prefix=None, names=None)
    chain, other = Chain(None), Chain(None)
    first, digest = scribe.line(event(), chain)
    second, _ = scribe.line(event(), chain)
    elsewhere, _ = scribe.line_of_known(event(), other, "there/1")
    records = [json.loads(line) for line in (first, second, elsewhere)]
    assert digest == hashlib.sha256(first).hexdigest()
    assert [record["metadata"]["sequence"] for record in records] == [0, 1, 0]
    assert records[1]["unmapped"]["gatekeeper"]["prev"] == digest
    assert [record["unmapped"]["gatekeeper"]["log"] for record in records] == ["here/1", "here/1", "there/1"]


def test_a_line_that_cannot_be_made_leaves_the_chain() -> None:
    """The next one takes its place."""
    scribe, chain = Scribe("here/1", address_prefix=None, names=None), Chain(None)
    with pytest.raises((TypeError, AttributeError, ValueError)):
        scribe.line(event(time="never"), chain)
    assert chain.sequence == 0
