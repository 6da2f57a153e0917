"""Tiles read back: from the file of the width, from the full tile, or not at all."""

from pathlib import Path

import pytest

from gatekeeper.adapters.sinks.operations import FileOperations
from gatekeeper.adapters.sinks.tiles import (
    TileMissing,
    hashes_at,
    outdated_by,
    read_checkpoint_file,
    read_tile,
    sync_names,
    write_checkpoint,
    write_tile,
)
from gatekeeper.audit.tree import Tile

HASHES = b"".join(bytes([number]) * 32 for number in range(256))


def test_a_tile_is_read_by_its_width(tmp_path: Path) -> None:
    """When the full one has taken its place, from that."""
    files = FileOperations()
    write_tile(tmp_path, Tile(0, 0, HASHES[:96]), files)
    assert read_tile(tmp_path, 0, 0, 3) == HASHES[:96]
    with pytest.raises(TileMissing):
        read_tile(tmp_path, 0, 0, 2)
    full = Tile(0, 0, HASHES)
    folder = write_tile(tmp_path, full, files)
    assert folder == tmp_path / "tile/0"
    outdated = outdated_by(tmp_path, full)
    assert outdated == tmp_path / "tile/0/000.p"
    sync_names(folder, [outdated], files)
    assert outdated_by(tmp_path, full) is None
    assert not (tmp_path / "tile/0/000.p").exists()
    assert read_tile(tmp_path, 0, 0, 3) == HASHES[:96]
    assert read_tile(tmp_path, 0, 0) == HASHES
    assert hashes_at(tmp_path, 256)(0, 255) == HASHES[-32:]


@pytest.mark.parametrize("content", [b"", HASHES[:95], HASHES[:97], HASHES + b"x"])
def test_a_tile_of_another_length_is_none(tmp_path: Path, content: bytes) -> None:
    """Nothing is made up."""
    write_tile(tmp_path, Tile(1, 1234, HASHES[:96]), FileOperations())
    (tmp_path / "tile/1/x001/234.p/3").write_bytes(content)
    with pytest.raises(TileMissing, match="has not 3 hashes"):
        read_tile(tmp_path, 1, 1234, 3)


def test_a_checkpoint_is_put_in_place_of_the_one_before(tmp_path: Path) -> None:
    """Whole; what is far too long is not read to its end."""
    assert read_checkpoint_file(tmp_path) is None
    for note in (b"one", b"two"):
        write_checkpoint(tmp_path, note, FileOperations())
        assert read_checkpoint_file(tmp_path) == note
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]
    (tmp_path / "checkpoint").write_bytes(bytes(100_000))
    assert len(read_checkpoint_file(tmp_path) or b"") == 65_537
