"""Publishing the Merkle log: durable lines become leaves, full tiles are written, and a checkpoint is signed.

Inside holds: only lines that are durable are read, from the segments themselves, so that memory is bounded however
many there are and the tree says what is on the disk. Work comes in steps, each some 32 lines or one thing made
durable, so that whoever waits for a record waits for one of them at most, with rests between, so that they do not all
fall into one log-in. Every checkpoint is of a longer log than the one before. After an error the step is done again
later; where it was interrupted does not matter, for tiles come before the checkpoint.

A log that does not have what its checkpoint says is not continued: the next one would contradict what was signed. What
is signed is remembered (`succession`) before it is published.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from gatekeeper.adapters.sinks.directory import RESTORED, AuditLogDamaged, AuditLogError
from gatekeeper.adapters.sinks.operations import FileOperations
from gatekeeper.adapters.sinks.reader import LineCursor
from gatekeeper.adapters.sinks.succession import Remembered
from gatekeeper.adapters.sinks.tiles import (
    TileMissing,
    hashes_at,
    outdated_by,
    read_checkpoint_file,
    sync_names,
    write_checkpoint,
    write_tile,
)
from gatekeeper.audit.checkpoint import Checkpoint, verified
from gatekeeper.audit.proof import consistency, is_consistent
from gatekeeper.audit.tree import TILE_WIDTH, Tile, Tree, leaf_hash, partial_widths
from gatekeeper.signing.note import Note, NoteError, SigningKey, parse_note

_REST = 10  # times as long as the step took, where that leaves time enough
_LAST_STEPS = 8  # about: the unfinished tiles, their names, and the head
_LINES_A_STEP = 32  # a divisor of 256: at most one tile of leaves becomes full; about 100 µs


class Publisher:
    """Belongs to the writer's thread."""

    def __init__(  # noqa: PLR0913  a log, its key, and what it needs from outside
        self,
        directory: Path,
        key: SigningKey,
        *,
        records: int,
        files: FileOperations,
        monotonic: Callable[[], float],
        interval_s: float = 1.0,
        report: Callable[[str], object] | None = None,
        known: Checkpoint | None = None,
        remembered: Remembered | None = None,
        older: SigningKey | None = None,
    ) -> None:
        """`records`: how many the log has; `report` is told, once, of each fault that publishing meets.

        `known`: a head that was signed, which the log has to have too; `remembered`: where heads are put down; `older`:
        a key that signs as well, for those who know only that one yet.

        Raises:
            AuditLogDamaged: they are not those that were signed.
            AuditLogError: somebody else signed them.
        """
        self.failures = 0
        """Failed steps; each is tried again."""
        self.fault: str | None = None
        """What the last one failed by, until one succeeds in publishing."""
        self._directory = directory
        self.keys: tuple[SigningKey, ...] = (key,) if older is None else (key, older)
        """All of them sign, the first one leads."""
        self._files = files
        self._monotonic = monotonic
        self._interval_s = interval_s
        self._report = report
        self._remembered = remembered
        checkpoint, signers = _published(directory, self.keys)
        self.key_change = _change(signers, self.keys)
        """As facts of a record: which keys sign now, when others signed what is published; else empty."""
        self.published = 0 if checkpoint is None else checkpoint.size
        """Records of the last checkpoint."""
        # What is known may be ahead of what is published: the process ended between the two.
        is_ahead = known is not None and (checkpoint is None or known.size >= checkpoint.size)
        self._tree, self._lines = _resumed(directory, known if is_ahead else checkpoint, records)
        if known is not None and checkpoint is not None:
            _require(directory, min(known, checkpoint, key=_size), max(known, checkpoint, key=_size))
        self._written: dict[int, str] = {}
        """By level: the unfinished tile that is on the disk."""
        self._folders: dict[Path, list[Path]] = {}
        """Directories whose names are not durable yet, and what is not needed any more once they are."""
        self._note: bytes | None = None
        """Signed and remembered, about to be published."""
        self._target: int | None = None
        """What the publication under way is to reach; None: none is."""
        self._until = 0.0
        """Then it publishes what it has."""
        self._next = monotonic()

    def take_up(self, keys: tuple[SigningKey, ...]) -> dict[str, str]:
        """Sign with these keys from the next checkpoint on; any thread may say so. Returns the change, as facts."""
        change = _change([key.verifier.key_id.hex() for key in self.keys], keys)
        self.keys = keys
        return change

    def due(self, records: int) -> float | None:
        """The monotonic time of the next step, with so many durable records; None: never."""
        return self._next if self._target is not None or records > self.published else None

    def step(self, records: int) -> None:
        """Do a little of what is due."""
        now = self._monotonic()
        if now < self._next:
            return
        if self._target is None:
            if records <= self.published:
                return
            self._target, self._until = records, now + self._interval_s
        try:
            self._advance(self._target, now)
        except (OSError, AuditLogError) as error:
            self.failures += 1
            fault = f"the audit log's checkpoint cannot be published: {error}"
            if fault != self.fault and self._report is not None:
                self._report(fault)
            self.fault = fault
            self._note = None
            self._target, self._next = None, now + self._interval_s
        if self._target is not None:
            done = self._monotonic()
            self._next = done + self._rest(done, done - now, self._target)

    def _rest(self, done: float, took: float, target: int) -> float:
        """Seconds until the next step: all rests together take half of the time that is left, at most."""
        lines = max(target - self._tree.size, 0)
        steps = lines // _LINES_A_STEP + lines // TILE_WIDTH + _LAST_STEPS
        return max(min(_REST * took, (self._until - done) / (2 * steps)), 0.0)

    def finish(self, records: int, *, within_s: float) -> None:
        """Publish what there is, or as far as one gets in the time; an error ends it."""
        failures, end = self.failures, self._monotonic() + within_s
        self._next = self._monotonic()
        while self.published < records and self.failures == failures:
            now = self._next = self._monotonic()
            if now >= end:
                if self._tree.size <= self.published:
                    return
                self._until = now
            self.step(records)
            if now >= end and self._target is None:
                return

    def _advance(self, target: int, now: float) -> None:
        tree = self._tree
        if self._note is not None:
            write_checkpoint(self._directory, self._note, self._files)
            self.published, self.fault = tree.size, None
            self._note = None
            self._target, self._next = None, self._until
        elif tree.completed:
            self._put(tree.completed[0])
            del tree.completed[0]
        elif tree.size < target and (now < self._until or tree.size <= self.published):
            for line in self._lines.take(min(_LINES_A_STEP - tree.size % _LINES_A_STEP, target - tree.size)):
                tree.append(leaf_hash(line[:-1]))
        elif not self._finish_tiles():
            note = _signed(tree, self.keys)
            if self._remembered is not None:
                self._remembered.keep(note, self._files)
            self._note = note

    def _finish_tiles(self) -> bool:
        """Do one thing that the checkpoint has to wait for; False: there is nothing."""
        for tile in self._tree.unfinished():
            if self._written.get(tile.level) != tile.path:
                self._put(tile)
                self._written[tile.level] = tile.path
                return True
        for folder, outdated in self._folders.items():
            sync_names(folder, outdated, self._files)
            del self._folders[folder]
            return True
        return False

    def _put(self, tile: Tile) -> None:
        folder = write_tile(self._directory, tile, self._files)
        if folder is not None:
            outdated = outdated_by(self._directory, tile)
            self._folders.setdefault(folder, []).extend([] if outdated is None else [outdated])


def _signed(tree: Tree, keys: Sequence[SigningKey]) -> bytes:
    note = Note(Checkpoint(keys[0].name, tree.size, tree.root()).text)
    for key in keys:
        note = key.sign(note)
    return note.encode()


def _change(before: Sequence[str], keys: Sequence[SigningKey]) -> dict[str, str]:
    names = [str(key.verifier) for key in keys]
    if not before or set(before) == {key.verifier.key_id.hex() for key in keys}:
        return {}
    return dict(zip(("key", "older_key"), names, strict=False)) | {"before": " ".join(sorted(before))}


def _published(directory: Path, keys: Sequence[SigningKey]) -> tuple[Checkpoint | None, list[str]]:
    """The checkpoint that this log goes on from, and the ids of the keys that signed it."""
    key = keys[0]
    data = read_checkpoint_file(directory)
    if data is None:
        return None, []
    place = directory / "checkpoint"
    try:
        checkpoint = verified(data, [each.verifier for each in keys])
    except NoteError as error:
        raise AuditLogDamaged(f"`{place}` is damaged: it {error}; the log is not continued") from error
    if checkpoint is None:
        raise AuditLogError(
            f"`{place}` is not signed by the key of `audit.signing_key` as `{key.name}`: put the key back that did, "
            "or begin a new log, with another `audit.origin` and an empty `audit.directory`"
        )
    if checkpoint.origin != key.name:
        raise AuditLogDamaged(f"`{place}` is of the log `{checkpoint.origin}`, not `{key.name}`")
    return checkpoint, [one.key_id.hex() for one in parse_note(data).signatures]


def _resumed(directory: Path, checkpoint: Checkpoint | None, records: int) -> tuple[Tree, LineCursor]:
    """The tree that the checkpoint signed, made of tiles and of the last lines, or the beginning of all of it."""
    if checkpoint is None or checkpoint.size == 0:
        return Tree(), LineCursor(directory, 0)
    if checkpoint.size > records:
        raise AuditLogDamaged(
            f"the audit log in `{directory}` has {records} records, but {checkpoint.size} were signed. {RESTORED}"
        )
    tiled = (checkpoint.size - 1) // TILE_WIDTH * TILE_WIDTH  # from here on the log is read: never nothing of it
    try:
        hash_at = hashes_at(directory, checkpoint.size)
        unfinished = []
        for level, width in enumerate(partial_widths(tiled)):
            end = tiled // TILE_WIDTH**level
            unfinished.append(b"".join(hash_at(level, index) for index in range(end - width, end)))
        tree, lines = Tree.resumed(tiled, unfinished), LineCursor(directory, tiled)
        _replay(tree, lines, checkpoint.size)
    except TileMissing:
        pass  # lost: made again below
    else:
        if tree.root() == checkpoint.root:
            return tree, lines
    tree, lines = Tree(), LineCursor(directory, 0)
    _replay(tree, lines, checkpoint.size)
    if tree.root() != checkpoint.root:
        raise AuditLogDamaged(
            f"the first {checkpoint.size} records of the audit log in `{directory}` are not those that were signed: "
            f"look at `gatekeeper audit verify`. {RESTORED}"
        )
    return Tree(), LineCursor(directory, 0)


def _require(directory: Path, older: Checkpoint, newer: Checkpoint) -> None:
    """Two heads of one log: the newer one, which the log has, must begin with the older one."""
    try:
        path = consistency(older.size, newer.size, hashes_at(directory, newer.size))
    except TileMissing:
        tree = Tree()  # lost tiles: by the records themselves
        _replay(tree, LineCursor(directory, 0), older.size)
        is_begun_so = tree.root() == older.root
    else:
        is_begun_so = is_consistent(older.size, older.root, newer.size, newer.root, path)
    if not is_begun_so:
        raise AuditLogDamaged(
            f"the audit log in `{directory}` is not the one whose {older.size} and {newer.size} records were signed: "
            "look at `gatekeeper audit verify`; it is not continued"
        )


def _size(checkpoint: Checkpoint) -> int:
    return checkpoint.size


def _replay(tree: Tree, lines: LineCursor, size: int) -> None:
    while tree.size < size:
        for line in lines.take(min(_LINES_A_STEP, size - tree.size)):
            tree.append(leaf_hash(line[:-1]))
        if tree.size % TILE_WIDTH == 0 and tree.size < size:
            tree.completed.clear()
