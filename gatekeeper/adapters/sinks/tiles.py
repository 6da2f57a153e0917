"""The Merkle log's files beside the segments (c2sp.org/tlog-tiles): tiles and the checkpoint.

    tile/<level>/<index>          256 hashes each; never changed once it is there
    tile/<level>/<index>.p/<n>    the first n hashes of a tile that is not full, for a checkpoint that needs them
    checkpoint                    the signed head

Inside holds: a file appears whole or not at all. Before a checkpoint is put in place everything it rests on is durable
but for the unfinished tile of the leaves, which the log gives back. Unfinished tiles go once the full one is durable.
"""

import os
from collections.abc import Iterable
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from gatekeeper.adapters.sinks.directory import AuditLogError, write_all
from gatekeeper.adapters.sinks.operations import FileOperations
from gatekeeper.audit.proof import HashAt
from gatekeeper.audit.tree import HASH_OCTETS, TILE_WIDTH, Tile, tile_path
from gatekeeper.signing.note import MAX_NOTE_OCTETS

_TILE_OCTETS = TILE_WIDTH * HASH_OCTETS
_CACHED_TILES = 64


class TileMissing(AuditLogError):
    """A tile that the checkpoint rests on is not there, or not as wide as it has to be."""


def read_checkpoint_file(directory: Path) -> bytes | None:
    """The published note, unverified, at most one octet longer than a note may be; None when there is none."""
    try:
        with (directory / "checkpoint").open("rb") as file:
            return file.read(MAX_NOTE_OCTETS + 1)
    except FileNotFoundError:
        return None


def read_tile(directory: Path, level: int, index: int, width: int = TILE_WIDTH) -> bytes:
    """The first `width` hashes of a tile, from the file of that width or from the full tile.

    Raises:
        TileMissing: neither is there.
    """
    for path in dict.fromkeys([tile_path(level, index, width), tile_path(level, index)]):
        with suppress(FileNotFoundError), (directory / path).open("rb") as file:
            hashes = file.read(_TILE_OCTETS + 1)
            if len(hashes) in {width * HASH_OCTETS, _TILE_OCTETS}:
                return hashes[: width * HASH_OCTETS]
    raise TileMissing(f"`{directory / tile_path(level, index, width)}` is missing, or has not {width} hashes")


def hashes_at(directory: Path, size: int) -> HashAt:
    """What the tiles of a tree of `size` leaves say; raises TileMissing."""

    @lru_cache(_CACHED_TILES)
    def tile(level: int, index: int) -> bytes:
        count = size // TILE_WIDTH**level
        width = TILE_WIDTH if index < count // TILE_WIDTH else count % TILE_WIDTH
        return read_tile(directory, level, index, width)

    def hash_at(level: int, index: int) -> bytes:
        place = index % TILE_WIDTH * HASH_OCTETS
        return tile(level, index // TILE_WIDTH)[place : place + HASH_OCTETS]

    return hash_at


def write_tile(directory: Path, tile: Tile, files: FileOperations) -> Path | None:
    """Put a tile in place, its content durable.

    Returns the directory to be given to `sync_names` before a checkpoint may rest on the tile; None: none has to be,
    since the log gives the unfinished tile of the leaves back.
    """
    path = directory / tile.path
    is_durable = tile.width == TILE_WIDTH or tile.level > 0
    folder = path.parent
    needed = folder if is_durable else folder.parent
    if not needed.is_dir():
        _make_directories(needed, directory, files)
    folder.mkdir(mode=0o750, exist_ok=True)
    put(path, tile.hashes, files, is_durable=is_durable)
    return folder if is_durable else None


def outdated_by(directory: Path, tile: Tile) -> Path | None:
    """Where the unfinished tiles lie that a full one takes the place of, if there are any."""
    path = directory / tile.path
    unfinished = path.with_name(f"{path.name}.p")
    return unfinished if tile.width == TILE_WIDTH and unfinished.is_dir() else None


def sync_names(folder: Path, outdated: Iterable[Path], files: FileOperations) -> None:
    """Make durable which tiles are in `folder`; what they take the place of goes."""
    files.sync_directory(folder)
    for path in outdated:
        _drop(path, files)


def write_checkpoint(directory: Path, note: bytes, files: FileOperations) -> None:
    """Put the signed head in place, after everything it rests on."""
    put(directory / "checkpoint", note, files, is_durable=True)


def put(path: Path, data: bytes, files: FileOperations, *, is_durable: bool) -> None:
    """Put a file in place, whole or not at all; its name is durable once the directory is synced."""
    draft = path.with_name(f"{path.name}.new")
    fd = files.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:
        write_all(fd, data, files)
        if is_durable:
            files.fdatasync(fd)
    finally:
        files.close(fd)
    files.replace(draft, path)


def _make_directories(path: Path, directory: Path, files: FileOperations) -> None:
    """Make a directory below `directory`, with all their names durable."""
    if path.parent != directory:
        _make_directories(path.parent, directory, files)
    path.mkdir(mode=0o750, exist_ok=True)
    files.sync_directory(path.parent)


def _drop(path: Path, files: FileOperations) -> None:
    with suppress(FileNotFoundError):
        for name in os.listdir(path):  # noqa: PTH208  names are enough
            files.unlink(path / name)
        path.rmdir()
