"""`gatekeeper audit export --format tlog`: signed logs as static files that clients of c2sp.org/tlog-tiles fetch.

Beside checkpoint and tiles these are entry bundles, the lines once more, which the gate itself does not keep.

Inside holds: the tree is made anew from the lines, and the checkpoint is written last, when it is that of the tree.
"""

from pathlib import Path

from gatekeeper.adapters.sinks.directory import AuditLogError, first_sequence
from gatekeeper.adapters.sinks.operations import FileOperations
from gatekeeper.adapters.sinks.reader import LineCursor
from gatekeeper.adapters.sinks.tiles import put, read_checkpoint_file, read_tile
from gatekeeper.audit.checkpoint import Checkpoint, read_checkpoint
from gatekeeper.audit.stored import LOG_PRUNED, read
from gatekeeper.audit.tree import HASH_OCTETS, TILE_WIDTH, Tree, leaf_hash, tile_path
from gatekeeper.cli.words import EXIT_FAILED, EXIT_INCOMPLETE, fail
from gatekeeper.signing.note import NoteError

_PRUNED = f'"event_code":"{LOG_PRUNED}"'.encode()


def export_tlog(logs: list[Path], out: Path) -> list[Checkpoint]:
    """Write every log, several into a directory each, or end the command; returns what was written."""
    try:
        return [_export(log, out if len(logs) == 1 else out / log.name) for log in logs]
    except OSError as error:
        fail(f"`{out}` cannot be written: {error.strerror}", code=EXIT_FAILED)
    except AuditLogError as error:
        fail(f"{error}; `gatekeeper audit verify` says more", code=EXIT_FAILED)


def _export(log: Path, out: Path) -> Checkpoint:
    note = read_checkpoint_file(log)
    if note is None:
        fail(f"there is no checkpoint in `{log}`: nothing is signed", code=EXIT_INCOMPLETE)
    try:
        checkpoint, _ = read_checkpoint(note)
    except NoteError as error:
        fail(f"`{log / 'checkpoint'}` {error}", code=EXIT_FAILED)
    tree, first, pruned = _pruned(log, out), first_sequence(log), 0
    lines = LineCursor(log, tree.size)
    while tree.size < checkpoint.size:
        index = tree.size // TILE_WIDTH
        bundle = bytearray()
        taken = lines.take(min(TILE_WIDTH, checkpoint.size - tree.size))
        for line in taken:
            tree.append(leaf_hash(line[:-1]))
            if _PRUNED in line:
                pruned = max(pruned, read(line).number_at("unmapped", "gatekeeper", "first_kept") or 0)
            bundle += (len(line) - 1).to_bytes(2) + line[:-1]
        _write(out / tile_path(0, index, len(taken)).replace("tile/0/", "tile/entries/", 1), bytes(bundle))
        for tile in tree.completed:
            _write(out / tile.path, tile.hashes)
        tree.completed.clear()
    for tile in tree.unfinished():
        _write(out / tile.path, tile.hashes)
    if first > pruned:
        what = f"`{log}` begins with record {first}, and no record says that those before were pruned"
        fail(f"{what}: see `gatekeeper audit verify`", code=EXIT_FAILED)
    if tree.root() != checkpoint.root:
        fail(f"`{log}` is not the log that was signed: see `gatekeeper audit verify`", code=EXIT_FAILED)
    _write(out / "checkpoint", note)
    return checkpoint


def _pruned(log: Path, out: Path) -> Tree:
    """The tree up to the first whole bundle: of pruned records only their hashes are left (tlog-tiles, "Pruning")."""
    tree = Tree()
    for index in range(-(-first_sequence(log) // TILE_WIDTH)):
        hashes = read_tile(log, 0, index)
        for place in range(0, len(hashes), HASH_OCTETS):
            tree.append(hashes[place : place + HASH_OCTETS])
        for tile in tree.completed:
            _write(out / tile.path, tile.hashes)
        tree.completed.clear()
    return tree


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    put(path, data, FileOperations(), is_durable=False)
