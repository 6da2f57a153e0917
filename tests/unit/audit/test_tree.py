"""The tree against the definition of RFC 6962, known roots, and its own tiles."""

import pytest

from gatekeeper.audit.tree import EMPTY_ROOT, Tile, Tree, leaf_hash, partial_widths, tile_path
from testkit.merkle import definition, grown

LEAVES = [bytes.fromhex(text) for text in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657")]
LEAVES.append(bytes(range(0x60, 0x70)))
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
"""The test tree of the Certificate Transparency implementations, by size."""


@pytest.mark.parametrize("size", range(9), ids=str)
def test_the_roots_of_the_known_tree(size: int) -> None:
    """Every size of it."""
    assert grown(LEAVES[:size]).root().hex() == ROOTS[size]


def test_an_empty_tree_has_the_root_of_nothing() -> None:
    """And no tiles."""
    assert (Tree().root(), Tree().unfinished(), partial_widths(0)) == (EMPTY_ROOT, [], [])


@pytest.mark.parametrize("size", [1, 255, 256, 257, 511, 512, 1000])
def test_tiles_of_a_size(size: int) -> None:
    """Full tiles are handed over as they become full; the others are as wide as the specification says."""
    leaves = [b"%d" % number for number in range(size)]
    tree = grown(leaves)
    assert tree.root() == definition(leaves)
    assert [(tile.level, tile.index, tile.width) for tile in tree.completed] == [
        (0, n, 256) for n in range(size // 256)
    ]
    assert {tile.level: tile.width for tile in tree.unfinished()} == {
        level: width for level, width in enumerate(partial_widths(size)) if width
    }
    for tile in tree.completed:
        first = tile.index * 256
        assert tile.hashes == b"".join(leaf_hash(leaf) for leaf in leaves[first : first + 256])


def test_a_large_tree_has_a_full_tile_above_the_leaves() -> None:
    """The example of the specification: 70,000 leaves."""
    tree = grown([b"%d" % number for number in range(70_000)])
    assert len([tile for tile in tree.completed if tile.level == 0]) == 273
    assert [tile.path for tile in tree.completed if tile.level == 1] == ["tile/1/000"]
    assert [tile.path for tile in tree.unfinished()] == ["tile/0/273.p/112", "tile/1/001.p/17", "tile/2/000.p/1"]
    unfinished = [b"", b"", b""]
    for tile in tree.unfinished():
        unfinished[tile.level] = tile.hashes
    resumed = Tree.resumed(tree.size, unfinished)
    for number in range(70_000, 70_200):
        tree.append(leaf_hash(b"%d" % number))
        resumed.append(leaf_hash(b"%d" % number))
        assert resumed.root() == tree.root()
    assert resumed.unfinished() == tree.unfinished()


def test_tiles_that_do_not_fit_are_refused() -> None:
    """A tree of another size is not resumed by them."""
    with pytest.raises(ValueError, match="do not fit"):
        Tree.resumed(3, [b"x" * 64])
    with pytest.raises(ValueError, match="do not fit"):
        Tree.resumed(256, [b""])


def test_paths() -> None:
    """Three digits an element, the last one without x; a suffix for what is not full."""
    assert tile_path(1, 1234067) == "tile/1/x001/x234/067"
    assert tile_path(0, 0) == "tile/0/000"
    assert tile_path(0, 1000) == "tile/0/x001/000"
    assert Tile(0, 5, b"h" * 64).path == "tile/0/005.p/2"
