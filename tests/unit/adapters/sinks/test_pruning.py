"""Holds and closed segments on real files."""

from pathlib import Path

import pytest

from gatekeeper.adapters.sinks.compressor import compress
from gatekeeper.adapters.sinks.directory import AuditLogDamaged, AuditLogError, segment_paths
from gatekeeper.adapters.sinks.operations import FileOperations
from gatekeeper.adapters.sinks.pruning import (
    closed_spans,
    holding,
    prunable_of,
    read_holds,
    remove,
    tree_root,
    write_holds,
)
from gatekeeper.audit.retention import MAX_HOLDS, Hold
from testkit.audit_log import head_of, log_of, write_segments
from testkit.merkle import checkpoint_of, definition, sign_log

LOG = log_of(900)
HOLD = Hold(id="hold-1", reason="why", case="", by="root", placed_ms=5, since_ms=None, until_ms=None)
LATER_MS = 2_000_000_000_000


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A signed log of three segments."""
    write_segments(tmp_path, LOG[:300], LOG[300:600], LOG[600:])
    sign_log(tmp_path)
    return tmp_path


def test_the_open_segment_is_none_of_the_closed_ones(log: Path) -> None:
    """First and last record of each other one are known."""
    spans = list(closed_spans(log))
    assert [(span.first, span.last) for span in spans] == [(0, head_of(LOG[:300])), (300, head_of(LOG[:600]))]
    assert [span.octets for span in spans] == [len(b"".join(LOG[:300])), len(b"".join(LOG[300:600]))]


def test_only_what_the_signed_head_does_not_need_goes(log: Path) -> None:
    """The tree is resumed at record 768 of 900; a log that is not signed keeps everything."""
    found = prunable_of(log, checkpoint_of(log), before_ms=LATER_MS, holds=[])
    assert found.first_kept == 600
    assert tree_root(log, checkpoint_of(log), 600) == definition([line[:-1] for line in LOG[:600]])
    assert prunable_of(log, None, before_ms=LATER_MS, holds=[]).is_unsigned
    remove(log, found.spans, FileOperations())
    assert [path.name[:20] for path in segment_paths(log)] == [f"{600:020d}"]


def test_compressed_segments_go_like_others(log: Path) -> None:
    """By the same numbers, and with nothing left of them."""
    before = list(closed_spans(log))
    for path in segment_paths(log)[:-1]:
        compress(path, FileOperations())
    spans = list(closed_spans(log))
    assert [(span.first, span.last, span.first_ms, span.last_ms) for span in spans] == [
        (span.first, span.last, span.first_ms, span.last_ms) for span in before
    ]
    remove(log, spans, FileOperations())
    assert [path.name[:20] for path in (log / "segments").iterdir()] == [f"{600:020d}"]


def test_a_segment_that_does_not_end_with_a_record_is_damaged(log: Path) -> None:
    """Nothing is removed by guessing."""
    segment_paths(log)[0].write_bytes(b"")
    with pytest.raises(AuditLogDamaged, match="audit verify"):
        list(closed_spans(log))


def test_holds_are_kept_in_a_file_and_changed_by_one_at_a_time(tmp_path: Path) -> None:
    """What cannot be read is an error, and so are too many."""
    assert read_holds(tmp_path) == ()
    write_holds(tmp_path, [HOLD], FileOperations())
    assert read_holds(tmp_path) == (HOLD,)
    with holding(tmp_path), pytest.raises(AuditLogError, match="another command"), holding(tmp_path):
        pass
    with holding(tmp_path):
        pass
    with pytest.raises(AuditLogError, match=str(MAX_HOLDS)):
        write_holds(tmp_path, [HOLD] * (MAX_HOLDS + 1), FileOperations())
    (tmp_path / "holds.json").write_text("[]")
    with pytest.raises(AuditLogError, match="cannot be read"):
        read_holds(tmp_path)
