"""Cosignatures: what a witness signs, what it does not, and that others verify it."""

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tlog_scales.signing import Vkey
from tlog_scales.tlog import Checkpoint as ForeignCheckpoint

from gatekeeper.audit.checkpoint import Checkpoint, read_checkpoint
from gatekeeper.audit.cosignature import (
    Conflict,
    CosignerKey,
    Inconsistent,
    Request,
    Unknown,
    cosign,
    cosigned_by,
    witness,
)
from gatekeeper.audit.proof import ProofError, consistency, consistency_text
from gatekeeper.signing.note import NoteError
from testkit.audit_log import ORIGIN
from testkit.merkle import KEY, OTHER_KEY, definition, grown, hashes_of

NAME = "audit.example.com/witness"
PRIVATE = Ed25519PrivateKey.from_private_bytes(b"w" * 32)
WITNESS = CosignerKey(NAME, PRIVATE.public_key().public_bytes_raw())
LEAVES = [b"%d" % number for number in range(40)]
TIME = 1_679_315_147


def head(size: int, leaves: list[bytes] | None = None) -> Checkpoint:
    return Checkpoint(ORIGIN, size, definition((leaves or LEAVES)[:size]))


def request(old: int, size: int, leaves: list[bytes] | None = None) -> Request:
    tree = grown((leaves or LEAVES)[:size])
    note = head(size, leaves).signed(KEY)
    return Request.parse(consistency_text(old, consistency(old, size, hashes_of(tree)), note))


@pytest.mark.parametrize(("old", "size"), [(0, 1), (0, 40), (1, 2), (7, 40), (16, 32), (40, 40)])
def test_a_log_that_grew_is_cosigned(old: int, size: int) -> None:
    """The package tlog-scales accepts the cosignature, and the log's own signature beside it."""
    checkpoint, note = witness(request(old, size), head(old) if old else None, [KEY.verifier])
    assert checkpoint == head(size)
    cosigned = note.with_signature(cosign(note, NAME, PRIVATE, TIME))
    assert [(one.witness, one.time) for one in cosigned_by(cosigned, [WITNESS])] == [(WITNESS, TIME)]
    foreign = ForeignCheckpoint.from_text(cosigned.encode().decode())
    foreign.verify(Vkey.from_string(str(WITNESS)))
    foreign.verify(Vkey.from_string(str(KEY.verifier)))


def test_what_is_signed_is_what_the_specification_says() -> None:
    """Two lines before the text."""
    _, note = read_checkpoint(head(3).signed(KEY))
    signature = cosign(note, NAME, PRIVATE, TIME)
    assert signature.octets[:8] == TIME.to_bytes(8)
    PRIVATE.public_key().verify(signature.octets[8:], b"cosignature/v1\ntime 1679315147\n" + head(3).text.encode())


FORK = [*LEAVES[:5], b"another", *LEAVES[6:]]


@pytest.mark.parametrize(
    ("asked", "last", "error"),
    [
        (request(7, 40), None, Conflict),
        (request(0, 40), head(7), Conflict),
        (request(8, 40), head(7), Conflict),
        (request(7, 40, FORK), head(7), Inconsistent),
        (request(40, 40, FORK), head(40), Inconsistent),
        (Request(40, (), head(7).signed(KEY)), head(40), Inconsistent),
        (Request(7, (), head(40).signed(KEY)), head(7), Inconsistent),
        (Request(0, (bytes(32),), head(40).signed(KEY)), None, Inconsistent),
        (Request(0, (), head(40).signed(OTHER_KEY)), None, Unknown),
        (Request(0, (), Checkpoint("other.example/1", 1, bytes(32)).signed(KEY)), None, Unknown),
    ],
)
def test_what_is_not_cosigned(asked: Request, last: Checkpoint | None, error: type[Exception]) -> None:
    """Another start than the last head, a fork, a log that shrank, an unknown log."""
    with pytest.raises(error):
        witness(asked, last, [KEY.verifier])


def test_a_changed_head_is_not_cosigned() -> None:
    """Its signature is false."""
    with pytest.raises(NoteError):
        witness(Request(0, (), head(40).signed(KEY).replace(b"\n40\n", b"\n41\n")), None, [KEY.verifier])


def test_a_false_cosignature_is_no_cosignature() -> None:
    """Of another time or text; lines of unknown witnesses mean nothing."""
    _, note = read_checkpoint(head(3).signed(KEY))
    line = cosign(note, NAME, PRIVATE, TIME)
    assert cosigned_by(note.with_signature(line), []) == ()
    _, other = read_checkpoint(head(4).signed(KEY))
    with pytest.raises(NoteError, match="does not fit"):
        cosigned_by(other.with_signature(line), [WITNESS])
    with pytest.raises(NoteError, match="has no time"):
        cosigned_by(note.with_signature(cosign(note, NAME, PRIVATE, 2**63)), [WITNESS])


def test_a_witness_is_written_as_a_key() -> None:
    """And read back; not a log's key, nor one that was cut."""
    assert CosignerKey.parse(f" {WITNESS}\n") == WITNESS
    assert WITNESS.key_id != KEY.verifier.key_id
    for text in (str(KEY.verifier), str(WITNESS)[:-4], f"x{WITNESS}", "x", "a+b+c"):
        with pytest.raises(NoteError):
            CosignerKey.parse(text)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"old 3",
        b"old\n\nx",
        b"old 03\n\nx",
        b"old -3\n\nx",
        b"old 3\n!\n\nx",
        b"old 3\n" + b"A" * 43 + b"=\n" * 64 + b"\nx",
        b"\xff\n\nx",
    ],
)
def test_what_is_no_request(data: bytes) -> None:
    """One kind of error."""
    with pytest.raises(ProofError):
        Request.parse(data)
