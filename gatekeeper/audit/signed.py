"""Verification of the signed head: are the records those that were signed, and do the tiles say so?

It goes along with `chain.verify`, over the same lines, read once; memory is bounded whatever they contain. Of records
that were pruned the tree is made of their hashes, which stay in the tiles.

Inside holds: nothing that is read makes it raise. What a key signed and the log does not have is tampering; what cannot
be told for want of a key, a checkpoint or a tile is said to be missing.
"""

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from gatekeeper.audit.checkpoint import Checkpoint, read_checkpoint
from gatekeeper.audit.report import Finding, Kind
from gatekeeper.audit.tree import HASH_OCTETS, TILE_WIDTH, Tile, Tree
from gatekeeper.signing.note import Note, NoteError, VerifierKey, signed_by

ReadTile = Callable[[int, int, int], bytes | None]
"""The hashes of a tile by level, index and width; None when it is not there."""

_MAX_NAMED = 5  # of many tiles only the first ones are named
_OF_THE_GATE = re.compile(r"(/worker-[1-9]\d{0,2})?(/([2-9]|[1-9]\d{1,8}))?", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedReport:
    """What the signed head says, and whether it is so."""

    checkpoint: Checkpoint | None
    """None: there is none that can be read."""
    key: VerifierKey | None
    """The known key that signed it."""
    tiles: int
    """How many were compared and are those of the log."""
    unsigned: int
    """Records after the signed ones."""
    findings: tuple[Finding, ...]
    missing: tuple[str, ...]


class SignedVerification:
    """The state of one pass."""

    def __init__(
        self,
        note: bytes | None,
        *,
        known: Sequence[VerifierKey],
        since: Sequence[Checkpoint] = (),
        read_tile: ReadTile,
    ) -> None:
        """`note`: what is published; `known`: the keys to believe; `since`: older heads that were kept elsewhere."""
        self._known = known
        self._read_tile = read_tile
        self._findings: list[Finding] = []
        self._missing: list[str] = []
        self._key: VerifierKey | None = None
        self._checkpoint: Checkpoint | None = None
        self._read(note)
        self._since = since
        self._expected = {checkpoint.size for checkpoint in (self._checkpoint, *since) if checkpoint is not None}
        self._roots: dict[int, bytes] = {}
        self._tree = Tree()
        self._line: hashlib._Hash | None = None
        self._is_blind = False
        """The hashes of pruned records are not there: no root can be computed."""
        self._pruned = 0
        self._tiles = 0
        self._wrong_tiles = 0
        self._missing_tiles = 0
        self._look()

    def along(
        self, segments: Iterable[tuple[str, Iterable[bytes]]], *, first: int = 0
    ) -> Iterator[tuple[str, Iterable[bytes]]]:
        """The same segments, whose lines are taken note of as somebody else reads them.

        `first`: number of the first record that is there.
        """
        if first:
            self._take_pruned(first)
        for name, pieces in segments:
            self._line = None  # what has no newline at the end of the segment before is no record
            yield name, self._taken(pieces)

    def finish(self, log: str | None) -> SignedReport:
        """All lines were read; `log` is the origin that the records name."""
        checkpoint, size = self._checkpoint, self._tree.size + (self._pruned if self._is_blind else 0)
        if checkpoint is not None:
            if log is not None and checkpoint.origin != log:
                self._find(Kind.FOREIGN, f"the signed head is of the log `{checkpoint.origin[:200]}`")
            self._compare(checkpoint, "were signed")
        for older in self._since:
            self._compare(older, "were signed, as the head says that was kept")
        if self._missing_tiles:
            self._missing.append(f"{self._missing_tiles} tiles are not there: the gate makes them at its next start")
        if self._is_blind:
            self._missing.append("the hashes of pruned records are not there: the tree cannot be computed")
        return SignedReport(
            checkpoint=checkpoint,
            key=self._key,
            tiles=self._tiles,
            unsigned=max(size - (0 if checkpoint is None else checkpoint.size), 0),
            findings=tuple(self._findings),
            missing=tuple(self._missing),
        )

    def _read(self, note: bytes | None) -> None:
        if note is None:
            self._missing.append("there is no `checkpoint`: nothing is signed")
            return
        try:
            self._checkpoint, signed = read_checkpoint(note)
        except NoteError as error:
            self._find(Kind.FORGED, f"`checkpoint` {error}")
            return
        try:
            self._key = next(iter(signed_by(signed, self._known)), None)
        except NoteError as error:
            self._find(Kind.FORGED, f"`checkpoint`: {error}")
            return
        if self._key is None:
            self._missing.append(_unknown(signed, self._known))

    def _take_pruned(self, first: int) -> None:
        """The leaves of records that are not there any more, by their hashes in the tiles."""
        self._pruned = first
        size = 0 if self._checkpoint is None else self._checkpoint.size
        for begin in range(0, first, TILE_WIDTH):
            hashes = self._read_tile(0, begin // TILE_WIDTH, min(TILE_WIDTH, size - begin)) if size > begin else None
            wanted = min(TILE_WIDTH, first - begin) * HASH_OCTETS
            if hashes is None or len(hashes) < wanted:
                self._is_blind, self._tree = True, Tree()
                return
            for place in range(0, wanted, HASH_OCTETS):
                self._tree.append(hashes[place : place + HASH_OCTETS])
                self._look()

    def _taken(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            line = self._line or hashlib.sha256(b"\x00")
            if piece.endswith(b"\n"):
                line.update(piece[:-1])
                self._tree.append(line.digest())
                self._line = None
                self._look()
            else:
                line.update(piece)
                self._line = line
            yield piece

    def _look(self) -> None:
        """Note the root when it is asked for, and compare the tiles that are complete."""
        tree, checkpoint = self._tree, self._checkpoint
        if self._is_blind:
            tree.completed.clear()
            return
        if tree.size in self._expected:
            self._roots[tree.size] = tree.root()
        if checkpoint is not None and tree.size <= checkpoint.size:
            for tile in tree.completed:
                self._compare_tile(tile)
            if tree.size == checkpoint.size:
                for tile in tree.unfinished():
                    self._compare_tile(tile)
        tree.completed.clear()

    def _compare_tile(self, tile: Tile) -> None:
        found = self._read_tile(tile.level, tile.index, tile.width)
        if found is None:
            self._missing_tiles += 1
        elif found == tile.hashes:
            self._tiles += 1
        else:
            self._wrong_tiles += 1
            if self._wrong_tiles <= _MAX_NAMED:
                self._find(Kind.TILE, f"`{tile.path}` is not of these records: one or the other was changed")

    def _compare(self, checkpoint: Checkpoint, were_signed: str) -> None:
        size = self._tree.size + (self._pruned if self._is_blind else 0)
        if size < checkpoint.size:
            what = f"the log has {size} records although {checkpoint.size} {were_signed}: its end was cut off"
            self._find(Kind.TRUNCATED, what)
        elif not self._is_blind and self._roots[checkpoint.size] != checkpoint.root:
            what = f"the first {checkpoint.size} records are not those that {were_signed}"
            self._find(Kind.REWRITTEN, what)

    def _find(self, kind: Kind, what: str) -> None:
        self._findings.append(Finding(kind, None, what))


def as_known(pinned: Iterable[VerifierKey], origin: str) -> list[VerifierKey]:
    """The pinned keys that may sign the log `origin`: a gate's key also signs those of its workers, and later ones."""
    return [
        VerifierKey(origin, key.public)
        for key in pinned
        if origin.startswith(key.name) and _OF_THE_GATE.fullmatch(origin.removeprefix(key.name))
    ]


def _unknown(note: Note, known: Sequence[VerifierKey]) -> str:
    names = ", ".join(f"{one.name[:200]}+{one.key_id.hex()}" for one in note.signatures[:_MAX_NAMED]) or "nobody"
    if not known:
        return f"no key is known: `--vkey` takes the one that was pinned; the head says that {names} signed it"
    return f"the head is signed by {names}, not by {known[0].name}+{known[0].key_id.hex()}"
