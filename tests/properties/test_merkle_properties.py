"""Laws of the Merkle log: built in steps it is the tree of the definition, and only what is so can be proven."""

from contextlib import suppress

from hypothesis import given
from hypothesis import strategies as st

from gatekeeper.audit.checkpoint import read_checkpoint
from gatekeeper.audit.proof import (
    InclusionProof,
    ProofError,
    consistency,
    inclusion,
    is_consistent,
    is_included,
    range_hash,
)
from gatekeeper.audit.tree import Tree, leaf_hash, partial_widths
from gatekeeper.signing.note import NoteError
from testkit.merkle import definition, grown, hashes_of

SIZES = st.integers(1, 70) | st.integers(250, 260) | st.sampled_from([511, 512, 513, 767, 769, 1024])


def leaves_of(size: int) -> list[bytes]:
    return [b"%d" % number for number in range(size)]


@given(st.lists(st.binary(max_size=3), max_size=600))
def test_what_grows_leaf_by_leaf_is_the_whole(leaves: list[bytes]) -> None:
    """The root, and the root that the tiles give."""
    tree = grown(leaves)
    assert tree.root() == definition(leaves)
    assert range_hash(0, len(leaves), hashes_of(tree)) == definition(leaves)


@given(SIZES, st.integers(0, 300))
def test_a_tree_is_resumed_anywhere(size: int, more: int) -> None:
    """By the tiles that are not full, and by nothing else."""
    leaves = leaves_of(size + more)
    tree = grown(leaves[:size])
    unfinished = [b""] * len(partial_widths(size))
    for tile in tree.unfinished():
        unfinished[tile.level] = tile.hashes
    resumed = Tree.resumed(size, unfinished)
    for leaf in leaves[size:]:
        resumed.append(leaf_hash(leaf))
    assert resumed.root() == definition(leaves)


@given(SIZES, st.data())
def test_what_is_included_is_proven_and_nothing_else(size: int, data: st.DataObject) -> None:
    """Any change of leaf, index or proof makes it false."""
    index = data.draw(st.integers(0, size - 1))
    leaves = leaves_of(size)
    tree = grown(leaves)
    path = inclusion(index, size, hashes_of(tree))
    assert is_included(leaf_hash(leaves[index]), index, size, path, tree.root())
    other = data.draw(st.integers(0, size - 1))
    assert is_included(leaf_hash(leaves[other]), index, size, path, tree.root()) == (other == index)
    assert is_included(leaf_hash(leaves[index]), other, size, path, tree.root()) == (other == index)
    if path:
        changed = list(path)
        changed[data.draw(st.integers(0, len(path) - 1))] = bytes(32)
        assert not is_included(leaf_hash(leaves[index]), index, size, changed, tree.root())


@given(SIZES, st.data())
def test_growth_is_proven_and_no_fork(size: int, data: st.DataObject) -> None:
    """A change before the old end is no growth."""
    old = data.draw(st.integers(1, size))
    leaves = leaves_of(size)
    tree = grown(leaves)
    path = consistency(old, size, hashes_of(tree))
    assert is_consistent(old, definition(leaves[:old]), size, tree.root(), path)
    forked = list(leaves)
    forked[data.draw(st.integers(0, old - 1))] = b"another"
    assert not is_consistent(old, definition(forked[:old]), size, tree.root(), path)
    assert not is_consistent(old, definition(leaves[:old]), size, definition(forked), path)


@given(st.binary(max_size=200))
def test_any_octets_are_read_or_refused(data: bytes) -> None:
    """Nothing else is raised, and what is read is written the same."""
    with suppress(NoteError):
        read_checkpoint(data)
    for octets in (data, b"c2sp.org/tlog-proof@v1\nindex 5\n" + data):
        try:
            proof = InclusionProof.parse(octets)
        except ProofError:
            continue
        assert InclusionProof.parse(proof.encode()) == proof
