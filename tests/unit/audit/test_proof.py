"""Proofs: the known ones, those of every place in a small log, and none for what is not so."""

import metamorphic_log
import pytest

from gatekeeper.audit.checkpoint import Checkpoint
from gatekeeper.audit.proof import (
    InclusionProof,
    ProofError,
    consistency,
    consistency_text,
    inclusion,
    is_consistent,
    is_included,
)
from gatekeeper.audit.tree import EMPTY_ROOT, leaf_hash
from testkit.audit_log import ORIGIN
from testkit.merkle import KEY, definition, grown, hashes_of
from unit.audit.test_tree import LEAVES

SIBLINGS_OF_THE_FIRST = [
    "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
    "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
    "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
]
FROM_SIX_TO_EIGHT = [
    "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
    "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
]


def test_the_known_proofs() -> None:
    """Of the Certificate Transparency implementations' test tree."""
    hash_at = hashes_of(grown(LEAVES))
    assert [one.hex() for one in inclusion(0, 8, hash_at)] == SIBLINGS_OF_THE_FIRST
    assert [one.hex() for one in consistency(1, 8, hash_at)] == SIBLINGS_OF_THE_FIRST
    assert [one.hex() for one in consistency(6, 8, hash_at)] == FROM_SIX_TO_EIGHT


@pytest.mark.parametrize("size", [*range(1, 10), 255, 256, 257, 513])
def test_every_record_of_a_log_is_proven(size: int) -> None:
    """For us and for the package metamorphic-log; for no other leaf, place or root."""
    leaves = [b"%d" % number for number in range(size)]
    tree = grown(leaves)
    hash_at, root = hashes_of(tree), tree.root()
    for index in {*range(min(size, 9)), size // 2, size - 1}:
        path = inclusion(index, size, hash_at)
        assert is_included(leaf_hash(leaves[index]), index, size, path, root)
        metamorphic_log.verify_inclusion(index, size, leaf_hash(leaves[index]), path, root)
        assert not is_included(leaf_hash(b"another"), index, size, path, root)
        assert not is_included(leaf_hash(leaves[index]), index, size, path, EMPTY_ROOT)
        assert not is_included(leaf_hash(leaves[index]), index, size, [*path, root], root)
        assert not is_included(leaf_hash(leaves[index]), size, size, path, root)
        if size > 1:
            assert not is_included(leaf_hash(leaves[index]), index ^ 1, size, path, root)
            assert not is_included(leaf_hash(leaves[index]), index, size, path[1:], root)


@pytest.mark.parametrize("new", [*range(1, 18), 256, 257, 600])
def test_growth_is_proven(new: int) -> None:
    """From every smaller size; not from another log."""
    leaves = [b"%d" % number for number in range(new)]
    tree = grown(leaves)
    hash_at, root = hashes_of(tree), tree.root()
    for old in {*range(min(new, 17) + 1), new // 2, new - 1, new}:
        path = consistency(old, new, hash_at)
        before = definition(leaves[:old])
        assert is_consistent(old, before, new, root, path)
        if old:
            metamorphic_log.verify_consistency(old, new, path, before, root)
            forked = definition([*leaves[: old - 1], b"another"])
            assert not is_consistent(old, forked, new, root, path)
            assert not is_consistent(old, before, new, EMPTY_ROOT, path)
        assert not is_consistent(old, before, new, root, [*path, root])


def test_what_cannot_be_proven() -> None:
    """A record that was not signed yet, a log that was longer before."""
    hash_at = hashes_of(grown(LEAVES))
    with pytest.raises(ProofError, match="record 8 is not among the 8"):
        inclusion(8, 8, hash_at)
    with pytest.raises(ProofError, match="fewer than 9"):
        consistency(9, 8, hash_at)
    assert not is_consistent(9, EMPTY_ROOT, 8, EMPTY_ROOT, [])
    assert not is_consistent(2, EMPTY_ROOT, 3, EMPTY_ROOT, [])
    assert not is_consistent(4, EMPTY_ROOT, 8, EMPTY_ROOT, [])


def test_a_proof_as_a_file() -> None:
    """Encoded and read back; the checkpoint stays as it was published."""
    tree = grown(LEAVES)
    signed = Checkpoint(ORIGIN, 8, tree.root()).signed(KEY)
    proof = InclusionProof(5, tuple(inclusion(5, 8, hashes_of(tree))), signed)
    data = proof.encode()
    assert data.startswith(b"c2sp.org/tlog-proof@v1\nindex 5\n")
    assert InclusionProof.parse(data) == proof
    assert InclusionProof.parse(data.replace(b"index", b"extra AAAA\nindex")) == proof
    alone = InclusionProof(0, (), signed)
    assert InclusionProof.parse(alone.encode()) == alone


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n\n",
        b"c2sp.org/tlog-proof@v1\nindex 5",
        b"c2sp.org/tlog-proof@v1\n\nx",
        b"c2sp.org/tlog-proof@v1\nindex 05\n\nx",
        b"c2sp.org/tlog-proof@v1\nindex \xd9\xa5\n\nx",
        b"c2sp.org/tlog-proof@v1\nindex 5\n!\n\nx",
        b"c2sp.org/tlog-proof@v1\nindex 5\nAAAA\n\nx",
        b"c2sp.org/tlog-proof@v1\nindex 5\n" + b"AAAA\n" * 129 + b"\nx",
        b"c2sp.org/tlog-proof@v1\nindex 5\n\n" + b"x" * 70_000,
    ],
)
def test_what_is_no_proof(data: bytes) -> None:
    """One kind of error."""
    with pytest.raises(ProofError):
        InclusionProof.parse(data)


def test_a_consistency_proof_as_a_witness_takes_it() -> None:
    """The old size, the hashes, an empty line, the checkpoint."""
    assert consistency_text(3, [bytes(32)], b"note") == b"old 3\n" + b"A" * 43 + b"=\n\nnote"
