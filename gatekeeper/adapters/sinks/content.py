"""What is in a segment, whether it lies there as it was written or compressed: the one place that knows.

    <name>.jsonl          as it was written
    <name>.jsonl.gz       compressed, after it has come to an end (`packed`)
    <name>.jsonl.gz.new   being compressed

A segment is called by its plain name everywhere, and octets are counted in its lines. Where both files are, the plain
one counts: the compressed one is put in place, whole, before the plain one goes.
"""

import io
import os
from contextlib import suppress
from pathlib import Path

from gatekeeper.adapters.sinks.operations import FileOperations
from gatekeeper.adapters.sinks.packed import PackedLines


class PlainLines(io.BufferedReader):
    """The lines of a plain segment."""

    @property
    def size(self) -> int:
        """Octets of the lines that are there now."""
        return os.fstat(self.fileno()).st_size


Lines = PlainLines | PackedLines


def opened(segment: Path) -> Lines:
    """The lines of a segment, to read and to seek in; closed by the caller.

    Raises:
        OSError: it is not there, or cannot be read.
        SegmentDamaged: it is not as it was compressed.
    """
    try:
        return PlainLines(io.FileIO(segment))
    except FileNotFoundError:
        return PackedLines.open(packed(segment))


def size(segment: Path) -> int:
    """Octets of its lines; raises as `opened`."""
    with opened(segment) as lines:
        return lines.size


def room(segment: Path) -> int:
    """Octets that it takes up on the disk."""
    found = 0
    for path in (segment, packed(segment)):
        with suppress(FileNotFoundError):
            found += path.stat().st_size
    return found


def packed(segment: Path) -> Path:
    """Where the compressed segment lies."""
    return segment.with_name(f"{segment.name}.gz")


def draft(segment: Path) -> Path:
    """Where it lies while it is being written."""
    return segment.with_name(f"{segment.name}.gz.new")


def remove(segment: Path, files: FileOperations) -> None:
    """Remove a segment, in an order that keeps one that is just being compressed from coming back."""
    for path in (segment, draft(segment), packed(segment)):
        files.unlink(path)
